"""Processes and files of one run. Everything that a run starts ends with it, whatever way it ends."""
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Dict, List, NoReturn, Optional

from .errors import BenchFailed

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
CLUSTER = os.path.join(ROOT, "e2e", "cluster", "cluster")
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def target_dir() -> str:
    """Where this checkout keeps what it builds and runs for its tests; the same as the cluster tool's."""
    return os.environ.get("TRIBUTARY_TARGET_DIR") or os.path.join(ROOT, "target")


def results_dir() -> str:
    """target/bench."""
    return os.path.join(target_dir(), "bench")


def need_tools(*names: str) -> None:
    """Build or fetch what is missing in the cache; shows its own progress."""
    if subprocess.run([CLUSTER, "tools", "--only", ",".join(names)], check=False).returncode:
        raise BenchFailed("tools", f"not all of {', '.join(names)} could be had", "what is said above")


def tool(name: str) -> str:
    """The path of a tool in the cache."""
    done = subprocess.run([CLUSTER, "path", name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailed("tools", done.stderr.strip(), f"{CLUSTER} tools --only {name}")
    return done.stdout.strip()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def stop(process: subprocess.Popen, patience: float = 30) -> None:
    """SIGTERM, and SIGKILL when that takes too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(step: str, argv: List[str], env: Optional[Dict[str, str]] = None, accept: tuple = (0,)) -> subprocess.CompletedProcess:
    """Run a program to its end, capturing what it says."""
    done = subprocess.run(argv, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    if done.returncode not in accept:
        raise BenchFailed(step, f"status {done.returncode}: {(done.stdout + done.stderr).strip()[-1500:]}")
    return done


def _terminated(_number: int, _frame: object) -> NoReturn:
    sys.exit(143)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Run:
    """A folder for data, a folder for logs, and processes that end with the run."""

    def __init__(self, stack: contextlib.ExitStack, name: str, parent: str = "") -> None:
        signal.signal(signal.SIGTERM, _terminated)
        self.stack = stack
        self.logs = os.path.join(results_dir(), "log", name)
        shutil.rmtree(self.logs, ignore_errors=True)        # the last run's
        os.makedirs(self.logs)
        # Beside the results, on a real disk: where /tmp is memory, a flush would cost nothing.
        self.dir = tempfile.mkdtemp(prefix="data-", dir=parent or results_dir())
        stack.callback(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name: str) -> str:
        """A file of this run."""
        return os.path.join(self.dir, name)

    def log(self, name: str) -> str:
        """What a process says."""
        return os.path.join(self.logs, f"{name}.log")

    def write(self, name: str, text: str) -> str:
        """Writes a file of this run."""
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    def start(self, name: str, argv: List[str], env: Optional[Dict[str, str]] = None, output: str = "") -> subprocess.Popen:
        """Starts a process that ends with this one. What it says goes to its log; its standard output to `output`, if given."""
        with open(self.log(name), "ab") as log, open(output or self.log(name), "ab") as out:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log,         # pylint: disable=consider-using-with
                                       env={**os.environ, **(env or {})}, preexec_fn=_die_with_parent)   # pylint: disable=subprocess-popen-preexec-fn
        self.stack.callback(stop, process)
        return process
