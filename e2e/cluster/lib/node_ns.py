"""A node's namespaces (mount, network, process, host name): one init process holds them all, and its end is the end of every
process, mount and link of the node. Nothing about it is stored: the init is found by its command line."""
import json
import os
import subprocess
from typing import Optional, Sequence

from .errors import ClusterError
from .paths import CLUSTER_DIR, Cluster, cache_dir
from .run import CLEAN_ENV, run
from .wait import until

MARK = "tributary-node"         # first argument of the init process, followed by the cluster's id


def _cmdline(pid: str) -> list:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


def _is_ns_init(pid: str) -> bool:
    """True for process 1 of a process namespace other than ours."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("NSpid:"):
                    ids = line.split()[1:]
                    return len(ids) > 1 and ids[-1] == "1"
    except OSError:
        pass
    return False


def _marked(cluster_id: str) -> list:
    """Pids of all processes that carry this cluster's mark: the init, and `unshare` which waits for it."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        argv = _cmdline(pid)
        if argv and os.path.basename(argv[0]) in ("unshare", "sh", "pause") and (MARK, cluster_id) in zip(argv, argv[1:]):
            found.append(pid)
    return found


def find_init(cluster: Cluster) -> Optional[int]:
    """The node's init process as the host numbers it, or None when the node is not running (or not yet set up)."""
    for pid in _marked(cluster.id):
        if _is_ns_init(pid) and os.path.basename(_cmdline(pid)[0]) == "pause":
            return int(pid)
    return None


def create(cluster: Cluster) -> int:
    """Start the node's namespaces, or find them running; returns the init's pid."""
    pid = find_init(cluster)
    if pid:
        return pid
    kill(cluster)               # a half-made one of a tool that was killed
    os.makedirs(cluster.path("log"), exist_ok=True)
    log = cluster.log("node")
    argv = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--propagation", "private",
            "/bin/sh", os.path.join(CLUSTER_DIR, "lib", "rootfs.sh"), MARK, cluster.id, cluster.name, cluster.dir, cache_dir()]
    with open(log, "ab") as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=CLEAN_ENV,
                                 cwd="/")
    until(f"start node {cluster.name}", lambda: find_init(cluster) is not None, 10, log=log, every=0.02,
          alive=lambda: child.poll() is None, remedy="namespaces need root with CAP_SYS_ADMIN; in a container, run it privileged")
    return find_init(cluster)


def enter(init: int, argv: Sequence[str], mount: bool = True) -> list:
    """The command line that runs `argv` inside the node; `mount=False` keeps the host's files (for the host's own Python)."""
    flags = ["--net", "--pid"] + (["--mount", "--uts", "--ipc", "--wd=/"] if mount else [])
    return ["nsenter", f"--target={init}", *flags, "--", *argv]


def exec_in(init: int, step: str, argv: Sequence[str], **kwargs) -> subprocess.CompletedProcess:
    """Run a program inside the node to its end."""
    return run(step, enter(init, argv), **kwargs)


def in_net(init: int, argv: Sequence[str]) -> list:
    """The command line that runs a host program in the node's network only."""
    return ["nsenter", f"--target={init}", "--net", "--", *argv]


def _record(cluster: Cluster, name: str) -> str:
    return cluster.path("run", name + ".json")


def _start_time(init: int, pid: int) -> Optional[str]:
    """Start time (ticks since boot) of a process of the node, by the node's own numbering; None when gone or a zombie."""
    try:
        with open(f"/proc/{init}/root/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def process(cluster: Cluster, init: int, name: str) -> Optional[int]:
    """The node-side pid of a daemon that we started, or None when it is not running (any more)."""
    try:
        with open(_record(cluster, name)) as f:
            record = json.load(f)
    except (OSError, ValueError):
        return None
    alive = record["init"] == init and record["start"] and _start_time(init, record["pid"]) == record["start"]
    return record["pid"] if alive else None


def started_at(cluster: Cluster, name: str) -> float:
    """When we last started a daemon, in seconds since the epoch; 0 if never."""
    try:
        return os.stat(_record(cluster, name)).st_mtime
    except OSError:
        return 0


def spawn(cluster: Cluster, init: int, name: str, argv: Sequence[str], mount: bool = True, env: Optional[dict] = None) -> None:
    """Start a daemon in the node unless it runs; its output is appended to log/NAME.log. It becomes a child of the init."""
    if process(cluster, init, name):
        return
    log = cluster.log(name)
    inner = "/node/log/%s.log" % name if mount else log
    # The shell's background job outlives it and is adopted by the node's init; setsid keeps its pid, which is the node's own.
    script = 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!'
    done = subprocess.run(enter(init, ["/bin/sh", "-c", script, "sh", inner, *argv], mount), capture_output=True, text=True,
                          env={**CLEAN_ENV, **(env or {})}, timeout=20, cwd="/")
    if done.returncode != 0 or not done.stdout.strip().isdigit():
        raise ClusterError(f"start {name}", done.stderr.strip() or "no process id", "run `cluster status`", log)
    pid = int(done.stdout)
    os.makedirs(cluster.path("run"), exist_ok=True)
    record = {"init": init, "pid": pid, "start": _start_time(init, pid), "argv": list(argv)}
    temp = _record(cluster, name) + ".new"
    with open(temp, "w") as f:
        json.dump(record, f)
    os.replace(temp, _record(cluster, name))


def kill(cluster: Cluster) -> bool:
    """End the node: its init, with it every process of its process namespace. Only processes that carry this cluster's mark."""
    pids = _marked(cluster.id)

    def gone() -> bool:
        left = _marked(cluster.id)
        for pid in left:
            try:
                os.kill(int(pid), 9)
            except ProcessLookupError:
                pass
        return not left

    until(f"stop node {cluster.name}", gone, 20, every=0.02,
          remedy=f"see what holds them: `ps -o pid,stat,wchan,args -p {','.join(pids)}`")
    return bool(pids)
