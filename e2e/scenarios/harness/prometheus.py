"""A real Prometheus on this machine that scrapes the pods of all sites, as docs/src/dashboards.md says one should.

It reaches them through the API servers' proxies: NetworkPolicies let nobody in from outside of the cluster, and need not for this."""
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from typing import Dict, List

from . import queries
from .errors import NotYet, StepFailed
from .process import CLUSTER, ROOT, cluster_tool, stream
from .sites import Site, World
from .wait import until

PAGE = os.path.join(ROOT, "docs", "src", "dashboards.md")
# Through an API server's proxy instead of to the pod; the target keeps the pod's own address as its instance.
PROXY = """      - {{source_labels: [__address__], target_label: instance}}
      - {{source_labels: [namespace, pod, __meta_kubernetes_pod_container_port_number], regex: "(.+);(.+);(.+)", target_label: __metrics_path__,
         replacement: "/api/v1/namespaces/$1/pods/$2:$3/proxy/metrics"}}
      - {{target_label: __address__, replacement: "{address}"}}
"""
JOB = """  - job_name: {name}
    honor_labels: true
    scheme: https
    tls_config: {{ca_file: {pki}/ca, cert_file: {pki}/cert, key_file: {pki}/key}}
    kubernetes_sd_configs: [{{role: pod, kubeconfig_file: {kubeconfig}}}]
    relabel_configs:
{relabelling}"""
GLOBAL = """global: {{scrape_interval: 2s, evaluation_interval: 5s}}
rule_files: [{rules}]
scrape_configs:
"""


def relabelling(site: str) -> str:
    """The book's own lines, with the site's name."""
    with open(PAGE, encoding="utf-8") as f:
        block = re.search(r"```yaml\nscrape_configs:.*?```", f.read(), re.S).group(0)
    lines = re.findall(r"^      - \{.*\}$", block, re.M)
    return "".join(line.replace("replacement: munich", f"replacement: {site}") + "\n" for line in lines)


class Prometheus:
    """One process with its own folder; `with` ends it."""

    def __init__(self, world: World, folder: str):
        self.world, self.folder = world, folder
        self.log = os.path.join(folder, "prometheus.log")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def __enter__(self) -> "Prometheus":
        stream("prometheus", [CLUSTER, "tools", "--only", "prometheus"], "see docs/src/testing.md")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        config = os.path.join(self.folder, "prometheus.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(GLOBAL.format(rules=queries.RULES) + "".join(self._job(site) for site in self.world.sites))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [cluster_tool("find prometheus", "path", "prometheus"), f"--config.file={config}", f"--storage.tsdb.path={self.folder}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until("Prometheus is ready", self._ready, 60, every=0.3)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _job(self, site: Site) -> str:
        """One site's pods, with the credentials of its kubeconfig as files."""
        with open(site.kube.kubeconfig, encoding="utf-8") as f:
            config = json.load(f)
        pki = os.path.join(self.folder, site.name)
        os.makedirs(pki, mode=0o700)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        for name, data in (("ca", cluster["certificate-authority-data"]), ("cert", user["client-certificate-data"]), ("key", user["client-key-data"])):
            with open(os.open(os.path.join(pki, name), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
                f.write(base64.b64decode(data))
        proxy = PROXY.format(address=cluster["server"].removeprefix("https://"))
        return JOB.format(name=f"tributary-{site.name}", pki=pki, kubeconfig=site.kube.kubeconfig, relabelling=relabelling(site.name) + proxy)

    def _ready(self) -> None:
        if self.process.poll() is not None:
            raise StepFailed("prometheus", f"it ended with status {self.process.returncode}", "read its log", self.log)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5).close()
        except OSError as e:
            raise NotYet(str(e))

    def get(self, path: str, **parameters: str) -> object:
        """`data` of an answer of its API."""
        renamed = {name.replace("match", "match[]"): value for name, value in parameters.items()}
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(renamed)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            raise StepFailed(f"prometheus: {path} {parameters}", e.read().decode(errors="replace")[:1000], "", self.log)

    def query(self, expression: str) -> List[dict]:
        """What an expression yields now; results that are no number are no result."""
        result = self.get("query", query=expression)["result"]
        return [r for r in result if r["value"][1] != "NaN"]

    def value(self, expression: str) -> float:
        """The one value of an expression."""
        found = self.query(expression)
        if len(found) != 1:
            raise NotYet(f"{len(found)} results of {expression}")
        return float(found[0]["value"][1])

    def targets(self) -> Dict[str, dict]:
        """{pod: target} of everything that is scraped."""
        return {target["labels"]["pod"]: target for target in self.get("targets", state="active")["activeTargets"]}
