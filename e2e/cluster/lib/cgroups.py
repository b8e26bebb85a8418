"""The control group that a node's pods live in: one per controller on cgroup v1, one in all on v2."""
import contextlib
import os
import time
from typing import List

from .errors import ClusterError
from .paths import Cluster

ROOT = "/sys/fs/cgroup"
V1 = ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio", "perf_event", "pids",
      "rdma", "systemd"]


def is_v2() -> bool:
    """True on the unified hierarchy (not on hybrid, where the controllers are still on v1)."""
    return os.path.exists(os.path.join(ROOT, "cgroup.controllers"))


def _roots(cluster: Cluster) -> List[str]:
    if is_v2():
        return [os.path.join(ROOT, cluster.cgroup)]
    return [os.path.join(ROOT, c, cluster.cgroup) for c in [*V1, "unified"]]


def create(cluster: Cluster) -> None:
    """Make the node's cgroups; the kubelet makes everything below."""
    try:
        if is_v2():
            _create_v2(_roots(cluster)[0])
        else:
            _create_v1(cluster)
    except OSError as e:
        raise ClusterError(f"cgroups of {cluster.name}", str(e), "root and a writable /sys/fs/cgroup are needed (in a container: "
                           "privileged, with its own cgroup namespace)")


def _create_v1(cluster: Cluster) -> None:
    for path in _roots(cluster):
        parent = os.path.dirname(path)
        if os.path.isdir(parent) and os.path.basename(parent) != "unified":
            os.makedirs(path, exist_ok=True)
    for item in ("cpuset.cpus", "cpuset.mems"):         # a new cpuset is empty, and nothing may run in an empty one
        with open(os.path.join(ROOT, "cpuset", item)) as f:
            value = f.read()
        with open(os.path.join(ROOT, "cpuset", cluster.cgroup, item), "w") as f:
            f.write(value)


def _create_v2(path: str) -> None:
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(ROOT, "cgroup.controllers")) as f:
        available = f.read().split()
    for folder in (ROOT, path):
        for controller in available:
            # Not every controller can be handed down everywhere: what matters is checked below.
            with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.subtree_control"), "w") as f:
                f.write("+" + controller)
    with open(os.path.join(path, "cgroup.controllers")) as f:
        missing = {"cpu", "memory", "pids"} - set(f.read().split())
    if missing:
        raise ClusterError(f"cgroups in {path}", f"controllers are not handed down: {' '.join(sorted(missing))}", "inside a container, "
                           "move its processes to a child first: `mkdir /sys/fs/cgroup/init && xargs -rn1 < /sys/fs/cgroup/cgroup.procs "
                           "> /sys/fs/cgroup/init/cgroup.procs`")


def _folders(root: str) -> List[str]:
    """All cgroups below and including `root`, deepest first."""
    return [at for at, _, _ in os.walk(root, topdown=False)]


def remove(cluster: Cluster) -> List[str]:
    """Kill what is left in the node's cgroups and remove them; returns those which would not go."""
    deadline = time.monotonic() + 10
    left = [r for r in _roots(cluster) if os.path.isdir(r)]
    while left and time.monotonic() < deadline:
        for root in left:
            for folder in _folders(root):
                _kill_members(folder)
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        left = [r for r in left if os.path.isdir(r)]
        if left:
            time.sleep(0.05)
    return left


def _kill_members(folder: str) -> None:
    with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.procs")) as f:
        for pid in f.read().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
