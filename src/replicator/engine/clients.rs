//! The two librdkafka clients of a session: their settings and callbacks.

use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::kafka::connection::KafkaConnection;
use crate::kafka::quiet::Quiet;
use crate::replicator::config::Tuning;

/// Least bytes that one partition may have waiting on either side, however many partitions share the budget.
const LEAST_PARTITION_BYTES: u64 = 256 << 10;
/// Bytes that a queued record costs beside its content.
const RECORD_OVERHEAD_BYTES: u64 = 256;
/// Largest batch, and how much of a topic's limit a batch may use: framing and headers need the rest.
const LARGEST_BATCH_BYTES: u64 = 1_000_000;
/// What the producer's client says.
const TARGET: Quiet = Quiet("target");

/// One partition's share of a budget of bytes.
#[must_use]
pub(super) fn partition_share(budget: u64, partitions: usize) -> u64 {
    let partitions = u64::try_from(partitions.max(1)).unwrap_or(u64::MAX);
    (budget / partitions).max(LEAST_PARTITION_BYTES)
}

/// Whether a consumer that was made for `made_for` partitions would hold more than twice its budget with `partitions`,
/// while one made anew would hold less.
#[must_use]
pub(super) fn is_outgrown(budget: u64, made_for: usize, partitions: usize) -> bool {
    partition_share(budget, partitions) < partition_share(budget, made_for) / 2
}

/// Settings of the consumer for about `partitions` partitions.
///
/// Each partition has a queue of its own, so that one which the target does not take delays no other. The share of a
/// partition is fixed when the client is made: see [`is_outgrown`].
#[must_use]
pub(super) fn consumer_config(source: &KafkaConnection, tuning: &Tuning, partitions: usize) -> ClientConfig {
    let share = partition_share(tuning.fetch_buffer_bytes, partitions);
    let mut config = source.client_config();
    config
        // librdkafka wants a group for a manual assignment; it is never joined and nothing is committed.
        .set("group.id", "tributary-unused")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Law 1: no default may move a position.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("allow.auto.create.topics", "false")
        .set("queued.max.messages.kbytes", (share >> 10).to_string())
        .set("queued.min.messages", (share / RECORD_OVERHEAD_BYTES).min(100_000).to_string())
        .set("fetch.message.max.bytes", (share / 2).clamp(128 << 10, 1 << 20).to_string())
        .set("fetch.max.bytes", tuning.fetch_buffer_bytes.clamp(1 << 20, 16 << 20).to_string())
        // The default of one second would leave a partition idle each time its queue was full for a moment.
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.error.backoff.ms", "250")
        .set("topic.metadata.refresh.interval.ms", "30000");
    config
}

/// Largest batch; `batch_limit` is the smallest `max.message.bytes` of the topics that are written.
#[must_use]
pub(super) fn batch_bytes(batch_limit: u64) -> u64 {
    (batch_limit / 10 * 9).clamp(1, LARGEST_BATCH_BYTES)
}

/// Settings of the producer; `batch_limit` is the smallest `max.message.bytes` of the topics that are written.
#[must_use]
pub(super) fn producer_config(target: &KafkaConnection, tuning: &Tuning, batch_limit: u64) -> ClientConfig {
    let messages = (tuning.produce_buffer_bytes / RECORD_OVERHEAD_BYTES).clamp(1000, 10_000_000);
    let mut config = target.client_config();
    config
        .set("enable.idempotence", "true")
        // A batch that is refused for good stops the producer: nothing behind it may overtake it.
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5")
        // Law 1: never give up locally.
        .set("message.timeout.ms", "0")
        .set("retries", "2147483647")
        .set("retry.backoff.ms", "100")
        .set("retry.backoff.max.ms", "2000")
        .set("allow.auto.create.topics", "false")
        // Size is judged by the target alone.
        .set("message.max.bytes", "1000000000")
        .set("batch.size", batch_bytes(batch_limit).to_string())
        // The size alone decides when a batch is full: see `Batch`.
        .set("batch.num.messages", "1000000")
        .set("linger.ms", tuning.linger_ms.to_string())
        .set("compression.type", tuning.compression.as_str())
        .set("queue.buffering.max.kbytes", (tuning.produce_buffer_bytes >> 10).to_string())
        .set("queue.buffering.max.messages", messages.to_string())
        .set("topic.metadata.refresh.interval.ms", "30000");
    config
}

/// Which record a delivery report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) slot: usize,
    pub(super) offset: i64,
}

