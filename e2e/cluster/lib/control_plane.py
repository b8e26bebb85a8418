"""etcd, API server, controller-manager and scheduler of a node, as its own processes (no static pods: no images are needed)."""
from typing import List

from .kube import Api
from .network import Plan
from .node_ns import process, spawn
from .paths import Cluster
from .pki import API_PORT, files
from .tools import tool
from .wait import until

ETCD = "http://127.0.0.1:2379"
PKI, NODE_PORTS = "/node/pki", "30000-32767"


def start_etcd(cluster: Cluster, init: int) -> None:
    """etcd without fsync: a test cluster's data need not survive a power cut, and fsync would be most of its cost."""
    peer = "http://127.0.0.1:2380"
    spawn(cluster, init, "etcd", [
        tool("etcd").node_path, "--name=node", "--data-dir=/var/lib/etcd", f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=node={peer}", "--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=536870912"])


def start_api_server(cluster: Cluster, init: int, plan: Plan) -> None:
    """The API server, on the node's address."""
    spawn(cluster, init, "kube-apiserver", [
        tool("kube-apiserver").node_path, f"--etcd-servers={ETCD}", f"--bind-address={plan.node_ip}",
        f"--advertise-address={plan.node_ip}", f"--secure-port={API_PORT}", f"--service-cluster-ip-range={plan.services}",
        f"--service-node-port-range={NODE_PORTS}", "--allow-privileged=true", "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=false", "--endpoint-reconciler-type=lease",
        "--profiling=false", "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--kubelet-preferred-address-types=InternalIP",
        *files(PKI, "client-ca-file=ca.crt", "tls-cert-file=apiserver.crt", "tls-private-key-file=apiserver.key",
               "kubelet-certificate-authority=ca.crt", "kubelet-client-certificate=apiserver-kubelet.crt",
               "kubelet-client-key=apiserver-kubelet.key", "service-account-key-file=sa.pub",
               "service-account-signing-key-file=sa.key", "requestheader-client-ca-file=front-ca.crt",
               "proxy-client-cert-file=front-client.crt", "proxy-client-key-file=front-client.key"),
        "--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-"])


def wait_ready(cluster: Cluster, init: int, plan: Plan) -> Api:
    """Wait until the API server says it is ready; returns a client of it."""
    api = Api(cluster, plan.node_ip)
    until(f"API server of {cluster.name}", api.ready, 90, log=cluster.log("kube-apiserver"),
          alive=lambda: bool(process(cluster, init, "kube-apiserver") and process(cluster, init, "etcd")),
          remedy=f"read the log and {cluster.log('etcd')}; `cluster down {cluster.name}` starts afresh")
    return api


def _loop(cluster: Cluster, init: int, name: str, user: str, extra: List[str]) -> None:
    config = f"{PKI}/{user}.kubeconfig"
    spawn(cluster, init, name, [
        tool(name).node_path, f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}", "--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false",
        *files(PKI, f"tls-cert-file={user}.crt", f"tls-private-key-file={user}.key", "client-ca-file=ca.crt",
               "requestheader-client-ca-file=front-ca.crt"), *extra])


def start_loops(cluster: Cluster, init: int, plan: Plan) -> None:
    """Controller-manager and scheduler; alone, so without leader election."""
    mask = plan.pods.rpartition("/")[2]         # the one node gets the whole range
    _loop(cluster, init, "kube-controller-manager", "controller-manager", [
        *files(PKI, "root-ca-file=ca.crt", "service-account-private-key-file=sa.key", "cluster-signing-cert-file=ca.crt",
               "cluster-signing-key-file=ca.key"),
        "--use-service-account-credentials=true", "--allocate-node-cidrs=true", f"--cluster-cidr={plan.pods}",
        f"--node-cidr-mask-size={mask}", f"--service-cluster-ip-range={plan.services}",
        # Its start is a burst of small calls: with the default of 20 a second it takes 5 s.
        "--kube-api-qps=300", "--kube-api-burst=600",
        # A node that hangs is noticed in seconds here, as the scenarios expect; the defaults suit thousands of nodes.
        "--node-monitor-period=2s", "--node-monitor-grace-period=20s"])
    _loop(cluster, init, "kube-scheduler", "scheduler", [])
