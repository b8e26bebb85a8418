"""The two sites that every scenario works on: a factory and a region, and the line between them."""
import json
import os
import shutil
from dataclasses import dataclass, field
from typing import Dict, List

from .errors import StepFailed
from .kube import Kube
from .line import Line, LocalLine
from .process import CLUSTER, ROOT, cluster_tool, run, stream, target_dir
from .ui import say

FACTORY_CLUSTER, REGION_CLUSTER = "factory-munich", "region-eu"
REGION_HOST = "kafka.eu.example"        # the region's name in the samples
SYSTEM = "tributary-system"             # the operator's namespace
RELEASE = "tributary"
SAMPLES = os.path.join(ROOT, "manifests", "samples")
CHART = os.path.join(ROOT, "charts", "tributary")
STOCK_MOSQUITTO = "docker.io/eclipse-mosquitto:2.0.22"


@dataclass
class Site:
    """A place with a namespace of its own."""
    name: str
    kube: Kube
    namespace: str
    cluster: str = ""           # the local cluster's name; empty for a cluster of the user's


@dataclass
class World:
    """Both sites, with what differs between two local clusters and one of the user's."""
    factory: Site
    region: Site
    line: Line
    images: Dict[str, str]                  # kafka, mosquitto, tributary, tools
    helm_values: List[str]                  # arguments for helm
    helm: str = "helm"
    operators: List[Site] = field(default_factory=list)     # where a release of the chart runs

    @property
    def sites(self) -> List[Site]:
        """Factory and region."""
        return [self.factory, self.region]

    def sample(self, site: Site) -> List[dict]:
        """The sample's objects for a site, with this world's images and addresses."""
        folder = os.path.join(SAMPLES, "factory" if site is self.factory else "region")
        objects = site.kube.read(*sorted(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".yaml")))
        return [json.loads(json.dumps(o).replace(STOCK_MOSQUITTO, self.images["mosquitto"])) for o in objects]


def local_tag() -> str:
    """The tag that goes with the present content of our image, so that clusters which are up take a new build."""
    try:
        with open(os.path.join(target_dir(), "images", "manifest.json")) as f:
            return json.load(f)["tributary.tar"]["unique"].rpartition(":")[2]
    except (OSError, KeyError) as e:
        raise StepFailed("images", f"there is no image of tributary: {e}", "`make images`") from e


def local_images() -> Dict[str, str]:
    """References of the images that e2e/images/build made."""
    return {"tributary": f"tributary.local/tributary:{local_tag()}", "kafka": "tributary.local/kafka:4.3.1",
            "mosquitto": "tributary.local/mosquitto:2", "tools": "tributary.local/tools:1"}


def helm_image_values(registry: str, repository: str, kafka_repository: str, tag: str) -> List[str]:
    """Arguments that point the chart at these images."""
    return ["--set", f"image.registry={registry},image.repository={repository},image.tag={tag}",
            "--set", f"kafkaImage.registry={registry},kafkaImage.repository={kafka_repository}"]


def local_world() -> World:
    """Two clusters on this machine; they must be up (see `prepare`)."""
    kubectl, helm = cluster_tool("find kubectl", "path", "kubectl"), cluster_tool("find helm", "path", "helm")
    sites = []
    for cluster, namespace in ((FACTORY_CLUSTER, "factory"), (REGION_CLUSTER, "region")):
        config = cluster_tool(f"kubeconfig of {cluster}", "kubeconfig", cluster)
        sites.append(Site(namespace, Kube(cluster, kubectl, config), namespace, cluster))
    world = World(*sites, LocalLine(FACTORY_CLUSTER, REGION_CLUSTER), local_images(),
                  helm_image_values("tributary.local", "tributary", "kafka", local_tag()), helm)
    world.operators = world.sites
    return world


def prepare(build: bool = True, images: str = "images") -> World:
    """Tools, images, two clusters, the line between them. What is there already is left as it is."""
    if build:
        say(f"building the binary and the images (`make {images}`)")
        stream("build", ["make", images], "read the compiler's words above; then run it again, what is built stays built")
    names = [FACTORY_CLUSTER, REGION_CLUSTER]
    logs = os.path.join(target_dir(), "cluster")
    say(f"starting the clusters {' and '.join(names)}")
    stream("clusters", [CLUSTER, "up", *names], f"`{CLUSTER} status`, logs below {logs}; `{CLUSTER} down --all` starts afresh", logs)
    stream("images", [CLUSTER, "load"], f"`{CLUSTER} status`")
    run("line", [CLUSTER, "line", "up", *names])
    run("line", [CLUSTER, "line", "mend", *names])
    run("name of the region", [CLUSTER, "alias", REGION_CLUSTER, REGION_HOST])
    return local_world()


def tear_down() -> None:
    """Remove both clusters with everything in them."""
    stream("down", [CLUSTER, "down", FACTORY_CLUSTER, REGION_CLUSTER], f"`{CLUSTER} status` shows what is left; run it again")


def need_program(name: str, remedy: str) -> str:
    """Path of a program of the user's."""
    found = shutil.which(name)
    if not found:
        raise StepFailed(name, "it is not on PATH", remedy)
    return found
