"""A region and two factories as three clusters, and the lines: each factory's to the region, and Argo CD's to each factory."""
import base64
import json
import os
import signal
import sys
import urllib.parse
from typing import Dict, List

from harness import base, sites, toolbox
from harness.errors import StepFailed
from harness.kube import Kube
from harness.line import LocalLine
from harness.process import CLUSTER, ROOT, cluster_tool, run, stream, target_dir
from harness.sites import Site, World
from harness.ui import say

from .instance import NAMESPACE, TOOLS, ArgoCD
from .processes import Processes, free_port, listening
from .repository import Repository

REGION = "region-eu"
FACTORIES = {"munich": "factory-munich", "lyon": "factory-lyon"}
WAVES = {"munich": "canary", "lyon": "rest"}
LABELS = {"eu": {"tributary.dev/site": "region", "tributary.dev/wave": "rest"},
          **{name: {"tributary.dev/site": "factory", "tributary.dev/wave": wave} for name, wave in WAVES.items()}}
# Retries as the ApplicationSets have them are for lines that are down for days.
QUICKLY = {"duration: 30s": "duration: 5s", "maxDuration: 10m": "maxDuration: 20s"}


class Fleet:
    """Everything that scenarios work on."""

    def __init__(self, kubectl: str):
        self.folder = os.path.join(target_dir(), "argocd")
        os.makedirs(self.folder, exist_ok=True)

        def site(name: str, cluster: str, namespace: str) -> Site:
            return Site(name, Kube(cluster, kubectl, cluster_tool(f"kubeconfig of {cluster}", "kubeconfig", cluster)), namespace, cluster)
        self.region = site("eu", REGION, "region")
        self.factories: Dict[str, Site] = {name: site(name, cluster, "factory") for name, cluster in FACTORIES.items()}
        self.hub = self.region.kube
        self.repository = Repository(self.folder)
        self.argo = ArgoCD(self.folder, self.hub, self.repository)
        # Each factory with the region, as the other scenarios know the two.
        self.worlds = {name: World(factory, self.region, LocalLine(factory.cluster, REGION), sites.local_images(), [])
                       for name, factory in self.factories.items()}

    @property
    def sites(self) -> List[Site]:
        """Region and factories."""
        return [self.region, *self.factories.values()]

    def start(self) -> None:
        """Argo CD, the repository, the clusters made known, our side of it applied."""
        say("starting Argo CD and its repository")
        self.repository.create()
        self.argo.install()
        self.argo.start()
        for site in self.sites:
            self._prepare(site)
            self.know(site)
        self.apply_ours()

    def _prepare(self, site: Site) -> None:
        """What a site has before Argo CD comes: its namespace, and the passwords that are in no repository."""
        namespace = os.path.join(sites.SAMPLES, site.namespace, "00-namespace.yaml")
        site.kube("apply", "--server-side", "--field-manager=technician", "--force-conflicts", "-f", namespace)
        if site in self.factories.values():
            base.mqtt_secret(site)

    def apply_ours(self) -> None:
        """manifests/argocd as the docs say it is done, with this repository's address."""
        text = self.hub("kustomize", os.path.join(ROOT, "manifests", "argocd"))
        for old, new in {"https://git.example/plant/fleet.git": self.argo.url, "path: manifests/operator\n": "path: manifests/operator-mirror\n",
                         **QUICKLY}.items():
            assert old in text, old
            text = text.replace(old, new)
        self.hub("apply", "--server-side", "--field-manager=tributary", "-f", "-", input=text)

    def _access(self, site: Site) -> dict:
        """Address and credentials of a cluster; a factory's through the forwarder that can be cut."""
        config = json.loads(site.kube("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        at = urllib.parse.urlsplit(cluster["server"])
        server = cluster["server"]
        if site is not self.region:
            name = self._forwarder(site)
            port = self.argo.ports.setdefault(name, free_port())
            self.argo.processes.start(name, [sys.executable, os.path.join(os.path.dirname(__file__), "forwarder.py"), str(port), at.hostname, str(at.port)],
                                      lambda: listening(port))
            server = f"https://127.0.0.1:{port}"
        tls = {"caData": cluster["certificate-authority-data"], "certData": user["client-certificate-data"], "keyData": user["client-key-data"],
               "serverName": at.hostname}
        return {"server": server, "config": json.dumps({"tlsClientConfig": tls})}

    @staticmethod
    def _forwarder(site: Site) -> str:
        return f"line-to-{site.name}"

    def know(self, site: Site) -> None:
        """Make a cluster known to Argo CD, under its name and labels."""
        labels = {"argocd.argoproj.io/secret-type": "cluster", **LABELS[site.name]}
        self.hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"cluster-{site.name}", "namespace": NAMESPACE, "labels": labels},
                        "stringData": {"name": site.name, **self._access(site)}})

    def relabel(self, site: Site, labels: Dict[str, str]) -> None:
        """Change the labels that the ApplicationSets look at; without any, none of them takes the cluster."""
        gone = {key: None for key in LABELS[site.name] if key not in labels}
        self.hub.patch("secret", f"cluster-{site.name}", NAMESPACE, {"metadata": {"labels": {**gone, **labels}}})

    def server(self, site: Site) -> str:
        """A cluster's address as Argo CD knows it."""
        return self._server_of(json.loads(self.hub("get", "secret", f"cluster-{site.name}", "-n", NAMESPACE, "-o", "json")))

    @staticmethod
    def _server_of(secret: dict) -> str:
        return base64.b64decode(secret["data"]["server"]).decode()

    def cut(self, site: Site) -> None:
        """From now on nothing passes between a factory and the rest of the world: neither Argo CD nor its link."""
        self.argo.processes.signal(self._forwarder(site), signal.SIGSTOP)
        self.worlds[site.name].line.cut()

    def mend(self, site: Site) -> None:
        """As new."""
        self.worlds[site.name].line.mend()
        self.argo.processes.signal(self._forwarder(site), signal.SIGCONT)

    def toolboxes(self) -> None:
        """The pods from which Kafka is looked at."""
        for name, world in self.worlds.items():
            toolbox.ensure(world, self.factories[name])
        toolbox.ensure(next(iter(self.worlds.values())), self.region)


    def how_to(self) -> str:
        """What somebody does who has the fleet before him; docs/src/gitops-trial.md goes on from here."""
        kubectl = " ".join(self.hub.argv)
        factories = "\n".join(f"  {name:8} {' '.join(site.kube.argv)} get ec,bp,rl -A" for name, site in self.factories.items())
        return f"""
A region and two factories, rolled out by Argo CD from a Git repository.
  Git      {self.repository.clone}   (edit, commit, git push; then manifests/argocd/promote)
  Argo CD  {kubectl} -n {NAMESPACE} get applications
           Argo CD looks into Git every two to five minutes; at once with
           {kubectl} -n {NAMESPACE} annotate applications --all argocd.argoproj.io/refresh=normal --overwrite
{factories}
Remove everything: make gitops-down"""


