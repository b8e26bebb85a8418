//! From MQTT to Kafka, as faithfully as a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use serde_json::Value;
use tokio::task::JoinHandle;
use tributary::kafka::KafkaConnection;
use tributary::mqtt::Source as _;
use tributary::mqtt::connection::{Connection, SessionOptions};
use tributary::mqtt::credentials::Credentials;
use tributary::mqtt::endpoint::{Protocol, ServerAddress};
use tributary::mqtt::packet::Incoming;

use crate::harness::client::producer;
use crate::harness::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes to the topic.
    Pass,
    /// Nobody hears of it again.
    Drop,
    /// It goes to the topic twice.
    Twice,
    /// It goes to the topic behind the message that follows it.
    Swap,
    /// It goes to this topic instead.
    To(String),
}

/// A running forwarder. Dropped, it stops.
pub(super) struct Forwarder {
    taken: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Forwarder {
    /// Subscribes to everything at `server`, and forwards to `topic` as `rule` says for a device and a sequence.
    pub(super) async fn start(
        server: &str,
        kafka: &KafkaConnection,
        topic: &str,
        rule: impl Fn(u64, u64) -> Fate + Send + 'static,
    ) -> Self {
        let server: ServerAddress = server.parse().expect("a URL");
        let options = SessionOptions {
            protocol: Protocol::V5,
            client_id: "forwarder".into(),
            keep_alive: 30,
            session_expiry: 0,
            receive_maximum: 1000,
            max_payload: 1024 * 1024,
            clean: true,
        };
        let credentials = Credentials {
            login: None,
            tls: None,
        };
        let (mut connection, _) = Connection::open(&server, &options, &credentials)
            .await
            .expect("a connection");
        connection.subscribe(&[("#", 1)]).expect("a subscription");
        let granted = connection.next(true).await.expect("an answer");
        assert!(matches!(granted, Incoming::SubAck { .. }), "{granted:?}");
        let taken = Arc::new(AtomicU64::new(0));
        let out = Out {
            producer: producer(kafka),
            topic: topic.to_owned(),
            held: None,
        };
        let task = crate::harness::spawn(forward(connection, out, rule, Arc::clone(&taken)));
        Self { taken, task }
    }

    /// Waits until this many messages were dealt with, and are in Kafka as far as they go there.
    pub(super) async fn taken(&self, count: u64) {
        eventually("the forwarder", PATIENCE, async || {
            let taken = self.taken.load(Ordering::Acquire);
            if taken >= count {
                Ok(())
            } else {
                Err(format!("{taken} of {count} messages"))
            }
        })
        .await;
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Out {
    producer: FutureProducer,
    topic: String,
    held: Option<(String, Bytes)>,
}

impl Out {
    /// Hands a record to the producer, in order; its delivery is awaited by [`Out::flush`].
    fn send(&self, topic: &str, key: &str, payload: &Bytes) {
        let record = FutureRecord::to(topic).key(key).payload(&payload[..]);
        let queued = self.producer.send_result(record);
        assert!(queued.is_ok(), "the producer's queue is full");
    }

    fn flush(&self) {
        self.producer.flush(PATIENCE).expect("records are delivered");
    }
}

async fn forward(
    mut connection: Connection,
    mut out: Out,
    rule: impl Fn(u64, u64) -> Fate,
    taken: Arc<AtomicU64>,
) {
    // Ends with the server, or when the test ends.
    while let Ok(packet) = connection.next(true).await {
        let Incoming::Publish(message) = packet else {
            continue;
        };
        let value: Value = serde_json::from_slice(&message.payload).expect("JSON");
        let number = |field: &str| value[field].as_u64().expect("a number");
        let (key, payload) = (message.topic.as_str(), &message.payload);
        let held = out.held.take();
        match rule(number("device"), number("seq")) {
            Fate::Pass => out.send(&out.topic, key, payload),
            Fate::Drop => {}
            Fate::Twice => {
                out.send(&out.topic, key, payload);
                out.send(&out.topic, key, payload);
            }
            Fate::Swap => out.held = Some((key.to_owned(), payload.clone())),
            Fate::To(topic) => out.send(&topic, key, payload),
        }
        if let Some((key, payload)) = held {
            out.send(&out.topic, &key, &payload);
        }
        if message.pkid > 0 {
            connection.acknowledge(message.pkid);
        }
        out.flush();
        taken.fetch_add(1, Ordering::Release);
    }
}
