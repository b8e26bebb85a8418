//! Our own Kafka client for what librdkafka lacks: topic IDs, DescribeQuorum, IncrementalAlterConfigs, DescribeLogDirs,
//! offsets with leader epochs, and an exact read up to a high watermark. Messages come from the `kafka-protocol` crate.
//!
//! [`Admin`] is the door. What holds for every call:
//! - It ends within its [`Deadline`], 3 s at most, name resolution, TCP, TLS, SASL and all retries included.
//! - The first exchange on every connection is an ApiVersions call that this module reads itself, so that whatever
//!   else answers on the port ends as [`KafkaError::NotKafka`](super::KafkaError::NotKafka) before any decoder sees it.
//! - Answers are bounded ([`frame::MAX_FRAME_BYTES`]), connections too ([`pool::MAX_CONNECTIONS_PER_BROKER`], of which
//!   [`pool::MAX_IDLE_PER_BROKER`] are kept idle), and so is reconnecting (backoff from 100 ms to 2 s, with jitter).
//! - Only what may safely be repeated is repeated.
//!
//! Nothing runs in the background: no thread, no task, no timer between calls.

mod admin;
mod configs;
mod deadline;
mod fetch;
mod frame;
mod hello;
mod log_dirs;
mod metadata;
mod offsets;
mod pool;
mod quorum;
mod race;
mod sasl;
mod scram;
mod socket;
mod tls;
mod topics;

pub use admin::Admin;
pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource, TopicConfigChange};
pub use deadline::{Deadline, MAX_CALL};
pub use fetch::{FetchFrom, Fetched, Record};
pub use frame::MAX_FRAME_BYTES;
pub use log_dirs::{LogDir, LogDirPartition};
pub use metadata::{Broker, Cluster, Metadata, PartitionMetadata, TopicMetadata, Topics};
pub use offsets::{EpochEnd, Isolation, ListedOffset, OffsetSpec, TopicRange};
pub use pool::{MAX_CONNECTIONS_PER_BROKER, MAX_IDLE_PER_BROKER};
pub use quorum::{Quorum, QuorumReplica};
pub use topics::{CreatedTopic, NewTopic};
