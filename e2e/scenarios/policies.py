"""NetworkPolicies allow what is needed and nothing else: connections tried from inside each pod and from strangers.

From inside means an ephemeral container in the bridge's, the link's and the brokers' own pods. Whatever one place is refused, another
place that needs it can reach, so that a refusal is the policy's and not a wrong name."""
import json

from harness import release, sites
from harness.errors import NotYet
from harness.objects import pods_of
from harness.ui import plain
from harness.wait import until

BOX = "policy-check"
MQTT, KAFKA, CONTROLLER = "mosquitto.factory.svc 1883", "munich-kafka.factory.svc 9092", "munich-kafka-0.munich-kafka-brokers.factory.svc 9093"
REGION, REGION_1, API = "kafka.eu.example 31092", "kafka.eu.example 31094", "kubernetes.default.svc 443"


def run(t):
    """See above."""
    bridge, link = (pods_of(t.factory, kind, name)[0] for kind, name in (("BridgePipeline", "machines"), ("ReplicationLink", "to-eu")))
    metrics = {"bridge's metrics": f"{bridge['status']['podIP']} 9404", "link's metrics": f"{link['status']['podIP']} 9404",
               "operator's metrics": f"{release.operator_pods(t.factory)[0]['status']['podIP']} 9404"}
    stranger(t, "stranger", {})
    stranger(t, sites.SYSTEM, {"app.kubernetes.io/name": "tributary", "app.kubernetes.io/component": "operator-check"})
    try:
        rows = [
            ("the bridge", inside(t, bridge), [MQTT, KAFKA], [REGION, API, CONTROLLER, metrics["link's metrics"]]),
            ("the link", inside(t, link), [KAFKA, REGION, REGION_1], [MQTT, API, CONTROLLER, metrics["bridge's metrics"]]),
            ("a broker", inside(t, pods_of(t.factory, "EdgeCluster", "munich")[0]), [CONTROLLER, KAFKA], [MQTT, API, REGION]),
            ("a stranger", ("stranger", BOX, BOX), [KAFKA, MQTT, API, REGION], [CONTROLLER, *metrics.values()]),
            ("a pod beside the operator", (sites.SYSTEM, BOX, BOX), [metrics["operator's metrics"]], [CONTROLLER, metrics["bridge's metrics"]]),
        ]
        for who, place, allowed, refused in rows:
            for target in allowed:
                t.expect(reaches(t, place, target), f"{who} reaches {target}", "it does not", "is a rule missing in the policy?")
            for target in refused:
                t.expect(not reaches(t, place, target), f"{who} does not reach {target}", "it does", "the policy allows too much")
        plain("every connection that is needed works, the others do not")
    finally:
        t.factory.kube.delete("namespace", "stranger", wait=False)
        t.factory.kube.delete("pod", BOX, sites.SYSTEM, wait=False)


def container(t) -> dict:
    """A shell with nc, for a while. It ends when its pod does: the first process of a container gets no signal that it does not ask for."""
    return {"name": BOX, "image": t.world.images["tools"], "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 900 & wait"],
            "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 65532, "capabilities": {"drop": ["ALL"]},
                                "seccompProfile": {"type": "RuntimeDefault"}}}


def stranger(t, namespace: str, labels: dict) -> None:
    """A pod that belongs to nobody."""
    t.factory.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    t.factory.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": BOX, "namespace": namespace, "labels": labels},
                          "spec": {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0, "containers": [
                              {**container(t), "resources": {"limits": {"memory": "32Mi"}}}]}})
    t.factory.kube.wait_pod(namespace, BOX, 60)


def inside(t, pod: dict):
    """An ephemeral container in a pod: it shares the pod's network and thereby its policies."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    kube = t.factory.kube
    there = [c["name"] for c in kube.need("pod", name, namespace)["spec"].get("ephemeralContainers", [])]
    box = f"{BOX}-{len(there)}"
    patch = {"spec": {"ephemeralContainers": [{**container(t), "name": box}]}}
    kube("patch", "pod", name, "-n", namespace, "--subresource=ephemeralcontainers", "--type=strategic", "-p", json.dumps(patch))

    def runs():
        statuses = kube.need("pod", name, namespace)["status"].get("ephemeralContainerStatuses", [])
        if not any(s["name"] == box and "running" in s["state"] for s in statuses):
            raise NotYet("not running")
    until(f"a shell inside {name}", runs, 60, every=0.5)
    return namespace, name, box


def reaches(t, place, target: str) -> bool:
    """Whether a TCP connection stands; 1 is nc's status for none, whatever else it says had one."""
    namespace, pod, box = place
    script = f"timeout 5 nc -w 3 {target} </dev/null >/dev/null 2>&1"
    return t.factory.kube.exec(namespace, pod, ["sh", "-c", script], container=box, check=False, timeout=20).returncode != 1
