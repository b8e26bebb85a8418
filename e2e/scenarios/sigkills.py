"""Bridge and replicator are SIGKILLed 20 times each, from the node, with records in flight, under 2,000 msg/s: 0 lost at the region."""
from harness import probe
from harness.faults import Killer
from harness.objects import pods_of, progress, seconds_of, wait_condition, wait_verdict
from harness.ui import say

KILLS, RATE = 20, 2000


def run(t):
    """See above."""
    bridge = pods_of(t.factory, "BridgePipeline", "machines")[0]["metadata"]["name"]
    link = pods_of(t.factory, "ReplicationLink", "to-eu")[0]["metadata"]["name"]
    sent = probe.send(t.world, messages=2_000_000, rate=RATE)
    killers = [Killer(t.factory, bridge, "", KILLS, lambda since: works(t, bridge, since, lambda p: p["counters"]["acknowledged"])),
               Killer(t.factory, link, "", KILLS, lambda since: works(t, link, since, lambda p: p["totals"]["records"]))]
    for killer in killers:
        killer.start()
    for killer in killers:
        killer.join(600)
    bridge_kills, link_kills = (k.finish() for k in killers)
    sent.stop()
    t.expect(len(bridge_kills) >= KILLS and len(link_kills) >= KILLS, f"{KILLS} kills of each", (len(bridge_kills), len(link_kills)))
    wait_condition(t.factory, "bridgepipeline", "machines", "Ready", seconds=60)
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=180)
    report = probe.audit(t.world, sent, seconds=120)
    t.expect(report["lost"] == 0, "nothing is lost", report)
    say(f"{len(bridge_kills)} + {len(link_kills)} kills, {report['acked']} acknowledged, 0 lost, {report['duplicates']} duplicates, "
        f"{report['outOfOrder']} out of order")


def works(t, pod, since, count) -> bool:
    """Whether the process was started after the last kill and has carried records: at this rate, more are in flight at any moment."""
    seen = progress(t.factory, pod)
    return bool(seen) and seconds_of(seen["startedAt"]) > since - 1 and count(seen) >= 200