def prepare(build: bool) -> Fleet:
    """Tools, images, three clusters, lines. What is there already is left as it is."""
    run("tools", [CLUSTER, "tools", "--only", ",".join([*TOOLS, "kubectl"])], timeout=3600)
    if build:
        say("building the binary and the images (`make images`)")
        stream("build", ["make", "images"], "read the compiler's words above; then run it again, what is built stays built")
    names = [REGION, *FACTORIES.values()]
    say(f"starting the clusters {', '.join(names)}")
    stream("clusters", [CLUSTER, "up", *names], f"`{CLUSTER} status`; `{CLUSTER} down --all` starts afresh", os.path.join(target_dir(), "cluster"))
    stream("images", [CLUSTER, "load"], f"`{CLUSTER} status`")
    fleet = Fleet(cluster_tool("find kubectl", "path", "kubectl"))
    for site in fleet.sites:
        found = site.kube.list("deployment", sites.SYSTEM, "app.kubernetes.io/managed-by=Helm")
        if found:
            raise StepFailed("clusters", f"{site.cluster} has the demo or other scenarios in it: Helm installed an operator there", "make demo-down, then again")
    for factory in FACTORIES.values():
        run("line", [CLUSTER, "line", "up", factory, REGION])
        run("line", [CLUSTER, "line", "mend", factory, REGION])
    run("name of the region", [CLUSTER, "alias", REGION, sites.REGION_HOST])
    return fleet


def tear_down() -> None:
    """End Argo CD and remove the three clusters."""
    Processes(os.path.join(target_dir(), "argocd")).stop_all()
    stream("down", [CLUSTER, "down", REGION, *FACTORIES.values()], f"`{CLUSTER} status` shows what is left; run it again")
