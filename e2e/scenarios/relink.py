"""A link deleted and created again from its file goes on where it was, nothing repeated or skipped; a bridge made anew loses nothing either."""
from harness import base, probe, toolbox
from harness.errors import NotYet
from harness.objects import pods_of, wait_condition, wait_verdict
from harness.wait import until

MESSAGES = 3000
JOB = "machines-bridge-end-session"


def run(t):
    """See above."""
    link_made_anew(t)
    bridge_made_anew(t)


def link_made_anew(t):
    """Deleted, and applied again once the factory has messages that the region has not."""
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


def bridge_made_anew(t):
    """Deleted, and applied again as soon as the Job that ends its session is there."""
    kube = t.factory.kube
    kube.delete("bridgepipeline", "machines", "factory", wait=False)
    until("a Job ends the session", lambda: kube.need("job", JOB, "factory"), 60, every=0.2)
    kube.apply(*[o for o in t.world.sample(t.factory) if o["kind"] == "BridgePipeline"], manager="sample")
    wait_condition(t.factory, "bridgepipeline", "machines", "Ready", seconds=150)
    t.expect(kube.get("job", JOB, "factory") is None, "the Job is gone before the new bridge is subscribed")
    sent = probe.send(t.world, messages=MESSAGES, rate=1500)
    sent.finish()
    report = probe.audit(t.world, sent, seconds=60)
    t.expect(report["lost"] == 0, "what the MQTT broker acknowledged since then is at the region", report)


def region_end(t) -> int:
    """Records at the region, by Kafka's own tool."""
    return sum(toolbox.end_offsets(t.region, base.REGION_KAFKA, base.REGION_TOPIC).values())


def has_them(t, sent):
    """All of them are in the factory's Kafka."""
    code, report = probe.audit_once(t.world, t.factory, base.FACTORY_KAFKA, base.TOPIC, sent)
    if code != 0:
        raise NotYet(f"{report['lost']} are not there yet")
