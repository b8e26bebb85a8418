//! From MQTT to Kafka, as faithfully as a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use serde_json::Value;
use tokio::task::JoinHandle;
use tributary::kafka::KafkaConnection;
use tributary::mqtt::Source as _;
use tributary::mqtt::connection::{Connection, SessionOptions};
use tributary::mqtt::credentials::Credentials;
use tributary::mqtt::endpoint::{Protocol, ServerAddress};
use tributary::mqtt::packet::{Incoming, Message, Subscription};

use crate::harness::client::producer;
use crate::harness::wait::{PATIENCE, eventually};

/// Messages that are handed to the producer together, at most.
const TOGETHER: u64 = 500;

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
        let everything = Subscription {
            filter: "#",
            qos: 1,
            stored_again: false,
        };
        connection.subscribe(&[everything]).expect("a subscription");
        let granted = connection.next(true).await.expect("an answer");
        assert!(matches!(granted, Incoming::SubAck { .. }), "{granted:?}");
        let taken = Arc::new(AtomicU64::new(0));
        let out = Out {
            producer: producer(kafka),
            topic: topic.to_owned(),
            held: None,
            underway: Vec::new(),
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
    underway: Vec<DeliveryFuture>,
}

impl Out {
    /// Does with a message what `rule` says; Kafka's word on it is awaited by [`Out::settle`].
    fn take(&mut self, message: &Message, rule: impl Fn(u64, u64) -> Fate) {
        let value: Value = serde_json::from_slice(&message.payload).expect("JSON");
        let number = |field: &str| value[field].as_u64().expect("a number");
        let (key, payload) = (message.topic.as_str(), &message.payload);
        let (topic, held) = (self.topic.clone(), self.held.take());
        match rule(number("device"), number("seq")) {
            Fate::Pass => self.send(&topic, key, payload),
            Fate::Drop => {}
            Fate::Twice => {
                self.send(&topic, key, payload);
                self.send(&topic, key, payload);
            }
            Fate::Swap => self.held = Some((key.to_owned(), payload.clone())),
            Fate::To(other) => self.send(&other, key, payload),
        }
        if let Some((key, payload)) = held {
            self.send(&topic, &key, &payload);
        }
    }

    fn send(&mut self, topic: &str, key: &str, payload: &Bytes) {
        let record = FutureRecord::to(topic).key(key).payload(&payload[..]);
        match self.producer.send_result(record) {
            Ok(delivery) => self.underway.push(delivery),
            Err((error, _)) => panic!("not queued: {error}"),
        }
    }

    /// Waits until Kafka has everything.
    async fn settle(&mut self) {
        for delivery in self.underway.drain(..) {
            let delivered = delivery.await.expect("the producer lives");
            delivered.unwrap_or_else(|(error, _)| panic!("not delivered: {error}"));
        }
    }
}

async fn forward(
    mut connection: Connection,
    mut out: Out,
    rule: impl Fn(u64, u64) -> Fate,
    taken: Arc<AtomicU64>,
) {
    // Ends with the server, or when the test ends.
    while let Ok(first) = connection.next(true).await {
        // What has arrived already goes to Kafka together: one by one would take a round trip each.
        let mut next = Some(first);
        let mut count = 0;
        while let Some(packet) = next {
            if let Incoming::Publish(message) = packet {
                out.take(&message, &rule);
                if let Some(receipt) = message.receipt() {
                    connection.acknowledge(receipt);
                }
                count += 1;
            }
            let more = if count < TOGETHER {
                connection.next(true).now_or_never()
            } else {
                None
            };
            next = more.and_then(Result::ok);
        }
        out.settle().await;
        taken.fetch_add(count, Ordering::Release);
    }
}
