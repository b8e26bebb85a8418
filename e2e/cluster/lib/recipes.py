"""How each tool is made. A recipe gets {tool name: empty folder} and fills the folders; the caller makes the result visible."""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from typing import Callable, Dict, List

from . import pins
from .errors import ClusterError
from .paths import CLUSTER_DIR, cache_dir
from .run import host_env, run

Folders = Dict[str, str]
# Parts of the C library: always the host's own, a copy would not fit the host's loader after an upgrade.
C_LIBRARY = re.compile(r"lib(c|m|dl|rt|pthread|resolv)\.so")


def _logged(step: str, argv: List[str], cwd: str, env: dict, remedy: str) -> None:
    """Run a long build with its output in the cache's log folder, so that a failure can show its last lines."""
    logs = os.path.join(cache_dir(), "log")
    os.makedirs(logs, exist_ok=True)
    log = os.path.join(logs, re.sub(r"[^a-z0-9.-]+", "-", step) + ".log")
    with open(log, "wb") as out:
        try:
            code = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out).returncode
        except FileNotFoundError:
            raise ClusterError(step, f"{argv[0]} is not installed", remedy)
    if code != 0:
        raise ClusterError(step, f"`{' '.join(argv[:4])} …` ended with status {code}", remedy, log)


def apt(arguments: List[str], cwd: str = "/") -> None:
    """apt-get, refreshing the package lists first when they are missing or stale."""
    env = {**host_env(), "DEBIAN_FRONTEND": "noninteractive"}
    remedy = "is the network up? `apt-get update` must work"
    try:
        _logged("apt-get " + arguments[0], ["apt-get", *arguments], cwd, env, remedy)
    except ClusterError:
        _logged("apt-get update", ["apt-get", "update"], cwd, env, remedy)
        _logged("apt-get " + arguments[0], ["apt-get", *arguments], cwd, env, remedy)


def go_program() -> str:
    """The Go compiler, new enough."""
    go = shutil.which("go", path=host_env()["PATH"] + ":/usr/local/go/bin")
    want = ".".join(map(str, pins.GO_MINIMUM))
    remedy = f"install Go {want} or newer from https://go.dev/dl/ and put it on PATH"
    if not go:
        raise ClusterError("go", "it is not installed", remedy)
    found = re.search(r"go(\d+)\.(\d+)", run("go", [go, "version"]).stdout)
    if not found or tuple(map(int, found.groups())) < pins.GO_MINIMUM:
        raise ClusterError("go", f"{found.group(0) if found else 'this go'} is too old", remedy)
    return go


def _go(step: str, arguments: List[str], cwd: str, extra: Folders) -> None:
    go = go_program()
    env = {**host_env(), "CGO_ENABLED": "0", **extra}
    _logged(step, [go, *arguments], cwd, env, "the Go module proxy must be reachable (`go env GOPROXY`); then run `cluster tools` again")


GO_PACKAGES = {"etcd": "./etcd", "coredns": "./coredns", "helm": "helm.sh/helm/v4/cmd/helm"}


