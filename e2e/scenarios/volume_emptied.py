"""An emptied volume of a known broker is refused with the reason, stays empty, and is let in only by the runbook's permission.

Also: an EdgeCluster deleted and created again takes up its retained volume and identity."""
import re

from harness import sites
from harness.errors import NotYet
from harness.objects import condition, wait_condition
from harness.process import CLUSTER, run as command
from harness.ui import say
from harness.wait import stays, until

NAME, POD = "spare", "spare-kafka-0"
SPEC = {"kafkaVersion": "4.3.1", "brokers": 1, "storage": {"size": "1Gi", "retain": True},
        "listeners": [{"name": "internal", "type": "Internal", "port": 9092, "tls": {"mode": "Disabled"}, "authentication": {"type": "None"}}],
        "topics": [{"name": "kept", "partitions": 1, "replicas": 1}]}


def spare():
    """A cluster of its own, so that the base stays as it is."""
    return {"apiVersion": "tributary.dev/v1alpha1", "kind": "EdgeCluster", "metadata": {"name": NAME, "namespace": "factory"}, "spec": SPEC}


def run(t):
    """See above."""
    try:
        t.factory.kube.apply(spare())
        first = wait_condition(t.factory, "edgecluster", NAME, "Ready", seconds=120)
        recreated(t, first["status"]["clusterId"])
        emptied(t)
        let_in(t)
    finally:
        remove(t)


def remove(t):
    """The cluster with its data."""
    kube = t.factory.kube
    kube.delete("edgecluster", NAME, "factory")
    kube("wait", "-n", "factory", f"pod/{POD}", "--for=delete", "--timeout=60s", timeout=70, check=False)
    kube("delete", "pvc,configmap", "-n", "factory", "-l", f"tributary.dev/name={NAME}", "--ignore-not-found", timeout=120)


def recreated(t, cluster_id):
    """Deleted and created again from its file."""
    kube = t.factory.kube
    kube.delete("edgecluster", NAME, "factory")
    kube("wait", "-n", "factory", f"pod/{POD}", "--for=delete", "--timeout=60s", timeout=70, check=False)
    claims = kube.list("pvc", "factory", f"tributary.dev/name={NAME}")
    t.expect(len(claims) == 1, "the volume is retained", [c["metadata"]["name"] for c in claims])
    kube.apply(spare())
    again = wait_condition(t.factory, "edgecluster", NAME, "Ready", seconds=120)
    t.expect(again["status"]["clusterId"] == cluster_id, "the same cluster ID: the volume was taken up", again["status"]["clusterId"])


def in_node(*argv):
    """A command inside the factory's node."""
    return command("in the node", [CLUSTER, "exec", sites.FACTORY_CLUSTER, "--", *argv]).stdout


def volume_path(t):
    """Where the volume is in the node."""
    claim = t.factory.kube.list("pvc", "factory", f"tributary.dev/name={NAME}")[0]
    spec = t.factory.kube.need("pv", claim["spec"]["volumeName"])["spec"]
    return (spec.get("local") or spec.get("hostPath"))["path"]


def while_away(t, action):
    """Do something while the broker's pod cannot run."""
    kube = t.factory.kube
    node = kube.list("node")[0]["metadata"]["name"]
    kube("cordon", node)
    try:
        kube("delete", "pod", POD, "-n", "factory", "--wait=false")

        def away():
            if kube.need("pod", POD, "factory")["status"].get("phase") != "Pending":
                raise NotYet("it still runs")
        until(f"{POD} is away", away, 120)
        action()
    finally:
        kube("uncordon", node)


def emptied(t):
    """As if the disk had been exchanged while the broker was down."""
    path = volume_path(t)
    while_away(t, lambda: in_node("sh", "-c", f"find {path} -mindepth 1 -delete"))
    obj = wait_condition(t.factory, "edgecluster", NAME, "Ready", "False", "VolumeRefused", 90)
    message = condition(obj, "Ready")["message"]
    t.expect("empty" in message, "the message says that the volume is empty", message)
    say(f"it says: {message}")

    def still_empty():
        left = in_node("find", path, "-mindepth", "1", "-not", "-name", "lost+found").split()
        if left:
            raise NotYet(f"something was written: {left[:5]}")
    stays("the refused volume stays empty", still_empty, 15, every=3)


def let_in(t):
    """The runbook's step: the permission for this one broker, in the identity record."""
    kube = t.factory.kube
    name = f"{NAME}-kafka-identity"
    record = kube.need("configmap", name, "factory")["data"]["identity.yaml"]
    t.expect("Withdrawn" in record or "Permitted" not in record, "the permission was withdrawn after the first start", record)
    permitted = re.sub(r"(id: 0\n(?:.*\n)*?\s*format: )Withdrawn", r"\1Permitted", record)
    t.expect(permitted != record, "the record has an entry for broker 0", record)
    kube.patch("configmap", name, "factory", {"data": {"identity.yaml": permitted}})
    wait_condition(t.factory, "edgecluster", NAME, "Ready", seconds=180)

    def withdrawn():
        text = kube.need("configmap", name, "factory")["data"]["identity.yaml"]
        if "Permitted" in text:
            raise NotYet("still permitted")
    until("the permission is withdrawn again", withdrawn, 60)
