"""At rest and under load no Application is ever OutOfSync and nothing of ours makes Argo CD compare: its own metrics count it.

Also with its ignoring of /status switched off: then each refresh of a status starts one comparison, and still none is OutOfSync."""
import os
import re
import time

from argo import apps
from argo.instance import NAMESPACE, RESYNC_SECONDS
from harness import probe
from harness.errors import StepFailed
from harness.ui import say

SECONDS = float(os.environ.get("QUIET_SECONDS", "600"))
APPS_PER_SITE = 2
OBJECTS = {"munich": 3, "lyon": 3, "eu": 1}
CAUSED = re.compile(r"Requesting app refresh caused by object update")


def by_clock(seconds):
    """Comparisons of one Application by Argo CD's own clock: one each 120 to 300 s, for a turn is skipped when its jitter (0 to 60 s) made it
    shorter than the one before. One more for where it begins and ends."""
    return seconds / RESYNC_SECONDS + 1


def run(t):
    """See above."""
    revision = t.fleet.repository.head()
    for site in t.fleet.sites:
        apps.wait_well(t.fleet, site, revision)
    watched(t, "at rest", SECONDS)
    loaded(t, lambda: watched(t, "under load", SECONDS), SECONDS)
    for site in t.fleet.sites:
        apps.wait_well(t.fleet, site, revision)
    unignored(t)


def loaded(t, action, seconds):
    """Do something while messages come to both factories."""
    running = [probe.send(t.fleet.worlds[site.name], messages=int((seconds + 60) * 500), rate=500, topic=f"factory/{line}/dev{{device}}/telemetry")
               for site, line in ((t.munich, "body"), (t.lyon, "press"))]
    try:
        action()
    finally:
        for sent in running:
            sent.stop()


def watched(t, what, seconds, bound=None):
    """Watch all Applications for so long; the bound is of comparisons for each site."""
    before, mark = t.fleet.argo.reconciles(), log_size(t)
    with apps.Watch(t.fleet) as watch:
        time.sleep(seconds)
    after = t.fleet.argo.reconciles()
    t.expect(len(watch.seen) >= 6, f"{what}: the watch saw the Applications", watch.seen[:3])
    wrong = watch.other_than("Synced", ("Healthy",))
    t.expect(not wrong, f"{what}: every Application was Synced and Healthy for {seconds:.0f} s", wrong[:5])
    causes = caused(t, mark)
    for site in t.fleet.sites:
        server = t.fleet.server(site)
        count = after.get(server, 0) - before.get(server, 0)
        say(f"{what}: {site.name}: {count:.0f} comparisons of {APPS_PER_SITE} Applications in {seconds:.0f} s, "
            f"{count / APPS_PER_SITE * 3600 / seconds:.0f} an hour each")
        t.expect(count > 0, f"{what}: {site.name}: the counter counts", after)
        limit = bound(site) if bound else APPS_PER_SITE * by_clock(seconds)
        t.expect(count <= limit, f"{what}: {site.name}: no more comparisons than {limit:.0f}", (count, causes[:5]))
    if not bound:
        t.expect(not causes, f"{what}: no object of ours caused a comparison", causes[:3])


def log_size(t) -> int:
    """How long the controller's log is."""
    return os.path.getsize(t.fleet.argo.processes.log("application-controller"))


def caused(t, mark) -> list:
    """What the controller says of comparisons for a changed object, since a place in its log."""
    with open(t.fleet.argo.processes.log("application-controller"), "rb") as f:
        f.seek(mark)
        return [line for line in f.read().decode(errors="replace").splitlines() if CAUSED.search(line)]


def unignored(t):
    """With resource.ignoreResourceUpdatesEnabled false."""
    def setting(value):
        t.fleet.hub.patch("configmap", "argocd-cm", NAMESPACE, {"data": {"resource.ignoreResourceUpdatesEnabled": value}})
        t.fleet.argo.start_controller()
        for site in t.fleet.sites:
            apps.wait_well(t.fleet, site, t.fleet.repository.head())
    def bound(factor):
        # Each status is written once a minute. At rest a figure that rounds to something else may add to it; under load one of a factory's
        # three objects, whose figures change with every sample (each 10 s), may be written six times a minute: 6 + 1 + 1 of 3 x 3.
        return lambda site: APPS_PER_SITE * by_clock(SECONDS) + OBJECTS[site.name] * (SECONDS / 60 + 1) * factor
    setting("false")
    try:
        mark = log_size(t)
        watched(t, "at rest, /status not ignored", SECONDS, bound(2))
        loaded(t, lambda: watched(t, "under load, /status not ignored", SECONDS, bound(3)), SECONDS)
        if not caused(t, mark):
            raise StepFailed("without ignoring /status", "no comparison was caused by an object", "the setting did nothing: this proves nothing")
    finally:
        setting(None)
