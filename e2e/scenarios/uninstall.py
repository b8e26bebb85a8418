"""Uninstalling leaves data and blocks nothing: Kafka, bridge and link go on without an operator, deleting works, reinstalling takes all up."""
from harness import base, probe, release
from harness.errors import NotYet
from harness.objects import KINDS, pods_of, uids
from harness.wait import until


def run(t):
    """See above."""
    factory = t.factory
    before = uids(pods_of(factory, "EdgeCluster", "munich"))
    cluster_id = factory.kube.need("edgecluster", "munich", "factory")["status"]["clusterId"]
    release.uninstall(t.world, factory)
    for kind in KINDS:
        t.expect(bool(factory.kube.list(kind, "factory")), f"the CRD and the objects of kind {kind} are still there")
    sent = probe.send(t.world, messages=4000, rate=2000)
    sent.finish()
    report = probe.audit(t.world, sent, seconds=60)
    t.expect(report["lost"] == 0, "messages flow without an operator", report)
    deleted(t)
    release.install(t.world, factory)
    base.apply_factory(t.world)
    base.wait_ready(t.world)
    again = factory.kube.need("edgecluster", "munich", "factory")
    t.expect(again["status"]["clusterId"] == cluster_id, "the same cluster, taken up again", again["status"]["clusterId"])
    t.expect(uids(pods_of(factory, "EdgeCluster", "munich")) != before, "its pods were gone in between", before)
    report = probe.audit(t.world, sent, seconds=60)
    t.expect(report["lost"] == 0, "what was there before is still there", report)
    code, report = probe.audit_once(t.world, factory, base.FACTORY_KAFKA, base.TOPIC, sent)
    t.expect(code == 0, "also in the factory's own Kafka", report)


def deleted(t):
    """No finalizer waits for an operator that is gone; volumes stay."""
    kube = t.factory.kube
    for kind, name in (("replicationlink", "to-eu"), ("bridgepipeline", "machines"), ("edgecluster", "munich")):
        kube("delete", kind, name, "-n", "factory", "--timeout=20s", timeout=30)

    def gone():
        pods = kube.list("pod", "factory", "app.kubernetes.io/managed-by=tributary")
        left = [p["metadata"]["name"] for p in pods if p["status"]["phase"] != "Succeeded"]        # a Job's pod stays for its log
        if left:
            raise NotYet(f"left: {', '.join(left)}")
    until("everything that ran for them is gone", gone, 90)
    claims = kube.list("pvc", "factory", "tributary.dev/name=munich")
    t.expect(len(claims) == 1, "the volume is still there", [c["metadata"]["name"] for c in claims])
    record = kube.get("configmap", "munich-kafka-identity", "factory")
    t.expect(record is not None, "and the identity record")


