"""The factory's Kafka takes less than machines send: the bridge falls behind and says so, keeps everything, and catches up.

A quota of Kafka's own for producers. The bridge stays connected and its records arrive, but what it has received and Kafka has not taken
grows: FallingBehind, for which somebody is needed, because the MQTT broker's queue is next."""
from harness import base, probe, toolbox
from harness.errors import NotYet
from harness.objects import condition, told, wait_verdict
from harness.status import shown, status
from harness.wait import until

BRIDGE = ("bridgepipeline", "machines")
PRODUCERS = ("--entity-type", "clients", "--entity-default")
TOPIC = ("--entity-type", "topics", "--entity-name", base.TOPIC)
# Bytes a second, and what is sent: 60 % more. The payloads are longer than the window in which the compressor looks for repetitions, so that
# a queue that grows does not shrink on the way.
QUOTA, RATE, PAYLOAD = 180_000, 2, 140 * 1024
# One message is a batch: what waits in five requests must not take longer than a client waits for its answer.
LIMIT = "max.message.bytes=160000"


def run(t):
    """See above."""
    wait_verdict(t.factory, *BRIDGE, "InSync", seconds=60)
    sent = None
    configs(t, PRODUCERS, "--add-config", f"producer_byte_rate={QUOTA}")
    configs(t, TOPIC, "--add-config", LIMIT)
    try:
        sent = probe.send(t.world, messages=600 * RATE, rate=RATE, payload=PAYLOAD)
        behind = wait_verdict(t.factory, *BRIDGE, "FallingBehind", seconds=240)
        for type_, why in (("Ready", "what it could do it does"), ("Connected", "slow is not cut")):
            t.expect(condition(behind, type_)["status"] == "True", f"{why}: {type_}=True", told(behind, type_))
        t.expect((behind["status"]["lag"]["oldestSeconds"] or 0) > 30, "the oldest message has waited for longer than it may", behind["status"]["lag"])
        until("`tributary status` asks for a person", lambda: needs_a_person(t), 60)
    finally:
        configs(t, PRODUCERS, "--delete-config", "producer_byte_rate")
        if sent:
            sent.stop()
        configs(t, TOPIC, "--delete-config", LIMIT.partition("=")[0])
    wait_verdict(t.factory, *BRIDGE, "InSync", seconds=120)
    report = probe.audit(t.world, sent, seconds=120)
    t.expect(report["lost"] == 0, "nothing is lost", report)
    bridge = t.factory.kube.need(*BRIDGE, "factory")
    t.expect(condition(bridge, "Lossless")["status"] == "True", "Lossless=True", told(bridge, "Lossless"))


def needs_a_person(t):
    """And says why."""
    bridge = shown(status(t.world.sites), "machines")
    if not bridge["needsPerson"] or bridge["why"] != ["FallingBehind"]:
        raise NotYet(f"{bridge['verdict']}: {bridge['why']}")


def configs(t, entity, *change: str):
    """Change settings of the factory's Kafka."""
    toolbox.kafka(t.factory, "kafka-configs.sh", "--bootstrap-server", base.FACTORY_KAFKA, *entity, "--alter", *change)
