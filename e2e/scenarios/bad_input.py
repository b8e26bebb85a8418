"""Every kind of bad input gives a condition with reason, field, value and remedy, and recovers by itself when it is mended.

Wrong files, absent Secrets, refused credentials, addresses that answer something else, payloads that no route takes or that are too
large. Whatever the bridge refuses is in the dead-letter topic with its reason, or the bridge stands and names the message."""
import base64
import copy
import time

from harness import base, toolbox
from harness.errors import NotYet
from harness.objects import condition, told, wait_condition
from harness.ui import say
from harness.wait import until

BRIDGE = "bad-bridge"
RUN = f"{time.time():.0f}"              # a link and topics of this run: neither positions nor topics are there yet
LINK, PREFIX = f"bad-link-{RUN}", f"bad{RUN}."


def run(t):
    """See above."""
    kube = t.factory.kube
    try:
        for case in bridge_cases():
            through(t, "bridgepipeline", BRIDGE, bridge(t), *case)
        for case in link_cases():
            through(t, "replicationlink", LINK, link(t), *case)
        refused_by_the_api_server(t)
        credentials(t)
        refused_payloads(t)
        topic_refused(t)
    finally:
        kube.delete("bridgepipeline", BRIDGE, "factory")
        kube.delete("replicationlink", LINK, "factory")
        kube.delete("secret", "bad-credentials", "factory")


def bridge(t) -> dict:
    """A bridge that works, on filters of its own."""
    obj = copy.deepcopy(next(o for o in t.world.sample(t.factory) if o["kind"] == "BridgePipeline"))
    obj["metadata"]["name"] = BRIDGE
    obj["spec"]["mqtt"]["subscriptions"] = [{"filter": "bad/+/telemetry", "qos": 1}]
    obj["spec"]["routes"] = [{"name": "bad", "match": "bad/{machine}/telemetry", "topic": "telemetry", "key": "{machine}", "format": "Json"}]
    return obj


def link(t) -> dict:
    """A link that works, beside the sample's: the dead letters only, under a name of its own."""
    obj = copy.deepcopy(next(o for o in t.world.sample(t.factory) if o["kind"] == "ReplicationLink"))
    obj["metadata"]["name"] = LINK
    obj["spec"]["topics"] = {"include": ["telemetry-dead"], "naming": {"type": "Prefix", "prefix": PREFIX}, "replicationFactor": -1}
    return obj


def set_in(obj: dict, path: str, value) -> None:
    """Change one field: a dotted path, list entries by index."""
    *parents, last = path.split(".")
    for part in parents:
        obj = obj[int(part)] if isinstance(obj, list) else obj[part]
    if isinstance(obj, list):
        obj[int(last)] = value
    else:
        obj[last] = value


def bridge_cases():
    """What is changed; the reason; what the message must name."""
    return [
        ([("mqtt.servers", ["mqtt://nowhere.factory.svc:1883"])], "MqttUnreachable", ["nowhere.factory.svc"]),
        ([("mqtt.authentication.passwordSecretRef", {"name": "absent", "key": "password"})], "SecretNotFound", ["absent", "passwordSecretRef"]),
        ([("mqtt.authentication.passwordSecretRef", {"name": "mqtt", "key": "absent"})], "SecretKeyNotFound", ["absent", "passwordSecretRef"]),
        ([("kafka.clusterRef", {"name": "absent", "listener": "internal"})], "ClusterNotFound", ["absent", "clusterRef"]),
        ([("kafka.clusterRef", {"name": "munich", "listener": "absent"})], "ListenerNotFound", ["absent", "listener"]),
        ([("routes.0.match", "bad/{9machine}/telemetry"), ("routes.0.key", "x")], "InvalidSpec", ["match", "9machine"]),
        ([("routes.0.key", "{unknown}")], "InvalidSpec", ["key", "unknown"]),
        ([("mqtt.subscriptions", [{"filter": "bad/+/telemetry", "qos": 1}, {"filter": "bad/#", "qos": 1}])], "InvalidSpec",
         ["bad/#", "bad/+/telemetry"]),
        ([("routes.0.match", "elsewhere/{machine}/telemetry")], "InvalidSpec", ["elsewhere/{machine}/telemetry"]),
        ([("routes.0.topic", "absent-topic")], "TopicMissing", ["absent-topic"]),
        ([("kafka", {"external": {"bootstrapServers": ["mosquitto.factory.svc:1883"], "tls": {"mode": "Disabled"},
                                  "authentication": {"type": "None"}}})], "NotKafka", ["mosquitto.factory.svc:1883"]),
        ([("kafka", {"external": {"bootstrapServers": ["nowhere.factory.svc:9092"], "tls": {"mode": "Disabled"},
                                  "authentication": {"type": "None"}}})], "KafkaUnreachable", ["nowhere.factory.svc:9092"]),
    ]


