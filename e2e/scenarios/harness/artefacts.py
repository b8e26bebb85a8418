"""What is kept, and shown, when a scenario fails."""
import json
import os
from typing import List

from .errors import StepFailed
from .objects import KINDS, condition
from .process import target_dir
from .sites import SYSTEM, Site, World
from .ui import error, plain, say

SHOWN_LINES = 25


def folder(scenario: str) -> str:
    """target/e2e/<scenario>, made when needed."""
    path = os.path.join(target_dir(), "e2e", scenario)
    os.makedirs(path, exist_ok=True)
    return path


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def collect(site: Site, into: str) -> None:
    """Everything of a site that helps to understand a failure, as files."""
    kube = site.kube

    def safe(*arguments: str) -> str:
        try:
            done = kube.run(*arguments, check=False, timeout=30)
            return done.stdout + done.stderr
        except StepFailed as e:
            return f"{e}\n"
    for kind in KINDS:
        _write(os.path.join(into, f"{kind}.yaml"), safe("get", kind, "-A", "-o", "yaml"))
    _write(os.path.join(into, "objects.txt"), safe("get", "pods,statefulsets,services,configmaps,persistentvolumeclaims,networkpolicies", "-A",
                                                   "-o", "wide"))
    _write(os.path.join(into, "objects.yaml"), safe("get", "pods,statefulsets,services,configmaps,persistentvolumeclaims,networkpolicies,leases",
                                                    "-A", "-o", "yaml"))
    _write(os.path.join(into, "events.txt"), safe("get", "events", "-A", "--sort-by=.lastTimestamp"))
    for line in safe("get", "pods", "-A", "-o", "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}").splitlines():
        namespace, _, pod = line.partition(" ")
        if not pod or namespace == "kube-system":
            continue
        text = safe("logs", "-n", namespace, pod, "--all-containers", "--prefix", "--tail=3000", "--timestamps")
        _write(os.path.join(into, "log", f"{namespace}-{pod}.log"), text)
        previous = safe("logs", "-n", namespace, pod, "--all-containers", "--prefix", "--tail=1000", "--timestamps", "-p")
        if "not found" not in previous:
            _write(os.path.join(into, "log", f"{namespace}-{pod}.previous.log"), previous)


def show(site: Site) -> None:
    """The part of it that is worth the terminal: conditions that are not as they should be, last warnings, the operator's last words."""
    def safe(*arguments: str) -> str:
        try:
            return site.kube.run(*arguments, check=False, timeout=20).stdout
        except StepFailed as e:
            return str(e)
    plain(f"--- {site.name} ({site.kube.name})")
    plain(safe("get", "edgeclusters,bridgepipelines,replicationlinks,pods", "-A", "-o", "wide").rstrip())
    for kind in KINDS:
        try:
            objects = site.kube.list(kind)
        except (StepFailed, ValueError):
            continue
        for obj in objects:
            if condition(obj, "Ready")["status"] != "True":
                plain(f"{kind}/{obj['metadata']['name']} status:\n" + json.dumps(obj.get("status", {}), indent=1)[:4000])
    warnings = [line for line in safe("get", "events", "-A", "--sort-by=.lastTimestamp", "--field-selector=type=Warning").splitlines()]
    plain("\n".join(["last warnings:", *warnings[-12:]]))
    log = safe("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=tributary", f"--tail={SHOWN_LINES}", "--prefix")
    plain(f"operator's last lines:\n{log.rstrip()}")
    for pod in _unhappy(site):
        text = safe("logs", "-n", site.namespace, pod, "--all-containers", "--prefix", f"--tail={SHOWN_LINES}")
        plain(f"{pod}'s last lines:\n{text.rstrip()}")


def _unhappy(site: Site) -> List[str]:
    try:
        pods = site.kube.list("pod", site.namespace)
    except (StepFailed, ValueError):
        return []
    ready = lambda p: all(s.get("ready") for s in p["status"].get("containerStatuses", [{}]))      # noqa: E731
    return [p["metadata"]["name"] for p in pods if not ready(p)][:5]


def failed(world: World, scenario: str, problem: Exception) -> None:
    """Show and keep what there is, then name the step, the problem and the next thing to try."""
    into = folder(scenario)
    for site in world.sites:
        show(site)
        collect(site, os.path.join(into, site.name))
    say(f"kept for later: {into}")
    report(scenario, problem)


def report(scenario: str, problem: Exception) -> None:
    """The few lines that matter most, last."""
    if isinstance(problem, StepFailed):
        error(f"\nFAILED {scenario}: {problem.step}\n  what: {problem.problem}")
        if problem.remedy:
            error(f"  try:  {problem.remedy}")
        if problem.log:
            error(f"  log:  {problem.log}")
    else:
        error(f"\nFAILED {scenario}: {type(problem).__name__}: {problem}")
