"""Helm installs the operator in both clusters, every file of the samples is taken by the API server, and all becomes Ready.

Also: what `kubectl get` prints, restricted pods everywhere, no token in data-plane pods, and that the chart's rights are exactly what the
operator needs. (That none is missing is looked at after every scenario.)"""
import os

from harness import release, sites
from harness.objects import KINDS, condition, pods_of, table
from harness.process import ROOT
from harness.ui import plain


def run(t):
    """See above."""
    for site in t.world.sites:
        dry_run(t, site)
    plain(table(t.factory))
    for site in t.world.sites:
        for kind in KINDS:
            for obj in site.kube.list(kind, site.namespace):
                for wrong in ("Reconciling", "Stalled"):
                    t.expect(condition(obj, wrong)["status"] == "Absent", f"{kind}/{obj['metadata']['name']} has no {wrong}", condition(obj, wrong))
        pods_are_restricted(t, site)
        t.expect(release.leader(site) != "", f"the operator in {site.name} leads by a Lease")
    rights_are_bounded(t)
    columns(t)


def dry_run(t, site):
    """Every manifest of the repository that fits to this cluster."""
    for folder in ("crds", "manifests/samples/factory", "manifests/samples/region"):
        path = os.path.join(ROOT, folder)
        files = [a for n in sorted(os.listdir(path)) if n.endswith(".yaml") for a in ("-f", os.path.join(path, n))]
        namespace = os.path.basename(folder)
        if namespace in ("factory", "region"):
            # A dry run creates no namespace for what comes after it.
            site.kube("create", "namespace", namespace, check=False)
        site.kube("apply", "--server-side", "--field-manager=dry-run", "--force-conflicts", "--dry-run=server", *files)
        t.expect(True, f"{site.name}: the API server takes {folder}")
    # A site's objects have fields that cannot change: where the samples are, the API server would compare with those.
    places = {name: "region" if name == "eu" else "factory" for name in sorted(os.listdir(os.path.join(ROOT, "manifests", "sites")))}
    folders = [f"sites/{name}" for name, place in places.items() if place != site.namespace]
    t.expect(folders != [], f"{site.name} is no other site's place", places)
    for folder in ("operator", "operator-mirror", *folders):
        path = os.path.join(ROOT, "manifests", folder)
        site.kube("apply", "--server-side", "--field-manager=dry-run", "--force-conflicts", "--dry-run=server", "-k", path)
        t.expect(True, f"{site.name}: the API server takes manifests/{folder}")


def pods_are_restricted(t, site):
    """The namespaces enforce it; here it is read off the pods, tokens included."""
    ours = {"factory": {"munich-kafka-0", "machines-bridge-0", "to-eu-replicator-0"}, "region": {f"eu-kafka-{i}" for i in range(3)}}[site.name]
    pods = site.kube.list("pod", site.namespace, "app.kubernetes.io/managed-by=tributary")
    names = {pod["metadata"]["name"] for pod in pods}
    t.expect(ours <= names, f"{site.name} has the pods of the samples", names)
    for pod in pods + release.operator_pods(site):
        name, spec = pod["metadata"]["name"], pod["spec"]
        operator = pod["metadata"]["namespace"] == sites.SYSTEM
        t.expect(operator or spec.get("automountServiceAccountToken") is False, f"{name} has no token", spec.get("automountServiceAccountToken"))
        containers = spec["containers"] + spec.get("initContainers", [])
        loose = [c["name"] for c in containers if not c.get("securityContext", {}).get("readOnlyRootFilesystem")]
        t.expect(not loose, f"{name} has a read-only root", loose)
        unbounded = [c["name"] for c in spec["containers"] if "memory" not in c.get("resources", {}).get("limits", {})]
        t.expect(not unbounded, f"{name} has a memory limit", unbounded)


def rights_are_bounded(t):
    """The operator may not do what it never does, and may do what only seldom happens."""
    account = f"system:serviceaccount:{sites.SYSTEM}:{release.RELEASE}"

    def may(verb, what, *flags):
        where = [] if any(f.startswith("--namespace") for f in flags) else ["--namespace=factory"]
        return t.factory.kube.run("auth", "can-i", verb, what, *where, *flags, f"--as={account}", check=False).stdout.strip()
    for verb, what in [("delete", "pods"), ("patch", "persistentvolumeclaims"), ("create", "jobs.batch"), ("delete", "jobs.batch"), ("delete", "services"),
                       ("delete", "configmaps"), ("delete", "statefulsets.apps"), ("get", "secrets"), ("create", "events.events.k8s.io"),
                       *[(verb, f"{kind}.tributary.dev") for verb in ("get", "list", "watch") for kind in ("edgeclusters", "bridgepipelines", "replicationlinks")]]:
        said = may(verb, what)
        t.expect(said == "yes", f"the operator may {verb} {what}", said)
    for verb, what, *flags in [("list", "secrets"), ("create", "secrets"), ("patch", "secrets"), ("create", "pods"), ("patch", "pods"),
                               ("deletecollection", "pods"), ("delete", "persistentvolumeclaims"), ("deletecollection", "persistentvolumeclaims"),
                               ("create", "persistentvolumeclaims"), ("watch", "persistentvolumeclaims"),
                               ("update", "edgeclusters.tributary.dev"), ("patch", "edgeclusters.tributary.dev"), ("delete", "edgeclusters.tributary.dev"),
                               ("get", "edgeclusters.tributary.dev", "--subresource=status"), ("create", "clusterroles"), ("get", "nodes/proxy"),
                               ("patch", "leases.coordination.k8s.io/tributary-operator", f"--namespace={sites.SYSTEM}")]:
        said = may(verb, what, *flags)
        t.expect(said == "no", f"the operator may not {' '.join((verb, what, *flags))}", said)


def columns(t):
    """The columns that api.md promises."""
    for kind, wanted in [("edgecluster", ["READY", "BROKERS", "MESSAGE", "AGE"]), ("bridgepipeline", ["READY", "VERDICT", "LOSSLESS", "MESSAGE", "AGE"]),
                         ("replicationlink", ["READY", "VERDICT", "LAG", "LOSSLESS", "MESSAGE", "AGE"])]:
        header = t.factory.kube("get", kind, "-n", "factory").splitlines()[0].split()
        t.expect(all(c in header for c in wanted), f"kubectl get {kind} shows {', '.join(wanted)}", header)
