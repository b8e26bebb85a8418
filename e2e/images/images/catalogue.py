"""What is in each image. The same content as ../Dockerfile, from this machine's packages and the cache of `cluster tools`."""
import glob
import os
import platform
import re
import subprocess
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Sequence, Tuple

from lib import pins
from lib.errors import ClusterError
from lib.run import host_env, run
from lib.tools import tool

from .oci import Layer

HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
NONROOT, APPUSER, MOSQUITTO = 65532, 1000, 1883
# Parts of the C library that ldd does not show: name look-ups load some, and native code inside Kafka's jars wants the others.
LOADED_BY_NAME = ["libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6"]
USERS = [("root", 0, "/root"), ("appuser", APPUSER, "/home/appuser"), ("mosquitto", MOSQUITTO, "/mosquitto"), ("nonroot", NONROOT, "/")]


@dataclass(frozen=True)
class Image:
    """An image: its reference, the tools it needs, and what it is made of."""
    ref: str
    make: Callable[..., Tuple[dict, Sequence[Layer]]]       # returns (config, layers)
    tools: List[str] = field(default_factory=list)


def _accounts(layer: Layer) -> Layer:
    layer.text("etc/passwd", "".join(f"{n}:x:{i}:{i}::{home}:/bin/sh\n" for n, i, home in USERS))
    layer.text("etc/group", "".join(f"{n}:x:{i}:\n" for n, i, _ in USERS))
    layer.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    return layer.folder("tmp", 0o1777)


def _busybox() -> Layer:
    """A shell and the usual small programs, static."""
    layer = _accounts(Layer())
    program = subprocess.run(["sh", "-c", "command -v busybox"], env=host_env(), capture_output=True, text=True).stdout.strip()
    layer.file("bin/busybox", program, 0o755)
    for name in run("list busybox", [program, "--list"]).stdout.split():
        if name != "busybox":
            layer.link("bin/" + name, "busybox")
    for name in ("proc", "sys", "dev", "var/run", "home/appuser", "usr"):
        layer.folder(name)
    return layer.link("usr/bin", "../bin").link("usr/sbin", "../bin").link("sbin", "bin")


def _libraries(programs: Sequence[str], search: str = "", keep_out: str = "/nonexistent") -> Layer:
    """The C runtime and every shared library which these programs load, where the loader looks for them."""
    layer, multiarch = Layer(), platform.machine() + "-linux-gnu"
    env = {**host_env(), "LD_LIBRARY_PATH": search}
    for program in programs:
        listed = subprocess.run(["ldd", program], env=env, capture_output=True, text=True).stdout
        if "not found" in listed:
            raise ClusterError("image libraries", f"{program}: " + re.search(r".*not found", listed).group(0).strip(), "report this")
        for library in re.findall(r"=> (/\S+)", listed):
            if not library.startswith(keep_out):
                layer.file(f"lib/{multiarch}/{os.path.basename(library)}", library, 0o755)
        for loader in re.findall(r"^\s*(/lib\S*/ld-linux\S*)", listed, re.M):
            layer.file(loader, loader, 0o755)
    for name in LOADED_BY_NAME:
        for found in glob.glob(f"/lib/{multiarch}/{name}"):
            layer.file(f"lib/{multiarch}/{name}", found, 0o755)
    return layer


def pause(_: str = "") -> Tuple[dict, Sequence[Layer]]:
    """The sandbox container's process."""
    return {"Entrypoint": ["/pause"], "User": f"{NONROOT}:{NONROOT}"}, [Layer().file("pause", tool("pause").path, 0o755)]


def tools_image(_: str = "") -> Tuple[dict, Sequence[Layer]]:
    """A shell for volume helpers, checks and debugging."""
    return {"Entrypoint": ["/bin/sh"], "Env": ["PATH=/bin"], "User": f"{NONROOT}:{NONROOT}"}, [_busybox()]


def coredns(_: str = "") -> Tuple[dict, Sequence[Layer]]:
    """CoreDNS."""
    return {"Entrypoint": ["/coredns"], "User": f"{NONROOT}:{NONROOT}"}, [Layer().file("coredns", tool("coredns").path, 0o755)]


