"""`make demo CLUSTER=current`: factory and region as two namespaces of the cluster of the user's kubeconfig.

The link reaches the region through a small proxy, `line`, in the factory's namespace, under the region's name for each broker. So there
is one place to cut: an egress NetworkPolicy on the proxy, which no other policy selects."""
import json
import os
from typing import List

from . import sites
from .errors import NotYet, StepFailed
from .kube import Kube
from .line import Line
from .objects import KINDS
from .process import run
from .sites import Site, World, helm_image_values, need_program
from .ui import say
from .wait import until

LINE = "line"
# The Services that the operator makes for the sample's listener `factories`: any broker, and each one.
PORTS = {31092: "eu-kafka-factories", 31093: "eu-kafka-factories-0", 31094: "eu-kafka-factories-1", 31095: "eu-kafka-factories-2"}
TARGET_PORT = 9094
# busybox has two programs called nc: Debian's listens for ever with -ll, Alpine's with -lk.
LISTEN = "if nc --help 2>&1 | grep -q 'll with -e'; then L=-ll; else L=-lk; fi"


class PolicyLine(Line):
    """The proxy, cut by an egress NetworkPolicy."""

    def __init__(self, kube: Kube):
        self.kube = kube

    def _policy(self) -> dict:
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "line-is-cut", "namespace": "factory"},
                "spec": {"podSelector": {"matchLabels": {"app": LINE}}, "policyTypes": ["Egress"], "egress": []}}

    def cut(self) -> None:
        self.kube.apply(self._policy(), manager="demo")
        # Most networks judge new connections only: the proxy starts anew, so that every connection is one.
        self._restart()

        def enforced():
            if self._reaches():
                raise NotYet("the proxy still reaches the region")
        try:
            until("the egress NetworkPolicy is enforced", enforced, 20)
        except StepFailed:
            self.kube.delete("networkpolicy", "line-is-cut", "factory")
            raise StepFailed("cut", "this cluster's network does not enforce NetworkPolicies: the line stays whole",
                             "use a network plugin that enforces them (Calico, Cilium, …), or `make demo` on two local clusters")

    def mend(self) -> None:
        self.kube.delete("networkpolicy", "line-is-cut", "factory")
        self._restart()
        say("mended: the policy is gone")

    def _restart(self) -> None:
        self.kube("delete", "pod", "-n", "factory", "-l", f"app={LINE}", "--grace-period=0", "--force", "--wait=true", check=False)
        self.kube("rollout", "status", "deployment/line", "-n", "factory", "--timeout=60s", timeout=70)

    def _reaches(self) -> bool:
        pods = [p for p in self.kube.list("pod", "factory", f"app={LINE}") if p["status"].get("phase") == "Running"]
        if not pods:
            raise NotYet("the proxy is not running")
        script = f"timeout 3 nc -w 2 {PORTS[31092]}.region.svc {TARGET_PORT} </dev/null"
        return self.kube.exec("factory", pods[0]["metadata"]["name"], ["sh", "-c", script], check=False, timeout=15).returncode == 0


class CurrentWorld(World):
    """The samples with the region's address inside the cluster."""

    def sample(self, site: Site) -> List[dict]:
        objects = super().sample(site)
        if site is self.region:
            for obj in objects:
                if obj["kind"] == "EdgeCluster":
                    obj["spec"]["listeners"] = [_through_the_line(x) for x in obj["spec"]["listeners"]]
            return objects
        objects = json.loads(json.dumps(objects).replace(sites.REGION_HOST, f"{LINE}.factory.svc"))
        return objects + line_objects(self.images["kafka"])


def _through_the_line(listener: dict) -> dict:
    if listener["type"] != "NodePort":
        return listener
    return json.loads(json.dumps(listener).replace(sites.REGION_HOST, f"{LINE}.factory.svc"))