def link_cases():
    """The same for a link."""
    external = lambda host: {"external": {"bootstrapServers": [host], "tls": {"mode": "Disabled"}, "authentication": {"type": "None"}}}     # noqa: E731
    return [
        ([("topics.replicationFactor", 5)], "TopicNotCreated", ["5"]),          # first: the others create the topic
        ([("topics.include", ["telemetry(-dead"])], "InvalidSpec", ["include", "telemetry(-dead"]),
        ([("source", {"clusterRef": {"name": "absent", "listener": "internal"}})], "ClusterNotFound", ["absent"]),
        ([("target", external("nowhere.factory.svc:9092"))], "KafkaUnreachable", ["nowhere.factory.svc:9092"]),
        ([("target", external("mosquitto.factory.svc:1883"))], "NotKafka", ["mosquitto.factory.svc:1883"]),
    ]


def says(obj: dict, reason: str) -> str:
    """The message of whichever condition has this reason."""
    found = [c["message"] for c in obj.get("status", {}).get("conditions", []) if c["reason"] == reason]
    if not found:
        raise NotYet("; ".join(told(obj, x) for x in ("Ready", "Connected", "Stalled")))
    return found[0]


def through(t, kind, name, good, changes, reason, words):
    """Apply it wrong, see the condition, mend it, see it Ready."""
    bad = copy.deepcopy(good)
    for path, value in changes:
        set_in(bad["spec"], path, value)
    t.factory.kube.delete(kind, name, "factory")        # immutable fields, and a first start each time
    t.factory.kube.apply(bad)
    message = until(f"{name} with {changes[0][0]} {changes[0][1]}: {reason}",
                    lambda: says(t.factory.kube.need(kind, name, "factory"), reason), 60)
    missing = [w for w in words if w not in message]
    t.expect(not missing, f"the message names {', '.join(words)}", message)
    t.factory.kube.apply(good)
    wait_condition(t.factory, kind, name, "Ready", seconds=90)


def refused_by_the_api_server(t):
    """What can be known from the file alone never gets in."""
    for path, value, word in [("mqtt.servers", ["mqtts://mosquitto.factory.svc:8883"], "mqtt://"), ("mqtt.subscriptions.0.qos", 2, "qos"),
                              ("routes", [], "routes"), ("mqtt.subscriptions.0.filter", "bad/#/x", "filter")]:
        bad = bridge(t)
        set_in(bad["spec"], path, value)
        said = t.factory.kube.refused(bad)
        t.expect(word in said, f"{path}={value} is refused by name", said)


def credentials(t):
    """A wrong password is refused by the MQTT broker; the right one in the Secret is picked up."""
    kube = t.factory.kube
    kube.delete("bridgepipeline", BRIDGE, "factory")
    right = kube.need("secret", "mqtt", "factory")["data"]["bridge"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad-credentials", "namespace": "factory"},
              "data": {"password": base64.b64encode(b"wrong").decode()}}
    kube.apply(secret)
    bad = bridge(t)
    set_in(bad["spec"], "mqtt.authentication.passwordSecretRef", {"name": "bad-credentials", "key": "password"})
    kube.apply(bad)
    until("the wrong password is reported", lambda: says(kube.need("bridgepipeline", BRIDGE, "factory"), "MqttAuthenticationFailed"), 60)
    kube.apply({**secret, "data": {"password": right}})
    wait_condition(t.factory, "bridgepipeline", BRIDGE, "Ready", seconds=180)


