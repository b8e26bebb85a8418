"""A real Prometheus scrapes the real pods of both clusters: every metric of the book exists, every query of every panel and rule has data.

It collects as docs/src/dashboards.md says. The other way round too: what is scraped is in the book, with the labels that it lists. A query
of an alert is empty while all is well: there each series that it asks for must exist (a reason that nothing has, apart)."""
import os

from harness import artefacts, probe, queries, release
from harness.errors import NotYet
from harness.objects import pods_of, wait_verdict
from harness.prometheus import Prometheus
from harness.ui import say
from harness.wait import until

# A state that is told by its reason: only the one that stands is a series.
REASON = ("reason",)


def run(t):
    """See above."""
    folder = os.path.join(artefacts.folder("metrics"), "prometheus")
    with Prometheus(t.world, folder) as prometheus:
        scraped(t, prometheus)
        sent = probe.send(t.world, messages=20_000, rate=1000)
        sent.finish()
        probe.audit(t.world, sent, seconds=60)
        wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=60)
        book(t, prometheus)
        panels(t, prometheus)
        rules(t, prometheus)
        truth(t, prometheus, sent)


def scraped(t, prometheus):
    """Every pod of ours that serves metrics is a target, is up, and carries the labels that queries go by."""
    wanted = {}
    for site in t.world.sites:
        wanted.update({p["metadata"]["name"]: (site.name, None) for p in release.operator_pods(site)})
        for kind in ("BridgePipeline", "ReplicationLink"):
            for obj in site.kube.list(kind.lower(), site.namespace):
                name = obj["metadata"]["name"]
                wanted.update({p["metadata"]["name"]: (site.name, name) for p in pods_of(site, kind, name)})

    def check():
        targets = prometheus.targets()
        if set(targets) != set(wanted):
            raise NotYet(f"targets {sorted(targets)}, pods {sorted(wanted)}")
        for pod, target in targets.items():
            if target["health"] != "up":
                raise NotYet(f"{pod} is {target['health']}: {target['lastError']}")
        return targets
    targets = until("every pod is scraped", check, 60, remedy=f"see {prometheus.log}")
    t.expect(len(wanted) >= 4, "operators of both sites, a bridge and a replicator are among them", sorted(wanted))
    for pod, (site, name) in wanted.items():
        labels = targets[pod]["labels"]
        t.expect((labels["site"], labels.get("name")) == (site, name), f"{pod} is labelled with its site and object", labels)


def book(t, prometheus):
    """What the book lists is scraped with these labels and this type, and nothing else is."""
    listed = queries.documented()
    known = {name: labels for metric in listed for name, labels in metric.series().items()}
    everything = 'group by (__name__) ({job=~"tributary-.*"})'

    def check():
        there = {r["metric"]["__name__"] for r in prometheus.query(everything)}
        # What Prometheus adds of its own accord.
        ours = {name for name in there if name != "up" and not name.startswith(("scrape_", "ALERTS"))}
        if ours != set(known):
            raise NotYet(f"only in the book: {sorted(set(known) - ours)}; only scraped: {sorted(ours - set(known))}")
        return ours
    found = until("what is scraped is what the book lists", check, 60)
    for name in sorted(found):
        labels = set(prometheus.get("labels", match=name)) - {"__name__"}
        # An empty label is none: what does not stand still has no reason.
        if known[name] - labels - set(REASON) or labels - known[name] - queries.TARGET_LABELS:
            t.expect(False, f"{name} has the labels that the book lists", f"scraped: {sorted(labels)}, listed: {sorted(known[name])}")
    types = prometheus.get("metadata")
    for metric in listed:
        # Metadata goes by the family's name, without the suffix of its samples.
        told = types.get(metric.name) or types.get(metric.name.rsplit("_", 1)[0]) or [{}]
        if (told[0].get("type"), told[0].get("unit")) != (metric.type, metric.unit):
            t.expect(False, f"{metric.name} has the type and unit that the book lists", told)
    t.expect(True, f"{len(listed)} metrics: names, labels, types and units are those of the book")
    for site in t.world.sites:
        count = prometheus.value(f'count({{job="tributary-{site.name}"}})')
        say(f"{site.name}: {count:.0f} series from {len([p for p in prometheus.targets().values() if p['labels']['site'] == site.name])} pods")


def panels(t, prometheus):
    """Every query of every panel, and those behind the choices of variables, has data."""
    asked = queries.panel_queries() + queries.variable_queries()

    def check():
        empty = [query.where for query in asked if not prometheus.query(query.plain)]
        if empty:
            raise NotYet(f"{len(empty)} of {len(asked)} have no data: {'; '.join(empty[:5])}")
    until("every query of every panel has data", check, 120, every=3)
    t.expect(len(asked) > 50, f"{len(asked)} queries of panels and variables have data", len(asked))


def rules(t, prometheus):
    """Every rule was evaluated without error, and every series that one asks for exists."""
    def evaluated():
        groups = prometheus.get("rules", type="alert")["groups"]
        found = {rule["name"]: rule for group in groups for rule in group["rules"]}
        waiting = [name for name, rule in found.items() if rule["health"] == "unknown"]
        if waiting:
            raise NotYet(f"not evaluated yet: {', '.join(waiting)}")
        return found
    found = until("every rule was evaluated", evaluated, 60)
    listed = queries.alerts()
    t.expect(set(found) == {alert.name for alert in listed}, "Prometheus has the rules of the chart", sorted(found))
    for alert in listed:
        rule = found[alert.name]
        t.expect(rule["health"] == "ok", f"{alert.name} is evaluated", rule.get("lastError"))
        for selector in queries.parts(alert.query.plain).selectors:
            if not prometheus.query(selector.text(without=REASON)):
                t.expect(False, f"{alert.name}: {selector.text(without=REASON)} has data", "nothing")
    t.expect(True, "every series that a rule asks for exists")
    told = [f"{a['labels']['alertname']} ({a['state']})" for a in prometheus.get("alerts")["alerts"]]
    say(f"alerts at the moment: {', '.join(told) or 'none'}")


def truth(t, prometheus, sent):
    """Figures are those that others saw too: what the probe sent was received and carried, in a time that makes sense."""
    received = prometheus.value("sum(tributary_bridge_received_total)")
    t.expect(received >= sent.messages, "the bridge counts what the probe sent", received)
    carried = prometheus.value("sum(tributary_replicator_records_total)")
    t.expect(carried >= sent.messages, "the replicator counts what it carried", carried)
    for name in ("bridge", "replicator"):
        counted = prometheus.value(f"sum(tributary_{name}_latency_seconds_count)")
        t.expect(counted >= sent.messages, f"the {name} measured the latency of each", counted)
        buckets = f"sum by (le) (rate(tributary_{name}_latency_seconds_bucket[5m]))"
        p50, p99 = (prometheus.value(f"histogram_quantile({q}, {buckets})") for q in (0.5, 0.99))
        say(f"latency by the {name}'s histogram: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
        t.expect(0 < p50 <= p99 < 60, f"the {name}'s latency makes sense", (p50, p99))
