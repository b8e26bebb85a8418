"""Messages flow from MQTT to the region, and the audit tells loss from no loss.

5,000 messages: none lost. Then loss is injected twice, once before the bridge (the MQTT broker forgets its queue) and once after it
(records are deleted at the region), and each time the audit must fail and say on which side of the bridge it happened."""
import json

from harness import base, probe, sites, toolbox
from harness.objects import wait_condition, wait_verdict
from harness.ui import say

REGION_FROM_FACTORY = f"{sites.REGION_HOST}:31092"


def run(t):
    """See above."""
    sent = probe.send(t.world, messages=5000, rate=2000)
    sent.finish()
    report = probe.audit(t.world, sent, seconds=60)
    t.expect(report["lost"] == 0 and report["received"] >= 5000, "nothing is lost", report)
    code, _ = probe.audit_once(t.world, t.region, base.REGION_KAFKA, base.REGION_TOPIC, sent, file=False)
    t.expect(code == 2, "without the sent file the audit ends with 2: tail unknown", code)
    latency(t)
    lost_after_the_bridge(t)
    lost_before_the_bridge(t)


def latency(t):
    """From a device's stamp to a reader at the region, over the line, at 1,000 messages a second."""
    sent = probe.send(t.world, messages=20_000, rate=1000)
    code, report = probe.audit_once(t.world, t.factory, REGION_FROM_FACTORY, base.REGION_TOPIC, sent, seconds=60)
    t.expect(code == 0, "nothing is lost", code)
    sent.finish()
    end = report["topic"]["toReader"]
    t.expect(end is not None and end["count"] > 10_000, "most messages were read while they came", end)
    say(f"latency at 1,000 msg/s, device to reader at the region: p50 {end['p50']} ms, p99 {end['p99']} ms, most {end['max']} ms")


def lost_after_the_bridge(t):
    """Delete records at the region as retention would: they had arrived, and are gone."""
    t.step("injecting loss after the bridge: deleting records at the region")
    sent = probe.send(t.world, messages=2000, rate=2000)
    sent.finish()
    probe.audit(t.world, sent, seconds=60)
    ends = toolbox.end_offsets(t.region, base.REGION_KAFKA, base.REGION_TOPIC)
    partitions = [{"topic": base.REGION_TOPIC, "partition": p, "offset": end} for p, end in ends.items() if end > 0][:1]
    toolbox.sh(t.region, "cat > /tmp/delete.json", input=json.dumps({"partitions": partitions, "version": 1}))
    toolbox.kafka(t.region, "kafka-delete-records.sh", "--bootstrap-server", base.REGION_KAFKA, "--offset-json-file", "/tmp/delete.json")
    code, report = audit_both(t, sent)
    t.expect(code == 1 and report["lost"] > 0 and report["lostAt"]["afterBridge"] == report["lost"],
             "the audit fails, counts them, and says that they were lost after the bridge", (code, report["lostAt"]))


def audit_both(t, sent):
    """Both Kafkas, as seen from the factory."""
    return probe.audit_once(t.world, t.factory, REGION_FROM_FACTORY, base.REGION_TOPIC, sent, factory=True)


def lost_before_the_bridge(t):
    """Pause the bridge, send, and make the MQTT broker forget: what was acknowledged is gone."""
    t.step("injecting loss before the bridge: the MQTT broker forgets its queue")
    factory = t.factory
    factory.kube.patch("bridgepipeline", "machines", "factory", {"spec": {"paused": True}})
    wait_condition(factory, "bridgepipeline", "machines", "Ready", "False", "Paused", 60)
    sent = probe.send(t.world, messages=1000, rate=1000)
    sent.finish()
    factory.kube("scale", "statefulset", "mosquitto", "-n", "factory", "--replicas=0")
    factory.kube("wait", "pod/mosquitto-0", "-n", "factory", "--for=delete", "--timeout=60s", timeout=70)
    factory.kube.delete("pvc", "data-mosquitto-0", "factory")
    factory.kube("scale", "statefulset", "mosquitto", "-n", "factory", "--replicas=1")
    factory.kube.wait_pod("factory", "mosquitto-0")
    factory.kube.patch("bridgepipeline", "machines", "factory", {"spec": {"paused": False}})
    wait_condition(factory, "bridgepipeline", "machines", "Ready", seconds=90)
    code, report = audit_both(t, sent)
    t.expect(code == 1 and report["lost"] == 1000 and report["lostAt"]["afterBridge"] == 0,
             "the audit fails: all 1,000 are lost, before they came to Kafka", (code, report["lostAt"]))
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=60)
