"""Third-party tools: each is built or fetched once into the cache as <tool>-<version>/, in a temporary folder that is renamed
when complete, so that a folder which exists is whole and a second run has nothing to do."""
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Sequence

from . import pins, recipes
from .errors import ClusterError
from .paths import cache_dir
from .run import host_env
from .ui import say


@dataclass(frozen=True, eq=False)
class Tool:
    """One tool: its folder in the cache is NAME-VERSION, `main` the file inside it that `cluster path` prints."""
    name: str
    version: str
    main: str
    build: Callable[[Dict[str, str]], None]     # fills {tool name: temporary folder} for all tools of the same batch
    batch: str = ""                             # tools of one batch are built by one call (one `go build` shares all packages)
    packages: Sequence = ()
    requires: Sequence[str] = ()                # tools that its recipe uses
    on_demand: bool = False                     # only when named: clusters and tests do without it

    @property
    def dir(self) -> str:
        return os.path.join(cache_dir(), f"{self.name}-{self.version}")

    @property
    def path(self) -> str:
        return os.path.join(self.dir, self.main)

    @property
    def node_path(self) -> str:
        """The same file as the node's own processes see it."""
        return f"/opt/tributary/{self.name}-{self.version}/{self.main}"

    @property
    def present(self) -> bool:
        return os.path.exists(self.path)


def _catalogue() -> Dict[str, Tool]:
    java = pins.JAVA_PACKAGES
    go = {"etcd": pins.ETCD, "coredns": pins.COREDNS, "helm": pins.HELM,
          **dict.fromkeys(["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"], pins.KUBERNETES)}
    tools = [
        *[Tool(name, version, name, recipes.go_programs, batch="go") for name, version in go.items()],
        Tool("local-path-provisioner", pins.LOCAL_PATH, "local-path-provisioner", recipes.local_path_provisioner),
        *[Tool(name, pins.PROMETHEUS, name, recipes.prometheus, batch="prometheus", on_demand=True) for name in ("prometheus", "promtool")],
        Tool("pause", "1", "pause", recipes.pause, packages=[("cc", "gcc"), ("/usr/include/stdlib.h", "libc6-dev")]),
        Tool("kafka", pins.KAFKA, "libs", recipes.kafka, packages=java),
        Tool("jre", "17", "bin/java", recipes.jre, packages=java),
        Tool("kafka-cds", pins.KAFKA, "kafka.jsa", recipes.kafka_cds, requires=["kafka", "jre"]),
        Tool("mosquitto", "2", "bin/mosquitto", recipes.mosquitto),
        Tool("manifests", recipes.manifests_version(), "manifests", recipes.manifests, on_demand=True),
        Tool("argocd", pins.ARGOCD, "argocd", recipes.argocd, on_demand=True),
        Tool("kustomize", pins.KUSTOMIZE, "kustomize", recipes.go_install("sigs.k8s.io/kustomize/kustomize/v5", pins.KUSTOMIZE), on_demand=True),
        Tool("redis", pins.REDIS, "bin/redis-server", recipes.redis, on_demand=True),
        Tool("telegraf", pins.TELEGRAF, "telegraf", recipes.telegraf, on_demand=True),
        Tool("mirrormaker", pins.KAFKA, "libs", recipes.mirrormaker, packages=java, on_demand=True),
    ]
    return {t.name: t for t in tools}


CATALOGUE = _catalogue()


def tool(name: str) -> Tool:
    """One tool by name; the error lists all names."""
    if name not in CATALOGUE:
        raise ClusterError("tools", f"no tool named {name!r}", "known: " + ", ".join(CATALOGUE))
    return CATALOGUE[name]


def need(*names: str) -> None:
    """Fail with what to run when one of these tools has not been built."""
    missing = [n for n in names if not tool(n).present]
    if missing:
        only = f" --only {','.join(missing)}" if any(tool(n).on_demand for n in missing) else ""
        raise ClusterError("tools", f"not built yet: {', '.join(missing)}", f"run `e2e/cluster/cluster tools{only}`")


def node_packages_missing() -> List[str]:
    """Debian packages which a node needs and the host lacks."""
    return _packages_missing(pins.NODE_PACKAGES)


def _packages_missing(wanted: Iterable) -> List[str]:
    path = host_env()["PATH"]
    have = lambda p: os.path.exists(p) if p.startswith("/") else shutil.which(p, path=path)     # noqa: E731
    return list(dict.fromkeys(package for program, package in wanted if not have(program)))


def _install(wanted: Iterable) -> None:
    missing = _packages_missing(wanted)
    if not missing:
        return
    line = "apt-get install -y --no-install-recommends " + " ".join(missing)
    if os.geteuid() != 0:
        raise ClusterError("packages", "these are missing and only root may install them: " + " ".join(missing), f"run `sudo {line}`")
    if not shutil.which("apt-get"):
        raise ClusterError("packages", "missing, and there is no apt-get here: " + " ".join(missing),
                           "install them by your distribution's own means")
    say(f"packages: installing {' '.join(missing)}")
    recipes.apt(line.split()[1:])


@contextlib.contextmanager
def _build_lock():
    """One build at a time per cache: a second `cluster tools` waits and then finds the work done."""
    os.makedirs(cache_dir(), exist_ok=True)
    with open(os.path.join(cache_dir(), ".lock"), "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("tools: another `cluster tools` is building into this cache, waiting for it")
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


def ensure(names: Sequence[str] = (), node: bool = True) -> None:
    """Make these tools (all that are not on demand, when empty) present; `node` also installs the host packages which a node needs."""
    wanted = [tool(n) for n in names] if names else [t for t in CATALOGUE.values() if not t.on_demand]
    wanted = list(dict.fromkeys([tool(r) for t in wanted for r in t.requires] + wanted))
    if all(t.present for t in wanted) and not (node and node_packages_missing()):
        say(f"tools: all {len(wanted)} present in {cache_dir()}")
        return
    with _build_lock():
        for leftover in os.listdir(cache_dir()):
            if leftover.startswith(".build-"):
                shutil.rmtree(os.path.join(cache_dir(), leftover), ignore_errors=True)
        todo = [t for t in wanted if not t.present]
        _install([*(pins.NODE_PACKAGES if node else ()), *(p for t in todo for p in t.packages)])
        batches: Dict[str, List[Tool]] = {}
        for t in todo:
            batches.setdefault(t.batch or t.name, []).append(t)
        for members in batches.values():
            _build(members)


def _build(members: List[Tool]) -> None:
    label = ", ".join(f"{t.name} {t.version}" for t in members)
    say(f"tools: {label} …")
    started = time.monotonic()
    temp = tempfile.mkdtemp(prefix=".build-", dir=cache_dir())
    try:
        folders = {t.name: os.path.join(temp, t.name) for t in members}
        for folder in folders.values():
            os.mkdir(folder)
        members[0].build(folders)
        for t in members:
            if not os.path.exists(os.path.join(folders[t.name], t.main)):
                raise ClusterError(f"build {t.name}", f"the build ended well but left no {t.main}", "report this: the recipe is wrong")
            shutil.rmtree(t.dir, ignore_errors=True)
            os.rename(folders[t.name], t.dir)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    say(f"tools: {label} done in {time.monotonic() - started:.0f} s")
