"""The Helm release of the operator."""
import json
from typing import List, Sequence

from .errors import NotYet, StepFailed
from .process import run
from .sites import CHART, RELEASE, SYSTEM, Site, World
from .ui import say
from .wait import until


def helm(world: World, site: Site, *arguments: str, timeout: float = 180) -> str:
    """Standard output of helm towards a site's cluster."""
    config = ["--kubeconfig", site.kube.kubeconfig] if site.kube.kubeconfig else []
    return run(f"helm in {site.kube.name}", [world.helm, *arguments, *config], timeout=timeout,
               remedy=f"`helm -n {SYSTEM} status {RELEASE}` and the pods of {SYSTEM} in {site.kube.name}").stdout


def install(world: World, site: Site, values: Sequence[str] = (), wait: bool = True) -> None:
    """Install or upgrade the chart, and wait until the operator leads."""
    helm(world, site, "upgrade", "--install", RELEASE, CHART, "--namespace", SYSTEM, "--create-namespace", *world.helm_values, *values)
    site.kube("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    if wait:
        rolled_out(site)


def rolled_out(site: Site, seconds: float = 120) -> None:
    """Wait until the operator's Deployment has nothing but new, ready pods."""
    def check():
        found = site.kube.need("deployment", RELEASE, SYSTEM)
        status, wanted = found["status"], found["spec"]["replicas"]
        counts = [status.get(k, 0) for k in ("updatedReplicas", "readyReplicas", "replicas")]
        if status.get("observedGeneration", 0) < found["metadata"]["generation"] or counts != [wanted] * 3:
            raise NotYet(f"{counts[1]} of {wanted} ready, {counts[0]} of {counts[2]} new")
    until(f"operator in {site.kube.name} is ready", check, seconds,
          remedy=f"kubectl -n {SYSTEM} describe pods; kubectl -n {SYSTEM} logs deployment/{RELEASE}")


def operator_pods(site: Site) -> List[dict]:
    """The operator's pods, those that are going away included."""
    return site.kube.list("pod", SYSTEM, "app.kubernetes.io/name=tributary,app.kubernetes.io/component=operator")


def no_right_is_missing(world: World) -> None:
    """Nothing that the operator wanted since it runs was forbidden; its former process is looked at as well."""
    for site in world.operators:
        for pod in operator_pods(site):
            name = pod["metadata"]["name"]
            for former in ([], ["--previous"]):
                log = site.kube.run("logs", "-n", SYSTEM, name, "--tail=-1", *former, check=False).stdout
                refused = [line for line in log.splitlines() if "orbidden" in line]
                if refused:
                    raise StepFailed(f"rights of the operator in {site.name}", f"{name} was refused: {refused[0][:600]}", "charts/tributary/templates/_helpers.tpl")


def leader(site: Site) -> str:
    """Who holds the operator's Lease."""
    lease = site.kube.get("lease", "tributary-operator", SYSTEM)
    return (lease or {}).get("spec", {}).get("holderIdentity", "")


def uninstall(world: World, site: Site) -> None:
    """Remove the release, and wait until its pods are gone."""
    helm(world, site, "uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    say(f"uninstalled in {site.kube.name}")


def values_of(world: World, site: Site) -> dict:
    """The release's values."""
    return json.loads(helm(world, site, "get", "values", RELEASE, "--namespace", SYSTEM, "-o", "json") or "{}")
