"""Progress on the terminal: one line per step with the time since the start, on standard error; standard output is for tables."""
import sys
import time

_START = time.monotonic()


def say(text: str) -> None:
    """Print one line, at once."""
    print(f"[{time.monotonic() - _START:6.1f}s] {text}", file=sys.stderr, flush=True)
