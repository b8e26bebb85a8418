"""An Application is deleted, without and with cascade: nothing hangs, and data is kept as storage.retain says.

Without cascade nothing even restarts. With cascade the volume and the identity stay, and the site made again takes them up; where retain is
false they go, also while the operator is away. The new Kafka's link is refused the former one's topics in the region, until a person decides
as the runbook says."""
import re

from argo import apps
from argo.fleet import LABELS
from argo.instance import NAMESPACE
from harness import probe
from harness.errors import NotYet
from harness.objects import restarts, uids
from harness.sites import RELEASE, SYSTEM
from harness.wait import until

SITE = "manifests/sites/lyon/kustomization.yaml"
APP = "factory-lyon"
KAFKA = "lyon-kafka.factory.svc:9092"


def run(t):
    """See above."""
    good = t.fleet.repository.read(SITE)
    world = t.fleet.worlds["lyon"]
    sent = probe.send(world, messages=4000, rate=1000, topic="factory/press/dev{device}/telemetry")
    sent.finish()
    without_cascade(t)
    first = cluster_id(t)
    with_cascade(t)
    kept(t, True)
    back(t)
    t.expect(cluster_id(t) == first, "the same Kafka cluster, taken up again", (first, cluster_id(t)))
    code, report = probe.audit_once(world, t.lyon, KAFKA, "telemetry", sent)
    t.expect(code == 0 and report["lost"] == 0, "with every message", report)
    not_retained(t, good, first)


def cluster_id(t) -> str:
    """Of lyon's Kafka."""
    return t.lyon.kube.need("edgecluster", "lyon", "factory")["status"]["clusterId"]


def taken_out(t):
    """No ApplicationSet makes it again."""
    # Still in a wave of the operators, and no factory any more.
    t.fleet.relabel(t.lyon, {"tributary.dev/wave": LABELS["lyon"]["tributary.dev/wave"]})


def gone(t, seconds):
    """The Application is no more."""
    def check():
        app = t.fleet.hub.get("application", APP, NAMESPACE)
        if app:
            raise NotYet(apps.state(app))
    until(f"{APP} is gone", check, seconds)


def back(t):
    """The ApplicationSet makes it again, and it is well."""
    t.fleet.relabel(t.lyon, LABELS["lyon"])
    until(f"{APP} is made again", lambda: apps.get(t.fleet, APP), 60)
    apps.wait_well(t.fleet, t.lyon, t.fleet.repository.released(), seconds=300)


def pods(t):
    """What runs in lyon for its objects; not the pod of a Job, such as the one that ends a deleted bridge's session, which ends by itself."""
    ours = "app.kubernetes.io/managed-by=tributary,!batch.kubernetes.io/job-name"
    return sorted(t.lyon.kube.list("pod", "factory", ours), key=lambda p: p["metadata"]["name"])


def without_cascade(t):
    """Everything goes on as it was."""
    before = pods(t)
    t.expect(len(before) >= 3, "broker, bridge and link run", uids(before))
    taken_out(t)
    t.fleet.hub("delete", "application", APP, "-n", NAMESPACE, "--wait=false")
    gone(t, 30)
    t.expect(uids(pods(t)) == uids(before), "the same pods run", uids(pods(t)))
    back(t)
    after = pods(t)
    t.expect(uids(after) == uids(before) and restarts(after) == restarts(before), "taken up again, nothing restarted", uids(after))


def with_cascade(t):
    """Objects and pods go."""
    taken_out(t)
    t.fleet.hub.patch("application", APP, NAMESPACE, {"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}})
    t.fleet.hub("delete", "application", APP, "-n", NAMESPACE, "--wait=false")
    gone(t, 120)

    def check():
        left = pods(t)
        if left:
            raise NotYet(f"{len(left)} pods left")
    until("everything that ran for it is gone", check, 120)
    for kind in ("edgecluster", "bridgepipeline", "replicationlink"):
        t.expect(not t.lyon.kube.list(kind, "factory"), f"no {kind} is left")


def kept(t, retained):
    """Data and identity, as storage.retain says; the namespace always."""
    t.expect(t.lyon.kube.get("namespace", "factory")["status"]["phase"] == "Active", "the namespace is still there")

    def check():
        claims = [c["metadata"]["name"] for c in t.lyon.kube.list("pvc", "factory", "tributary.dev/name=lyon")]
        record = t.lyon.kube.get("configmap", "lyon-kafka-identity", "factory") is not None
        if (len(claims), record) != ((1, True) if retained else (0, False)):
            raise NotYet(f"claims {claims}, identity record {record}")
    until(f"volume and identity are {'kept' if retained else 'gone'}", check, 60)


def not_retained(t, good, first):
    """storage.retain: false, and the operator away while everything is deleted."""
    patch = "patches:\n  - target: {kind: EdgeCluster}\n    patch: |-\n      - {op: replace, path: /spec/storage/retain, value: false}\n"
    t.fleet.repository.edit(SITE, "patches:\n", patch)
    apps.released(t.fleet, apps.commit(t.fleet, "Lyon: data may go"))
    t.lyon.kube("scale", "deployment", RELEASE, "-n", SYSTEM, "--replicas=0")
    try:
        with_cascade(t)
        kept(t, False)
    finally:
        t.lyon.kube("scale", "deployment", RELEASE, "-n", SYSTEM, "--replicas=1")
    apps.restore(t.fleet, {SITE: good}, "Lyon: data is kept")
    apps.promote(t.fleet)
    t.fleet.relabel(t.lyon, LABELS["lyon"])
    app = apps.wait_health(t.fleet, t.lyon, "ReplicationLink", "Degraded", ["NameCollision"], seconds=300)
    t.expect(cluster_id(t) != first, "a new Kafka cluster", cluster_id(t))
    taken_over(t, apps.resource_health(app, "ReplicationLink")["message"])
    apps.wait_well(t.fleet, t.lyon, t.fleet.repository.head(), seconds=180)
    arrives(t)


def replicator(t, *arguments) -> str:
    """A verb of docs/src/runbooks/link-refuses.md, in the link's own pod."""
    return t.lyon.kube("exec", "to-eu-replicator-0", "-n", "factory", "--", "tributary", "replicator", *arguments)


def taken_over(t, message):
    """A person decides that the former cluster is gone for good, and where the new one's topics begin."""
    former = re.search(r"forget --link ([^ ,]+)", message)
    t.expect(former, "the Application's message says what to do", message)
    refused = [r["name"] for r in t.lyon.kube.need("replicationlink", "to-eu", "factory")["status"]["refused"]]
    for topic in refused:
        replicator(t, "resume", "--topic", topic, "--from", "earliest")
    told = replicator(t, "forget", "--link", former.group(1), "--yes")
    t.expect("positions withdrawn" in told, "the former cluster's positions are withdrawn", told)


def arrives(t):
    """What the new factory is sent is in the region."""
    world = t.fleet.worlds["lyon"]
    sent = probe.send(world, messages=2000, rate=1000, topic="factory/press/dev{device}/telemetry")
    sent.finish()

    def check():
        code, report = probe.audit_once(world, t.fleet.region, "eu-kafka.region.svc:9092", "lyon.telemetry", sent, seconds=60)
        if code != 0:
            raise NotYet(str({k: report[k] for k in ("acked", "received", "lost")}))
    until("the new Kafka's messages are in the region", check, 120)
