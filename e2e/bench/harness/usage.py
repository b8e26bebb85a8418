"""CPU time and memory of a process with all its children, as the kernel counts them."""
import os
import time
from typing import Dict, List

_TICKS = os.sysconf("SC_CLK_TCK")
_REFRESH = 1.0      # seconds between two looks for new children


def _stat(pid: int) -> List[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return f.read().rsplit(")", 1)[1].split()


def _children() -> Dict[int, List[int]]:
    found: Dict[int, List[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.setdefault(int(_stat(int(name))[1]), []).append(int(name))
        except OSError:
            continue                # ended meanwhile
    return found


def _memory_mib(pid: int, field: str) -> float:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
        line = next((line for line in f if line.startswith(field)), "")
    return int(line.split()[1]) / 1024 if line else 0.0


class Tree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        self.root = pid
        self._pids: List[int] = []
        self._looked = 0.0

    def pids(self) -> List[int]:
        """All of them, the root first; looked up at most once a second."""
        if time.monotonic() - self._looked > _REFRESH:
            children, self._pids = _children(), [self.root]
            for pid in self._pids:                  # grows while it is walked
                self._pids += children.get(pid, [])
            self._looked = time.monotonic()
        return self._pids

    def _sum(self, of) -> float:
        total = 0.0
        for pid in self.pids():
            try:
                total += of(pid)
            except OSError:
                if pid == self.root:
                    raise
        return total

    def cpu_seconds(self) -> float:
        """User and system time so far, that of children which have ended included."""
        return self._sum(lambda pid: sum(map(int, _stat(pid)[11:15])) / _TICKS)

    def resident_mib(self) -> float:
        """Resident memory now."""
        return round(self._sum(lambda pid: _memory_mib(pid, "VmRSS:")), 1)

    def peak_mib(self) -> float:
        """The highest resident memory so far (of each process; their sum, where there are several)."""
        return round(self._sum(lambda pid: _memory_mib(pid, "VmHWM:")), 1)
