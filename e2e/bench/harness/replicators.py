"""What copies records from one Kafka to another: our replicator, and MirrorMaker 2. Both copy into a topic of their own, with the codec
that the source's records have."""
import subprocess
from typing import Tuple

from . import process
from .servers import Kafka, jars


class Tributary:
    """Our replicator, at least once."""
    who = "tributary"

    def __init__(self, run: process.Run, binary: str) -> None:
        self.run, self.binary = run, binary

    def start(self, source: Kafka, target: Kafka, topic: str, codec: str, label: str) -> Tuple[subprocess.Popen, str]:
        """Starts it, as a link that nobody knows yet; the process, and the name of the copy."""
        plain = "tls: {mode: Disabled}, authentication: {type: None}"
        config = self.run.write("replicator.yaml", f"""name: bench/{label}
source: {{bootstrapServers: ["{source.address}"], {plain}}}
target: {{bootstrapServers: ["{target.address}"], {plain}}}
topics: {{include: ["{topic}"], naming: {{type: Prefix, prefix: "{label}."}}}}
delivery: AtLeastOnce
start: Earliest
telemetry: {{listen: "127.0.0.1:{process.free_port()}"}}
tuning: {{compression: {codec}}}
""")
        return self.run.start("replicator", [self.binary, "--log-format", "json", "replicator", "--config", config]), f"{label}.{topic}"


class MirrorMaker:
    """MirrorMaker 2, dedicated, two tasks, large batches; without its heartbeats and checkpoints, which are no part of the work."""
    who = "mirrormaker2"

    def __init__(self, run: process.Run) -> None:
        self.run = run
        self.java, self.classes = process.tool("jre"), {"CLASSPATH": jars(process.tool("mirrormaker"))}

    def start(self, source: Kafka, target: Kafka, topic: str, codec: str, label: str) -> Tuple[subprocess.Popen, str]:
        """Starts it; the source's alias is new each time, else it would go on where the last one stopped."""
        config = self.run.write("mm2.properties", f"""clusters={label},t
{label}.bootstrap.servers={source.address}
t.bootstrap.servers={target.address}
{label}->t.enabled=true
t->{label}.enabled=false
{label}->t.topics={topic}
tasks.max=2
replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset-syncs.topic.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
config.storage.replication.factor=1
emit.heartbeats.enabled=false
emit.checkpoints.enabled=false
{label}.consumer.auto.offset.reset=earliest
t.producer.compression.type={codec}
t.producer.batch.size=524288
t.producer.linger.ms=20
""")
        argv = [self.java, "-Xmx1g", "org.apache.kafka.connect.mirror.MirrorMaker", config]
        return self.run.start("mirrormaker", argv, self.classes), f"{label}.{topic}"
