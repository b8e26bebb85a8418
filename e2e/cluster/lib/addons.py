"""What makes a node a usable cluster: names (CoreDNS), volumes (local-path-provisioner), enforced NetworkPolicies."""
import contextlib
import json
import os
import re
import sys
import tempfile

from . import dns, pins
from .errors import ClusterError
from .network import Plan, load_plan
from .node import _write
from .node_ns import process, spawn
from .paths import CLUSTER_DIR, Cluster, known_clusters, target_dir
from .run import run
from .tools import tool
from .wait import until

TOOLS_IMAGE = "tributary.local/tools:1"
DOMAIN = "tributary.test"
HOST_RULE = re.compile(r"(?=.{3,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")


def _manifest(name: str, **values: str) -> str:
    with open(os.path.join(CLUSTER_DIR, "lib", "manifests", name)) as f:
        text = f.read()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _apply(cluster: Cluster, name: str, text: str) -> None:
    run(f"install {name} in {cluster.name}", [tool("kubectl").path, f"--kubeconfig={cluster.kubeconfig}", "apply", "--server-side",
        "--force-conflicts", "--field-manager=tributary-cluster", "-f", "-"], input=text, timeout=60)


def install_dns(cluster: Cluster, plan: Plan) -> None:
    """CoreDNS as a Deployment, reading the other clusters' names from a file of the node."""
    write_names()
    _apply(cluster, "CoreDNS", _manifest("coredns.yaml", DNS=plan.dns, COREDNS=pins.COREDNS))


def wait_dns(cluster: Cluster, plan: Plan) -> None:
    """Wait until the cluster's DNS service answers: that takes a running pod, its endpoints, and kube-proxy's rules."""
    until(f"DNS of {cluster.name}", lambda: dns.resolves(plan.dns, "kubernetes.default.svc.cluster.local"), 90,
          log=cluster.log("kubelet"),
          remedy=f"`kubectl --kubeconfig {cluster.kubeconfig} -n kube-system describe pod -l k8s-app=kube-dns`")


def write_names() -> None:
    """Tell every cluster of this checkout the addresses of all of them: NAME.tributary.test, kafka.NAME.tributary.test and each
    cluster's own aliases. CoreDNS reads the file again within a second or two."""
    lines = []
    for name in known_clusters():
        cluster = Cluster(name)
        with contextlib.suppress(ClusterError):             # one that has no address yet
            names = [f"{name}.{DOMAIN}", f"kafka.{name}.{DOMAIN}", *aliases(cluster)]
            lines.append(f"{load_plan(cluster).node_ip} {' '.join(names)}\n")
    for name in known_clusters():
        with contextlib.suppress(FileNotFoundError):        # a cluster that is going down at this moment
            handle, temp = tempfile.mkstemp(prefix=".hosts-", dir=Cluster(name).path("dns"))
            with open(handle, "w") as f:
                f.write("# node addresses of this checkout's clusters, by `cluster up`, `down` and `alias`\n" + "".join(lines))
            os.chmod(temp, 0o644)
            os.replace(temp, Cluster(name).path("dns", "hosts"))


def aliases(cluster: Cluster) -> list:
    """Host names that `cluster alias` gave to this cluster."""
    try:
        with open(cluster.path("aliases.json")) as f:
            return json.load(f)
    except (OSError, ValueError):
        return []


def set_aliases(cluster: Cluster, hosts: list) -> None:
    """Replace a cluster's further host names and tell every cluster."""
    load_plan(cluster)
    for host in hosts:
        if not HOST_RULE.fullmatch(host):
            raise ClusterError(f"alias {cluster.name}", f"{host!r} is not a host name", "use a full one, such as kafka.eu.example")
    with open(cluster.path("aliases.json.new"), "w") as f:
        json.dump(hosts, f)
    os.replace(cluster.path("aliases.json.new"), cluster.path("aliases.json"))
    write_names()


def install_volumes(cluster: Cluster, init: int) -> None:
    """local-path-provisioner as a process of the node: no image, no RBAC of its own; its helper pods run in the cluster."""
    folder = "/node/config/local-path"
    _write(cluster, "local-path/config.json", json.dumps(
        {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": ["/var/local-path"]}]}))
    _write(cluster, "local-path/helper.yaml", f"""apiVersion: v1
kind: Pod
metadata: {{name: helper-pod}}
spec:
  priorityClassName: system-node-critical
  tolerations: [{{key: node.kubernetes.io/disk-pressure, operator: Exists, effect: NoSchedule}}]
  securityContext: {{runAsUser: 0}}
  containers: [{{name: helper-pod, image: "{TOOLS_IMAGE}", imagePullPolicy: Never}}]
""")
    _apply(cluster, "local-path-provisioner", _manifest("local-path.yaml"))
    spawn(cluster, init, "local-path-provisioner", [
        tool("local-path-provisioner").node_path, "start", "--config", f"{folder}/config.json",
        "--kubeconfig", "/node/pki/admin.kubeconfig", "--namespace", "local-path-storage", "--helper-image", TOOLS_IMAGE,
        "--helper-pod-file", f"{folder}/helper.yaml", "--configmap-name", "local-path-config",
        "--service-account-name", "local-path-provisioner"], env={"POD_NAMESPACE": "local-path-storage"})


def start_policies(cluster: Cluster, init: int, plan: Plan) -> None:
    """The NetworkPolicy engine: this tool's own Python in the node's network, waiting until it has read the policies once."""
    spawn(cluster, init, "netpol", [sys.executable, os.path.join(CLUSTER_DIR, "cluster"), "enforce-policies", cluster.name, plan.node_ip],
          mount=False, env={"TRIBUTARY_TARGET_DIR": target_dir()})


def wait_policies(cluster: Cluster, init: int) -> None:
    """Wait until the engine's table is in the kernel."""
    ask = ["nsenter", f"--target={init}", "--net", "nft", "list", "table", "ip", "tributary-netpol"]
    until(f"NetworkPolicy engine of {cluster.name}", lambda: run("netpol", ask, check=False).returncode == 0, 30,
          log=cluster.log("netpol"), alive=lambda: bool(process(cluster, init, "netpol")))
