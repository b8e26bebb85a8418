"""A broker of three is SIGKILLed under load, and the factory's only broker too: nothing is lost, the operator restarts nobody else."""
import time

from harness import probe
from harness.faults import kill_when_running
from harness.objects import condition, pods_of, uids, wait_all_brokers, wait_condition, wait_verdict
from harness.errors import NotYet
from harness.wait import until


def run(t):
    """See above."""
    before = {site.name: uids(pods_of(site, "EdgeCluster", name)) for site, name in ((t.region, "eu"), (t.factory, "munich"))}
    sent = probe.send(t.world, messages=60_000, rate=1000)
    time.sleep(5)
    t.step("killing a broker of three")
    kill_when_running(t.region, "region", "eu-kafka-1", "kafka")
    noticed(t, t.region, "eu")
    wait_all_brokers(t.region, "eu", seconds=120)
    wait_condition(t.region, "edgecluster", "eu", "PartitionsHealthy", seconds=120)
    wait_condition(t.region, "edgecluster", "eu", "Ready", seconds=60)
    t.step("killing the factory's only broker")
    kill_when_running(t.factory, "factory", "munich-kafka-0", "kafka")
    wait_condition(t.factory, "edgecluster", "munich", "Ready", seconds=120)
    sent.finish()
    wait_condition(t.factory, "bridgepipeline", "machines", "Ready", seconds=60)
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=120)
    report = probe.audit(t.world, sent, seconds=120)
    t.expect(report["lost"] == 0, "nothing is lost", report)
    for site, name in ((t.region, "eu"), (t.factory, "munich")):
        t.expect(uids(pods_of(site, "EdgeCluster", name)) == before[site.name], f"no pod of {name} was replaced", before)


def noticed(t, site, name):
    """The status tells it while it lasts."""
    def check():
        obj = site.kube.need("edgecluster", name, site.namespace)
        healthy, ready = condition(obj, "PartitionsHealthy"), obj["status"].get("readyBrokers")
        if healthy["status"] == "True" and ready == "3/3":
            raise NotYet("the status still says that all is well")
    until(f"edgecluster/{name} shows that a broker is missing", check, 30, every=0.5)
