"""A cluster's life: up (also from half-way), down (also from half-way), status."""
import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Iterable, List

from . import addons, cgroups, control_plane, images, network, node, node_ns, pki, tools
from .errors import ClusterError
from .kube import Api
from .paths import REPO, Cluster, clusters_dir, known_clusters
from .run import host_env
from .ui import say

NEEDED = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
          "local-path-provisioner", "coredns", "pause"]
PROCESSES = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "kubelet", "kube-proxy",
             "local-path-provisioner", "netpol"]

TRASH = ".removed-"


@contextlib.contextmanager
def lock(cluster: Cluster):
    """One change of a cluster at a time."""
    os.makedirs(clusters_dir(), exist_ok=True)
    with open(os.path.join(clusters_dir(), f".{cluster.name}.lock"), "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another `cluster` command is changing this one, waiting for it", cluster.name)
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


def each(clusters: List[Cluster], action) -> None:
    """Do the same to several clusters at once; the first failure is raised when all have ended."""
    failures: List[BaseException] = []

    def guarded(cluster: Cluster) -> None:
        try:
            action(cluster)
        except BaseException as e:         # noqa: B036 (handed to the caller's thread)
            failures.append(e)

    threads = [threading.Thread(target=guarded, args=(c,), daemon=True) for c in clusters]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for failure in failures[1:]:
        say(f"FAILED {failure}")
    if failures:
        raise failures[0]


def prepare() -> None:
    """What every cluster needs before it can start: root, host programs, tools, the base images."""
    if os.geteuid() != 0:
        raise ClusterError("cluster up", "namespaces, mounts and routes need root", "run it with sudo, or as root")
    missing = tools.node_packages_missing()
    if missing:
        raise ClusterError("cluster up", f"host packages are missing: {' '.join(missing)}", "run `e2e/cluster/cluster tools`")
    tools.need(*NEEDED)
    builder = os.path.join(REPO, "e2e", "images", "build")
    done = subprocess.run([builder, *images.BASE], env=host_env(), stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ClusterError("base images", "e2e/images/build failed, see above", f"run `{builder} {' '.join(images.BASE)}`")


def up(cluster: Cluster) -> None:
    """Bring a cluster up, or the rest of one that is half up; returns when pods can run."""
    with lock(cluster):
        for folder in ("log", "dns"):
            os.makedirs(cluster.path(folder), exist_ok=True)
        if not node_ns.find_init(cluster):
            cgroups.remove(cluster)         # of a node that was killed: the kubelet spends 3 s on each container's old one
        init = node_ns.create(cluster)
        plan = network.connect(cluster, init)
        cgroups.create(cluster)
        say(f"node started, {plan.node_ip}", cluster.name)
        control_plane.start_etcd(cluster, init)
        node.start_containerd(cluster, init, plan)
        pki.make(cluster, plan)
        control_plane.start_api_server(cluster, init, plan)
        node.wait_containerd(cluster, init)
        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(images.load, cluster, images.archives())
            api = control_plane.wait_ready(cluster, init, plan)
            say("API server ready", cluster.name)
            control_plane.start_loops(cluster, init, plan)
            node.start_kubelet(cluster, init, plan)
            node.start_proxy(cluster, init, plan)
            addons.start_policies(cluster, init, plan)
            addons.install_dns(cluster, plan)
            addons.install_volumes(cluster, init)
            loading.result()
        node.wait_ready(cluster, init, api)
        say("node ready", cluster.name)
        addons.wait_dns(cluster, plan)
        addons.wait_policies(cluster, init)
    say(f"up: export KUBECONFIG={cluster.kubeconfig}", cluster.name)


def down(cluster: Cluster) -> None:
    """Remove everything of a cluster, whatever state it is in."""
    with lock(cluster):
        existed = node_ns.kill(cluster) or os.path.isdir(cluster.dir)
        network.disconnect(cluster)
        left = cgroups.remove(cluster)
        if left:
            raise ClusterError(f"down {cluster.name}", f"cgroups will not go: {' '.join(left)}", "run `cluster down` again; see `cat "
                               f"{left[0]}/cgroup.procs`")
        with contextlib.suppress(FileNotFoundError):
            trash = tempfile.mkdtemp(prefix=TRASH, dir=clusters_dir())
            os.rename(cluster.dir, os.path.join(trash, cluster.name))       # at once, so that nobody sees half a cluster
        empty_trash()
        if existed:
            addons.write_names()
            say("down", cluster.name)


def empty_trash() -> None:
    """Delete the folders of removed clusters, those of a `down` that was killed included."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(clusters_dir()):
            if name.startswith(TRASH):
                shutil.rmtree(os.path.join(clusters_dir(), name), ignore_errors=True)


def status(cluster: Cluster) -> dict:
    """What runs and what answers, asked now."""
    init = node_ns.find_init(cluster)
    described = {"name": cluster.name, "state": "absent", "problem": "", "kubeconfig": cluster.kubeconfig, "logs": cluster.path("log"),
                 "nodeAddress": None, "processes": {}, "init": init}
    if not os.path.isdir(cluster.dir):
        return described
    if not init:
        return {**described, "state": "stopped", "problem": f"the node does not run: `cluster up {cluster.name}` or `down`"}
    running = {name: node_ns.process(cluster, init, name) for name in PROCESSES}
    described["processes"] = {name: _memory(init, pid) for name, pid in running.items()}
    described["state"] = "partial"
    try:
        described["nodeAddress"] = network.load_plan(cluster).node_ip
        described["problem"] = _problem(cluster, running, described["nodeAddress"])
    except ClusterError as e:
        described["problem"] = e.why
    if not described["problem"]:
        described["state"] = "ready"
    return described


def _problem(cluster: Cluster, running: dict, address: str) -> str:
    """The first thing that keeps a running node from being usable, or nothing."""
    missing = [name for name, pid in running.items() if not pid]
    if missing:
        return f"not running: {', '.join(missing)} (logs in {cluster.path('log')})"
    try:
        api = Api(cluster, address)
        unready = api.unready()
    except OSError as e:
        return f"certificates cannot be read: {e}"
    if unready:
        return f"the API server is not ready: {unready}"
    return "" if node.node_ready(cluster, api) else f"the node is not ready: see `kubectl describe node {cluster.name}`"


def _memory(init: int, pid) -> object:
    """A process's pid in the node and its resident memory in MiB; None when it does not run."""
    if pid is None:
        return None
    with contextlib.suppress(OSError), open(f"/proc/{init}/root/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return {"pid": pid, "memoryMiB": round(int(line.split()[1]) / 1024, 1)}
    return {"pid": pid, "memoryMiB": None}


def chosen(names: Iterable[str], everything: bool) -> List[Cluster]:
    """The clusters that a command line names; all known ones with --all."""
    if everything:
        return [Cluster(n) for n in known_clusters()]
    return [Cluster(n) for n in dict.fromkeys(names)]
