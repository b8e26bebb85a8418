//! Fetch for small topics that must be read exactly: up to a known end, by topic ID, without a consumer's threads.
//!
//! Not an engine: one request per leader, no session, uncompressed batches only (the positions topic is created so).

use std::collections::{BTreeMap, HashSet};

use bytes::{Buf as _, Bytes};
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::records::RecordBatchDecoder;

use super::Admin;
use super::deadline::Deadline;
use super::metadata::topic_name;
use super::offsets::Isolation;
use super::pool::At;
use crate::kafka::error::KafkaError;
use crate::kafka::topic_id::TopicId;

/// Bytes of a batch's header (KIP-98): what lies before its records.
const BATCH_HEADER: usize = 61;

/// One partition to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchFrom {
    /// The partition's leader.
    pub leader: i32,
    /// Its epoch, if known: a leader of another epoch refuses.
    pub leader_epoch: Option<i32>,
    /// The next offset to read.
    pub offset: i64,
}

/// What a partition gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The first offset that is still there.
    pub log_start: i64,
    /// The offset after the last replicated record.
    pub high_watermark: i64,
    /// The offset before which no transaction is open.
    pub last_stable_offset: i64,
    /// The records; control records, and those of aborted transactions, are left out.
    pub records: Vec<Record>,
    /// Where to read on. Moves also past what was left out or compacted away.
    pub next_offset: i64,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Admin {
    /// Reads partitions of one topic, committed records only, at most `max_bytes` per partition (a larger batch comes
    /// whole). Does not wait for new records.
    ///
    /// By topic ID where both sides have it (Kafka 3.1): then a re-created topic is `UNKNOWN_TOPIC_ID`.
    pub async fn fetch(
        &self,
        topic: &str,
        topic_id: TopicId,
        partitions: &BTreeMap<i32, FetchFrom>,
        max_bytes: i32,
        deadline: Deadline,
    ) -> BTreeMap<i32, Result<Fetched, KafkaError>> {
        let mut leaders: BTreeMap<i32, BTreeMap<i32, FetchFrom>> = BTreeMap::new();
        for (index, from) in partitions {
            leaders.entry(from.leader).or_default().insert(*index, *from);
        }
        let calls = leaders.iter().map(|(leader, partitions)| {
            self.fetch_from(*leader, topic, topic_id, partitions, max_bytes, deadline)
        });
        futures::future::join_all(calls)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    async fn fetch_from(
        &self,
        leader: i32,
        topic: &str,
        topic_id: TopicId,
        partitions: &BTreeMap<i32, FetchFrom>,
        max_bytes: i32,
        deadline: Deadline,
    ) -> BTreeMap<i32, Result<Fetched, KafkaError>> {
        let asked = partitions.iter().map(|(index, from)| {
            FetchPartition::default()
                .with_partition(*index)
                .with_current_leader_epoch(from.leader_epoch.unwrap_or(-1))
                .with_fetch_offset(from.offset)
                .with_partition_max_bytes(max_bytes)
        });
        let asked: Vec<FetchPartition> = asked.collect();
        // Versions from 13 on carry the ID instead of the name.
        let highest = if topic_id.is_set() { i16::MAX } else { 12 };
        let build = |version: i16| {
            let named = FetchTopic::default().with_partitions(asked.clone());
            let named = if version >= 13 {
                named.with_topic_id(topic_id.0)
            } else {
                named.with_topic(topic_name(topic))
            };
            FetchRequest::default()
                .with_max_wait_ms(0)
                .with_min_bytes(0)
                .with_max_bytes(max_bytes.saturating_mul(i32::try_from(asked.len()).unwrap_or(i32::MAX)))
                .with_isolation_level(Isolation::ReadCommitted.protocol())
                .with_topics(vec![named])
        };
        let everywhere = |error: &KafkaError| {
            partitions
                .keys()
                .map(|index| (*index, Err(error.clone())))
                .collect()
        };
        let answer = match self.read(At::Broker(leader), 9..=highest, deadline, build).await {
            Ok(answer) => answer,
            Err(error) => return everywhere(&error),
        };
        if let Some(error) = KafkaError::from_code(format!("topic {topic}"), answer.error_code, None) {
            return everywhere(&error);
        }
        let mut results: BTreeMap<_, _> = everywhere(&KafkaError::Protocol {
            address: format!("broker {leader}"),
            why: "the answer to Fetch lacks a partition".into(),
        });
        for data in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            if let Some(from) = partitions.get(&data.partition_index) {
                let what = format!("partition {topic}-{}", data.partition_index);
                results.insert(data.partition_index, read_partition(what, data, from.offset));
            }
        }
        results
    }
}

