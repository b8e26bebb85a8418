"""The operator is SIGKILLed in the middle of a roll and goes on where it was; an upgrade of the operator alone restarts no broker."""
import os

from harness import probe, release, sites
from harness.errors import NotYet
from harness.faults import kill_when_running
from harness.objects import pods_of, uids, wait_condition, wait_verdict
from harness.process import CLUSTER, run as command, target_dir
from harness.wait import until

from roll import rolled, setting


def run(t):
    """See above."""
    killed_in_a_roll(t)
    upgraded(t)


def killed_in_a_roll(t):
    """Whatever it had done is seen in Kafka and in the pods; nothing else counts."""
    before = uids(pods_of(t.region, "EdgeCluster", "eu"))
    setting(t, "queued.max.requests", "800")

    def half_way():
        now = uids(pods_of(t.region, "EdgeCluster", "eu"))
        new = [p for p, uid in before.items() if now.get(p) != uid]
        if not new:
            raise NotYet("no broker was replaced yet")
        return new
    until("the roll has begun", half_way, 60, every=0.3)
    pod = release.operator_pods(t.region)[0]["metadata"]["name"]
    kill_when_running(t.region, sites.SYSTEM, pod, "operator")
    rolled(t, before, 240)
    after = uids(pods_of(t.region, "EdgeCluster", "eu"))
    setting(t, "queued.max.requests", None)
    rolled(t, after, 240)


def upgraded(t):
    """The same program under another tag: the helper image of every pod changes, and only what may move does."""
    archive = os.path.join(target_dir(), "images", "tributary-next.tar")
    command("load the next image", [CLUSTER, "load", archive], timeout=120)
    sent = probe.send(t.world, messages=120_000, rate=1000)
    before = {site.name: uids(pods_of(site, "EdgeCluster", name)) for site, name in ((t.factory, "munich"), (t.region, "eu"))}
    try:
        for site in t.world.sites:
            release.install(t.world, site, ["--set", "image.tag=next"])
        moved(t, "next")
        for site, name in ((t.factory, "munich"), (t.region, "eu")):
            wait_condition(site, "edgecluster", name, "Ready", seconds=60)
            t.expect(uids(pods_of(site, "EdgeCluster", name)) == before[site.name], f"no broker of {name} was restarted", before)
    finally:
        for site in t.world.sites:
            release.install(t.world, site)
    moved(t, t.world.images["tributary"].rpartition(":")[2])
    sent.stop()
    wait_condition(t.factory, "bridgepipeline", "machines", "Ready", seconds=90)
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=120)
    report = probe.audit(t.world, sent, seconds=120)
    t.expect(report["lost"] == 0, "nothing is lost by bridge and replicator moving to the new image", report)


def moved(t, tag):
    """Bridge and link run the operator's own image."""
    def check():
        for kind, name in (("BridgePipeline", "machines"), ("ReplicationLink", "to-eu")):
            images = [c["image"] for p in pods_of(t.factory, kind, name) for c in p["spec"]["containers"]]
            if not images or any(not i.endswith(":" + tag) for i in images):
                raise NotYet(f"{name} runs {images}")
    until(f"bridge and link run the image {tag}", check, 120)
