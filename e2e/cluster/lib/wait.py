"""Readiness by polling: wait for a condition, with a deadline and a reason when it is not met."""
import time
from typing import Callable, Optional

from .errors import ClusterError


def until(step: str, condition: Callable[[], bool], seconds: float, *, log: Optional[str] = None, remedy: str = "",
          why: str = "", alive: Optional[Callable[[], bool]] = None, every: float = 0.1) -> None:
    """Poll `condition` until it holds. Fails at once if `alive` says that what we wait for has died."""
    deadline = time.monotonic() + seconds
    while not condition():
        if alive is not None and not alive():
            raise ClusterError(step, "the process has ended", remedy, log)
        if time.monotonic() > deadline:
            raise ClusterError(step, f"not ready after {seconds:.0f} s" + (f" ({why})" if why else ""), remedy, log)
        time.sleep(every)
