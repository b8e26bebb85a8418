"""SIGKILL of a container's main process, from the node, as a kernel out of memory or a power cut of one process would do."""
import time
from typing import Optional

from .errors import ClusterError
from .kube import Api, ApiError
from .network import load_plan
from .node_ns import exec_in, find_init
from .paths import Cluster


def kill(cluster: Cluster, namespace: str, pod: str, container: Optional[str]) -> dict:
    """Kill it and say what was killed: container id, pid in the node, and the moment (seconds since the epoch)."""
    step = f"sigkill {namespace}/{pod}"
    init = find_init(cluster)
    if not init:
        raise ClusterError(step, f"cluster {cluster.name} is not running", f"run `cluster up {cluster.name}`")
    name, container_id = _container(cluster, step, namespace, pod, container)
    for row in exec_in(init, step, ["ctr", "-n", "k8s.io", "tasks", "list"]).stdout.splitlines()[1:]:
        task, pid, state = row.split()
        if task == container_id and state == "RUNNING":
            exec_in(init, step, ["/bin/sh", "-c", 'kill -9 "$1"', "sh", pid])
            return {"namespace": namespace, "pod": pod, "container": name, "containerId": container_id, "pid": int(pid), "at": time.time()}
    raise ClusterError(step, f"container {name} has no running process (it may be restarting)", "try again in a second")


def _container(cluster: Cluster, step: str, namespace: str, pod: str, container: Optional[str]):
    try:
        found = Api(cluster, load_plan(cluster).node_ip).get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    except ApiError as e:
        raise ClusterError(step, "no such pod" if e.status == 404 else str(e), f"`kubectl -n {namespace} get pods`")
    statuses = found["status"].get("containerStatuses", []) + found["status"].get("initContainerStatuses", [])
    running = {s["name"]: s["containerID"].rpartition("//")[2] for s in statuses if "running" in s.get("state", {})}
    if container is None and len(running) == 1:
        container = next(iter(running))
    if container not in running:
        raise ClusterError(step, f"no running container {container or 'chosen'}", "running ones: " + (", ".join(running) or "none"))
    return container, running[container]
