"""A spec that cannot work makes its Application Degraded with our words; what the API server refuses stays OutOfSync with its words.

Mended by a commit both are Healthy again, without a hand on the cluster; the other factory notices nothing."""
from argo import apps
from harness.errors import NotYet
from harness.wait import until

SITE = "manifests/sites/munich/kustomization.yaml"
FIRST = "      - op: replace\n        path: /spec/mqtt/subscriptions\n"


def run(t):
    """See above."""
    good = t.fleet.repository.read(SITE)
    for words, broken in (("{unknown}", '/spec/routes/0/key, value: "{unknown}"'), ("elsewhere", '/spec/routes/0/match, value: "elsewhere/{line}"')):
        change(t, broken)
        revision = apps.commit(t.fleet, f"Munich: a route with {words}")
        app = apps.wait_health(t.fleet, t.munich, "BridgePipeline", "Degraded", ["InvalidSpec", words])
        t.expect(app["status"]["sync"] == {**app["status"]["sync"], "status": "Synced", "revision": revision}, "it is Synced: the file is in the cluster",
                 app["status"]["sync"])
        apps.wait_well(t.fleet, t.lyon, t.fleet.repository.released())
        mended(t, good)
    change(t, "/spec/mqtt/subscriptions/0/qos, value: 2", last=True)
    apps.commit(t.fleet, "Munich: a quality of service that there is not")
    said = until("the API server's refusal is in the Application", lambda: refusal(t), 120)
    t.expect("qos" in said, "it names the field", said)
    said = apps.promote(t.fleet, "--timeout", "3", status=1)
    t.expect("factory-munich: OutOfSync" in said and "qos" in said, "and so does the script that does not release it", said)
    mended(t, good)


def change(t, what, last=False):
    """Add one change to the site's patch; `last` after the others, which it changes."""
    line = f"      - {{op: replace, path: {what}}}\n"
    if last:
        t.fleet.repository.edit(SITE, "images:", f"{line}images:")
    else:
        t.fleet.repository.edit(SITE, FIRST, line + FIRST)


def refusal(t) -> str:
    """What a sync that goes wrong says."""
    app = apps.get(t.fleet, apps.name_of(t.munich))
    operation = app["status"].get("operationState", {})
    words = " ".join([operation.get("message", ""), *[r.get("message", "") for r in operation.get("syncResult", {}).get("resources", [])]])
    if app["status"]["sync"]["status"] != "OutOfSync" or "BridgePipeline" not in words:
        raise NotYet(apps.state(app))
    return words


def mended(t, good):
    """Git as it was."""
    apps.released(t.fleet, apps.restore(t.fleet, {SITE: good}, "Munich: as before"))
