"""Argo CD's parts as processes of this machine, working in the region's cluster."""
import json
import os
import re
import secrets
import urllib.request
from typing import Dict, List, Optional

from harness.errors import NotYet, StepFailed
from harness.kube import Kube
from harness.process import cluster_tool, run
from harness.wait import until

from .processes import Processes, free_port, listening
from .repository import NAME, Repository

NAMESPACE = "argocd"
TOOLS = ["argocd", "kustomize", "redis", "manifests"]
# What Argo CD ships as its default for how old a comparison may get.
RESYNC_SECONDS, JITTER_SECONDS = 120, 60


class ArgoCD:
    """redis, git daemon, repo-server, application controller, ApplicationSet controller."""

    def __init__(self, folder: str, hub: Kube, repository: Repository):
        self.folder, self.hub, self.repository = folder, hub, repository
        self.processes = Processes(folder)
        self.ports: Dict[str, int] = {}
        self.tools = {name: cluster_tool(f"find {name}", "path", name) for name in TOOLS}
        self.home = os.path.dirname(self.tools["argocd"])

    @property
    def url(self) -> str:
        """The repository as Argo CD knows it."""
        return f"git://127.0.0.1:{self.ports['git']}/{NAME}"

    def install(self) -> None:
        """Definitions and configuration of the release, in the hub's cluster."""
        self.hub("create", "namespace", NAMESPACE, check=False)
        for part in ("crds", "config"):
            files = [os.path.join(self.home, part, n) for n in sorted(os.listdir(os.path.join(self.home, part)))]
            chosen = [a for path in files if path.endswith(".yaml") and not path.endswith("kustomization.yaml") for a in ("-f", path)]
            self.hub("apply", "--server-side", "--field-manager=argocd", "-n", NAMESPACE, *chosen, timeout=120)
            if part == "crds":
                until("Argo CD's kinds are served", lambda: self._served(chosen), 60, every=0.5)
        # Its API server, which does not run here, would make it; without it the controllers take no change of argocd-cm, our health scripts
        # among them, until they start again.
        self.hub.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "argocd-secret", "namespace": NAMESPACE,
                                                                          "labels": {"app.kubernetes.io/part-of": "argocd"}},
                        "stringData": {"server.secretkey": secrets.token_urlsafe(32)}})
        # Argo CD wants it to exist; nothing of ours is in it.
        self.hub.apply({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "default", "namespace": NAMESPACE},
                        "spec": {}})

    def _served(self, files: List[str]) -> bool:
        """Not `kubectl wait`, which takes a definition without conditions for an error."""
        found = json.loads(self.hub("get", *files, "-o", "json"))["items"]
        conditions = {d["metadata"]["name"]: d.get("status", {}).get("conditions") or [] for d in found}
        waiting = [name for name, told in conditions.items() if not any(c["type"] == "Established" and c["status"] == "True" for c in told)]
        if waiting:
            raise NotYet(f"not established: {', '.join(waiting)}")
        return True

    def _env(self) -> dict:
        work = os.path.join(self.folder, "work")
        for sub in ("home", "tmp"):
            os.makedirs(os.path.join(work, sub), exist_ok=True)
        path = [os.path.join(self.home, "bin"), os.path.dirname(self.tools["kustomize"]), os.environ.get("PATH", "")]
        return {"ARGOCD_FAKE_IN_CLUSTER": "true", "KUBECONFIG": self.hub.kubeconfig or "", "PATH": ":".join(path), "HOME": os.path.join(work, "home"),
                "TMPDIR": os.path.join(work, "tmp"), "ARGOCD_GPG_ENABLED": "false", "NO_PROXY": "*", "TZ": "Europe/Berlin"}

    def start(self) -> None:
        """All parts; each is waited for."""
        self.processes.stop_all()
        self.ports = {name: free_port() for name in ("git", "redis", "repo", "repo-metrics", "controller", "sets", "sets-probe", "sets-webhook")}
        port = self.ports
        begin = self.processes.start
        begin("redis", [self.tools["redis"], "--bind", "127.0.0.1", "--port", str(port["redis"]), "--save", "", "--appendonly", "no"],
              lambda: listening(port["redis"]))
        begin("git", ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port['git']}", f"--base-path={self.repository.served}",
                      "--export-all", "--informative-errors"], lambda: listening(port["git"]))
        begin("repo-server", [self._program("repo-server"), "--address", "127.0.0.1", "--port", str(port["repo"]), "--metrics-address", "127.0.0.1",
                              "--metrics-port", str(port["repo-metrics"]), "--redis", f"127.0.0.1:{port['redis']}", "--disable-tls",
                              "--client-ca-path", ""], lambda: listening(port["repo"]), self._env())
        self.start_controller()
        begin("applicationset-controller", [
            self._program("applicationset-controller"), "--namespace", NAMESPACE, "--enable-progressive-syncs", "--repo-server-plaintext",
            "--argocd-repo-server", f"127.0.0.1:{port['repo']}", "--metrics-addr", f"127.0.0.1:{port['sets']}",
            "--probe-addr", f"127.0.0.1:{port['sets-probe']}", "--webhook-addr", f"127.0.0.1:{port['sets-webhook']}"],
            lambda: bool(self._get("sets")), self._env())

    def start_controller(self) -> None:
        """The application controller, also anew; its counters begin at zero."""
        port = self.ports
        self.processes.start("application-controller", [
            self._program("application-controller"), "--namespace", NAMESPACE, "--repo-server-plaintext", "--repo-server", f"127.0.0.1:{port['repo']}",
            "--redis", f"127.0.0.1:{port['redis']}", "--metrics-port", str(port["controller"]), "--self-heal-timeout-seconds", "1",
            "--app-resync", str(RESYNC_SECONDS), "--app-resync-jitter", str(JITTER_SECONDS), "--persist-resource-health"],
            lambda: bool(self._get("controller")), self._env())

    def _program(self, component: str) -> str:
        return os.path.join(self.home, "bin", f"argocd-{component}")

    def _get(self, which: str) -> Optional[str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[which]}/metrics", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def metric(self, name: str) -> Dict[str, float]:
        """{labels: value} of one metric of the application controller."""
        text = self._get("controller")
        if text is None:
            raise StepFailed("Argo CD's metrics", "the application controller does not answer", log=self.processes.log("application-controller"))
        return {labels: float(value) for labels, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.M)}

    def reconciles(self) -> Dict[str, float]:
        """{server: reconciliations} since the controller began."""
        counts = self.metric("argocd_app_reconcile_count")
        found: Dict[str, float] = {}
        for labels, value in counts.items():
            server = re.search(r'dest_server="([^"]*)"', labels).group(1)
            found[server] = found.get(server, 0) + value
        return found

    def kustomize(self, folder: str) -> list:
        """What a folder of the clone renders to."""
        text = run("kustomize", [self.tools["kustomize"], "build", os.path.join(self.repository.clone, folder)]).stdout
        return self.objects(text)

    def objects(self, text: str) -> list:
        """YAML documents as objects."""
        return json.loads(run("read YAML", [self.tools["manifests"], "json"], input=text).stdout)

    def stop(self) -> None:
        """End all parts."""
        self.processes.stop_all()
