"""What someone edits or deletes of the operator's objects comes back, and no pod restarts for it."""
from harness.errors import NotYet
from harness.objects import owned, pods_of, restarts, uids
from harness.wait import until

OBJECTS = [("EdgeCluster", "munich"), ("BridgePipeline", "machines"), ("ReplicationLink", "to-eu")]
KINDS = ["service", "configmap", "networkpolicy", "statefulset", "poddisruptionbudget"]
KEPT = "-identity"      # the identity record is not restored: absence is not a command (see volume_emptied)
# Below the minute in which the operator looks at everything anyway: what happens here is what its watches are for.
LIMIT = 40


def run(t):
    """See above."""
    before = {name: pods_of(t.factory, kind, name) for kind, name in OBJECTS}
    for kind, name in OBJECTS:
        t.expect(bool(before[name]), f"{kind}/{name} has pods", before)
        seen = 0
        for what in KINDS:
            for obj in owned(t.factory, kind, name, what):
                if not obj["metadata"]["name"].endswith(KEPT):
                    deleted(t, what, obj)
                    edited(t, what, obj)
                    seen += 1
        t.expect(seen >= 3, f"{kind}/{name} owns at least a StatefulSet, a ConfigMap and a NetworkPolicy", seen)
    for kind, name in OBJECTS:
        after = pods_of(t.factory, kind, name)
        t.expect(uids(after) == uids(before[name]) and restarts(after) == restarts(before[name]), f"no pod of {kind}/{name} restarted",
                 {"before": uids(before[name]), "after": uids(after)})


def deleted(t, what, obj):
    """Delete one; pods stay because children are orphaned."""
    name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
    t.factory.kube("delete", what, name, "-n", namespace, "--cascade=orphan", "--wait=false")

    def back():
        again = t.factory.kube.need(what, name, namespace)
        if again["metadata"]["uid"] == obj["metadata"]["uid"]:
            raise NotYet("not yet deleted")
        if again.get("spec") and what in ("networkpolicy",) and again["spec"] != obj["spec"]:
            raise NotYet("it is back with another content")
    until(f"{what}/{name}, deleted, is back", back, LIMIT)


def edited(t, what, obj):
    """Change one field that the operator set."""
    name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
    relabelled = {"metadata": {"labels": {"tributary.dev/name": "x"}}}
    patch = {"configmap": lambda: relabelled if obj.get("immutable") else {"data": {key: "edited" for key in obj.get("data", {})}},
             "service": lambda: {"spec": {"selector": {"edited": "yes"}}},
             "networkpolicy": lambda: {"spec": {"ingress": [{}]}},
             "statefulset": lambda: {"spec": {"replicas": 0}} if obj["spec"]["replicas"] > 1 else relabelled,
             "poddisruptionbudget": lambda: {"spec": {"maxUnavailable": 5}}}[what]()
    wanted = t.factory.kube.need(what, name, namespace)
    if what == "service":
        wanted_part, part = wanted["spec"].get("selector"), lambda o: o["spec"].get("selector")
    else:
        part = lambda o: {k: o.get(k) for k in ("data", "spec")} | {"labels": o["metadata"].get("labels")}       # noqa: E731
        wanted_part = part(wanted)
    t.factory.kube.patch(what, name, namespace, patch)

    def mended():
        now = part(t.factory.kube.need(what, name, namespace))
        if now != wanted_part:
            raise NotYet("still edited")
    until(f"{what}/{name}, edited, is as before", mended, LIMIT)
