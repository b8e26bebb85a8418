"""What carries messages from MQTT to Kafka: our bridge, and Telegraf. Both keep an MQTT session, wait for acks=all, key records by
MQTT topic, compress with lz4 and take at most as many messages ahead of Kafka's acknowledgement."""
import json
import subprocess
from typing import Any, Dict
from urllib.request import urlopen

from . import process
from .servers import Kafka, Mosquitto

FILTER = "bench/+/+/telemetry"
TOPIC_TEMPLATE = "bench/{line}/{device}/telemetry"
IN_FLIGHT = 10_000          # the bridge's own default


class Tributary:
    """Our bridge, with its defaults."""
    who = "tributary"

    def __init__(self, run: process.Run, binary: str, protocol: str) -> None:
        self.run, self.binary, self.protocol = run, binary, protocol
        self.port = 0

    def start(self, mqtt: Mosquitto, kafka: Kafka, topic: str, flush_ms: int) -> subprocess.Popen:
        """Starts it; `flush_ms` is the peer's setting, ours waits 5 ms at most whatever the rate."""
        del flush_ms
        self.port = process.free_port()
        config = self.run.write("bridge.yaml", f"""mqtt:
  servers: ["{mqtt.address}"]
  protocol: {self.protocol}
  clientId: bench
  authentication: {{type: None}}
  tls: {{mode: Disabled}}
  subscriptions: [{{filter: "{FILTER}", qos: 1}}]
kafka:
  bootstrapServers: ["{kafka.address}"]
  tls: {{mode: Disabled}}
  authentication: {{type: None}}
routes:
  - {{name: telemetry, match: "{FILTER}", topic: {topic}, format: Json}}
deadLetter: {{topic: {topic}-dead}}
telemetry: {{listen: "127.0.0.1:{self.port}"}}
""")
        return self.run.start("bridge", [self.binary, "--log-format", "json", "bridge", "--config", config])

    def own_account(self) -> Dict[str, Any]:
        """What it says of itself at the end: kept, but no figure comes from it."""
        with urlopen(f"http://127.0.0.1:{self.port}/progress", timeout=5) as answer:
            return json.load(answer)


class Telegraf:
    """Telegraf's mqtt_consumer and kafka output. A batch leaves when it is full, or after the flush interval."""
    who = "telegraf"

    def __init__(self, run: process.Run) -> None:
        self.run = run
        self.program = process.tool("telegraf")

    def start(self, mqtt: Mosquitto, kafka: Kafka, topic: str, flush_ms: int) -> subprocess.Popen:
        """Starts it."""
        config = self.run.write("telegraf.conf", f"""[agent]
  interval = "10s"
  flush_interval = "{flush_ms}ms"
  flush_jitter = "0s"
  metric_batch_size = {IN_FLIGHT // 2}
  metric_buffer_limit = {IN_FLIGHT * 10}
  omit_hostname = true
  quiet = true
[[inputs.mqtt_consumer]]
  servers = ["{mqtt.address.replace("mqtt:", "tcp:")}"]
  topics = ["{FILTER}"]
  qos = 1
  persistent_session = true
  client_id = "bench"
  max_undelivered_messages = {IN_FLIGHT}
  data_format = "value"
  data_type = "string"
[[outputs.kafka]]
  brokers = ["{kafka.address}"]
  topic = "{topic}"
  routing_tag = "topic"
  required_acks = -1
  compression_codec = 3
  data_format = "template"
  template = '{{{{ .Field "value" }}}}'
""")
        return self.run.start("telegraf", [self.program, "--config", config])

    def own_account(self) -> Dict[str, Any]:
        """It has none."""
        return {}
