"""The line to one factory is cut: it waits and does not claim to be well, the other goes on; the line back, it gets what Git has by then.

A canary that is cut holds the others back, as the docs say."""
import time

from argo import apps
from harness.errors import NotYet
from harness.objects import wait_verdict
from harness.ui import say
from harness.wait import stays, until

BRIDGE = "manifests/samples/factory/30-bridgepipeline.yaml"
HEADERS = "      headers: {site: munich}"
# A status is good for 180 s.
STALE_SECONDS = 190


def run(t):
    """See above."""
    good = t.fleet.repository.read(BRIDGE)
    try:
        cut_at = time.monotonic()
        t.fleet.cut(t.lyon)
        wait_verdict(t.lyon, "replicationlink", "to-eu", "Disconnected", seconds=60)
        for number in (1, 2):
            revision = changed(t, good, number)
            apps.promote(t.fleet)
            apps.wait_well(t.fleet, t.munich, revision)
        stays("lyon waits", lambda: waiting(t, t.lyon, revision), 20)
        time.sleep(max(0.0, STALE_SECONDS - (time.monotonic() - cut_at)))
        apps.refresh(t.fleet)
        until("lyon does not claim to be well", lambda: doubtful(t), 120)
        wait_verdict(t.lyon, "replicationlink", "to-eu", "Disconnected", seconds=30)
    finally:
        t.fleet.mend(t.lyon)
    mended_at = time.monotonic()
    apps.refresh(t.fleet)
    apps.wait_well(t.fleet, t.lyon, revision, seconds=300)
    say(f"lyon had what Git has {time.monotonic() - mended_at:.0f} s after the line was back")
    wait_verdict(t.lyon, "replicationlink", "to-eu", "InSync", seconds=120)
    canary(t, good)


def canary(t, good):
    """The canary is cut."""
    before = t.lyon.kube.need("bridgepipeline", "machines", "factory")["metadata"]["generation"]
    try:
        t.fleet.cut(t.munich)
        revision = changed(t, good, 3)
        said = apps.promote(t.fleet, "--timeout", "45", status=1)
        # Whichever it says when the script looks: not compared with the new commit yet, compared and not synced, or not to be compared.
        hindered = "it is at" in said or "OutOfSync" in said or "ComparisonError" in said
        t.expect("factory-munich: " in said and hindered, "the script says that the canary has not got it", said)
        now = t.lyon.kube.need("bridgepipeline", "machines", "factory")["metadata"]["generation"]
        t.expect(now == before, "lyon waits for the canary", (before, now))
    finally:
        t.fleet.mend(t.munich)
    apps.refresh(t.fleet)
    apps.wait_well(t.fleet, t.munich, revision, seconds=300)
    apps.released(t.fleet, revision)
    apps.released(t.fleet, apps.restore(t.fleet, {BRIDGE: good}, "Without that header"))


def changed(t, good, number) -> str:
    """A commit that concerns both factories."""
    t.fleet.repository.write(BRIDGE, good.replace(HEADERS, f"      headers: {{site: munich, change: \"{number}\"}}"))
    return apps.commit(t.fleet, f"A header, for the {number}. time")


def waiting(t, site, revision):
    """Its Application is not yet at a revision."""
    app = apps.get(t.fleet, apps.name_of(site))
    sync = app["status"]["sync"]
    if sync["status"] == "Synced" and sync["revision"] == revision:
        raise NotYet(f"it says that it has it: {apps.state(app)}")


def doubtful(t):
    """Not Healthy, or an error beside it. OutOfSync it is anyway, for there is a commit that it has not got: that says nothing of how it is.
    What Argo CD judges is the last that its cache saw, whose status is too old by now; or it cannot compare at all."""
    app = apps.get(t.fleet, apps.name_of(t.lyon))
    status = app["status"]
    errors = [c for c in status.get("conditions", []) if c["type"].endswith("Error")]
    if status["health"]["status"] == "Healthy" and not errors:
        raise NotYet(apps.state(app))
    say(f"lyon: {apps.state(app)}; {apps.resource_health(app, 'ReplicationLink')}")