def kafka(_: str = "") -> Tuple[dict, Sequence[Layer]]:
    """Kafka with the paths, user and programs of the stock apache/kafka image, on a small Java runtime."""
    home, runtime, libs = "opt/kafka", tool("jre").dir, os.path.join(tool("kafka").dir, "libs")
    java = [os.path.join(runtime, "bin", "java"), *sorted(glob.glob(runtime + "/lib/**/*.so", recursive=True))]
    jvm = Layer().tree("opt/java/openjdk", runtime)
    jars = Layer().tree(home + "/libs", libs)
    scripts = Layer()
    for folder in ("bin", "config"):
        scripts.tree(f"{home}/{folder}", os.path.join(HERE, "kafka", folder))
    scripts.tree("etc/kafka/docker", os.path.join(HERE, "kafka", "docker"))
    for line in _lines(os.path.join(HERE, "kafka", "commands.txt")):
        name, main_class = line.split()
        scripts.text(f"{home}/bin/{name}.sh", f'#!/bin/sh\nexec "$(dirname "$0")"/kafka-run-class.sh {main_class} "$@"\n', 0o755)
    scripts.file(home + "/kafka.jsa", tool("kafka-cds").path, 0o644)
    scripts.folder(home + "/logs", 0o777).folder("var/lib/kafka/data", 0o777).folder("mnt/shared/config", 0o777)
    config = {"Cmd": ["/etc/kafka/docker/run"], "User": "appuser", "WorkingDir": "/", "ExposedPorts": {"9092/tcp": {}},
              "Env": ["PATH=/opt/java/openjdk/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                      "JAVA_HOME=/opt/java/openjdk", "LANG=C.UTF-8"]}
    return config, [_busybox(), _libraries([*java, *_native_needs()], f"{runtime}/lib:{runtime}/lib/server", runtime), jvm, jars, scripts]


def _native_needs() -> List[str]:
    """Libraries that the compressors inside Kafka's jars load."""
    found = [p for n in ("libstdc++.so.6", "libgcc_s.so.1") for p in glob.glob(f"/usr/lib/{platform.machine()}-linux-gnu/{n}")]
    if len(found) != 2:
        raise ClusterError("image kafka", "libstdc++ or libgcc_s is missing on this machine", "run `apt-get install libstdc++6 libgcc-s1`")
    return found


def mosquitto(_: str = "") -> Tuple[dict, Sequence[Layer]]:
    """Debian's mosquitto with the paths of the stock eclipse-mosquitto image."""
    folder = tool("mosquitto").dir
    programs = sorted(glob.glob(os.path.join(folder, "exec", "*")))
    layer = Layer()
    for program in programs:
        layer.file("usr/sbin/mosquitto" if program.endswith("/mosquitto") else "usr/bin/" + os.path.basename(program), program, 0o755)
    layer.file("mosquitto/config/mosquitto.conf", os.path.join(HERE, "mosquitto.conf"), 0o644)
    layer.folder("mosquitto/data", 0o777).folder("mosquitto/log", 0o777)
    libraries = _libraries([*programs, *_native_needs()], os.path.join(folder, "lib"))
    config = {"Entrypoint": ["/usr/sbin/mosquitto"], "Cmd": ["-c", "/mosquitto/config/mosquitto.conf"],
              "User": f"{MOSQUITTO}:{MOSQUITTO}", "ExposedPorts": {"1883/tcp": {}}, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    base = _busybox()
    del base.entries["usr/bin"], base.entries["usr/sbin"]
    return config, [base, libraries, layer]


def tributary(binary: str) -> Tuple[dict, Sequence[Layer]]:
    """The one static program and the certificate authorities of this machine; nothing else."""
    listed = subprocess.run(["ldd", binary], env=host_env(), capture_output=True, text=True)
    if listed.returncode == 0 and "=>" in listed.stdout:
        raise ClusterError("image tributary", f"{binary} is linked dynamically, the image has no libraries",
                           "build it with `make build`: .cargo/config.toml asks for a static one")
    if not os.path.exists(CA_BUNDLE):
        raise ClusterError("image tributary", f"{CA_BUNDLE} is missing", "run `apt-get install ca-certificates`")
    layer = _accounts(Layer()).file("usr/bin/tributary", binary, 0o755).link("usr/bin/kubectl-tributary", "tributary")
    layer.file(CA_BUNDLE, CA_BUNDLE, 0o644)
    return {"Entrypoint": ["/usr/bin/tributary"], "User": f"{NONROOT}:{NONROOT}", "WorkingDir": "/",
            "Env": ["PATH=/usr/bin", f"SSL_CERT_FILE={CA_BUNDLE}"]}, [layer]


def _lines(path: str) -> List[str]:
    with open(path) as f:
        return [line for line in f.read().splitlines() if line and not line.startswith("#")]


IMAGES: Dict[str, Image] = {
    "pause": Image("tributary.local/pause:1", pause, ["pause"]),
    "tools": Image("tributary.local/tools:1", tools_image),
    "coredns": Image(f"tributary.local/coredns:{pins.COREDNS}", coredns, ["coredns"]),
    "kafka": Image(f"tributary.local/kafka:{pins.KAFKA}", kafka, ["kafka", "jre", "kafka-cds"]),
    "mosquitto": Image("tributary.local/mosquitto:2", mosquitto, ["mosquitto"]),
    "tributary": Image("tributary.local/tributary:dev", tributary),
}
