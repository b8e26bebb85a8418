"""What every scenario starts from: the operator in both clusters, the samples applied and Ready."""
import os
import re

from . import release, toolbox
from .objects import wait_all_brokers, wait_condition, wait_verdict
from .process import run
from .sites import SAMPLES, Site, World
from .ui import say

FACTORY_KAFKA = "munich-kafka.factory.svc:9092"
REGION_KAFKA = "eu-kafka.region.svc:9092"
TOPIC, REGION_TOPIC = "telemetry", "munich.telemetry"


def mqtt_secret(site: Site) -> None:
    """The MQTT users' passwords, random, once."""
    if not site.kube.get("secret", "mqtt", site.namespace):
        secret = run("mqtt-secret", [os.path.join(SAMPLES, "mqtt-secret")], env={"NAMESPACE": site.namespace}).stdout
        site.kube("apply", "-f", "-", input=secret)


def apply_region(world: World) -> None:
    """The region's sample."""
    world.region.kube.apply(*world.sample(world.region), manager="sample")


def apply_factory(world: World) -> None:
    """The factory's sample, with the passwords that are in no file."""
    objects = world.sample(world.factory)
    namespaces = [o for o in objects if o["kind"] == "Namespace"]
    world.factory.kube.apply(*namespaces, manager="sample")
    mqtt_secret(world.factory)
    world.factory.kube.apply(*[o for o in objects if o["kind"] != "Namespace"], manager="sample")


def wait_ready(world: World, seconds: float = 240) -> None:
    """Wait until both sites do what their files ask, and the link follows."""
    wait_condition(world.factory, "edgecluster", "munich", "Ready", seconds=seconds)
    wait_all_brokers(world.region, "eu", seconds=seconds)
    wait_condition(world.region, "edgecluster", "eu", "Ready", seconds=seconds)
    wait_condition(world.factory, "bridgepipeline", "machines", "Ready", seconds=seconds)
    wait_verdict(world.factory, "replicationlink", "to-eu", "InSync", seconds=seconds)


def ensure(world: World) -> None:
    """Install and apply what is missing; a base that stands is left as it is and only looked at."""
    say("base: operator and samples in both clusters")
    for site in world.operators:
        release.install(world, site, wait=False)
    for site in world.operators:
        release.rolled_out(site)
    apply_region(world)
    apply_factory(world)
    for site in world.sites:
        toolbox.ensure(world, site)
    wait_ready(world)


def names_in(text: str) -> str:
    """A word that may stand in file names."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
