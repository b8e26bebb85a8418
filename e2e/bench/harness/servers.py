"""Kafka and mosquitto, from the cached tools, on ports of their own."""
import os
import uuid
from base64 import urlsafe_b64encode
from typing import List

from . import process, usage, wait
from .wire import Client


def _kafka_id() -> str:
    """An ID as Kafka draws them: a leading "-" would look like an option, IDs that begin with "AAAA" are reserved."""
    while True:
        text = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if text[0] not in "-A":
            return text


def jars(folder: str) -> str:
    """A class path of a folder's jars, in a stable order."""
    return ":".join(sorted(os.path.join(folder, jar) for jar in os.listdir(folder)))


class Kafka:
    """One combined broker and controller, plaintext. With `fsync` it flushes each append, as a one-broker EdgeCluster does."""

    def __init__(self, run: process.Run, name: str, fsync: bool = False, heap: str = "512m") -> None:
        self.run, self.name = run, name
        self.port, self.controller = process.free_port(), process.free_port()
        self.java, self.classes = process.tool("jre"), {"CLASSPATH": jars(process.tool("kafka"))}
        config = run.write(f"{name}.properties", self._properties(fsync))
        java = [self.java, f"-Xmx{heap}", "-XX:+UseSerialGC"]
        process.run(f"format {name}", java + ["kafka.tools.StorageTool", "format", f"--cluster-id={_kafka_id()}", f"--config={config}",
                                              f"--initial-controllers=0@127.0.0.1:{self.controller}:{_kafka_id()}"], self.classes)
        self.process = run.start(name, java + ["kafka.Kafka", config], self.classes)
        wait.until(name, lambda: process.listens(self.port), process=self.process, log=run.log(name))
        self.client = Client(self.port)
        run.stack.callback(self.client.close)
        self.usage = usage.Tree(self.process.pid)

    @property
    def address(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.port}"

    def _properties(self, fsync: bool) -> str:
        plain, controller = f"PLAIN://127.0.0.1:{self.port}", f"CONTROLLER://127.0.0.1:{self.controller}"
        return f"""process.roles=broker,controller
node.id=0
log.dirs={self.run.path(self.name)}
controller.quorum.bootstrap.servers=127.0.0.1:{self.controller}
listeners={plain},{controller}
advertised.listeners={plain},{controller}
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=false
log.segment.delete.delay.ms=1000
{"log.flush.interval.messages=1" if fsync else ""}
"""

    def tool(self, name: str, *arguments: str) -> str:
        """Runs one of Kafka's own tools; what it prints."""
        return process.run(name, [self.java, "-XX:TieredStopAtLevel=1", f"org.apache.kafka.tools.{name}", *arguments], self.classes).stdout

    def produce(self, topic: str, records: int, what: List[str], *settings: str) -> None:
        """Fills a topic as fast as Kafka's own producer can; `what` says what a record is."""
        self.tool("ProducerPerformance", "--topic", topic, "--num-records", str(records), "--throughput", "-1", *what,
                  "--producer-props", f"bootstrap.servers={self.address}", "acks=all", *settings)

    def warm_up(self, records: int, size: int, codec: str) -> None:
        """Lets the Java VM compile what it will need: else whoever is measured first has a slower broker."""
        self.client.create("warm-up", 4)
        self.produce("warm-up", records, ["--record-size", str(size)], f"compression.type={codec}", "batch.size=65536", "linger.ms=5")
        self.client.delete("warm-up")


class Mosquitto:
    """An MQTT server whose limits drop nothing; it logs who subscribes."""

    def __init__(self, run: process.Run, name: str = "mosquitto") -> None:
        self.run, self.name, self.port = run, name, process.free_port()
        config = run.write(f"{name}.conf", f"""listener {self.port} 127.0.0.1
allow_anonymous true
user root
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type subscribe
connection_messages false
""")
        self.process = run.start(name, [process.tool("mosquitto"), "-c", config])
        wait.until("mosquitto", lambda: process.listens(self.port), process=self.process, log=run.log(name))
        self.usage = usage.Tree(self.process.pid)

    @property
    def address(self) -> str:
        """mqtt://host:port"""
        return f"mqtt://127.0.0.1:{self.port}"

    def subscribed(self, topic_filter: str) -> bool:
        """Whether somebody has subscribed to this since the server started."""
        with open(self.run.log(self.name), encoding="utf-8", errors="replace") as f:
            return any(line.rstrip().endswith(" " + topic_filter) for line in f)