/// A delivery report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) token: Token,
    pub(super) failed: Option<RDKafkaErrorCode>,
}

/// Callbacks of the producer: collects delivery reports for the thread that polls it.
#[derive(Default)]
pub(super) struct TargetContext {
    deliveries: Mutex<Vec<Delivery>>,
}

impl TargetContext {
    /// Moves the reports collected so far into `into`, in their order.
    pub(super) fn take(&self, into: &mut Vec<Delivery>) {
        into.append(&mut lock(&self.deliveries));
    }
}

impl ClientContext for TargetContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        TARGET.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        TARGET.error(error, reason);
    }
}

impl ProducerContext for TargetContext {
    type DeliveryOpaque = Box<Token>;

    fn delivery(&self, result: &DeliveryResult<'_>, token: Box<Token>) {
        let failed = match result {
            Ok(_) => None,
            Err((error, _)) => Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        lock(&self.deliveries).push(Delivery {
            token: *token,
            failed,
        });
    }
}

/// A poisoned lock holds whole reports all the same: pushing and taking cannot leave half of one.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(config: &ClientConfig, key: &str) -> u64 {
        config.get(key).and_then(|value| value.parse().ok()).unwrap()
    }

    #[test]
    fn librdkafka_accepts_the_settings_whatever_the_number_of_partitions() {
        let connection = KafkaConnection::plaintext(["127.0.0.1:1"]);
        for partitions in [0, 1, 8, 1000, 100_000] {
            let config = consumer_config(&connection, &Tuning::default(), partitions);
            config
                .create_with_context::<_, rdkafka::consumer::BaseConsumer<_>>(Quiet("source"))
                .unwrap();
        }
        for limit in [100, 1_048_588, u64::MAX] {
            let config = producer_config(&connection, &Tuning::default(), limit);
            config
                .create_with_context::<_, rdkafka::producer::BaseProducer<_>>(TargetContext::default())
                .unwrap();
        }
    }

    #[test]
    fn batches_stay_below_the_smallest_limit() {
        let connection = KafkaConnection::plaintext(["127.0.0.1:1"]);
        let batch = |limit| {
            number(
                &producer_config(&connection, &Tuning::default(), limit),
                "batch.size",
            )
        };
        assert_eq!(batch(1000), 900);
        assert_eq!(batch(1_048_588), 943_722);
        assert_eq!(batch(100_000_000), LARGEST_BATCH_BYTES);
    }

    #[test]
    fn partitions_share_the_budget_down_to_a_least() {
        assert_eq!(partition_share(32 << 20, 8), 4 << 20);
        assert_eq!(partition_share(32 << 20, 0), 32 << 20);
        assert_eq!(partition_share(32 << 20, 100_000), LEAST_PARTITION_BYTES);
    }

    #[test]
    fn a_consumer_is_outgrown_when_its_partitions_have_more_than_doubled() {
        for (made_for, most) in [(0, 2), (1, 2), (2, 4), (20, 40)] {
            assert!(!is_outgrown(32 << 20, made_for, most), "{made_for}");
            assert!(is_outgrown(32 << 20, made_for, most + 1), "{made_for}");
        }
        assert!(!is_outgrown(32 << 20, 20, 1), "fewer need no other");
    }

    #[test]
    fn what_is_not_outgrown_holds_at_most_twice_the_budget_or_the_least() {
        let budget = 32 << 20;
        for made_for in 1..200_usize {
            for partitions in (1..3000).filter(|count| !is_outgrown(budget, made_for, *count)) {
                let (count, least) = (partitions as u64, partition_share(0, 1));
                let held = partition_share(budget, made_for) * count;
                // Halving loses at most one byte of each partition's share.
                let bound = 2 * budget.max(least * count) + count;
                assert!(held <= bound, "{made_for}, {partitions}: {held}");
            }
        }
    }

    #[test]
    fn nothing_resets_a_position_or_gives_up_locally() {
        let connection = KafkaConnection::plaintext(["127.0.0.1:1"]);
        let consumer = consumer_config(&connection, &Tuning::default(), 1);
        assert_eq!(consumer.get("auto.offset.reset"), Some("error"));
        assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
        let producer = producer_config(&connection, &Tuning::default(), 1000);
        assert_eq!(producer.get("message.timeout.ms"), Some("0"));
        assert_eq!(producer.get("acks"), Some("all"));
        assert_eq!(producer.get("enable.gapless.guarantee"), Some("true"));
    }
}
