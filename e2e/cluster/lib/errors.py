"""The one error type that reaches the user: which step failed, why, where the log is, what to do next."""
import os
from typing import Optional


class ClusterError(Exception):
    """A step that failed, told so that the reader knows what to do."""

    def __init__(self, step: str, why: str, remedy: str = "", log: Optional[str] = None):
        super().__init__(why)
        self.step, self.why, self.remedy, self.log = step, why, remedy, log

    def __str__(self) -> str:
        text = f"{self.step}: {self.why}"
        if self.log:
            lines = tail(self.log)
            text += f"\n  log: {self.log}"
            text += "".join(f"\n    | {line}" for line in lines) if lines else " (empty)"
        if self.remedy:
            text += f"\n  next: {self.remedy}"
        return text


def tail(path: str, count: int = 12, width: int = 220) -> list:
    """The last `count` lines of a log, each cut to `width` characters; nothing if it cannot be read."""
    try:
        with open(path, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 16384))
            lines = f.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line[:width] for line in lines if line.strip()][-count:]
