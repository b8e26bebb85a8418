"""What Argo CD says of Applications, never taken alone: Synced, Healthy, the wanted revision, no error, and the objects in the cluster."""
import json
import os
import subprocess
import threading
from typing import Dict, List, Optional, Sequence

from harness.errors import NotYet, StepFailed
from harness.objects import current
from harness.process import run
from harness.sites import Site
from harness.wait import until

from .fleet import Fleet
from .instance import NAMESPACE

OURS = "tributary.dev"
PLURALS = {"EdgeCluster": "edgecluster", "BridgePipeline": "bridgepipeline", "ReplicationLink": "replicationlink"}


def name_of(site: Site) -> str:
    """The Application of a site's objects."""
    return f"region-{site.name}" if site.namespace == "region" else f"factory-{site.name}"


def get(fleet: Fleet, name: str) -> dict:
    """An Application."""
    return fleet.hub.need("application", name, NAMESPACE)


def state(app: dict) -> str:
    """An Application in one line."""
    status = app.get("status", {})
    errors = [c["message"] for c in status.get("conditions", []) if c["type"].endswith("Error")]
    operation = status.get("operationState", {})
    words = [status.get("sync", {}).get("status", "-"), status.get("health", {}).get("status", "-"), status.get("sync", {}).get("revision", "-")[:7],
             f"operation {operation.get('phase', '-')} {operation.get('message', '')}"[:160], *errors]
    return ", ".join(words)[:400]


def refresh(fleet: Fleet) -> None:
    """What a Git server's webhook does after a push: every Application looks at Git now."""
    fleet.hub("annotate", "applications", "--all", "-n", NAMESPACE, "argocd.argoproj.io/refresh=normal", "--overwrite")


def commit(fleet: Fleet, message: str) -> str:
    """Commit, push, and tell Argo CD; the revision."""
    revision = fleet.repository.commit(message)
    refresh(fleet)
    return revision


def restore(fleet: Fleet, files: Dict[str, str], message: str) -> str:
    """Bring files back, push, and tell Argo CD; the revision."""
    revision = fleet.repository.restore(files, message)
    refresh(fleet)
    return revision


def promote(fleet: Fleet, *arguments: str, status: int = 0) -> str:
    """Release what the canaries run, by the very script that users have, and tell Argo CD; what the script said. At once, unless told to soak."""
    if "--soak" not in arguments:
        arguments = ("--soak", "0", *arguments)
    kubectl, repository = fleet.hub.argv[0], fleet.repository.clone
    done = run("promote", ["env", "-C", repository, "manifests/argocd/promote", *arguments], timeout=900, check=False,
               env={"KUBECONFIG": fleet.hub.kubeconfig or "", "PATH": f"{os.path.dirname(kubectl)}:{os.environ['PATH']}"})
    if done.returncode != status:
        raise StepFailed("promote", f"ended with status {done.returncode}, not {status}: {done.stdout}{done.stderr}")
    refresh(fleet)
    return done.stdout + done.stderr


def released(fleet: Fleet, revision: str) -> None:
    """Release a revision, and wait until every site is well with it."""
    promote(fleet)
    for site in fleet.sites:
        wait_well(fleet, site, revision)


def is_well(fleet: Fleet, name: str, revision: str, health: str = "Healthy") -> dict:
    """The Application, Synced at this revision, of this health, without an error; else NotYet."""
    app = get(fleet, name)
    status = app.get("status", {})
    sync = status.get("sync", {})
    errors = [c for c in status.get("conditions", []) if c["type"].endswith("Error")]
    if sync.get("status") != "Synced" or sync.get("revision") != revision or status.get("health", {}).get("status") != health or errors:
        raise NotYet(state(app))
    if "operation" in app or status.get("operationState", {}).get("phase") not in ("Succeeded", None):
        raise NotYet("an operation goes on: " + state(app))
    return app


