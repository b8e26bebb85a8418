"""A wave stops when the canary degrades: it is not released, and what somebody releases by hand all the same is held back by RollingSync.

Each time until a commit mends the canary; then both factories get it."""
from argo import apps
from harness.errors import NotYet
from harness.objects import seconds_of
from harness.wait import stays, until

EDGECLUSTER = "manifests/samples/factory/20-edgecluster.yaml"
DEAD = "    - {name: telemetry-dead, partitions: 1, replicas: 1}"
HELD_SECONDS = 60
SOAK_SECONDS = 10


def run(t):
    """See above."""
    good = t.fleet.repository.read(EDGECLUSTER)
    generation = generation_of(t)
    topic = f"refused-{t.fleet.repository.head()[:6]}"
    before = t.fleet.repository.released()
    t.fleet.repository.edit(EDGECLUSTER, DEAD, f"{DEAD}\n    - {{name: {topic}, partitions: 1, replicas: 3}}")
    bad = apps.commit(t.fleet, "A topic that one broker cannot hold")
    apps.wait_health(t.fleet, t.munich, "EdgeCluster", "Degraded", ["TopicRefused", topic])
    not_promoted(t, topic, before)
    by_hand(t, bad, before, generation)
    mended(t, topic)
    apps.released(t.fleet, apps.restore(t.fleet, {EDGECLUSTER: good}, "Without that topic (it is kept)"))


def generation_of(t) -> int:
    """Of lyon's EdgeCluster: it changes when a commit gets there."""
    return t.lyon.kube.need("edgecluster", "lyon", "factory")["metadata"]["generation"]


def not_promoted(t, topic, before):
    """The script says why, and moves nothing."""
    said = apps.promote(t.fleet, "--timeout", "5", status=1)
    t.expect("factory-munich: Synced, Degraded" in said and topic in said, "it says what is wrong with the canary", said)
    t.expect(t.fleet.repository.released() == before, "nothing was released", before)
    apps.wait_well(t.fleet, t.lyon, before, as_git_has_it=False)


def by_hand(t, bad, before, generation):
    """Somebody moves the branch himself: RollingSync holds the factory back, and taken back it is as if nothing had been."""
    t.fleet.repository.push_released(bad)
    apps.refresh(t.fleet)

    def sees_it():
        if apps.wave(t.fleet, t.lyon) != "Waiting":
            raise NotYet(f"{apps.wave(t.fleet, t.lyon)}; {apps.state(apps.get(t.fleet, apps.name_of(t.lyon)))}")
    until("lyon's Application sees what was released, and waits", sees_it, 60)

    def held():
        app = apps.get(t.fleet, apps.name_of(t.lyon))
        if generation_of(t) != generation:
            raise NotYet("lyon got it")
        if apps.wave(t.fleet, t.lyon) != "Waiting" or app["status"]["health"]["status"] != "Healthy":
            raise NotYet(f"{apps.wave(t.fleet, t.lyon)}; {apps.state(app)}")
    stays("lyon waits, and is well with what it has", held, HELD_SECONDS)
    t.fleet.repository.push_released(before, force=True)
    apps.refresh(t.fleet)
    apps.wait_well(t.fleet, t.lyon, before, as_git_has_it=False)
    t.expect(generation_of(t) == generation, "taken back, it is as if nothing had been", generation)


def mended(t, topic):
    """One more commit: the canary first, then, released after its time, everyone."""
    t.fleet.repository.edit(EDGECLUSTER, f"{{name: {topic}, partitions: 1, replicas: 3}}", f"{{name: {topic}, partitions: 1, replicas: 1}}")
    revision = apps.commit(t.fleet, "A topic that one broker can hold")
    # Begun at once: it waits for the canary itself.
    said = apps.promote(t.fleet, "--soak", str(SOAK_SECONDS))
    t.expect(f"released {revision[:7]}" in said and f"looking on for {SOAK_SECONDS} s" in said, "it was released after the canary's time", said)
    canary = apps.wait_well(t.fleet, t.munich, revision)
    app = apps.wait_well(t.fleet, t.lyon, revision)
    started = {a["metadata"]["name"]: seconds_of(a["status"]["operationState"]["startedAt"]) for a in (canary, app)}
    t.expect(started["factory-lyon"] >= started["factory-munich"] + SOAK_SECONDS, "lyon's turn came after the canary's time", started)
