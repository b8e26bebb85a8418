"""Where things are: the checkout, the cache of built tools, one folder per cluster."""
import hashlib
import os
import re
from dataclasses import dataclass

from .errors import ClusterError

CLUSTER_DIR = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))      # e2e/cluster
REPO = os.path.dirname(os.path.dirname(CLUSTER_DIR))
NAME_RULE = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


def cache_dir() -> str:
    """Built and downloaded tools, shared by all checkouts of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "tributary")


def target_dir() -> str:
    """What this checkout builds and runs for its tests; TRIBUTARY_TARGET_DIR moves it (it does not follow CARGO_TARGET_DIR,
    which several checkouts may share)."""
    return os.environ.get("TRIBUTARY_TARGET_DIR") or os.path.join(REPO, "target")


def images_dir() -> str:
    """OCI archives which `e2e/images/build` writes and `up` and `load` import."""
    return os.path.join(target_dir(), "images")


def clusters_dir() -> str:
    """One folder per cluster of this checkout."""
    return os.path.join(target_dir(), "cluster")


def known_clusters() -> list:
    """Names of all clusters of this checkout which have a folder, running or not."""
    try:
        return sorted(n for n in os.listdir(clusters_dir()) if NAME_RULE.fullmatch(n))
    except FileNotFoundError:
        return []


@dataclass(frozen=True)
class Cluster:
    """A cluster's name and everything derived from it: folder, machine-wide unique id, interface name."""
    name: str

    def __post_init__(self):
        if not NAME_RULE.fullmatch(self.name):
            raise ClusterError("cluster name", f"{self.name!r} is not a name for a cluster",
                               "use 1 to 40 lower-case letters, digits and dashes, such as factory-munich")

    @property
    def dir(self) -> str:
        return os.path.join(clusters_dir(), self.name)

    @property
    def id(self) -> str:
        """8 hex digits, different for the same name in another checkout: names of interfaces, cgroups, the init process."""
        return hashlib.sha256(os.path.realpath(self.dir).encode()).hexdigest()[:8]

    @property
    def host_link(self) -> str:
        """The host's end of the pair of interfaces that joins host and node (at most 15 characters)."""
        return "trib" + self.id

    @property
    def cgroup(self) -> str:
        return "tributary-" + self.id

    @property
    def kubeconfig(self) -> str:
        return os.path.join(self.dir, "kubeconfig")

    def path(self, *parts: str) -> str:
        return os.path.join(self.dir, *parts)

    def log(self, process: str) -> str:
        return self.path("log", process + ".log")
