"""What a scenario gets in its hands, and what is kept when it fails."""
import json
import os

from harness import artefacts
from harness.errors import StepFailed
from harness.scenario import Scenario
from harness.ui import plain, say

from .apps import state
from .fleet import Fleet
from .instance import NAMESPACE

PARTS = ("application-controller", "applicationset-controller", "repo-server")


class Trial(Scenario):
    """The fleet, both factories and the region."""

    def __init__(self, name: str, fleet: Fleet):
        super().__init__(name, fleet.worlds["munich"])
        self.fleet = fleet
        self.munich, self.lyon = fleet.factories["munich"], fleet.factories["lyon"]


def failed(fleet: Fleet, scenario: str, problem: Exception) -> None:
    """Show and keep what there is, then name the step, the problem and the next thing to try."""
    into = artefacts.folder(os.path.join("argocd", scenario))
    for site in fleet.sites:
        artefacts.show(site)
        artefacts.collect(site, os.path.join(into, site.name))
    try:
        for app in fleet.hub.list("application", NAMESPACE):
            plain(f"{app['metadata']['name']:20} {state(app)}")
        for kind in ("application", "applicationset", "appproject"):
            with open(os.path.join(into, f"{kind}s.json"), "w", encoding="utf-8") as f:
                json.dump(fleet.hub.list(kind, NAMESPACE), f, indent=1)
    except (StepFailed, ValueError) as e:
        plain(f"Argo CD's objects cannot be read: {e}")
    for part in PARTS:
        plain(f"{part}'s last errors: {_errors(fleet.argo.processes.log(part))}")
    say(f"kept for later: {into}; Argo CD's logs: {fleet.folder}/log")
    artefacts.report(scenario, problem)


def _errors(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return "\n  ".join(["", *[line.rstrip()[:500] for line in f if '"level":"error"' in line or '"level":"fatal"' in line][-5:]]) or "none"
    except OSError as e:
        return str(e)
