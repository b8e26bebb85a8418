"""Waiting for conditions: polled, with a deadline, telling what is there meanwhile."""
import time
from typing import Callable, TypeVar

from .errors import NotYet, StepFailed
from .ui import say

T = TypeVar("T")
REMIND = 15.0       # seconds after which an unchanged state is told again


def until(what: str, check: Callable[[], T], seconds: float, every: float = 1.0, remedy: str = "", quiet: bool = False) -> T:
    """Call `check` until it returns instead of raising NotYet, and return its value. A changed state is printed."""
    started = told_at = time.monotonic()
    told = ""
    while True:
        try:
            value = check()
        except NotYet as e:
            state = str(e)
        else:
            if not quiet:
                say(f"{what}: yes, after {time.monotonic() - started:.1f} s")
            return value
        now = time.monotonic()
        if now - started > seconds:
            raise StepFailed(what, f"not after {seconds:.0f} s; last seen: {state}", remedy)
        if not quiet and (state != told or now - told_at > REMIND):
            say(f"{what}: {state}")
            told, told_at = state, now
        time.sleep(every)


def stays(what: str, check: Callable[[], None], seconds: float, every: float = 1.0) -> None:
    """Call `check` for this long; it raises StepFailed (or NotYet) when what must stay true does not."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            check()
        except NotYet as e:
            raise StepFailed(what, str(e))
        time.sleep(every)
    say(f"{what}: held for {seconds:.0f} s")
