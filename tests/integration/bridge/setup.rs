//! A bridge to test: its configuration, its process, what is published to it and what comes out.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tributary::bridge::config::{
    BridgeConfig, DeadLetterConfig, LimitsConfig, MqttConfig, PayloadFormat, RouteConfig, SubscriptionConfig,
    TelemetryConfig,
};
use tributary::bridge::progress::BridgeProgress;
use tributary::kafka::KafkaConnection;
use tributary::kafka::endpoint::KafkaEndpointFile;
use tributary::mqtt::connection::{Connection, SessionOptions};
use tributary::mqtt::credentials::Credentials;
use tributary::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile, Protocol};
use tributary::mqtt::packet::{Incoming, Publish};
use tributary::mqtt::{Sink as _, Source as _};

use crate::harness::client::create_topic;
use crate::harness::kafka::{KafkaCluster, Listener, unique};
use crate::harness::mosquitto::Mosquitto;
use crate::harness::ports::free_port;
use crate::harness::process::{Process, data_dir};
use crate::harness::wait::{PATIENCE, eventually};

/// What the tests' machines publish to: `f/<line>/<machine>/t`.
pub(super) const FILTER: &str = "f/+/+/t";

/// A configuration from this MQTT URL to topics of its own, with V5, QoS 1, one JSON route, a dead-letter topic.
pub(super) fn config(mqtt_url: &str, bootstrap: Vec<String>) -> BridgeConfig {
    let topic = unique("telemetry");
    BridgeConfig {
        generation: Some(1),
        mqtt: MqttConfig {
            servers: vec![mqtt_url.to_owned()],
            protocol: Protocol::V5,
            client_id: unique("bridge"),
            authentication: MqttAuthenticationFile::None {},
            tls: MqttTlsFile::Disabled {},
            session_expiry_seconds: Some(3600),
            receive_maximum: None,
            // Longer than a disk or a processor of a busy machine stands still: a reconnect would be counted.
            keep_alive_seconds: Some(60),
            subscriptions: vec![SubscriptionConfig {
                filter: FILTER.into(),
                qos: 1,
            }],
            unsubscribe: Vec::new(),
        },
        kafka: KafkaEndpointFile::plaintext(bootstrap),
        routes: vec![RouteConfig {
            name: "telemetry".into(),
            match_: "f/{line}/{machine}/t".into(),
            topic: topic.clone(),
            key: Some("{line}/{machine}".into()),
            format: PayloadFormat::Json,
            headers: [("site".to_owned(), "test".to_owned())].into(),
        }],
        dead_letter: Some(DeadLetterConfig {
            topic: format!("{topic}-dead"),
        }),
        limits: LimitsConfig::default(),
        telemetry: TelemetryConfig {
            listen: ([127, 0, 0, 1], free_port()).into(),
        },
    }
}

/// The same in MQTT 3.1.1.
pub(super) fn v311(mut config: BridgeConfig) -> BridgeConfig {
    config.mqtt.protocol = Protocol::V311;
    config.mqtt.session_expiry_seconds = None;
    config
}

/// A configuration between these two, whose topics exist.
pub(super) async fn ready_config(mqtt: &Mosquitto, kafka: &KafkaCluster) -> BridgeConfig {
    let config = config(&mqtt.url(), kafka.bootstrap(Listener::Plain));
    create_topics(&config, kafka).await;
    config
}

/// Creates the configuration's topics, three partitions each.
pub(super) async fn create_topics(config: &BridgeConfig, kafka: &KafkaCluster) {
    for route in &config.routes {
        create_topic(&kafka.admin(), &route.topic, 3, &[]).await;
    }
    if let Some(dead_letter) = &config.dead_letter {
        create_topic(&kafka.admin(), &dead_letter.topic, 1, &[]).await;
    }
}

/// A bridge. Dropped, it is killed.
pub(super) struct Bridge {
    dir: PathBuf,
    config: BridgeConfig,
    process: Option<Process>,
}

impl Bridge {
    /// Starts a bridge.
    pub(super) fn start(config: &BridgeConfig) -> Self {
        let mut bridge = Self {
            dir: data_dir("bridge"),
            config: config.clone(),
            process: None,
        };
        bridge.start_again();
        bridge
    }

    /// Starts a bridge and waits until it is subscribed.
    pub(super) async fn ready(config: &BridgeConfig) -> Self {
        let mut bridge = Self::start(config);
        bridge.wait("to be subscribed", BridgeProgress::subscribed).await;
        bridge
    }

