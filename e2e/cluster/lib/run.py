"""Running other programs: one helper that turns a failure into a ClusterError with the program's own words."""
import os
import subprocess
from typing import Optional, Sequence

from .errors import ClusterError

# Nothing of the caller's environment reaches the node: a proxy variable there would break the API server's calls.
CLEAN_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def host_env() -> dict:
    """The caller's environment with the system's admin folders on PATH (ip, nft, tc live in /usr/sbin)."""
    env = dict(os.environ)
    env["PATH"] = env.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    return env


def run(step: str, argv: Sequence[str], *, input: Optional[str] = None, remedy: str = "", check: bool = True,
        timeout: float = 120, cwd: Optional[str] = None) -> subprocess.CompletedProcess:
    """Run a program to its end, capturing what it says; raise a ClusterError when it fails and `check` is set."""
    try:
        done = subprocess.run(list(argv), input=input, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=host_env())
    except FileNotFoundError:
        raise ClusterError(step, f"{argv[0]} is not installed", "run `cluster tools` as root, it installs what is missing")
    except subprocess.TimeoutExpired:
        raise ClusterError(step, f"`{' '.join(argv[:6])}` did not end within {timeout:.0f} s", remedy)
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-600:]
        raise ClusterError(step, f"`{' '.join(argv[:8])}` failed: {said or 'exit status %d' % done.returncode}", remedy)
    return done