def publish(t, topic: str, payload: str, size: int = 0) -> None:
    """One message, by mosquitto's own client."""
    script = "mosquitto_pub -V 5 -h localhost -q 1 -u devices -P \"$(cat /dev/stdin)\" -t '%s' " % topic
    words = base64.b64decode(t.factory.kube.need("secret", "mqtt", "factory")["data"]["devices"]).decode()
    body = f"-m '{payload}'"
    if size:        # too long for a command line; JSON, and nothing that compression makes small
        body = "-f /mosquitto/data/payload"
        letters = f"tr -dc A-Za-z0-9 < /dev/urandom | head -c {size}"
        t.factory.kube.exec("factory", "mosquitto-0", ["sh", "-c", f"(printf '\"'; {letters}; printf '\"') > /mosquitto/data/payload"])
    t.factory.kube.exec("factory", "mosquitto-0", ["sh", "-c", script + body], input=words)


def dead_letters(t) -> str:
    """The dead-letter topic with its headers; the consumer is given time to begin, also on a machine that has little of it."""
    return toolbox.sh(t.factory, f"/opt/kafka/bin/kafka-console-consumer.sh --bootstrap-server {base.FACTORY_KAFKA} --topic telemetry-dead "
                      "--from-beginning --timeout-ms 15000 --formatter-property print.headers=true 2>/dev/null | cut -c1-600 || true", timeout=60)


def refused_payloads(t):
    """Not JSON, and too large."""
    kube = t.factory.kube
    kube.apply(bridge(t))
    wait_condition(t.factory, "bridgepipeline", BRIDGE, "Ready", seconds=120)
    publish(t, "bad/one/telemetry", "this is not JSON")
    letters = until("it is in the dead-letter topic", lambda: has(dead_letters(t), "this is not JSON"), 150, every=2)
    line = next(x for x in letters.splitlines() if "this is not JSON" in x)
    t.expect("InvalidPayload" in line, "with its reason", line)
    t.step("without a dead-letter topic the bridge stands and names the message")
    kube.patch("bridgepipeline", BRIDGE, "factory", {"spec": {"deadLetter": None}})
    wait_condition(t.factory, "bridgepipeline", BRIDGE, "Ready", seconds=90)
    publish(t, "bad/two/telemetry", "neither is this")
    message = until("the message at the head is named", lambda: says(kube.need("bridgepipeline", BRIDGE, "factory"), "MessageRefused"), 60)
    t.expect("bad/two/telemetry" in message, "by its MQTT topic", message)
    kube.apply(bridge(t))
    wait_condition(t.factory, "bridgepipeline", BRIDGE, "Ready", seconds=90)
    until("it went to the dead-letter topic after all", lambda: has(dead_letters(t), "neither is this"), 150, every=2)
    t.step("a payload over Kafka's limit")
    publish(t, "bad/three/telemetry", "", size=2_000_000)
    lossy = wait_condition(t.factory, "bridgepipeline", BRIDGE, "Lossless", "False", "PayloadTooLarge", 60)
    say(condition(lossy, "Lossless")["message"])
    until("its head is in the dead-letter topic, with size and digest", lambda: has(dead_letters(t), "truncated"), 150, every=2)


def has(text: str, word: str) -> str:
    """The text, when it has the word."""
    if word not in text:
        raise NotYet(f"{len(text.splitlines())} records, none with {word!r}")
    return text


def topic_refused(t):
    """More replicas than brokers."""
    kube = t.factory.kube
    topics = kube.need("edgecluster", "munich", "factory")["spec"]["topics"]
    kube.patch("edgecluster", "munich", "factory", {"spec": {"topics": [*topics, {"name": "too-many", "partitions": 1, "replicas": 3}]}})

    def reported():
        obj = kube.need("edgecluster", "munich", "factory")
        found = [x for x in obj["status"].get("topics", []) if x["name"] == "too-many"]
        if condition(obj, "TopicsSynced")["status"] != "False" or not found:
            raise NotYet(told(obj, "TopicsSynced"))
        return found[0]["message"]
    say(until("the topic is refused, with the reason", reported, 60))
    kube.patch("edgecluster", "munich", "factory", {"spec": {"topics": topics}})
    wait_condition(t.factory, "edgecluster", "munich", "TopicsSynced", seconds=60)
    wait_condition(t.factory, "edgecluster", "munich", "Ready", seconds=60)
