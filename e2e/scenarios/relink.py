"""A link deleted and created again from its file goes on where it was: nothing is repeated, nothing is skipped."""
from harness import base, probe, toolbox
from harness.errors import NotYet
from harness.objects import pods_of, wait_verdict
from harness.wait import until

MESSAGES = 3000


def run(t):
    """See above."""
    kube = t.factory.kube
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync")
    # As the runbooks have it, without a word about where the configuration is.
    shown = kube.exec("factory", "to-eu-replicator-0", ["tributary", "replicator", "positions"]).stdout
    t.expect("telemetry" in shown, "the link's own command shows its positions", shown[-500:])
    before = region_end(t)
    kube.delete("replicationlink", "to-eu", "factory")

    def gone():
        pods = pods_of(t.factory, "ReplicationLink", "to-eu")
        if pods:
            raise NotYet(f"{len(pods)} pods left")
    until("the link's pods are gone", gone, 60)
    sent = probe.send(t.world, messages=MESSAGES, rate=1500)
    sent.finish()
    until("the factory has them", lambda: has_them(t, sent), 60)
    t.expect(region_end(t) == before, "nothing travels without a link", region_end(t))
    kube.apply(*[o for o in t.world.sample(t.factory) if o["kind"] == "ReplicationLink"], manager="sample")
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=120)
    report = probe.audit(t.world, sent, seconds=60)
    t.expect(report["lost"] == 0 and report["duplicates"] == 0, "nothing is skipped, nothing repeated", report)
    t.expect(region_end(t) == before + MESSAGES, "the region grew by exactly what was sent", (before, region_end(t)))


def region_end(t) -> int:
    """Records at the region, by Kafka's own tool."""
    return sum(toolbox.end_offsets(t.region, base.REGION_KAFKA, base.REGION_TOPIC).values())


def has_them(t, sent):
    """All of them are in the factory's Kafka."""
    code, report = probe.audit_once(t.world, t.factory, base.FACTORY_KAFKA, base.TOPIC, sent)
    if code != 0:
        raise NotYet(f"{report['lost']} are not there yet")
