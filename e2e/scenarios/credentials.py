"""Changed MQTT credentials are picked up without loss: the Secret changes under load, first at the broker, then the bridge follows."""
import base64
import os
import time

from harness import probe
from harness.objects import pods_of, restarts, uids, wait_condition, wait_verdict
from harness.errors import NotYet
from harness.process import run as command
from harness.sites import SAMPLES
from harness.wait import until


def run(t):
    """See above."""
    kube = t.factory.kube
    before = pods_of(t.factory, "BridgePipeline", "machines")
    sent = probe.send(t.world, messages=150_000, rate=1000)
    time.sleep(3)
    old = {k: base64.b64decode(v).decode() for k, v in kube.need("secret", "mqtt", "factory")["data"].items()}
    secret = command("a new password for the bridge", [os.path.join(SAMPLES, "mqtt-secret")], env={"DEVICES_PASSWORD": old["devices"]}).stdout
    kube("apply", "-f", "-", input=secret)

    def broker_has_it():
        now = kube.exec("factory", "mosquitto-0", ["cat", "/mosquitto/secret/passwords"]).stdout
        if now == old["passwords"]:
            raise NotYet("the kubelet has not yet updated the file")
    until("the MQTT broker's password file has changed", broker_has_it, 150, every=2)
    kube.exec("factory", "mosquitto-0", ["sh", "-c", "kill -HUP 1"])
    t.step("the MQTT broker now refuses the old password; the bridge's connection is broken to make it log in anew")
    kube.delete("pod", "mosquitto-0", "factory")
    kube.wait_pod("factory", "mosquitto-0")
    wait_condition(t.factory, "bridgepipeline", "machines", "Connected", seconds=120)
    wait_condition(t.factory, "bridgepipeline", "machines", "Ready", seconds=60)
    after = pods_of(t.factory, "BridgePipeline", "machines")
    t.expect(uids(after) == uids(before) and restarts(after) == restarts(before), "the bridge was not restarted for it", uids(after))
    sent.stop()
    wait_verdict(t.factory, "replicationlink", "to-eu", "InSync", seconds=60)
    report = probe.audit(t.world, sent, seconds=60)
    t.expect(report["lost"] == 0, "nothing is lost", report)
