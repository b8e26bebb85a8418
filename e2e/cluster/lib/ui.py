"""Progress on the terminal: one line per step with the time since the tool started, safe to call from threads."""
import sys
import threading
import time

_START = time.monotonic()
_LOCK = threading.Lock()


def say(text: str, who: str = "") -> None:
    """Print one progress line to stderr (stdout carries only what a caller may parse)."""
    label = f"{who}: " if who else ""
    with _LOCK:
        print(f"[{time.monotonic() - _START:6.1f}s] {label}{text}", file=sys.stderr, flush=True)
