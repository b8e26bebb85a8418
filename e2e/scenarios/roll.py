"""A changed setting rolls three brokers one at a time under load, and waits, saying why, while a broker is missing.

At no moment are two brokers away, each pod is replaced once, nothing is lost; with a broker that cannot start nobody is restarted and the
status names who waits for what."""
import threading
import time

from harness import probe
from harness.errors import NotYet, StepFailed
from harness.objects import condition, pods_of, uids, wait_all_brokers, wait_condition, wait_verdict
from harness.wait import stays, until


def run(t):
    """See above."""
    under_load(t)
    with_a_broker_missing(t)


def under_load(t):
    """The ordinary roll."""
    before = uids(pods_of(t.region, "EdgeCluster", "eu"))
    sent = probe.send(t.world, messages=90_000, rate=1000)
    watch = Watch(t.region, "eu")
    watch.start()
    setting(t, "queued.max.requests", "600")
    rolled(t, before, 240)
    watch.finish()
    t.expect(watch.most_away == 1, "one broker at a time", watch.most_away)
    sent.stop()
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=120)
    report = probe.audit(t.world, sent, seconds=120)
    t.expect(report["lost"] == 0, "nothing is lost", report)


def with_a_broker_missing(t):
    """Fail closed: broker 2 cannot be scheduled, so that another restart would leave one in-sync replica."""
    node = t.region.kube.list("node")[0]["metadata"]["name"]
    t.region.kube("cordon", node)
    try:
        t.region.kube.delete("pod", "eu-kafka-2", "region", wait=False)

        def missing():
            pod = t.region.kube.need("pod", "eu-kafka-2", "region")
            if pod["status"].get("phase") != "Pending":
                raise NotYet("it still runs")
        until("eu-kafka-2 is Pending", missing, 90)
        before = uids(pods_of(t.region, "EdgeCluster", "eu"))
        setting(t, "queued.max.requests", "700")

        def waits():
            obj = t.region.kube.need("edgecluster", "eu", "region")
            waiting = {b["id"]: b.get("waitingFor", "") for b in obj["status"].get("brokers", [])}
            if condition(obj, "UpToDate")["status"] != "False" or not (waiting.get(0) and waiting.get(1)):
                raise NotYet(f"UpToDate={condition(obj, 'UpToDate')['status']}, waiting {waiting}")
            return waiting
        waiting = until("status says who waits and why", waits, 60)
        t.step(f"broker 0 waits for: {waiting[0]}")

        def untouched():
            now = uids(pods_of(t.region, "EdgeCluster", "eu"))
            if any(now.get(p) != before[p] for p in ("eu-kafka-0", "eu-kafka-1")):
                raise StepFailed("roll with a broker missing", f"a broker was restarted: {before} became {now}", "law 4: fail closed")
        stays("no broker is restarted", untouched, 30)
    finally:
        t.region.kube("uncordon", node)
    rolled(t, before, 240)
    setting(t, "queued.max.requests", None)
    wait_condition(t.region, "edgecluster", "eu", "UpToDate", seconds=240)
    wait_all_brokers(t.region, "eu")
    wait_condition(t.region, "edgecluster", "eu", "Ready", seconds=60)


def setting(t, key, value):
    """Change one broker setting in the spec."""
    t.region.kube.patch("edgecluster", "eu", "region", {"spec": {"config": {key: value}}})


def rolled(t, before, seconds):
    """Every pod is another one, and all is well."""
    def check():
        now = uids(pods_of(t.region, "EdgeCluster", "eu"))
        old = [p for p, uid in before.items() if now.get(p) == uid]
        if old or len(now) < len(before):
            obj = t.region.kube.need("edgecluster", "eu", "region")
            raise NotYet(f"still old: {', '.join(sorted(old))}; {[b.get('waitingFor') for b in obj['status'].get('brokers', [])]}")
    until("all brokers were replaced", check, seconds)
    wait_condition(t.region, "edgecluster", "eu", "UpToDate", seconds=120)
    wait_all_brokers(t.region, "eu")
    wait_condition(t.region, "edgecluster", "eu", "Ready", seconds=60)
    wait_condition(t.region, "edgecluster", "eu", "PartitionsHealthy", seconds=60)


class Watch(threading.Thread):
    """Counts how many brokers are away at the same time."""

    def __init__(self, site, name):
        super().__init__(daemon=True)
        self.site, self.name, self.most_away, self.ended, self.problem = site, name, 0, threading.Event(), None

    def run(self):
        """The thread."""
        try:
            while not self.ended.is_set():
                pods = pods_of(self.site, "EdgeCluster", self.name)
                ready = [p for p in pods if not p["metadata"].get("deletionTimestamp")
                         and all(s.get("ready") for s in p["status"].get("containerStatuses", [{}]))]
                self.most_away = max(self.most_away, 3 - len(ready))
                time.sleep(0.3)
        except StepFailed as e:
            self.problem = e

    def finish(self):
        """End it."""
        self.ended.set()
        self.join(30)
        if self.problem:
            raise self.problem