fn read_partition(what: String, data: PartitionData, offset: i64) -> Result<Fetched, KafkaError> {
    if let Some(error) = KafkaError::from_code(what.clone(), data.error_code, None) {
        return Err(error);
    }
    let mut fetched = Fetched {
        log_start: data.log_start_offset,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        records: Vec::new(),
        next_offset: offset,
    };
    let mut aborted = Aborted::new(&data);
    let mut rest = data.records.unwrap_or_default();
    while let Some((header, batch)) = next_batch(&mut rest) {
        read_batch(&what, &header, batch, &mut aborted, &mut fetched)?;
    }
    Ok(fetched)
}

/// What this reader needs of a batch's header.
#[derive(Debug, PartialEq, Eq)]
struct BatchHeader {
    last_offset: i64,
    attributes: i16,
    producer_id: i64,
}

impl BatchHeader {
    const fn is_compressed(&self) -> bool {
        self.attributes & 0x07 != 0
    }
    const fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }
    const fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }
}

/// Takes the next whole batch. Kafka may cut the last one short: it comes whole with the next fetch.
fn next_batch(rest: &mut Bytes) -> Option<(BatchHeader, Bytes)> {
    let mut header = rest.get(..BATCH_HEADER)?;
    let base_offset = header.get_i64();
    let length = usize::try_from(header.get_i32()).ok()?.checked_add(12)?;
    header.advance(4 + 1 + 4);
    let attributes = header.get_i16();
    let last_offset = base_offset + i64::from(header.get_i32());
    header.advance(8 + 8);
    let producer_id = header.get_i64();
    if length < BATCH_HEADER || rest.len() < length {
        return None;
    }
    Some((
        BatchHeader {
            last_offset,
            attributes,
            producer_id,
        },
        rest.split_to(length),
    ))
}

fn read_batch(
    what: &str,
    header: &BatchHeader,
    mut batch: Bytes,
    aborted: &mut Aborted,
    fetched: &mut Fetched,
) -> Result<(), KafkaError> {
    let unusable = |why: String| KafkaError::Protocol {
        address: what.to_owned(),
        why,
    };
    aborted.advance_to(header.last_offset);
    let wanted = !(header.is_transactional() && !header.is_control() && aborted.holds(header.producer_id));
    if wanted && header.is_compressed() {
        return Err(unusable(
            "a compressed batch; set the topic's compression.type to uncompressed and let the writers write again".into(),
        ));
    }
    if wanted {
        let set =
            RecordBatchDecoder::decode(&mut batch).map_err(|e| unusable(format!("a broken batch: {e:#}")))?;
        for record in set.records {
            if header.is_control() {
                aborted.end(header.producer_id, record.key.as_deref());
            } else if record.offset >= fetched.next_offset {
                fetched.records.push(Record {
                    offset: record.offset,
                    timestamp_ms: record.timestamp,
                    key: record.key,
                    value: record.value,
                });
            }
        }
    }
    // Not the last record's offset: compaction may have taken the last records and left the batch.
    fetched.next_offset = fetched.next_offset.max(header.last_offset + 1);
    Ok(())
}

/// The producers whose transaction is, at the present place in the log, one that was aborted.
struct Aborted {
    /// Where aborted transactions begin, in order, last first.
    begins: Vec<(i64, i64)>,
    open: HashSet<i64>,
}

impl Aborted {
    fn new(data: &PartitionData) -> Self {
        let mut begins: Vec<(i64, i64)> = data
            .aborted_transactions
            .iter()
            .flatten()
            .map(|transaction| (transaction.first_offset, transaction.producer_id.0))
            .collect();
        begins.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            begins,
            open: HashSet::new(),
        }
    }

    fn advance_to(&mut self, last_offset: i64) {
        while let Some((_, producer)) = self.begins.pop_if(|(first, _)| *first <= last_offset) {
            self.open.insert(producer);
        }
    }

    fn holds(&self, producer: i64) -> bool {
        self.open.contains(&producer)
    }

    /// A control record: version, then type, of which 0 is an abort.
    fn end(&mut self, producer: i64, key: Option<&[u8]>) {
        if let Some([_, _, 0, 0]) = key {
            self.open.remove(&producer);
        }
    }
}

#[cfg(test)]
mod tests;
