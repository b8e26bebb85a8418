//! The producer: librdkafka, idempotent, that never gives up by itself.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::record::Record;
use super::watch::Way;
use super::window::RecordId;

/// What became of a record.
pub type Report = (RecordId, Result<(), RDKafkaErrorCode>);

/// Delivery reports on their way from librdkafka's thread to ours. Bounded by the records that are outstanding.
#[derive(Debug, Default)]
pub struct Reports {
    queue: Mutex<Vec<Report>>,
    fatal: Mutex<Option<String>>,
    wake: Notify,
}

impl Reports {
    /// Adds a report.
    pub fn push(&self, report: Report) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(report);
        if queue.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Takes all reports, in the order in which they came; `into` is emptied first and lends its memory.
    pub fn take(&self, into: &mut Vec<Report>) {
        into.clear();
        std::mem::swap(
            &mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner),
            into,
        );
    }

    /// The producer cannot go on, if so: why.
    pub fn take_fatal(&self) -> Option<String> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set_fatal(&self, why: String) {
        *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.wake.notify_one();
    }

    /// Waits until there may be something to take. Cancel-safe.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }
}

/// Why a record was not taken into the producer's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The queue is full: try again when reports came.
    Full,
    /// As if it had come back as a report.
    Failed(RDKafkaErrorCode),
}

/// Where records go.
pub trait Sink {
    /// Queues a record; never waits. What becomes of it comes back through the [`Reports`] that the sink was opened
    /// with.
    ///
    /// # Errors
    /// When the record was not queued.
    fn send(&mut self, id: RecordId, record: Record<'_>) -> Result<(), SendError>;
}

/// Opens sinks. A sink that failed is not mended but replaced.
pub trait OpenSink {
    /// What it opens.
    type Sink: Sink + std::fmt::Debug;

    /// A new sink. `batching` bounds how records are put together.
    ///
    /// # Errors
    /// With the reason as a sentence.
    fn open(&mut self, batching: Batching, reports: Arc<Reports>) -> Result<Self::Sink, String>;
}

/// How records are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Each record by itself: then what Kafka refuses is that record.
    pub single: bool,
    /// Bytes of a batch, uncompressed.
    pub bytes: usize,
}

/// Opens producers for one Kafka.
#[derive(Clone, Debug)]
pub struct KafkaSinks {
    /// Where and as whom, or why nobody can say.
    pub way: Way,
    /// The largest record, bytes; what is larger never comes here.
    pub max_record_bytes: usize,
    /// Bound of the queue, bytes.
    pub queue_bytes: usize,
}

/// A producer.
pub struct KafkaSink {
    producer: Option<ThreadedProducer<Context>>,
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink").finish_non_exhaustive()
    }
}

struct Context {
    reports: Arc<Reports>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka repeats itself each second while a broker is away; what changes is told by the watch, once.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.reports.set_fatal(reason.to_owned());
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, id: usize) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        self.reports.push((RecordId::unpack(id), outcome));
    }
}

impl OpenSink for KafkaSinks {
    type Sink = KafkaSink;

    fn open(&mut self, batching: Batching, reports: Arc<Reports>) -> Result<KafkaSink, String> {
        let mut config = self.way.as_ref().map_err(Clone::clone)?.client_config();
        for (key, value) in settings(batching, self.max_record_bytes, self.queue_bytes) {
            config.set(key, value);
        }
        let producer = config
            .create_with_context(Context { reports })
            .map_err(|e| e.to_string())?;
        Ok(KafkaSink {
            producer: Some(producer),
        })
    }
}

