"""The company's Git repository: our manifests with what is this machine's own, served by `git daemon`.

Two branches, as docs/src/gitops.md has them: main, which canaries run, and released, which everyone else runs."""
import os
import shutil
from typing import Dict

from harness.errors import StepFailed
from harness.process import ROOT, run
from harness.sites import local_tag

NAME = "fleet.git"
REGISTRY = "tributary.local"
MOSQUITTO = "images: [{name: docker.io/eclipse-mosquitto, newName: tributary.local/mosquitto, newTag: \"2\"}]\n"
# One broker at the region: the scenarios need a peer, not its copies.
ONE_BROKER = """patches:
  - target: {kind: EdgeCluster}
    patch: |-
      - {op: replace, path: /spec/brokers, value: 1}
      - {op: replace, path: /spec/config, value: {log.retention.hours: "720"}}
      - {op: replace, path: /spec/listeners/1/nodePort/brokers, value: [{id: 0, port: 31093, advertisedHost: kafka.eu.example}]}
"""


class Repository:
    """A bare repository, and a clone in which scenarios write."""

    def __init__(self, folder: str):
        self.served = os.path.join(folder, "git")
        self.bare = os.path.join(self.served, NAME)
        self.clone = os.path.join(folder, "clone")

    def create(self) -> None:
        """Anew, from this checkout."""
        for path in (self.served, self.clone):
            shutil.rmtree(path, ignore_errors=True)
        os.makedirs(self.served)
        run("git init", ["git", "init", "--quiet", "--bare", "--initial-branch=main", self.bare])
        run("git init", ["git", "init", "--quiet", "--initial-branch=main", self.clone])
        # Who only plays with it needs no configuration.
        for key, value in {"user.name": "Operations", "user.email": "operations@example.com", "commit.gpgsign": "false"}.items():
            self._git("config", key, value)
        self._git("remote", "add", "origin", self.bare)
        # What is committed or about to be: what CI would see.
        files = run("git ls-files", ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "manifests", "crds"]).stdout.split("\n")
        for name in filter(None, files):
            os.makedirs(os.path.dirname(os.path.join(self.clone, name)), exist_ok=True)
            shutil.copy2(os.path.join(ROOT, name), os.path.join(self.clone, name))
        self._localize()
        self.commit("As the project ships it, with this machine's images")
        self.push_released(self.head())

    def _localize(self) -> None:
        """What somebody changes who has another registry and other storage."""
        mirror = "manifests/operator-mirror/kustomization.yaml"
        self.edit(mirror, "newName: registry.example/mirror/tributary", f"newName: {REGISTRY}/tributary, newTag: {local_tag()}")
        self.edit(mirror, "registry.example/mirror/kafka", f"{REGISTRY}/kafka")
        for site in ("munich", "lyon"):
            self.append(f"manifests/sites/{site}/kustomization.yaml", MOSQUITTO)
        self.edit("manifests/sites/lyon/site.yaml", "storageClass: local-nvme", "storageClass: local-path")
        self.append("manifests/sites/eu/kustomization.yaml", ONE_BROKER)

    def _git(self, *arguments: str) -> str:
        return run("git", ["git", "-C", self.clone, *arguments]).stdout.strip()

    def read(self, path: str) -> str:
        """A file of the clone."""
        with open(os.path.join(self.clone, path), encoding="utf-8") as f:
            return f.read()

    def write(self, path: str, text: str) -> None:
        """Replace a file."""
        with open(os.path.join(self.clone, path), "w", encoding="utf-8") as f:
            f.write(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that must be there once."""
        text = self.read(path)
        if text.count(old) != 1:
            raise StepFailed(f"edit {path}", f"{old!r} is there {text.count(old)} times", "the manifests changed: mend the scenario")
        self.write(path, text.replace(old, new))

    def append(self, path: str, text: str) -> None:
        """Add to a file's end."""
        self.write(path, self.read(path).rstrip("\n") + "\n" + text)

    def commit(self, message: str) -> str:
        """Commit and push everything; the revision."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "-m", message)
        self._git("push", "--quiet", "--set-upstream", "origin", "main")
        return self.head()

    def restore(self, files: Dict[str, str], message: str) -> str:
        """Bring files back to what they were; the revision."""
        for path, text in files.items():
            self.write(path, text)
        return self.commit(message) if self._git("status", "--porcelain") else self.head()

    def head(self) -> str:
        """The present revision of main."""
        return self._git("rev-parse", "HEAD")

    def released(self) -> str:
        """The present revision of released."""
        return self._git("ls-remote", "origin", "refs/heads/released").split()[0]

    def push_released(self, revision: str, force: bool = False) -> None:
        """Move released by hand; scenarios otherwise do it as users do, by manifests/argocd/promote."""
        self._git("push", "--quiet", *(["--force"] if force else []), "origin", f"{revision}:refs/heads/released")
