"""What a scenario gets in its hands."""
from .errors import StepFailed
from .sites import Site, World
from .ui import say


class Scenario:
    """Both sites, the line, and a way to say what is being tried and what was expected."""

    def __init__(self, name: str, world: World):
        self.name, self.world = name, world
        self.factory: Site = world.factory
        self.region: Site = world.region
        self.line = world.line

    def step(self, text: str) -> None:
        """Say what comes next."""
        say(f"{self.name}: {text}")

    def expect(self, holds: bool, what: str, seen: object = "", remedy: str = "") -> None:
        """One expectation; what was seen instead belongs into the failure."""
        if not holds:
            raise StepFailed(f"{self.name}: {what}", f"seen: {seen}", remedy)
        say(f"{self.name}: ok: {what}")
