"""A link stands still and says why: as a whole while the region refuses, and one partition whose records are gone. A person mends both.

One of the region's brokers is away and the topic wants all three in sync: connected, the source moves, the position does not. Then the factory's topic loses
records that were not carried (retention during a long pause is like that): the partition stops, the others go on, and it goes on where a
person decides, the gap told for good. Data is lost here on purpose, and exactly what was deleted."""
import json

from harness import base, probe, toolbox
from harness.errors import NotYet
from harness.objects import condition, lag, pods_of, told, verdict, wait_all_brokers, wait_condition, wait_verdict
from harness.wait import until

LINK = ("replicationlink", "to-eu")
# All replicas: with one of them away no write to the topic is acknowledged. More than there are count as all of them.
ALL_IN_SYNC = "min.insync.replicas=3"


def run(t):
    """See above."""
    try:
        not_moving(t)
        records_gone(t)
    finally:
        takes_all(t)
        paused(t, False)
    # A gap is told until the spec changes, which is how a person says that he knows of it: the base is without one.
    paused(t, True)
    wait_verdict(t.factory, *LINK, "Paused", seconds=60)
    paused(t, False)
    wait_verdict(t.factory, *LINK, "InSync", seconds=120)
    wait_condition(t.factory, *LINK, "Lossless", seconds=60)
    wait_condition(t.region, "edgecluster", "eu", "Ready", seconds=60)


def link(t) -> dict:
    """The link as it is."""
    return t.factory.kube.need(*LINK, "factory")


def paused(t, wanted: bool) -> None:
    """Change spec.paused."""
    t.factory.kube.patch(*LINK, "factory", {"spec": {"paused": True if wanted else None}})


def records_gone(t):
    """Records of one partition go before they were carried."""
    until("nothing waits to be carried", lambda: nothing_waits(t), 120)
    # Paused, so that no record is on its way already: what is deleted is what is missing.
    paused(t, True)
    wait_verdict(t.factory, *LINK, "Paused", seconds=60)
    until("the link's pod has ended", lambda: ended(t), 60)
    before = toolbox.end_offsets(t.factory, base.FACTORY_KAFKA, base.TOPIC)
    sent = probe.send(t.world, messages=6000, rate=1500)
    sent.finish()
    after = until("the factory has them", lambda: grown(t, before, sent.messages), 60)
    partition = max(after, key=lambda p: after[p] - before[p])
    first, end = before[partition], after[partition]
    delete_records(t, partition, end)
    paused(t, False)
    stopped = wait_condition(t.factory, *LINK, "Stalled", reason="PartitionStopped", seconds=120)
    words = condition(stopped, "Stalled")["message"]
    t.expect(f"{base.TOPIC}-{partition}" in words and "BelowLogStart" in words, "it names the partition and what happened", words)
    t.expect(condition(stopped, "Ready")["status"] == "False", "Ready=False", told(stopped, "Ready"))
    gap_is_told(t, partition, first, end)
    decided(t, partition)
    gap_is_told(t, partition, first, end)
    report = probe.audit(t.world, sent, seconds=30, may_lose=True)
    t.expect(report["lost"] == end - first, "what was deleted is missing, and nothing else", (report["lost"], end - first))


def nothing_waits(t):
    """The lag is 0: InSync alone may be some seconds behind."""
    found = link(t)
    if verdict(found) != "InSync" or lag(found) != 0:
        raise NotYet(f"{verdict(found)}, lag {lag(found)}")


def ended(t):
    """The verdict speaks of the spec: the pod may still be at work for a moment."""
    if pods_of(t.factory, "ReplicationLink", "to-eu"):
        raise NotYet("it is there")


def grown(t, before, messages) -> dict:
    """The topic's ends, once all messages are in it."""
    after = toolbox.end_offsets(t.factory, base.FACTORY_KAFKA, base.TOPIC)
    if sum(after.values()) - sum(before.values()) < messages:
        raise NotYet(f"{sum(after.values()) - sum(before.values())} of {messages}")
    return after


def delete_records(t, partition: int, end: int):
    """By Kafka's own tool, up to an offset."""
    wanted = {"version": 1, "partitions": [{"topic": base.TOPIC, "partition": partition, "offset": end}]}
    path = f"{toolbox.WORK}/delete-records.json"
    toolbox.sh(t.factory, f"echo '{json.dumps(wanted)}' >{path}")
    toolbox.kafka(t.factory, "kafka-delete-records.sh", "--bootstrap-server", base.FACTORY_KAFKA, "--offset-json-file", path)


def gap_is_told(t, partition: int, first: int, end: int):
    """status.gaps has the range, and Lossless is False."""
    found = wait_condition(t.factory, *LINK, "Lossless", "False", "GapRecorded", seconds=60)
    ranges = [(g["topic"], g["partition"], g["from"], g.get("to"), g["reason"]) for g in found["status"].get("gaps", [])]
    t.expect((base.TOPIC, partition, first, end, "BelowLogStart") in ranges, "the gap is listed with its very range", ranges)


def decided(t, partition: int):
    """As docs/src/runbooks/partition-stopped.md has it."""
    said = t.factory.kube.exec("factory", "to-eu-replicator-0", ["tributary", "replicator", "resume", "--topic", base.TOPIC, "--partition",
                                                                 str(partition), "--from", "earliest"]).stdout
    t.step(f"decided: {said.strip()}")
    wait_condition(t.factory, *LINK, "Ready", seconds=60)
    wait_verdict(t.factory, *LINK, "InSync", seconds=60)


def not_moving(t):
    """The region takes nothing that is written to the topic."""
    node = t.region.kube.list("node")[0]["metadata"]["name"]
    region_config(t, "--add-config", ALL_IN_SYNC)
    t.region.kube("cordon", node)
    sent = None
    try:
        t.region.kube.delete("pod", "eu-kafka-2", "region", wait=False)
        until("eu-kafka-2 is away", lambda: away(t), 90)
        sent = probe.send(t.world, messages=180_000, rate=1000)
        # A minute without a record carried, seen by the operator.
        stands = wait_verdict(t.factory, *LINK, "NotMoving", seconds=150)
        t.expect(condition(stands, "Stalled")["status"] == "True", "Stalled=True", told(stands, "Stalled"))
        t.expect(condition(stands, "KeepingUp")["status"] == "False", "KeepingUp=False", told(stands, "KeepingUp"))
        t.expect(condition(stands, "Ready")["status"] == "False", "Ready=False", told(stands, "Ready"))
    finally:
        takes_all(t)
        t.region.kube("uncordon", node)
        if sent:
            sent.stop()
    wait_verdict(t.factory, *LINK, "InSync", seconds=180)
    wait_condition(t.factory, *LINK, "Ready", seconds=60)
    report = probe.audit(t.world, sent, seconds=120)
    t.expect(report["lost"] == 0, "nothing is lost", report)
    wait_all_brokers(t.region, "eu")


def away(t):
    """The broker's pod waits for a node."""
    if t.region.kube.need("pod", "eu-kafka-2", "region")["status"].get("phase") != "Pending":
        raise NotYet("it still runs")


def takes_all(t):
    """The region's topic as the link made it; also when it is so already."""
    if ALL_IN_SYNC in region_config(t):
        region_config(t, "--delete-config", "min.insync.replicas")


def region_config(t, *change: str) -> str:
    """Change the settings of the region's topic, or show them."""
    asked = ["--alter", *change] if change else ["--describe"]
    return toolbox.kafka(t.region, "kafka-configs.sh", "--bootstrap-server", base.REGION_KAFKA, "--entity-type", "topics",
                         "--entity-name", base.REGION_TOPIC, *asked)
