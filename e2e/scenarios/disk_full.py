"""A full disk stops the broker, says so, and loses nothing: with room again, everything goes on by itself.

A cluster of its own on a volume that is made small (a tmpfs under the volume's path), with a bridge into it, filled under load."""
import copy

import volume_emptied as spare
from harness import probe
from harness.errors import NotYet
from harness.objects import told, wait_condition
from harness.ui import say
from harness.wait import until

BRIDGE = "spare-bridge"
SMALL, ROOMY = "96m", "2g"
LEFT_KIB = 1024


def run(t):
    """See above."""
    kube = t.factory.kube
    path = ""
    try:
        kube.apply(spare.spare())
        wait_condition(t.factory, "edgecluster", spare.NAME, "Ready", seconds=120)
        path = spare.volume_path(t)
        shrink(t, path)
        kube.apply(bridge(t))
        wait_condition(t.factory, "bridgepipeline", BRIDGE, "Ready", seconds=120)
        ballast(path)
        sent = probe.send(t.world, messages=40_000, rate=2000, payload=4096, topic="spare/line{line}/dev{device}/telemetry")
        full = until("the full disk is reported", lambda: reported(t), 180)
        say(f"it says: {full}")
        sent.finish()
        spare.in_node("mount", "-o", f"remount,size={ROOMY}", path)
        say(f"the volume has room again ({ROOMY})")
        wait_condition(t.factory, "edgecluster", spare.NAME, "Ready", seconds=180)
        wait_condition(t.factory, "bridgepipeline", BRIDGE, "Ready", seconds=120)
        code, report = probe.audit_once(t.world, t.factory, f"{spare.NAME}-kafka.factory.svc:9092", "kept", sent, seconds=120)
        t.expect(code == 0 and report["lost"] == 0, "nothing is lost", report)
    finally:
        kube.delete("bridgepipeline", BRIDGE, "factory")
        spare.remove(t)
        if path:
            spare.in_node("sh", "-c", f"umount {path} 2>/dev/null || true")


def shrink(t, path):
    """Put a small file system under the volume, with what is on it, while the broker is away."""
    def swap():
        spare.in_node("sh", "-c", f"mkdir -p /tmp/spare && cp -a {path}/. /tmp/spare/ && mount -t tmpfs -o size={SMALL} tmpfs {path} && "
                      f"cp -a --sparse=always /tmp/spare/. {path}/ && chmod --reference=/tmp/spare {path} && chown --reference=/tmp/spare {path} && "
                      "rm -rf /tmp/spare")
    spare.while_away(t, swap)
    wait_condition(t.factory, "edgecluster", spare.NAME, "Ready", seconds=120)


def ballast(path):
    """Something else fills the disk all but a last megabyte: what the probe sends compresses too well to do it alone."""
    spare.in_node("sh", "-c", f"free=$(df -Pk {path} | awk 'END {{print $4}}') && head -c $(((free - {LEFT_KIB}) * 1024)) /dev/zero >{path}/.ballast")


def bridge(t) -> dict:
    """From MQTT into the small cluster."""
    obj = copy.deepcopy(next(o for o in t.world.sample(t.factory) if o["kind"] == "BridgePipeline"))
    obj["metadata"]["name"] = BRIDGE
    obj["spec"]["mqtt"]["subscriptions"] = [{"filter": "spare/+/+/telemetry", "qos": 1}]
    obj["spec"]["routes"] = [{"name": "spare", "match": "spare/{line}/{machine}/telemetry", "topic": "kept", "format": "Raw"}]
    obj["spec"]["kafka"] = {"clusterRef": {"name": spare.NAME, "listener": "internal"}}
    obj["spec"].pop("deadLetter", None)
    return obj


def reported(t) -> str:
    """The message of whichever condition has the reason DiskFull."""
    obj = t.factory.kube.need("edgecluster", spare.NAME, "factory")
    found = [c["message"] for c in obj["status"].get("conditions", []) if c["reason"] == "DiskFull"]
    if not found:
        raise NotYet(told(obj, "Ready") + f"; {[b.get('diskUsedPercent') for b in obj['status'].get('brokers', [])]} %")
    return found[0]