    /// Starts it after `stop` or `kill`.
    pub(super) fn start_again(&mut self) {
        let command = self.command(&[]);
        self.process = Some(Process::start("bridge", &command));
    }

    /// Another configuration, for the next start.
    pub(super) fn configure(&mut self, config: &BridgeConfig) {
        self.config = config.clone();
    }

    fn command(&self, action: &[&str]) -> Command {
        let file = self.dir.join("bridge.yaml");
        fs::write(&file, serde_yaml::to_string(&self.config).expect("YAML")).expect("write");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.arg("bridge").arg("--config").arg(file).args(action);
        command.env("RUST_LOG", "info,tributary=debug");
        command
    }

    /// `tributary bridge end-session`, to its end.
    pub(super) fn end_session(&self) -> std::process::Output {
        self.command(&["end-session"]).output().expect("it runs")
    }

    /// `tributary bridge end-session`, begun.
    pub(super) fn ending_session(&self) -> Process {
        Process::start("end-session", &self.command(&["end-session"]))
    }

    /// SIGTERM, and an orderly end.
    pub(super) async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let status = process.stop(PATIENCE).await;
        assert!(status.success(), "{status}; {}", process.log_tail());
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let text = |e: std::io::Error| e.to_string();
        let mut stream = TcpStream::connect(self.config.telemetry.listen)
            .await
            .map_err(text)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(text)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(text)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of the head")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or("no status")?;
        Ok((status, body.to_owned()))
    }

    /// What it says about itself.
    pub(super) async fn progress(&mut self) -> Result<BridgeProgress, String> {
        if let Some(process) = &mut self.process {
            process.assert_running();
        }
        let (status, body) = self.get("/progress").await?;
        if status != 200 {
            return Err(format!("{status}: {body}"));
        }
        serde_json::from_str(&body).map_err(|e| format!("{e}: {body}"))
    }

    /// `/readyz`: whether it is ready, and what it says.
    pub(super) async fn readyz(&self) -> (u16, String) {
        self.get("/readyz").await.expect("an answer")
    }

    /// `/metrics`.
    pub(super) async fn metrics(&self) -> String {
        self.get("/metrics").await.expect("an answer").1
    }

    /// Waits until its progress fulfils a condition, and yields it.
    pub(super) async fn wait(
        &mut self,
        what: &str,
        condition: impl Fn(&BridgeProgress) -> bool,
    ) -> BridgeProgress {
        let log = self
            .process
            .as_ref()
            .expect("it runs")
            .log()
            .display()
            .to_string();
        eventually(&format!("the bridge ({log}) {what}"), PATIENCE, async || {
            let progress = self.progress().await?;
            if condition(&progress) {
                Ok(progress)
            } else {
                Err(format!("{progress:#?}"))
            }
        })
        .await
    }
}

/// A machine's telemetry: who, and the how-manieth.
pub(super) fn payload(machine: usize, n: usize) -> String {
    format!("{{\"machine\":{machine},\"n\":{n}}}")
}

/// The MQTT topic of a machine.
pub(super) fn topic_of(machine: usize) -> String {
    format!("f/l{}/m{machine}/t", machine % 2)
}

/// Publishes as the machines do.
pub(super) struct Publisher {
    connection: Connection,
    unacknowledged: usize,
}

impl Publisher {
    /// Connects to a server without credentials.
    pub(super) async fn connect(mqtt: &Mosquitto) -> Self {
        Self::connect_as(
            mqtt,
            &Credentials {
                login: None,
                tls: None,
            },
        )
        .await
    }

    /// Connects with credentials.
    pub(super) async fn connect_as(mqtt: &Mosquitto, credentials: &Credentials) -> Self {
        let options = SessionOptions {
            protocol: Protocol::V311,
            client_id: unique("publisher"),
            keep_alive: 60,
            session_expiry: 0,
            receive_maximum: 100,
            max_payload: 1000,
            clean: true,
        };
        let server = mqtt.url().parse().expect("a URL");
        let (connection, _) = Connection::open(&server, &options, credentials)
            .await
            .expect("the server answers");
        Self {
            connection,
            unacknowledged: 0,
        }
    }

