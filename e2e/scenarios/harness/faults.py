"""Faults from outside: a process killed from the node."""
import json
import threading
import time
from typing import Callable, List, Optional

from .errors import NotYet, StepFailed
from .process import CLUSTER, run
from .sites import Site
from .ui import say
from .wait import until


def sigkill(site: Site, namespace: str, pod: str, container: str = "") -> Optional[dict]:
    """SIGKILL a container's main process, as the kernel out of memory would. None while the container is not running."""
    done = run(f"sigkill {pod}", [CLUSTER, "sigkill", site.cluster, namespace, pod, *([container] if container else [])], check=False, timeout=30)
    return json.loads(done.stdout) if done.returncode == 0 else None


def kill_when_running(site: Site, namespace: str, pod: str, container: str = "", seconds: float = 60) -> dict:
    """Kill it as soon as it runs."""
    def check():
        killed = sigkill(site, namespace, pod, container)
        if not killed:
            raise NotYet("it is not running")
        return killed
    return until(f"{pod} is killed", check, seconds, every=0.3, quiet=True)


class Killer(threading.Thread):
    """Kills a container again and again while something else is watched: each time it ran and `busy` said that it has work in hand."""

    def __init__(self, site: Site, pod: str, container: str, times: int, busy: Callable[[float], bool]):
        super().__init__(daemon=True)
        self.site, self.pod, self.container, self.times, self.busy = site, pod, container, times, busy
        self.kills: List[dict] = []
        self.stop = threading.Event()
        self.problem: Optional[Exception] = None

    def run(self) -> None:
        """The thread."""
        try:
            since = 0.0
            while len(self.kills) < self.times and not self.stop.is_set():
                if not self.busy(since):
                    time.sleep(0.2)
                    continue
                killed = sigkill(self.site, self.site.namespace, self.pod, self.container)
                if killed:
                    since = killed["at"]
                    self.kills.append(killed)
                    say(f"killed {self.pod} ({len(self.kills)} of {self.times}, pid {killed['pid']})")
                time.sleep(0.3)
        except Exception as e:          # told by `finish` in the scenario's own thread
            self.problem = e

    def finish(self) -> List[dict]:
        """End it; the kills so far, each of another process."""
        self.stop.set()
        self.join(60)
        if self.problem:
            raise self.problem
        pids = {(k["containerId"], k["pid"]) for k in self.kills}
        if len(pids) != len(self.kills):
            raise StepFailed(f"kill {self.pod}", f"{len(self.kills)} kills hit {len(pids)} processes", "report this: a process was counted twice")
        return self.kills
