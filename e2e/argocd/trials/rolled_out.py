"""A commit becomes running sites: operator, region and both factories are Synced, Healthy and as Git has them, and messages arrive.

Then a topic is added by a commit: the canary's Kafka has it, and once it is released the other factory's has it too."""
import time

from argo import apps
from harness import probe, toolbox
from harness.errors import NotYet
from harness.ui import say
from harness.wait import until

EDGECLUSTER = "manifests/samples/factory/20-edgecluster.yaml"
DEAD = "    - {name: telemetry-dead, partitions: 1, replicas: 1}"


def run(t):
    """See above."""
    revision = t.fleet.repository.head()
    for site in (t.munich, t.fleet.region, t.lyon):
        until(f"operator-{site.name} is Synced and Healthy", lambda s=site: apps.is_well(t.fleet, f"operator-{s.name}", revision), 300)
    for site in (t.fleet.region, t.munich, t.lyon):
        apps.wait_well(t.fleet, site, revision, seconds=300)
    t.fleet.toolboxes()
    topic_added(t, revision)
    for site, line in ((t.munich, "body"), (t.lyon, "press")):
        arrives(t, site, line)


def topic_added(t, revision):
    """The daily bread."""
    topic = f"orders-{revision[:6]}"
    t.fleet.repository.edit(EDGECLUSTER, DEAD, f"{DEAD}\n    - {{name: {topic}, partitions: 3, replicas: 1}}")
    head = ""
    lyons = "lyon-kafka.factory.svc:9092"
    for site, what, move in ((t.munich, "push", lambda: apps.commit(t.fleet, f"Topic {topic}")), (t.lyon, "release", lambda: apps.promote(t.fleet))):
        if site is t.lyon:
            t.expect(topic not in toolbox.kafka(t.lyon, "kafka-topics.sh", "--bootstrap-server", lyons, "--list").split(),
                     "lyon does not have it before it is released")
        began = time.monotonic()
        move()
        head = head or t.fleet.repository.head()
        apps.wait_well(t.fleet, site, head)
        say(f"{site.name}: from the {what} to Synced and Healthy in {time.monotonic() - began:.1f} s")
        ends = toolbox.end_offsets(site, f"{site.name}-kafka.factory.svc:9092", topic)
        t.expect(sorted(ends) == [0, 1, 2], f"{site.name}: Kafka has the topic with three partitions", ends)
    apps.wait_well(t.fleet, t.fleet.region, head)


def arrives(t, site, line):
    """Messages through a factory that Argo CD made, audited at the region."""
    world = t.fleet.worlds[site.name]
    sent = probe.send(world, messages=4000, rate=1000, topic=f"factory/{line}/dev{{device}}/telemetry")
    sent.finish()

    def check():
        code, report = probe.audit_once(world, t.fleet.region, "eu-kafka.region.svc:9092", f"{site.name}.telemetry", sent, seconds=60)
        if code != 0:
            raise NotYet(str({k: report[k] for k in ("acked", "received", "lost")}))
        return report
    report = until(f"{site.name}: all messages are in the region", check, 120)
    t.expect(report["received"] >= report["acked"] > 0, f"{site.name}: what was acknowledged arrived", report["acked"])
