//! The positions topic: how far each link has carried each source partition, kept on the link's target cluster.
//!
//! The replicator writes a position after the target has acknowledged every record before it; the operator reads
//! positions to compute lag and to refuse loops; a later engine resumes from them. There is no consumer group: group
//! offsets expire, and they cannot be written in one transaction with records of another cluster.
//!
//! # The topic
//! [`POSITIONS_TOPIC`], `cleanup.policy=compact`, [`POSITIONS_PARTITIONS`] partitions, the target's default
//! replication factor. All positions of a link lie in one partition ([`partition_for`]), so that a reader of one link
//! reads an eighth of the topic; the number of partitions is part of the format and never changes.
//!
//! # Key (JSON, UTF-8, members in this order, no white space: compaction compares bytes)
//! ```json
//! {"v":1,"link":"…","sourceCluster":"…","topicId":"…","partition":0}
//! ```
//! # Value (JSON, UTF-8)
//! ```json
//! {"v":1,"nextOffset":42,"leaderEpoch":3,"sourceTopic":"telemetry","targetTopic":"munich.telemetry",
//!  "targetTopicId":"…","lastRecordTimestampMs":1767225600000,"writtenAtMs":1767225600123,"generation":7}
//! ```
//! A null value (tombstone) withdraws the position: the link starts there as if it had never run.
//!
//! # Versions
//! Within a version, members may be added to the value if an old reader may ignore them. Everything else is a new
//! `v`, which an old reader reports as [`PositionError::FutureVersion`]; it never takes such a record for absent.
//! The last record of a key counts. For at-least-once links that is safe whoever wrote it: also a process that was
//! replaced and wrote late had the records before its position acknowledged. `generation` shows such a writer.

mod reader;
mod shard;
mod topic;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::KafkaError;
use super::topic_id::TopicId;

pub use reader::{MAX_POSITIONS, Positions, PositionsReader, Scope, Unreadable};
pub use topic::{PositionsTopic, ensure_positions_topic};

/// The topic's name on every target cluster.
pub const POSITIONS_TOPIC: &str = "__tributary_positions";

/// Number of partitions; part of the format (see [`partition_for`]).
pub const POSITIONS_PARTITIONS: i32 = 8;

/// The version of key and value that is written.
pub const POSITIONS_VERSION: u32 = 1;

/// What a position is of. Never a Kubernetes name or UID beyond what the link ID holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PositionKey {
    /// The link's stable ID.
    pub link_id: String,
    /// The source's cluster ID, as Kafka reports it.
    pub source_cluster_id: String,
    /// The source topic's ID: a re-created topic of the same name is another one.
    pub topic_id: TopicId,
    /// The source partition, 0 or more.
    pub partition: i32,
}

/// How far a partition was carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next source offset to read; everything below is on the target. 0 or more.
    pub next_offset: i64,
    /// The source leader epoch of what is right before that offset, a record or a transaction's marker; `None` where the
    /// source gives none.
    pub leader_epoch: Option<i32>,
    /// The source topic's name when this was written.
    pub source_topic: String,
    /// The topic on the target that has the records.
    pub target_topic: String,
    /// That topic's ID; `None` if the target gives none. Another ID there now means that the records are gone.
    pub target_topic_id: Option<TopicId>,
    /// Timestamp of the last record carried, in milliseconds since 1970; `None` before the first record.
    pub last_record_timestamp_ms: Option<i64>,
    /// When this was written, in milliseconds since 1970, by the writer's clock.
    pub written_at_ms: i64,
    /// Counts the link's writers: each start takes the highest one seen plus one.
    pub generation: u64,
}

/// Why a record of the positions topic cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// Written by a newer Tributary in a format that this one does not know.
    #[error(
        "the position's {part} has version {version}, and this Tributary reads up to {POSITIONS_VERSION}; upgrade it"
    )]
    FutureVersion {
        /// `key` or `value`.
        part: &'static str,
        /// The version found.
        version: u64,
    },
    /// Not our format at all.
    #[error(
        "the position's {part} is not in the documented format: {why}; nothing else may write to {POSITIONS_TOPIC}"
    )]
    Malformed {
        /// `key` or `value`.
        part: &'static str,
        /// What does not fit.
        why: String,
    },
}

/// Why the positions of a cluster cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionsError {
    /// There is no such topic: no link has ever run towards this cluster, or the topic was deleted.
    #[error("the topic {POSITIONS_TOPIC} does not exist")]
    TopicMissing,
    /// Somebody else created it.
    #[error(
        "the topic {POSITIONS_TOPIC} has {found} partitions and must have {POSITIONS_PARTITIONS}; \
         delete it if no link has used it yet, it is created anew"
    )]
    WrongPartitions {
        /// How many there are.
        found: usize,
    },
    /// The cluster cannot be asked, or refuses.
    #[error("the topic {POSITIONS_TOPIC} cannot be read: {0}")]
    Kafka(#[from] KafkaError),
    /// Somebody's transaction holds records back.
    #[error(
        "partition {partition} of {POSITIONS_TOPIC} can be read up to offset {at} of {end}: a transaction is open; \
         it is read on when the transaction ends"
    )]
    OpenTransaction {
        /// Partition of the positions topic.
        partition: i32,
        /// The next offset to read.
        at: i64,
        /// The high watermark.
        end: i64,
    },
    /// More than a reader may hold.
    #[error(
        "the topic {POSITIONS_TOPIC} has more than {bound} positions; write tombstones for links that are gone"
    )]
    TooMany {
        /// The bound.
        bound: usize,
    },
}

