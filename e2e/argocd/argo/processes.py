"""Processes of this machine that outlive a command: started in a session of their own, found again by pid and start time, ended by pid."""
import json
import os
import signal
import socket
import subprocess
import time
from typing import Callable, Dict, List, Optional

from harness.errors import NotYet, StepFailed
from harness.wait import until

ENDING = 10.0       # seconds for an orderly end


def free_port() -> int:
    """A TCP port of the loopback that nobody has."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def _born(pid: int) -> Optional[str]:
    """A process' start time, which no other process of the same pid has; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Processes:
    """The processes of one folder: logs in log/, who they are in processes.json."""

    def __init__(self, folder: str):
        self.folder = folder
        self.record = os.path.join(folder, "processes.json")
        os.makedirs(os.path.join(folder, "log"), exist_ok=True)

    def _known(self) -> Dict[str, list]:
        try:
            with open(self.record, encoding="utf-8") as f:
                return json.load(f)
        except (OSError, ValueError):
            return {}

    def _write(self, known: Dict[str, list]) -> None:
        with open(self.record + ".new", "w", encoding="utf-8") as f:
            json.dump(known, f)
        os.replace(self.record + ".new", self.record)

    def log(self, name: str) -> str:
        """Path of a process' log."""
        return os.path.join(self.folder, "log", f"{name}.log")

    def pid(self, name: str) -> Optional[int]:
        """Its pid while it runs."""
        pid, born = self._known().get(name, [0, ""])
        return pid if pid and _born(pid) == born else None

    def start(self, name: str, argv: List[str], ready: Callable[[], bool], env: Optional[dict] = None, seconds: float = 60) -> None:
        """Start one, and wait until it is ready."""
        self.stop(name)
        with open(self.log(name), "ab") as log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
                                     env={**os.environ, **(env or {})})
        self._write({**self._known(), name: [child.pid, _born(child.pid)]})

        def check():
            if child.poll() is not None:
                raise StepFailed(f"start {name}", f"it ended with status {child.returncode}", log=self.log(name))
            if not ready():
                raise NotYet("it is not ready")
        until(f"{name} is ready", check, seconds, every=0.2, quiet=True)

    def signal(self, name: str, number: int) -> None:
        """A signal to a process that must run."""
        pid = self.pid(name)
        if not pid:
            raise StepFailed(f"signal {name}", "it does not run", log=self.log(name))
        os.kill(pid, number)

    def stop(self, name: str) -> None:
        """End one; also one that was stopped in its tracks, and one that is gone already."""
        pid = self.pid(name)
        if pid:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
            ends = time.monotonic() + ENDING
            while self.pid(name) and time.monotonic() < ends:
                self._reap(pid)
                time.sleep(0.05)
            if self.pid(name):
                os.kill(pid, signal.SIGKILL)
            self._reap(pid)
        self._write({n: who for n, who in self._known().items() if n != name})

    @staticmethod
    def _reap(pid: int) -> None:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass        # another command had started it

    def stop_all(self) -> None:
        """End all, last started first."""
        for name in reversed(list(self._known())):
            self.stop(name)