def go_programs(out: Folders) -> None:
    """All asked-for Go programs in one build of one module: they share the Kubernetes client libraries, most of what there is to compile.
    Without debug information, and with a lazy garbage collector, the compiler is a quarter faster."""
    v, (major, minor) = pins.KUBERNETES, pins.KUBERNETES.split(".")[:2]
    stamp = "k8s.io/component-base/version.git"
    flags = (f"-s -w -X {stamp}Version=v{v} -X {stamp}Major={major} -X {stamp}Minor={minor} "
             f"-X helm.sh/helm/v4/internal/version.version=v{pins.HELM} -X github.com/coredns/coredns/coremain.GitCommit=v{pins.COREDNS}")
    packages = [GO_PACKAGES.get(name, f"k8s.io/kubernetes/cmd/{name}") for name in out]
    with tempfile.TemporaryDirectory(dir=os.path.dirname(next(iter(out.values())))) as temp:
        _go("build go programs", ["build", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", flags, "-o", temp + "/", *packages],
            os.path.join(CLUSTER_DIR, "tools"), {"GOGC": "400"})
        for name, folder in out.items():
            os.rename(os.path.join(temp, name), os.path.join(folder, name))


def manifests(out: Folders) -> None:
    """Our own judge of manifests and health scripts; its libraries are Kubernetes' and pinned with them."""
    _go("build manifests", ["build", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", "-s -w", "-o", os.path.join(out["manifests"], "manifests"), "./manifests"],
        os.path.join(CLUSTER_DIR, "tools"), {"GOGC": "400"})


def manifests_version() -> str:
    """Changes with the source and its pins, so that no old build of it is taken for the present one."""
    folder = os.path.join(CLUSTER_DIR, "tools")
    sources = sorted(os.path.join(folder, "manifests", n) for n in os.listdir(os.path.join(folder, "manifests")))
    digest = hashlib.sha256()
    for path in [*sources, os.path.join(folder, "go.sum")]:
        with open(path, "rb") as f:
            digest.update(f.read())
    return digest.hexdigest()[:12]


def argocd(out: Folders) -> None:
    """Argo CD's one program, with the definitions, configuration and helper scripts of the same release beside it."""
    folder, module, cwd = out["argocd"], "github.com/argoproj/argo-cd/v3", os.path.join(CLUSTER_DIR, "tools", "argocd")
    _go("build argocd", ["build", "-trimpath", "-ldflags", "-s -w", "-o", os.path.join(folder, "argocd"), f"{module}/cmd"], cwd, {})
    source = run("find argocd", [go_program(), "list", "-m", "-f", "{{.Dir}}", module], cwd=cwd).stdout.strip()
    for part, name in (("manifests/crds", "crds"), ("manifests/base/config", "config")):
        shutil.copytree(os.path.join(source, part), os.path.join(folder, name), copy_function=shutil.copyfile)
    os.mkdir(os.path.join(folder, "bin"))
    for script in ("git-verify-wrapper.sh", "gpg-wrapper.sh"):
        shutil.copyfile(os.path.join(source, "hack", script), os.path.join(folder, "bin", script))
        os.chmod(os.path.join(folder, "bin", script), 0o755)
    for component in ("application-controller", "repo-server", "applicationset-controller"):       # it looks at its own name
        os.symlink("../argocd", os.path.join(folder, "bin", f"argocd-{component}"))
    run("make the folders writable", ["chmod", "-R", "u+w", folder])


def go_install(package: str, version: str) -> Callable[[Folders], None]:
    """A recipe for a program whose own module pins its dependencies."""
    def build(out: Folders) -> None:
        (name, folder), = out.items()
        _go(f"build {name}", ["install", "-trimpath", "-ldflags", "-s -w", f"{package}@v{version}"], "/", {"GOBIN": folder})
    return build


def local_path_provisioner(out: Folders) -> None:
    """From its own module: its libraries are too old to stand beside the others'."""
    package = f"github.com/rancher/local-path-provisioner@v{pins.LOCAL_PATH}"
    _go("build local-path-provisioner", ["install", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", "-s -w", package], "/",
        {"GOBIN": out["local-path-provisioner"], "GOGC": "400"})


def prometheus(out: Folders) -> None:
    """Prometheus and promtool in one build, from a module of their own, without web pages. Of service discovery only Kubernetes and files:
    the rest of it is most of their packages."""
    flags = f"-s -w -X github.com/prometheus/common/version.Version={pins.PROMETHEUS}"
    with tempfile.TemporaryDirectory(dir=os.path.dirname(next(iter(out.values())))) as temp:
        _go("build prometheus", ["build", "-trimpath", "-tags", "netgo,remove_all_sd,enable_kubernetes_sd", "-ldflags", flags, "-o", temp + "/",
                                 *(f"github.com/prometheus/prometheus/cmd/{n}" for n in out)], os.path.join(CLUSTER_DIR, "tools", "prometheus"), {})
        for name, folder in out.items():
            os.rename(os.path.join(temp, name), os.path.join(folder, name))


def pause(out: Folders) -> None:
    """The sandbox container's process, also the init of a node."""
    run("build pause", ["cc", "-static", "-Os", "-s", "-o", os.path.join(out["pause"], "pause"),
                        os.path.join(CLUSTER_DIR, "lib", "pause.c")])


def telegraf(out: Folders) -> None:
    """Telegraf with the few plugins that the bridge is measured beside."""
    flags = f"-s -w -X github.com/influxdata/telegraf/internal.Version={pins.TELEGRAF}"
    _go("build telegraf", ["build", "-trimpath", "-tags", pins.TELEGRAF_TAGS, "-ldflags", flags,
                           "-o", os.path.join(out["telegraf"], "telegraf"), "github.com/influxdata/telegraf/cmd/telegraf"],
        os.path.join(CLUSTER_DIR, "tools", "telegraf"), {})


def kafka(out: Folders) -> None:
    """Kafka's jars: broker, command-line tools, logging."""
    _jars(out["kafka"], "kafka")


def mirrormaker(out: Folders) -> None:
    """MirrorMaker 2's jars, of the same version: Connect, the connectors, logging."""
    _jars(out["mirrormaker"], "mirrormaker")


def _jars(folder: str, name: str) -> None:
    """What tools/NAME-pom.xml asks for, from Maven Central; each with its runtime dependencies, pinned by its POM."""
    pom = os.path.join(CLUSTER_DIR, "tools", f"{name}-pom.xml")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as temp:
        shutil.copy(pom, os.path.join(temp, "pom.xml"))
        _logged(f"fetch {name}", ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}/libs",
                                "-DincludeScope=runtime", f"-Dkafka.version={pins.KAFKA}", f"-Dlog4j.version={pins.LOG4J}"],
                temp, host_env(), "Maven Central must be reachable; then run `cluster tools` again")
    for jar in os.listdir(os.path.join(folder, "libs")):
        os.utime(os.path.join(folder, "libs", jar), (0, 0))         # as in the image: class-data archives look at it


def jre(out: Folders) -> None:
    """A Java runtime of the modules that Kafka needs, with a class-data archive (JVM start 0.3 s instead of 0.5 s)."""
    folder = out["jre"]
    os.rmdir(folder)            # jlink insists on making it
    run("make jre", ["jlink", "--add-modules", pins.JRE_MODULES, "--strip-debug", "--no-man-pages", "--no-header-files",
                     "--output", folder], timeout=300)
    run("make jre", [os.path.join(folder, "bin", "java"), "-Xshare:dump"])


def kafka_cds(out: Folders) -> None:
    """Kafka's classes as the JVM maps them: a broker and the tools start in about half the time. Made by running a broker once,
    under the image's paths, in private namespaces. The stock image carries the same file under the same name."""
    folder, cache = out["kafka-cds"], cache_dir()
    logs = os.path.join(cache, "log", "kafka-cds.log")
    script = os.path.join(CLUSTER_DIR, "lib", "kafka_cds.sh")
    kafka_libs, runtime = os.path.join(cache, f"kafka-{pins.KAFKA}", "libs"), os.path.join(cache, "jre-17")
    _logged("kafka-cds", ["unshare", "--mount", "--net", "--propagation", "private", "/bin/sh", script, kafka_libs, runtime, folder], "/",
            host_env(), f"read {logs}; the step needs root")


def mosquitto(out: Folders) -> None:
    """Debian's mosquitto and its clients."""
    _debian(out["mosquitto"], ["mosquitto", "mosquitto-clients", "libmosquitto1"],
            ["usr/sbin/mosquitto", "usr/bin/mosquitto_pub", "usr/bin/mosquitto_sub", "usr/bin/mosquitto_passwd"])


def redis(out: Folders) -> None:
    """Debian's redis, Argo CD's cache."""
    _debian(out["redis"], ["redis-server", "redis-tools"], ["usr/bin/redis-server", "usr/bin/redis-cli"])


def _debian(folder: str, packages: List[str], programs: List[str]) -> None:
    """Programs of Debian packages, unpacked rather than installed: nothing starts as a service, no root is needed.
    lib/ has every shared library they need beyond the C library; bin/ has wrappers that use them."""
    name = packages[0]
    ask = ["apt-get", "install", "-s", "--no-install-recommends", *packages]
    simulated = run(f"find {name}", ask, check=False)
    if simulated.returncode != 0:           # a fresh machine has no package lists yet
        apt(["update"])
        simulated = run(f"find {name}", ask, remedy=f"Debian's or Ubuntu's archive must be reachable and have {name}")
    new = re.findall(r"^Inst (\S+)", simulated.stdout, re.M)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as temp:
        os.chmod(temp, 0o755)
        apt(["download", *dict.fromkeys([*packages, *new])], cwd=temp)
        root = os.path.join(temp, "root")
        for deb in sorted(f for f in os.listdir(temp) if f.endswith(".deb")):
            run(f"unpack {name}", ["dpkg-deb", "-x", os.path.join(temp, deb), root])
        _collect_programs(root, folder, programs)


def _collect_programs(root: str, folder: str, programs: List[str]) -> None:
    """Copy programs to exec/, the libraries that ldd names to lib/, and write wrappers to bin/."""
    for sub in ("exec", "lib", "bin"):
        os.makedirs(os.path.join(folder, sub))
    found = [os.path.join(at, d) for at, ds, _ in os.walk(root) for d in ds if d.endswith("-linux-gnu")]
    env = {**host_env(), "LD_LIBRARY_PATH": ":".join(found)}
    for program in programs:
        name = os.path.basename(program)
        shutil.copy(os.path.join(root, program), os.path.join(folder, "exec", name))
        listed = subprocess.run(["ldd", os.path.join(root, program)], env=env, capture_output=True, text=True).stdout
        if "not found" in listed:
            raise ClusterError(f"unpack {name}", f"{name} lacks a library: " + re.search(r".*not found", listed).group(0).strip(),
                               "run `apt-get update` and `cluster tools` again")
        for library in re.findall(r"=> (\S+)", listed):
            target = os.path.join(folder, "lib", os.path.basename(library))
            if not os.path.exists(target) and not C_LIBRARY.match(os.path.basename(library)):
                shutil.copy(os.path.realpath(library), target)
        wrapper = os.path.join(folder, "bin", name)
        with open(wrapper, "w") as f:
            f.write('#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")/..\n'
                    f'LD_LIBRARY_PATH=$here/lib exec "$here/exec/{name}" "$@"\n')
        os.chmod(wrapper, 0o755)
