"""Commands of this machine."""
import os
import subprocess
from typing import List, Optional

from .errors import StepFailed

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
CLUSTER = os.path.join(ROOT, "e2e", "cluster", "cluster")


def target_dir() -> str:
    """Where this checkout keeps what it builds and runs for its tests; the same as the cluster tool's."""
    return os.environ.get("TRIBUTARY_TARGET_DIR") or os.path.join(ROOT, "target")


def run(step: str, argv: List[str], input: Optional[str] = None, timeout: float = 60, check: bool = True,
        env: Optional[dict] = None, remedy: str = "") -> subprocess.CompletedProcess:
    """Run a command and return what it said; a failure names the step and the end of its output."""
    try:
        done = subprocess.run(argv, input=input, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})})
    except subprocess.TimeoutExpired:
        raise StepFailed(step, f"`{' '.join(argv[:6])} …` gave no answer within {timeout:.0f} s", remedy)
    except FileNotFoundError:
        raise StepFailed(step, f"{argv[0]} is not installed", remedy or f"install {argv[0]} and put it on PATH")
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise StepFailed(step, f"`{' '.join(argv[:8])}` ended with status {done.returncode}: {said}", remedy)
    return done


def stream(step: str, argv: List[str], remedy: str, log: str = "", cwd: str = ROOT) -> None:
    """Run a long command whose own progress is shown as it comes."""
    code = subprocess.run(argv, cwd=cwd).returncode
    if code != 0:
        raise StepFailed(step, f"`{' '.join(argv)}` ended with status {code}", remedy, log)


def cluster_tool(step: str, *arguments: str, timeout: float = 300) -> str:
    """Standard output of e2e/cluster/cluster."""
    return run(step, [CLUSTER, *arguments], timeout=timeout).stdout.strip()
