"""Why a benchmark ended."""
import os
from typing import List


class BenchFailed(Exception):
    """A step did not reach its goal: what was wrong, the next thing to try, and the log that may say more."""

    def __init__(self, step: str, problem: str, remedy: str = "", log: str = ""):
        self.step, self.problem, self.remedy, self.log = step, problem, remedy, log
        super().__init__(f"{step}: {problem}")

    def __str__(self) -> str:
        text = f"{self.step}: {self.problem}"
        if self.log:
            text += "".join(f"\n    | {line}" for line in tail(self.log)) + f"\n  log:  {self.log}"
        return text + (f"\n  try:  {self.remedy}" if self.remedy else "")


def tail(path: str, count: int = 12, width: int = 220) -> List[str]:
    """The last lines of a log; nothing if it cannot be read."""
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.path.getsize(path) - 16384))
            lines = f.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line[:width] for line in lines if line.strip()][-count:]