def line_objects(image: str) -> List[dict]:
    """The proxy and its Service."""
    listens = " ".join(f"nc $L -p {port} -e nc {host}.region.svc {TARGET_PORT} &" for port, host in PORTS.items())
    container = {"name": LINE, "image": image, "command": ["sh", "-c", f"{LISTEN}; {listens} wait"],
                 "ports": [{"containerPort": p} for p in PORTS], "readinessProbe": {"tcpSocket": {"port": 31092}, "periodSeconds": 1},
                 "resources": {"requests": {"memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                 "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}}
    labels = {"app": LINE}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": LINE, "namespace": "factory"},
         "spec": {"selector": labels, "ports": [{"name": f"p{p}", "port": p, "targetPort": p} for p in PORTS]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": LINE, "namespace": "factory"},
         "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
             "automountServiceAccountToken": False, "enableServiceLinks": False, "terminationGracePeriodSeconds": 1,
             "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
             "containers": [container]}}}}]


def prepare(registry: str) -> World:
    """The cluster of the current kubeconfig; nothing is built, images come from the registry."""
    kubectl = need_program("kubectl", "install kubectl and point KUBECONFIG at your cluster")
    helm = need_program("helm", "install Helm 3.17 or newer")
    context = run("current context", [kubectl, "config", "current-context"], remedy="`kubectl config use-context …`").stdout.strip()
    config = os.environ.get("KUBECONFIG")
    say(f"using the cluster of context {context}: namespaces factory, region and {sites.SYSTEM}")
    kube = Kube(context, kubectl, config if config and ":" not in config else None)
    kube("get", "nodes")
    for namespace in ("factory", "region", sites.SYSTEM):
        found = kube.get("namespace", namespace)
        # Also one without pods: `make demo-down` deletes what carries the label, with all that is in it.
        if found and found["metadata"].get("labels", {}).get("tributary.dev/demo") != "yes":
            raise StepFailed("namespaces", f"the namespace {namespace} exists, and the demo did not make it", "use a cluster where it may make it")
        kube("create", "namespace", namespace, check=False)
        kube("label", "namespace", namespace, "tributary.dev/demo=yes", "--overwrite")
    images, values = _images(registry)
    factory, region = Site("factory", kube, "factory"), Site("region", kube, "region")
    world = CurrentWorld(factory, region, PolicyLine(kube), images, values, helm)
    world.operators = [factory]
    return world


def _images(registry: str):
    tag = os.environ.get("TAG", "")
    if not registry:
        say("REGISTRY is not set: using the published images of Tributary, Kafka and mosquitto")
        images = {"tributary": f"ghcr.io/tributary-dev/tributary:{tag or '0.1.0'}", "kafka": "docker.io/apache/kafka:4.3.1",
                  "mosquitto": sites.STOCK_MOSQUITTO}
        return images, ["--set", f"image.tag={tag}"] if tag else []
    tag = tag or "0.1.0"
    images = {"tributary": f"{registry}/tributary:{tag}", "kafka": f"{registry}/kafka:4.3.1", "mosquitto": f"{registry}/mosquitto:2"}
    return images, helm_image_values(registry, "tributary", "kafka", tag)


def tear_down() -> None:
    """Remove what the demo made in the current cluster: only namespaces that carry its label."""
    kubectl, helm = need_program("kubectl", "install kubectl"), need_program("helm", "install Helm")
    kube = Kube("current", kubectl)
    run("uninstall", [helm, "uninstall", sites.RELEASE, "-n", sites.SYSTEM, "--ignore-not-found"], timeout=120)
    kube("delete", "namespace", "-l", "tributary.dev/demo=yes", "--wait=true", timeout=300)
    if any(kube.run("get", kind, "-A", "-o", "name", check=False).stdout.strip() for kind in KINDS):
        say("the CRDs stay: other namespaces have objects of their kinds")
    else:
        kube("delete", "crd", *(f"{kind}s.tributary.dev" for kind in KINDS), "--ignore-not-found", timeout=120)
    say("removed: the release, and the namespaces that the demo had made")
