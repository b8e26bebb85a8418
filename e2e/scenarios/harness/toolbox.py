"""A pod beside each site's Kafka with Kafka's own tools, a shell and tributary: what an operator would start to look around, and
where the probe runs. It knows nothing of the operator: what it reads, it reads from Kafka and MQTT as any client does."""
import base64
import gzip
import hashlib
from typing import Dict, List, Optional

from .errors import StepFailed
from .sites import Site, World

NAME = "toolbox"
WORK = "/work"
TRIBUTARY = f"{WORK}/tributary"
PIECE = 96 * 1024       # one argument may be 128 KiB long


def pod(world: World, site: Site) -> dict:
    """Its manifest. The binary comes by the init container that brokers use too."""
    locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    mounts = [{"name": "work", "mountPath": WORK}, {"name": "tmp", "mountPath": "/tmp"}]
    volumes: List[dict] = [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    if site is world.factory:
        mounts.append({"name": "mqtt", "mountPath": "/mqtt", "readOnly": True})
        volumes.append({"name": "mqtt", "secret": {"secretName": "mqtt"}})
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "namespace": site.namespace, "labels": {"app": NAME}},
        "spec": {
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [{"name": "tributary", "image": world.images["tributary"], "args": ["broker", "install", "--to", WORK],
                                "securityContext": locked, "volumeMounts": mounts[:1]}],
            "containers": [{"name": "toolbox", "image": world.images["kafka"], "command": ["sleep", "1000000"], "securityContext": locked,
                            "env": [{"name": "KAFKA_HEAP_OPTS", "value": "-Xmx160m"}, {"name": "LOG_DIR", "value": "/tmp"}],
                            "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "768Mi"}}, "volumeMounts": mounts}],
            "volumes": volumes}}


def ensure(world: World, site: Site) -> None:
    """Start it, or leave it running with the program that it should have."""
    found = site.kube.get("pod", NAME, site.namespace)
    images = [c["image"] for c in (found or {"spec": {}})["spec"].get("initContainers", [])]
    if not found or found["status"].get("phase") != "Running" or images != [world.images["tributary"]]:
        site.kube.delete("pod", NAME, site.namespace)
        site.kube.apply(pod(world, site))
    site.kube.wait_pod(site.namespace, NAME, 90)


def sh(site: Site, script: str, timeout: float = 60, check: bool = True, input: Optional[str] = None) -> str:
    """Output of a shell script in the toolbox."""
    return site.kube.exec(site.namespace, NAME, ["sh", "-c", script], input=input, timeout=timeout, check=check).stdout


def copy(source: Site, target: Site, path: str) -> None:
    """Copy a file from one site's toolbox to the other's. In the command line, by pieces and with a checksum: what goes through the
    standard input of `kubectl exec` may be cut at any block, and nobody says so."""
    def checksum(site: Site) -> str:
        return sh(site, f"sha256sum <{path}").split()[0]
    packed = "".join(sh(source, f"gzip -c {path} | base64", timeout=120).split())
    unpacked = gzip.decompress(base64.b64decode(packed))
    if hashlib.sha256(unpacked).hexdigest() != checksum(source):
        raise StepFailed(f"copy {path}", f"it did not come whole out of {source.name}'s toolbox", "try again")
    for at in range(0, len(packed), PIECE):
        sh(target, f"printf %s {packed[at:at + PIECE]} {'>' if at == 0 else '>>'}{path}.b64")
    sh(target, f"base64 -d {path}.b64 | gunzip >{path} && rm {path}.b64")
    if checksum(source) != checksum(target):
        raise StepFailed(f"copy {path}", f"it did not come whole into {target.name}'s toolbox", "try again")


def kafka(site: Site, tool: str, *arguments: str, timeout: float = 90) -> str:
    """Output of one of Kafka's own tools, such as kafka-topics.sh."""
    done = site.kube.exec(site.namespace, NAME, [f"/opt/kafka/bin/{tool}", *arguments], timeout=timeout, check=False)
    if done.returncode != 0:
        raise StepFailed(f"{tool} in {site.name}", (done.stderr or done.stdout)[-800:], f"kubectl -n {site.namespace} exec {NAME} -- sh")
    return done.stdout


def end_offsets(site: Site, bootstrap: str, topic: str) -> Dict[int, int]:
    """{partition: end offset} as Kafka tells any client."""
    lines = kafka(site, "kafka-get-offsets.sh", "--bootstrap-server", bootstrap, "--topic", topic).split()
    rows = [line.rsplit(":", 2) for line in lines if line.startswith(topic + ":")]
    return {int(partition): int(offset) for _, partition, offset in rows}
