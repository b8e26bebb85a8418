"""Waiting for conditions: polled, with a deadline, ended at once when what is waited for has died."""
import subprocess
import time
from typing import Callable, Optional

from .errors import BenchFailed


def until(what: str, condition: Callable[[], bool], seconds: float = 90, every: float = 0.1,
          process: Optional[subprocess.Popen] = None, log: str = "") -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            raise BenchFailed(what, f"the process ended with status {process.returncode}", log=log)
        if time.monotonic() > deadline:
            raise BenchFailed(what, f"not within {seconds:.0f} s", log=log)
        time.sleep(every)
