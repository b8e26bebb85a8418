"""Progress on the terminal: one line per step with the time since the start. The same lines go to a file where one is set."""
import sys
import threading
import time

_START = time.monotonic()
_LOCK = threading.Lock()
_FILE = None


def keep_in(path: str) -> None:
    """From now on every line also goes to this file."""
    global _FILE
    _FILE = open(path, "a", buffering=1, encoding="utf-8")


def say(text: str = "") -> None:
    """Print one line, at once."""
    line = f"[{time.monotonic() - _START:6.1f}s] {text}"
    with _LOCK:
        print(line, flush=True)
        if _FILE:
            _FILE.write(line + "\n")


def plain(text: str) -> None:
    """Print text as it is (tables, summaries)."""
    with _LOCK:
        print(text, flush=True)
        if _FILE:
            _FILE.write(text + "\n")


def error(text: str) -> None:
    """Print to standard error."""
    with _LOCK:
        print(text, file=sys.stderr, flush=True)
        if _FILE:
            _FILE.write(text + "\n")