impl PositionsError {
    /// A stable CamelCase word for conditions.
    pub fn reason(&self) -> String {
        match self {
            Self::TopicMissing => "PositionsTopicMissing".into(),
            Self::WrongPartitions { .. } => "PositionsTopicUnusable".into(),
            Self::Kafka(error) => error.reason(),
            Self::OpenTransaction { .. } => "PositionsHeldByTransaction".into(),
            Self::TooMany { .. } => "TooManyPositions".into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyV1<'a> {
    v: u32,
    #[serde(borrow)]
    link: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    source_cluster: std::borrow::Cow<'a, str>,
    topic_id: TopicId,
    partition: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueV1 {
    v: u32,
    next_offset: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader_epoch: Option<i32>,
    source_topic: String,
    target_topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_topic_id: Option<TopicId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_record_timestamp_ms: Option<i64>,
    written_at_ms: i64,
    generation: u64,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u64,
}

/// The partition of the positions topic that holds a link's positions: the first four bytes (big-endian) of the
/// SHA-256 of the link ID, modulo [`POSITIONS_PARTITIONS`].
pub fn partition_for(link_id: &str) -> i32 {
    let digest = Sha256::digest(link_id.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    // Below POSITIONS_PARTITIONS, so both conversions hold.
    i32::try_from(number % POSITIONS_PARTITIONS.unsigned_abs()).unwrap_or(0)
}

impl PositionKey {
    /// The partition of the positions topic to which this position is written.
    pub fn positions_partition(&self) -> i32 {
        partition_for(&self.link_id)
    }

    /// The record key. The same key gives the same bytes, always.
    pub fn encode(&self) -> Vec<u8> {
        let key = KeyV1 {
            v: POSITIONS_VERSION,
            link: self.link_id.as_str().into(),
            source_cluster: self.source_cluster_id.as_str().into(),
            topic_id: self.topic_id,
            partition: self.partition,
        };
        // A struct of strings and numbers: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(&key).unwrap_or_default()
    }

    /// Reads a record key.
    ///
    /// # Errors
    /// A future version, or a key that is not ours.
    pub fn decode(bytes: &[u8]) -> Result<Self, PositionError> {
        check_version("key", bytes)?;
        let key: KeyV1<'_> = serde_json::from_slice(bytes).map_err(|e| malformed("key", e))?;
        if key.partition < 0 || key.link.is_empty() {
            return Err(malformed("key", "the partition is negative or the link is empty"));
        }
        Ok(Self {
            link_id: key.link.into_owned(),
            source_cluster_id: key.source_cluster.into_owned(),
            topic_id: key.topic_id,
            partition: key.partition,
        })
    }
}

impl fmt::Display for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "link {} source cluster {} topic {} partition {}",
            self.link_id, self.source_cluster_id, self.topic_id, self.partition
        )
    }
}

impl Position {
    /// The record value.
    pub fn encode(&self) -> Vec<u8> {
        let value = ValueV1 {
            v: POSITIONS_VERSION,
            next_offset: self.next_offset,
            leader_epoch: self.leader_epoch,
            source_topic: self.source_topic.clone(),
            target_topic: self.target_topic.clone(),
            target_topic_id: self.target_topic_id,
            last_record_timestamp_ms: self.last_record_timestamp_ms,
            written_at_ms: self.written_at_ms,
            generation: self.generation,
        };
        // As above: JSON holds all of it.
        serde_json::to_vec(&value).unwrap_or_default()
    }

    /// Reads a record value that is not null.
    ///
    /// # Errors
    /// A future version, or a value that is not ours.
    pub fn decode(bytes: &[u8]) -> Result<Self, PositionError> {
        check_version("value", bytes)?;
        let value: ValueV1 = serde_json::from_slice(bytes).map_err(|e| malformed("value", e))?;
        if value.next_offset < 0 {
            return Err(malformed("value", format!("nextOffset is {}", value.next_offset)));
        }
        Ok(Self {
            next_offset: value.next_offset,
            leader_epoch: value.leader_epoch,
            source_topic: value.source_topic,
            target_topic: value.target_topic,
            target_topic_id: value.target_topic_id,
            last_record_timestamp_ms: value.last_record_timestamp_ms,
            written_at_ms: value.written_at_ms,
            generation: value.generation,
        })
    }
}

/// The version is read before anything else: a future format may differ in every other member.
fn check_version(part: &'static str, bytes: &[u8]) -> Result<(), PositionError> {
    let VersionOnly { v } = serde_json::from_slice(bytes).map_err(|e| malformed(part, e))?;
    match v {
        0 => Err(malformed(part, "version 0 never existed")),
        v if v > u64::from(POSITIONS_VERSION) => Err(PositionError::FutureVersion { part, version: v }),
        _ => Ok(()),
    }
}

fn malformed(part: &'static str, why: impl fmt::Display) -> PositionError {
    PositionError::Malformed {
        part,
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests;
