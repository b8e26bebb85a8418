//! Records that tests write to one cluster and read from the other.

use std::time::{Duration, Instant};

use crate::harness::wait::PATIENCE;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tributary::kafka::KafkaConnection;

/// A record as either side has it. Its offset is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: i64,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// A record that is told from others by `number`.
    pub(crate) fn numbered(partition: i32, number: u64) -> Self {
        let offset = i64::try_from(number).expect("small");
        Self {
            partition,
            key: Some(format!("device-{}", number % 7).into_bytes()),
            value: Some(format!("{number:012} {}", "payload ".repeat(10)).into_bytes()),
            timestamp: recently() + offset,
            headers: vec![("number".to_owned(), Some(number.to_string().into_bytes()))],
        }
    }

    /// The number that [`Record::numbered`] gave it.
    pub(crate) fn number(&self) -> u64 {
        let value = self.value.as_deref().expect("a value");
        std::str::from_utf8(&value[..12])
            .expect("digits")
            .parse()
            .expect("a number")
    }
}

/// A time of this run's, in milliseconds since 1970: older records would fall to retention while a test runs.
pub(crate) fn recently() -> i64 {
    static RECENTLY: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *RECENTLY.get_or_init(|| jiff::Timestamp::now().as_millisecond() - 3_600_000)
}

/// A producer with a codec, acks from all replicas.
pub(crate) fn producer_with(connection: &KafkaConnection, codec: &str) -> FutureProducer {
    let mut config = connection.client_config();
    config
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("compression.type", codec)
        .set("enable.idempotence", "true");
    config.create().expect("a producer")
}

/// Writes records in their order and waits until all are acknowledged.
pub(crate) async fn write(producer: &FutureProducer, topic: &str, records: &[Record]) {
    for chunk in records.chunks(20_000) {
        let deliveries: FuturesUnordered<_> = chunk
            .iter()
            .map(|record| queue(producer, topic, record))
            .collect();
        deliveries
            .for_each(|delivery| async move {
                delivery
                    .expect("the producer lives")
                    .unwrap_or_else(|(error, _)| panic!("not written: {error}"));
            })
            .await;
    }
}

fn queue(producer: &FutureProducer, topic: &str, record: &Record) -> rdkafka::producer::DeliveryFuture {
    let mut out: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic)
        .partition(record.partition)
        .timestamp(record.timestamp);
    out.key = record.key.as_deref();
    out.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: value.as_deref(),
                })
            });
        out = out.headers(headers);
    }
    producer
        .send_result(out)
        .unwrap_or_else(|(error, _)| panic!("not queued: {error}"))
}

/// Reads a topic's committed records from its beginning, in each partition's order, until there are `count` of them and
/// then until its end. Panics when that takes too long.
pub(crate) async fn read(
    connection: &KafkaConnection,
    topic: &str,
    partitions: i32,
    count: usize,
) -> Vec<Record> {
    let (connection, topic) = (connection.clone(), topic.to_owned());
    let reading = tokio::task::spawn_blocking(move || read_blocking(&connection, &topic, partitions, count));
    reading.await.expect("no panic")
}

fn read_blocking(connection: &KafkaConnection, topic: &str, partitions: i32, count: usize) -> Vec<Record> {
    let mut config = connection.client_config();
    config
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&assignment).expect("assigned");
    let (begun, mut records) = (Instant::now(), Vec::new());
    let mut ended = std::collections::BTreeSet::new();
    while records.len() < count || i32::try_from(ended.len()) != Ok(partitions) {
        let seen = records.len();
        assert!(
            begun.elapsed() < PATIENCE,
            "{topic}: {seen} of {count} records after {PATIENCE:?}"
        );
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                ended.remove(&message.partition());
                let headers = message.headers().map(|headers| {
                    headers
                        .iter()
                        .map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)))
                        .collect()
                });
                records.push(Record {
                    partition: message.partition(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    timestamp: message.timestamp().to_millis().expect("a timestamp"),
                    headers: headers.unwrap_or_default(),
                });
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => panic!("{topic}: {error}"),
        }
    }
    records
}

/// One partition's records, in order.
pub(crate) fn of_partition(records: &[Record], partition: i32) -> Vec<&Record> {
    records
        .iter()
        .filter(|record| record.partition == partition)
        .collect()
}

/// What an audit of numbered records finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// First occurrences that come after one with a higher number of the same partition.
    pub(crate) disordered: u64,
}

/// Compares what arrived with numbers `0..count`, each in the partition `number % partitions`.
pub(crate) fn audit(arrived: &[Record], count: u64, partitions: i32) -> Audit {
    let mut audit = Audit::default();
    let mut seen = std::collections::BTreeSet::new();
    for partition in 0..partitions {
        let mut highest = None;
        for record in of_partition(arrived, partition) {
            let number = record.number();
            if !seen.insert(number) {
                audit.repeated += 1;
            } else if highest > Some(number) {
                audit.disordered += 1;
            }
            highest = highest.max(Some(number));
        }
    }
    audit.lost = (0..count).filter(|number| !seen.contains(number)).count() as u64;
    audit
}

/// Records `from..to`, spread over partitions as [`audit`] expects them.
pub(crate) fn numbered(from: u64, to: u64, partitions: i32) -> Vec<Record> {
    let modulus = u64::from(partitions.unsigned_abs());
    (from..to)
        .map(|n| Record::numbered(i32::try_from(n % modulus).expect("small"), n))
        .collect()
}

#[test]
fn the_audit_finds_what_is_lost_repeated_and_out_of_order() {
    let mut arrived = numbered(0, 100, 4);
    assert_eq!(audit(&arrived, 100, 4), Audit::default());
    arrived.remove(17);
    assert_eq!(audit(&arrived, 100, 4).lost, 1);
    arrived.push(arrived[3].clone());
    assert_eq!(audit(&arrived, 100, 4).repeated, 1);
    arrived.push(Record::numbered(1, 17));
    assert_eq!(
        audit(&arrived, 100, 4),
        Audit {
            lost: 0,
            repeated: 1,
            disordered: 1
        }
    );
}