def wait_well(fleet: Fleet, site: Site, revision: str, health: str = "Healthy", seconds: float = 180, as_git_has_it: bool = True) -> dict:
    """Wait until a site's Application is well at this revision, and its objects are in the cluster as Git has them, which is as the clone has
    them now: not to be asked of a site whose revision is another."""
    name = name_of(site)
    app = until(f"{name} is Synced and {health} at {revision[:7]}", lambda: is_well(fleet, name, revision, health), seconds,
                remedy=f"kubectl -n {NAMESPACE} describe application {name}")
    if as_git_has_it:
        until(f"{site.name}: the objects are as Git has them", lambda: as_in_git(fleet, site, app), 30, quiet=True)
    return app


def as_in_git(fleet: Fleet, site: Site, app: dict) -> List[dict]:
    """Our objects of a site, each with the very spec that Git renders to, taken up by the operator, and listed by Argo CD."""
    wanted = [o for o in fleet.argo.kustomize(f"manifests/sites/{site.name}") if o["apiVersion"].startswith(OURS)]
    listed = {(r["kind"], r["name"]): r for r in app["status"].get("resources", []) if r.get("group") == OURS}
    if set(listed) != {(o["kind"], o["metadata"]["name"]) for o in wanted} or not wanted:
        raise NotYet(f"Argo CD lists {sorted(listed)}")
    found = []
    for obj in wanted:
        kind, name = obj["kind"], obj["metadata"]["name"]
        live = site.kube.need(PLURALS[kind], name, site.namespace)
        if live["spec"] != obj["spec"]:
            raise NotYet(f"{kind}/{name} has {json.dumps(live['spec'])[:300]}")
        if not current(live):
            raise NotYet(f"{kind}/{name} was not taken up yet")
        found.append(live)
    return found


def resource_health(app: dict, kind: str) -> dict:
    """Health and message that Argo CD holds for one of our resources."""
    found = [r.get("health", {}) for r in app.get("status", {}).get("resources", []) if r.get("group") == OURS and r["kind"] == kind]
    return found[0] if found else {}


def wait_health(fleet: Fleet, site: Site, kind: str, health: str, words: Sequence[str] = (), seconds: float = 120) -> dict:
    """Wait until the Application has this health because of one resource, whose message has these words."""
    name = name_of(site)

    def check():
        app = get(fleet, name)
        of_kind = resource_health(app, kind)
        whole = app.get("status", {}).get("health", {}).get("status")
        if whole != health or of_kind.get("status") != health or any(w not in of_kind.get("message", "") for w in words):
            raise NotYet(f"{whole}; {kind} {of_kind}")
        return app
    return until(f"{name} is {health} because of its {kind}", check, seconds, remedy=f"kubectl -n {NAMESPACE} describe application {name}")


def wave(fleet: Fleet, site: Site) -> str:
    """What the ApplicationSet says of a factory in its roll-out: Waiting, Pending, Progressing, Healthy."""
    found = fleet.hub.need("applicationset", "tributary-factories", NAMESPACE).get("status", {}).get("applicationStatus", [])
    return next((s["status"] for s in found if s["application"] == name_of(site)), "-")


class Watch:
    """Every state that Applications go through, while it lasts."""

    COLUMNS = "{.metadata.name} {.status.sync.status} {.status.health.status}{\"\\n\"}"

    def __init__(self, fleet: Fleet):
        self.seen: List[List[str]] = []
        self.child: Optional[subprocess.Popen] = None
        self.argv = [*fleet.hub.argv, "get", "applications", "-n", NAMESPACE, "--watch", "-o", f"jsonpath={self.COLUMNS}"]

    def __enter__(self) -> "Watch":
        self.child = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        for line in self.child.stdout:
            self.seen.append(line.split())

    def __exit__(self, *_) -> None:
        ended = self.child.poll() is not None
        self.child.kill()
        self.child.wait()
        if ended:
            raise StepFailed("watch Applications", "the watch ended by itself", "is the hub's API server up?")

    def other_than(self, sync: str, health: Sequence[str]) -> List[str]:
        """States that were not these."""
        return [" ".join(s) for s in self.seen if s[1:2] != [sync] or s[2:3] == [] or s[2] not in health]