/// What the bridge wants of librdkafka, beside the connection.
fn settings(batching: Batching, max_record_bytes: usize, queue_bytes: usize) -> Vec<(&'static str, String)> {
    let records = if batching.single { 1 } else { 10_000 };
    vec![
        // Order and no duplicates within one producer's life; implies acks=all.
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("max.in.flight.requests.per.connection", "5".to_owned()),
        // Never give up locally: a record waits until Kafka has said something about it.
        ("message.timeout.ms", "0".to_owned()),
        // Records of a topic that is gone come back at once, and are sent again when the watch sees it. While librdkafka
        // waits for it, it holds on to the old topic's leaders, and never finds those of one that is created anew.
        ("topic.metadata.propagation.max.ms", "0".to_owned()),
        // Partitions and settings of a topic are somebody's decision.
        ("allow.auto.create.topics", "false".to_owned()),
        ("topic.metadata.refresh.interval.ms", "30000".to_owned()),
        // A dead peer is noticed within this time; the broker gives up waiting for its replicas before.
        ("socket.timeout.ms", "15000".to_owned()),
        ("request.timeout.ms", "10000".to_owned()),
        // The same partition that Java's default partitioner would choose.
        ("partitioner", "murmur2_random".to_owned()),
        ("linger.ms", "5".to_owned()),
        ("compression.type", "lz4".to_owned()),
        ("batch.num.messages", records.to_string()),
        ("batch.size", batching.bytes.to_string()),
        // The topic decides what is too large, not we. Framing and headers come on top of the payload.
        ("message.max.bytes", (max_record_bytes + 256 * 1024).to_string()),
        ("queue.buffering.max.messages", "100000".to_owned()),
        (
            "queue.buffering.max.kbytes",
            (queue_bytes / 1024).max(1).to_string(),
        ),
    ]
}

impl Sink for KafkaSink {
    fn send(&mut self, id: RecordId, record: Record<'_>) -> Result<(), SendError> {
        let Some(producer) = &self.producer else {
            return Err(SendError::Full);
        };
        let record = BaseRecord::with_opaque_to(record.topic, id.pack())
            .key(record.key)
            .payload(record.payload)
            .timestamp(record.timestamp)
            .headers(record.headers);
        producer
            .send(record)
            .map_err(|(error, _)| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => SendError::Full,
                code => SendError::Failed(code.unwrap_or(RDKafkaErrorCode::Unknown)),
            })
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        // Ending librdkafka's threads may take a second; nobody waits for it. Its last reports go to a `Reports` that
        // nobody reads any more.
        let producer = self.producer.take();
        let ending = std::thread::Builder::new()
            .name("producer-end".to_owned())
            .spawn(move || drop(producer));
        if let Err(error) = ending {
            tracing::warn!(%error, "no thread to end a producer in");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::connection::KafkaConnection;

    #[test]
    fn the_settings_are_known_to_librdkafka_and_keep_the_laws() {
        let connection = KafkaConnection::plaintext(["127.0.0.1:1"]);
        let mut sinks = KafkaSinks {
            way: Ok(connection),
            max_record_bytes: 8 << 20,
            queue_bytes: 32 << 20,
        };
        for single in [false, true] {
            let reports = Arc::new(Reports::default());
            sinks
                .open(
                    Batching {
                        single,
                        bytes: 1_000_000,
                    },
                    reports,
                )
                .unwrap();
        }
        let settings = settings(
            Batching {
                single: false,
                bytes: 1,
            },
            1,
            1,
        );
        let value = |key: &str| settings.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str());
        assert_eq!(value("enable.idempotence"), Some("true"));
        assert_eq!(value("acks"), Some("all"));
        assert_eq!(value("message.timeout.ms"), Some("0"));
        assert_eq!(value("topic.metadata.propagation.max.ms"), Some("0"));
        assert_eq!(value("allow.auto.create.topics"), Some("false"));
    }

    #[tokio::test]
    async fn reports_wake_whoever_waits_and_keep_their_order() {
        let reports = Reports::default();
        for message in 0..3 {
            reports.push((RecordId { message, slot: 0 }, Ok(())));
        }
        reports.wait().await;
        let mut taken = Vec::new();
        reports.take(&mut taken);
        assert_eq!(
            taken.iter().map(|(id, _)| id.message).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        reports.push((RecordId { message: 3, slot: 0 }, Ok(())));
        reports.wait().await;
        reports.take(&mut taken);
        assert_eq!(taken.len(), 1);
    }
}
