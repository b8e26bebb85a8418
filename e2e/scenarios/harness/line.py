"""The line between factory and region: cut, mended, slowed."""
from .errors import StepFailed
from .process import CLUSTER, run
from .ui import say


class Line:
    """What can be done to a line. `cut` returns after the line was seen to be cut."""

    def cut(self) -> None:
        """From now on every packet between factory and region vanishes."""
        raise NotImplementedError

    def mend(self) -> None:
        """As new: neither cut nor slow."""
        raise NotImplementedError

    def slow(self, rate: str) -> None:
        """Limit it to a rate such as 2mbit."""
        raise StepFailed("slow line", f"this line cannot be limited to {rate}", "use the two local clusters")


class LocalLine(Line):
    """The line between two clusters of this machine."""

    def __init__(self, factory: str, region: str):
        self.ends = [factory, region]

    def cut(self) -> None:
        self._do("cut")

    def mend(self) -> None:
        self._do("mend")

    def slow(self, rate: str) -> None:
        self._do("slow", "--rate", rate)

    def _do(self, action: str, *more: str) -> None:
        said = run(f"line {action}", [CLUSTER, "line", action, *self.ends, *more]).stdout.strip()
        say(said)
