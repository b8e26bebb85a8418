"""A wave stops when the canary degrades: the other factory keeps what it has, until a commit mends the canary; then both get it."""
from argo import apps
from harness.errors import NotYet
from harness.objects import seconds_of
from harness.wait import stays

EDGECLUSTER = "manifests/samples/factory/20-edgecluster.yaml"
DEAD = "    - {name: telemetry-dead, partitions: 1, replicas: 1}"
HELD_SECONDS = 60


def run(t):
    """See above."""
    good = t.fleet.repository.read(EDGECLUSTER)
    before = t.lyon.kube.need("edgecluster", "lyon", "factory")
    topic = f"refused-{t.fleet.repository.head()[:6]}"
    t.fleet.repository.edit(EDGECLUSTER, DEAD, f"{DEAD}\n    - {{name: {topic}, partitions: 1, replicas: 3}}")
    apps.commit(t.fleet, "A topic that one broker cannot hold")
    apps.wait_health(t.fleet, t.munich, "EdgeCluster", "Degraded", ["TopicRefused", topic])

    def held():
        now = t.lyon.kube.need("edgecluster", "lyon", "factory")
        app = apps.get(t.fleet, apps.name_of(t.lyon))
        if now["metadata"]["generation"] != before["metadata"]["generation"]:
            raise NotYet(f"lyon got it: {now['spec']['topics']}")
        if apps.wave(t.fleet, t.lyon) != "Waiting" or app["status"]["health"]["status"] != "Healthy":
            raise NotYet(f"{apps.wave(t.fleet, t.lyon)}; {apps.state(app)}")
    stays("lyon waits, and is well with what it has", held, HELD_SECONDS)
    t.fleet.repository.edit(EDGECLUSTER, f"{{name: {topic}, partitions: 1, replicas: 3}}", f"{{name: {topic}, partitions: 1, replicas: 1}}")
    revision = apps.commit(t.fleet, "A topic that one broker can hold")
    apps.wait_well(t.fleet, t.munich, revision)
    healthy_at = transition(t, t.munich)
    app = apps.wait_well(t.fleet, t.lyon, revision)
    started = seconds_of(app["status"]["operationState"]["startedAt"])
    t.expect(started >= healthy_at, "lyon's turn came when the canary was Healthy", (started, healthy_at))
    revision = apps.restore(t.fleet, {EDGECLUSTER: good}, "Without that topic (it is kept)")
    for site in (t.munich, t.lyon):
        apps.wait_well(t.fleet, site, revision)


def transition(t, site) -> float:
    """Since when a factory is in its present state of the roll-out."""
    found = t.fleet.hub.need("applicationset", "tributary-factories", "argocd")["status"]["applicationStatus"]
    return seconds_of(next(s["lastTransitionTime"] for s in found if s["application"] == apps.name_of(site)))
