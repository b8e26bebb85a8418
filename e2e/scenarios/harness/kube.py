"""kubectl towards one cluster."""
import json
import re
import subprocess
from typing import Any, Iterator, List, Optional

from .errors import NotYet, StepFailed
from .process import run
from .wait import until


class Kube:
    """One cluster's API server, through kubectl: what a user has, and what a user can repeat by hand."""

    def __init__(self, name: str, kubectl: str, kubeconfig: Optional[str] = None):
        self.name, self.kubeconfig = name, kubeconfig
        self.argv = [kubectl, *(["--kubeconfig", kubeconfig] if kubeconfig else [])]

    def __call__(self, *arguments: str, input: Optional[str] = None, timeout: float = 60, check: bool = True) -> str:
        """Standard output of kubectl."""
        return self.run(*arguments, input=input, timeout=timeout, check=check).stdout

    def run(self, *arguments: str, input: Optional[str] = None, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess:
        """A kubectl call with all it says."""
        return run(f"kubectl in {self.name}", [*self.argv, *arguments], input=input, timeout=timeout, check=check,
                   remedy=f"is the cluster up? `{' '.join(self.argv)} get nodes`")

    def apply(self, *objects: dict, manager: str = "scenario", dry_run: bool = False) -> None:
        """Server-side apply, as Argo CD does it; --force-conflicts makes the given fields ours."""
        if objects:
            self("apply", "--server-side", f"--field-manager={manager}", "--force-conflicts", *(["--dry-run=server"] if dry_run else []),
                 "-f", "-", input="\n---\n".join(json.dumps(o) for o in objects))

    def refused(self, obj: dict) -> str:
        """What the API server says when it refuses an object; a failure when it does not."""
        done = self.run("apply", "--server-side", "--field-manager=scenario", "--force-conflicts", "--dry-run=server", "-f", "-",
                        input=json.dumps(obj), check=False)
        if done.returncode == 0:
            raise StepFailed(f"{obj['kind']} is refused", "the API server took it", "a validation rule of the CRD does not work")
        return done.stderr

    def get(self, kind: str, name: str, namespace: str = "") -> Optional[dict]:
        """An object, or None when it is not there."""
        done = self.run("get", kind, name, *self._in(namespace), "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def need(self, kind: str, name: str, namespace: str = "") -> dict:
        """An object that must be there."""
        found = self.get(kind, name, namespace)
        if found is None:
            raise NotYet(f"{kind}/{name} is not there")
        return found

    def list(self, kind: str, namespace: str = "", selector: str = "") -> List[dict]:
        """Objects of a kind; of all namespaces when none is given."""
        out = self("get", kind, *(self._in(namespace) or ["-A"]), *(["-l", selector] if selector else []), "-o", "json")
        return json.loads(out)["items"]

    def delete(self, kind: str, name: str, namespace: str = "", wait: bool = True, timeout: float = 60) -> None:
        """Delete an object, also one that is not there any more."""
        self("delete", kind, name, *self._in(namespace), "--ignore-not-found", f"--wait={str(wait).lower()}", timeout=timeout)

    def patch(self, kind: str, name: str, namespace: str, patch: Any, type_: str = "merge", subresource: str = "") -> None:
        """Change part of an object."""
        self("patch", kind, name, *self._in(namespace), "--type", type_, *([f"--subresource={subresource}"] if subresource else []),
             "-p", json.dumps(patch))

    def exec(self, namespace: str, pod: str, argv: List[str], container: str = "", input: Optional[str] = None,
             timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess:
        """A command in a pod."""
        return self.run("exec", *(["-i"] if input is not None else []), "-n", namespace, pod, *(["-c", container] if container else []),
                        "--", *argv, input=input, timeout=timeout, check=check)

    def logs(self, namespace: str, pod: str, container: str = "", tail: int = 100, previous: bool = False) -> str:
        """The end of a container's log; of all containers when none is named."""
        which = ["-c", container] if container else ["--all-containers", "--prefix"]
        return self.run("logs", "-n", namespace, pod, *which, f"--tail={tail}", *(["-p"] if previous else []), check=False).stdout

    def read(self, *paths: str) -> List[dict]:
        """Objects of YAML files; the CRDs must be installed."""
        return list(_objects(self("create", "--dry-run=client", "--validate=false", "-o", "json", *[a for p in paths for a in ("-f", p)])))

    def wait_pod(self, namespace: str, name: str, seconds: float = 60, phase: str = "Running") -> dict:
        """Wait until a pod is in this phase, and ready when that is Running."""
        def check():
            pod = self.need("pod", name, namespace)
            now = pod["status"].get("phase")
            ready = all(s.get("ready") for s in pod["status"].get("containerStatuses", []))
            if now != phase or (phase == "Running" and not ready):
                raise NotYet(f"{now}{', not ready' if now == 'Running' else ''}{_waiting(pod)}")
            return pod
        return until(f"pod {namespace}/{name} is {phase}", check, seconds, every=0.5)

    @staticmethod
    def _in(namespace: str) -> List[str]:
        return ["-n", namespace] if namespace else []


def _objects(text: str) -> Iterator[dict]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        blank = re.compile(r"\s*").match(text, at)
        at = blank.end()
        if at < len(text):
            found, at = decoder.raw_decode(text, at)
            yield from found["items"] if found["kind"] == "List" else [found]


def _waiting(pod: dict) -> str:
    statuses = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    reasons = [s["state"]["waiting"].get("reason", "") for s in statuses if "waiting" in s.get("state", {})]
    return f" ({', '.join(reasons)})" if reasons else ""
