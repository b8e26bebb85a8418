"""Helm installs the operator in both clusters, every file of the samples is taken by the API server, and all becomes Ready.

Also: what `kubectl get` prints, restricted pods everywhere, no token in data-plane pods, and that the rights of the chart are enough and
none is missing (no `forbidden` in the operator's log)."""
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
        log = site.kube("logs", "-n", sites.SYSTEM, f"deployment/{release.RELEASE}", "--tail=-1")
        t.expect("orbidden" not in log, f"no right is missing in {site.name}", [line for line in log.splitlines() if "orbidden" in line][:3])
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


def pods_are_restricted(t, site):
    """The namespaces enforce it; here it is read off the pods, tokens included."""
    for pod in site.kube.list("pod", site.namespace, "app.kubernetes.io/managed-by=tributary"):
        name, spec = pod["metadata"]["name"], pod["spec"]
        t.expect(spec.get("automountServiceAccountToken") is False, f"{name} has no token", spec.get("automountServiceAccountToken"))
        containers = spec["containers"] + spec.get("initContainers", [])
        loose = [c["name"] for c in containers if not c.get("securityContext", {}).get("readOnlyRootFilesystem")]
        t.expect(not loose, f"{name} has a read-only root", loose)
        unbounded = [c["name"] for c in spec["containers"] if "memory" not in c.get("resources", {}).get("limits", {})]
        t.expect(not unbounded, f"{name} has a memory limit", unbounded)


def rights_are_bounded(t):
    """The operator may not do what it never does."""
    account = f"system:serviceaccount:{sites.SYSTEM}:{release.RELEASE}"
    for verb, what, *flags in [("list", "secrets"), ("create", "secrets"), ("patch", "secrets"), ("create", "pods"), ("patch", "pods"),
                               ("deletecollection", "pods"), ("delete", "persistentvolumeclaims"), ("deletecollection", "persistentvolumeclaims"),
                               ("create", "persistentvolumeclaims"), ("watch", "persistentvolumeclaims"),
                               ("update", "edgeclusters.tributary.dev"), ("patch", "edgeclusters.tributary.dev"), ("delete", "edgeclusters.tributary.dev"),
                               ("get", "edgeclusters.tributary.dev", "--subresource=status"), ("create", "clusterroles"), ("get", "nodes/proxy"),
                               ("patch", "leases.coordination.k8s.io/tributary-operator", f"--namespace={sites.SYSTEM}")]:
        where = [] if any(f.startswith("--namespace") for f in flags) else ["--namespace=factory"]
        said = t.factory.kube.run("auth", "can-i", verb, what, *where, *flags, f"--as={account}", check=False).stdout.strip()
        t.expect(said == "no", f"the operator may not {' '.join((verb, what, *flags))}", said)


def columns(t):
    """The columns that api.md promises."""
    for kind, wanted in [("edgecluster", ["READY", "BROKERS", "MESSAGE", "AGE"]), ("bridgepipeline", ["READY", "VERDICT", "MESSAGE", "AGE"]),
                         ("replicationlink", ["READY", "VERDICT", "LAG", "MESSAGE", "AGE"])]:
        header = t.factory.kube("get", kind, "-n", "factory").splitlines()[0].split()
        t.expect(all(c in header for c in wanted), f"kubectl get {kind} shows {', '.join(wanted)}", header)
