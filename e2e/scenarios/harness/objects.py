"""What EdgeClusters, BridgePipelines and ReplicationLinks say of themselves."""
import datetime
import json
from typing import Callable, List, Optional

from .errors import NotYet
from .sites import Site
from .wait import until

KINDS = ("edgecluster", "bridgepipeline", "replicationlink")


def condition(obj: dict, type_: str) -> dict:
    """A condition; status Absent when it is not there."""
    found = [c for c in obj.get("status", {}).get("conditions", []) if c["type"] == type_]
    return found[0] if found else {"type": type_, "status": "Absent", "reason": "", "message": ""}


def told(obj: dict, type_: str) -> str:
    """A condition in one line."""
    c = condition(obj, type_)
    return f"{type_}={c['status']} {c['reason']}: {c['message']}"[:300]


def current(obj: dict) -> bool:
    """Whether the status speaks of the spec that is there."""
    return obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]


def wait_condition(site: Site, kind: str, name: str, type_: str, status: str = "True", reason: str = "", seconds: float = 120,
                   remedy: str = "") -> dict:
    """Wait until an object has this condition for its present generation."""
    def check():
        obj = site.kube.need(kind, name, site.namespace)
        found = condition(obj, type_)
        if not current(obj):
            raise NotYet(f"its status is of generation {obj.get('status', {}).get('observedGeneration')}, "
                         f"not {obj['metadata']['generation']}")
        if found["status"] != status or (reason and found["reason"] != reason):
            raise NotYet(told(obj, type_))
        return obj
    wanted = f"{type_}={status}{' ' + reason if reason else ''}"
    return until(f"{site.name}: {kind}/{name} {wanted}", check, seconds,
                 remedy=remedy or f"kubectl -n {site.namespace} describe {kind} {name}")


def wait_all_brokers(site: Site, name: str, seconds: float = 120) -> dict:
    """Wait until every broker runs: Ready is True already while one of three is away."""
    def check():
        obj = site.kube.need("edgecluster", name, site.namespace)
        running, wanted = obj.get("status", {}).get("readyBrokers"), obj["spec"]["brokers"]
        if running != f"{wanted}/{wanted}" or not current(obj):
            raise NotYet(f"readyBrokers {running}; {told(obj, 'Ready')}")
        return obj
    return until(f"{site.name}: all brokers of {name} run", check, seconds,
                 remedy=f"kubectl -n {site.namespace} describe edgecluster {name}")


def verdict(obj: dict) -> str:
    """InSync, CatchingUp, …"""
    return obj.get("status", {}).get("verdict", "")


def wait_verdict(site: Site, kind: str, name: str, *wanted: str, seconds: float = 120, on_poll: Optional[Callable] = None) -> dict:
    """Wait until the verdict is one of these; `on_poll` sees every state on the way."""
    def check():
        obj = site.kube.need(kind, name, site.namespace)
        if on_poll:
            on_poll(obj)
        if verdict(obj) not in wanted or not current(obj):
            raise NotYet(f"{verdict(obj) or 'no verdict'}, lag {lag(obj)}")
        return obj
    return until(f"{site.name}: {kind}/{name} is {' or '.join(wanted)}", check, seconds, every=0.5,
                 remedy=f"kubectl -n {site.namespace} describe {kind} {name}")


def lag(obj: dict) -> Optional[int]:
    """The link's lag in offsets, or None."""
    return obj.get("status", {}).get("lag", {}).get("offsets")


def observed_at(obj: dict) -> float:
    """status.observedAt in seconds since 1970."""
    return seconds_of(obj["status"]["observedAt"])


def seconds_of(time: str) -> float:
    """Seconds since 1970 of a time as Kubernetes writes it."""
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def pods_of(site: Site, kind: str, name: str) -> List[dict]:
    """The pods that the operator runs for an object."""
    return sorted(site.kube.list("pod", site.namespace, f"tributary.dev/kind={kind},tributary.dev/name={name}"),
                  key=lambda p: p["metadata"]["name"])


def restarts(pods: List[dict]) -> int:
    """How often their containers were restarted."""
    return sum(s["restartCount"] for p in pods for s in p["status"].get("containerStatuses", []))


def uids(pods: List[dict]) -> dict:
    """Which pods these are."""
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods}


def table(site: Site) -> str:
    """What a user sees."""
    return site.kube("get", "edgeclusters,bridgepipelines,replicationlinks", "-A", check=False).rstrip()


def progress(site: Site, pod: str) -> dict:
    """What a pod of the data plane says of itself, asked through the API server; empty while it does not answer."""
    path = f"/api/v1/namespaces/{site.namespace}/pods/{pod}:9404/proxy/progress"
    done = site.kube.run("get", "--raw", path, check=False, timeout=10)
    try:
        return json.loads(done.stdout) if done.returncode == 0 else {}
    except ValueError:
        return {}


def owned(site: Site, kind: str, name: str, what: str) -> List[dict]:
    """Objects of the kind `what` that the operator made for an object."""
    return site.kube.list(what, site.namespace, f"tributary.dev/kind={kind},tributary.dev/name={name}")
