"""`tributary status`, as an operations engineer runs it: this machine's binary, the clusters' kubeconfigs."""
import glob
import json
import os
from typing import List

from .errors import NotYet, StepFailed
from .process import run, target_dir
from .sites import Site


def binary() -> str:
    """What `make build` made last in this profile."""
    profile = os.environ.get("PROFILE", "release")
    cargo = os.environ.get("CARGO_TARGET_DIR") or target_dir()
    found = glob.glob(os.path.join(cargo, "*-linux-*", "debug" if profile == "dev" else profile, "tributary"))
    if not found:
        raise StepFailed("find the binary", f"no {profile} build below {cargo}", f"make build PROFILE={profile}")
    return max(found, key=os.path.getmtime)


def status(sites: List[Site]) -> dict:
    """The document of `tributary status -o json` over these clusters."""
    kubeconfig = ":".join(s.kube.kubeconfig for s in sites if s.kube.kubeconfig)
    contexts = ",".join(dict.fromkeys(s.cluster for s in sites))
    done = run("tributary status", [binary(), "status", "--context", contexts, "-o", "json"], check=False, env={"KUBECONFIG": kubeconfig})
    if done.returncode not in (0, 1):
        raise NotYet(f"status {done.returncode}: {done.stderr.strip()[:300]}")
    return json.loads(done.stdout)


def shown(document: dict, name: str) -> dict:
    """One object as it is shown."""
    for context in document["contexts"]:
        for namespace in context["namespaces"]:
            for cluster in namespace["clusters"]:
                for item in [cluster, *cluster["members"]]:
                    if item["name"] == name:
                        return item
            for item in namespace["external"]:
                if item["name"] == name:
                    return item
    raise NotYet(f"{name} is not shown: {json.dumps(document)[:300]}")