    /// Publishes at QoS 1; at most a hundred messages wait for their acknowledgement.
    pub(super) async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) {
        self.publish_at(topic, payload, 1).await;
    }

    pub(super) async fn publish_at(&mut self, topic: &str, payload: impl Into<Bytes>, qos: u8) {
        let publish = Publish {
            topic,
            payload: payload.into(),
            qos,
        };
        self.connection.publish(publish).expect("it can be encoded");
        self.unacknowledged += usize::from(qos);
        while self.unacknowledged > 100 {
            self.one_acknowledgement().await;
        }
    }

    async fn one_acknowledgement(&mut self) {
        match self.connection.next(true).await.expect("the server stays") {
            Incoming::PubAck { result, .. } => {
                result.expect("the server takes the message");
                self.unacknowledged -= 1;
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the server has acknowledged everything; at QoS 0 that says nothing.
    pub(super) async fn flush(&mut self) {
        while self.unacknowledged > 0 {
            self.one_acknowledgement().await;
        }
    }

    /// Publishes these messages of each machine, in turn, and waits until the server has acknowledged them.
    pub(super) async fn publish_range(&mut self, machines: usize, range: std::ops::Range<usize>) {
        for n in range {
            for machine in 0..machines {
                self.publish(&topic_of(machine), payload(machine, n)).await;
            }
        }
        self.flush().await;
    }

    /// Sends what is queued and disconnects.
    pub(super) async fn close(self) {
        self.connection.close().await;
    }
}

/// A record, as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) partition: i32,
    pub(super) key: String,
    pub(super) payload: Vec<u8>,
    pub(super) headers: BTreeMap<String, String>,
}

impl Seen {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// Reads a topic from its beginning until `enough` says so.
pub(super) async fn read_until(
    connection: KafkaConnection,
    topic: &str,
    enough: impl Fn(&[Seen]) -> bool + Send + 'static,
) -> Vec<Seen> {
    let topic = topic.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&connection, &topic, enough));
    reading.await.expect("no panic")
}

fn read(connection: &KafkaConnection, topic: &str, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
    let mut config = connection.client_config();
    config
        .set("group.id", unique("reader"))
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        partitions
            .add_partition_offset(topic, partition.id(), Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&partitions).expect("assigned");
    let begun = std::time::Instant::now();
    let mut seen = Vec::new();
    // Judged when nothing more comes: an audit of each prefix would take longer than the reading.
    let mut idle = true;
    while !idle || !enough(&seen) {
        assert!(
            begun.elapsed() < PATIENCE,
            "{topic}: not enough within {PATIENCE:?}: {} records",
            seen.len()
        );
        let polled = consumer.poll(Duration::from_millis(100));
        idle = polled.is_none();
        let Some(message) = polled else { continue };
        let message = message.expect("a record");
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let headers = message
            .headers()
            .map(|h| h.iter().map(|h| (h.key.to_owned(), text(h.value))).collect());
        seen.push(Seen {
            partition: message.partition(),
            key: text(message.key()),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: headers.unwrap_or_default(),
        });
    }
    seen
}

/// What an audit of machines' telemetry finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Audit {
    pub(super) lost: usize,
    pub(super) duplicates: usize,
    pub(super) disorder: usize,
}

impl Audit {
    /// Compares what is there with messages 0 to `count` of each machine. Order is that of first occurrences.
    pub(super) fn of(seen: &[Seen], machines: usize, count: usize) -> Self {
        let mut audit = Self {
            lost: 0,
            duplicates: 0,
            disorder: 0,
        };
        for machine in 0..machines {
            let key = format!("l{}/m{machine}", machine % 2);
            let (mut found, mut highest) = (vec![false; count], None);
            for record in seen.iter().filter(|r| r.key == key) {
                let value: serde_json::Value = serde_json::from_slice(&record.payload).expect("JSON");
                let n = usize::try_from(value["n"].as_u64().expect("n")).expect("small");
                if std::mem::replace(&mut found[n], true) {
                    audit.duplicates += 1;
                    continue;
                }
                audit.disorder += usize::from(highest.is_some_and(|h| n < h));
                highest = highest.max(Some(n));
            }
            audit.lost += found.iter().filter(|f| !**f).count();
        }
        audit
    }

    /// Whether every message of every machine is there.
    pub(super) fn complete(seen: &[Seen], machines: usize, count: usize) -> bool {
        seen.len() >= machines * count && Self::of(seen, machines, count).lost == 0
    }
}

/// Waits until every message of every machine is in the configuration's first topic, and audits it.
pub(super) async fn audit(
    config: &BridgeConfig,
    kafka: &KafkaCluster,
    machines: usize,
    count: usize,
) -> (Audit, Vec<Seen>) {
    let connection = kafka.connection(Listener::Plain);
    let enough = move |seen: &[Seen]| Audit::complete(seen, machines, count);
    let seen = read_until(connection, &config.routes[0].topic, enough).await;
    (Audit::of(&seen, machines, count), seen)
}
