"""spec.paused makes an Application Suspended, for each kind; taken back, it is Healthy."""
from argo import apps

SITE = "manifests/sites/munich/kustomization.yaml"


def run(t):
    """See above."""
    good = t.fleet.repository.read(SITE)
    for kind in ("ReplicationLink", "BridgePipeline", "EdgeCluster"):
        patch = f"patches:\n  - target: {{kind: {kind}}}\n    patch: |-\n      - {{op: add, path: /spec/paused, value: true}}\n"
        t.fleet.repository.edit(SITE, "patches:\n", patch)
        revision = apps.commit(t.fleet, f"Munich: {kind} paused")
        apps.wait_health(t.fleet, t.munich, kind, "Suspended", ["Paused"])
        apps.wait_well(t.fleet, t.munich, revision, health="Suspended")
        apps.wait_well(t.fleet, t.munich, apps.restore(t.fleet, {SITE: good}, f"Munich: {kind} goes on"))
    apps.released(t.fleet, t.fleet.repository.head())
