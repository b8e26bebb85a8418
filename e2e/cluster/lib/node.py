"""containerd, kubelet, kube-proxy and CNI of a node: their configuration files and how they are started. Inside the node every
path is its own, so the usual fixed ones are used."""
import json
import os
import subprocess
from datetime import datetime

from .cgroups import is_v2
from .control_plane import PKI
from .kube import Api, ApiError
from .network import Plan
from .node_ns import enter, process, spawn, started_at
from .paths import Cluster
from .run import CLEAN_ENV
from .tools import tool
from .wait import until

SOCKET = "/run/containerd/containerd.sock"
PAUSE = "tributary.local/pause:1"


def _write(cluster: Cluster, name: str, text: str) -> None:
    path = cluster.path("config", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.replace(path + ".new", path)


def _snapshotter(cluster: Cluster) -> str:
    """overlayfs where an overlay can be mounted in the cluster's folder (not on top of another overlay), else plain copies."""
    work = cluster.path("var", "overlay-check")
    for sub in ("lower", "upper", "work", "merged"):
        os.makedirs(os.path.join(work, sub), exist_ok=True)
    script = 'cd "$1" && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged'
    works = subprocess.run(["unshare", "--mount", "/bin/sh", "-c", script, "sh", work], env=CLEAN_ENV, capture_output=True).returncode == 0
    return "overlayfs" if works else "native"


def start_containerd(cluster: Cluster, init: int, plan: Plan) -> None:
    """containerd with routed pod networking (CNI ptp) and host ports (portmap)."""
    if process(cluster, init, "containerd"):
        return
    ipam = {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": plan.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    _write(cluster, "cni/10-tributary.conflist", json.dumps({
        "cniVersion": "1.0.0", "name": "pods", "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]}, indent=1))
    cri = "io.containerd.grpc.v1.cri"
    # oom_score, restrict_oom_score_adj: lowering a score needs CAP_SYS_RESOURCE, which root may lack here.
    _write(cluster, "containerd.toml", f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [{", ".join(f'"io.containerd.{p}"' for p in ("snapshotter.v1.aufs", "snapshotter.v1.btrfs",
                    "snapshotter.v1.devmapper", "snapshotter.v1.zfs", "tracing.processor.v1.otlp", "internal.v1.tracing"))}]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."{cri}"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."{cri}".containerd]
    snapshotter = "{_snapshotter(cluster)}"
    default_runtime_name = "runc"
    [plugins."{cri}".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."{cri}".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."{cri}".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/node/config/cni"
""")
    spawn(cluster, init, "containerd", ["containerd", "-c", "/node/config/containerd.toml", "-l", "warn"])


def wait_containerd(cluster: Cluster, init: int) -> None:
    """Wait until containerd answers."""
    ask = enter(init, ["ctr", "version"])
    until(f"containerd of {cluster.name}", lambda: subprocess.run(ask, env=CLEAN_ENV, capture_output=True).returncode == 0, 30,
          log=cluster.log("containerd"), alive=lambda: bool(process(cluster, init, "containerd")))


def start_kubelet(cluster: Cluster, init: int, plan: Plan) -> None:
    """The kubelet, with a crash-loop back-off of at most 1 s."""
    _write(cluster, "resolv.conf", "nameserver 127.0.0.1\n")       # for pods with dnsPolicy Default: nothing answers there
    _write(cluster, "kubelet.json", json.dumps({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": plan.node_ip, "readOnlyPort": 0,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{PKI}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/kubelet.crt", "tlsPrivateKeyFile": f"{PKI}/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + cluster.cgroup, "cgroupsPerQOS": True, "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": False, "failSwapOn": False, "oomScoreAdj": 0,
        "clusterDomain": "cluster.local", "clusterDNS": [plan.dns], "resolvConf": "/node/config/resolv.conf",
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,      # images come from archives: one that is collected cannot be pulled again
        "maxPods": 110, "serializeImagePulls": False, "registerNode": True, "rotateCertificates": False,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins", "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s", "shutdownGracePeriod": "0s",
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"}}, indent=1))
    spawn(cluster, init, "kubelet", [
        tool("kubelet").node_path, "--config=/node/config/kubelet.json", f"--kubeconfig={PKI}/kubelet.kubeconfig",
        "--cert-dir=/var/lib/kubelet/pki", f"--hostname-override={cluster.name}", f"--node-ip={plan.node_ip}"])


def start_proxy(cluster: Cluster, init: int, plan: Plan) -> None:
    """kube-proxy with nftables; no machine-wide conntrack settings."""
    zero = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    _write(cluster, "kube-proxy.json", json.dumps({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
        "clusterCIDR": plan.pods, "bindAddress": "0.0.0.0", "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249", "hostnameOverride": cluster.name, "oomScoreAdj": 0,
        "clientConnection": {"kubeconfig": f"{PKI}/proxy.kubeconfig"}, "conntrack": zero,
        "nftables": {"minSyncPeriod": "0s", "syncPeriod": "30s"}, "nodePortAddresses": ["0.0.0.0/0"]}, indent=1))
    spawn(cluster, init, "kube-proxy", [tool("kube-proxy").node_path, "--config=/node/config/kube-proxy.json"])


def node_ready(cluster: Cluster, api: Api) -> bool:
    """Whether the node's Ready condition is true, said by the kubelet that runs now: after a reboot the API server still has the
    old one's word."""
    try:
        conditions = api.get(f"/api/v1/nodes/{cluster.name}")["status"].get("conditions", [])
    except (ApiError, OSError):
        return False
    ready = next((c for c in conditions if c["type"] == "Ready"), None)
    return bool(ready) and ready["status"] == "True" and _seconds(ready["lastHeartbeatTime"]) >= started_at(cluster, "kubelet")


def _seconds(moment: str) -> float:
    """A Kubernetes time, which is cut to whole seconds, as the latest moment since the epoch that it may mean."""
    return datetime.strptime(moment[:19] + "+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp() + 1


def wait_ready(cluster: Cluster, init: int, api: Api) -> None:
    """Wait until the node is Ready."""
    until(f"node {cluster.name}", lambda: node_ready(cluster, api), 60, log=cluster.log("kubelet"),
          alive=lambda: bool(process(cluster, init, "kubelet")),
          remedy=f"read the log and {cluster.log('containerd')}" + ("" if is_v2() else " (this machine has cgroup v1)"))
