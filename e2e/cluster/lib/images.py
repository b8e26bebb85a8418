"""Images of a running cluster: imported from OCI archives, since there is no registry."""
import json
import os
import subprocess
import tarfile
from typing import Dict, List, Sequence

from .errors import ClusterError
from .node_ns import enter, find_init
from .paths import Cluster, images_dir
from .run import CLEAN_ENV
from .ui import say

BASE = ("pause", "tools", "coredns")        # archives which a cluster needs itself


def archives() -> List[str]:
    """All archives that `e2e/images/build` left, those first which a cluster needs to start."""
    folder = images_dir()
    found = [f for f in os.listdir(folder) if f.endswith(".tar")] if os.path.isdir(folder) else []
    found.sort(key=lambda f: (f[:-4] not in BASE, f))
    return [os.path.join(folder, f) for f in found]


def refs(archive: str) -> Dict[str, str]:
    """Image references in an OCI archive, with the digest each stands for."""
    try:
        with tarfile.open(archive) as tar:
            index = json.load(tar.extractfile("index.json"))
        return {m["annotations"]["io.containerd.image.name"]: m["digest"] for m in index["manifests"]}
    except (OSError, KeyError, tarfile.TarError, ValueError) as e:
        raise ClusterError("load image", f"{archive} is not an OCI archive with image names: {e}",
                           "make archives with e2e/images/build, or `docker save` with containerd's image store")


def _present(init: int) -> Dict[str, str]:
    listed = subprocess.run(enter(init, ["ctr", "-n", "k8s.io", "images", "list"]), env=CLEAN_ENV, capture_output=True, text=True)
    rows = [line.split() for line in listed.stdout.splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def load(cluster: Cluster, paths: Sequence[str]) -> int:
    """Import archives whose images the cluster does not have yet; returns how many were imported."""
    init = find_init(cluster)
    if not init:
        raise ClusterError("load image", f"cluster {cluster.name} is not running", f"run `cluster up {cluster.name}`")
    present, count = _present(init), 0
    for path in paths:
        wanted = refs(path)
        if all(present.get(ref) == digest for ref, digest in wanted.items()):
            continue
        with open(path, "rb") as archive:       # by standard input: the archive may lie where the node cannot see it
            done = subprocess.run(enter(init, ["ctr", "-n", "k8s.io", "images", "import", "-"]), env=CLEAN_ENV, stdin=archive,
                                  capture_output=True, text=True)
        if done.returncode != 0:
            raise ClusterError("load image", f"{path}: {done.stderr.strip()[-400:]}", "is the disk full? `df -h`",
                               cluster.log("containerd"))
        count += 1
        say(f"loaded {', '.join(wanted)}", cluster.name)
    return count
