"""At rest each object's status is written at most once a minute, is never older than that, and no owned object is touched."""
import time

from harness.objects import KINDS, observed_at
from harness.ui import say

SECONDS = 150


def run(t):
    """See above."""
    seen, writes, oldest = {}, {}, 0.0
    generations = children(t)
    started = time.time()
    while time.time() - started < SECONDS:
        for site in t.world.sites:
            for kind in KINDS:
                for obj in site.kube.list(kind, site.namespace):
                    key, version = f"{kind}/{obj['metadata']['name']}", obj["metadata"]["resourceVersion"]
                    if key in seen and seen[key] != version:
                        writes[key] = writes.get(key, 0) + 1
                    seen[key] = version
                    oldest = max(oldest, time.time() - observed_at(obj))
        time.sleep(2)
    say(f"writes in {SECONDS} s: {writes}; oldest status {oldest:.0f} s")
    for key in seen:
        t.expect(writes.get(key, 0) <= SECONDS // 60 + 1, f"{key} was written at most once a minute", writes)
    t.expect(oldest < 75, "no status was older than a minute (and a poll)", oldest)
    t.expect(children(t) == generations, "no owned object was written", {})


def children(t) -> dict:
    """Resource versions of what the operator made, pods and their status left out."""
    found = {}
    for site in t.world.sites:
        for what in ("service", "configmap", "networkpolicy"):
            for obj in site.kube.list(what, site.namespace, "app.kubernetes.io/managed-by=tributary"):
                found[f"{site.name}/{what}/{obj['metadata']['name']}"] = obj["metadata"]["resourceVersion"]
    return found
