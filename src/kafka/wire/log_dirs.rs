//! DescribeLogDirs (KIP-113, KIP-827): what lies on the brokers' disks.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;

use super::Admin;
use super::deadline::Deadline;
use super::metadata::{Topics, topic_name};
use super::pool::At;
use crate::kafka::error::{ErrorCode, KafkaError};
use crate::kafka::offsets::TopicPartition;

/// Brokers that are asked at a time.
const CONCURRENCY: usize = 16;

/// A log directory of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// What is wrong with it (`KAFKA_STORAGE_ERROR`: offline).
    pub error: Option<ErrorCode>,
    /// Size of its file system in bytes; `None` from brokers before 3.3.
    pub total_bytes: Option<u64>,
    /// What is free there for the broker, in bytes; `None` likewise.
    pub usable_bytes: Option<u64>,
    /// The replicas in it.
    pub partitions: BTreeMap<TopicPartition, LogDirPartition>,
}

/// A replica on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogDirPartition {
    /// Bytes of its segments.
    pub size: u64,
    /// How far it is behind the high watermark (or behind the present replica, when it is being moved here).
    pub offset_lag: i64,
    /// Whether it is being moved here.
    pub is_future: bool,
}

impl LogDir {
    /// How full the file system is, 0 to 100; `None` if the broker does not tell.
    pub fn used_percent(&self) -> Option<u8> {
        let (total, usable) = (self.total_bytes?, self.usable_bytes?);
        let used = total.saturating_sub(usable);
        u8::try_from(used.saturating_mul(100).checked_div(total)?).ok()
    }
}

impl Admin {
    /// The log directories of every live broker: with all replicas, or with those of `partitions` only (an empty list
    /// gives sizes and free space alone, and is cheap).
    ///
    /// # Errors
    /// No broker could be asked; a broker's own error stands at the broker.
    pub async fn describe_log_dirs(
        &self,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<i32, Result<Vec<LogDir>, KafkaError>>, KafkaError> {
        let deadline = self.deadline();
        let cluster = self.metadata_by(Topics::None, deadline).await?.cluster;
        let request = &request(partitions);
        let asked = cluster
            .brokers
            .into_keys()
            .map(|broker| async move { (broker, self.log_dirs_of(broker, request, deadline).await) });
        Ok(futures::stream::iter(asked)
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await)
    }

    async fn log_dirs_of(
        &self,
        broker: i32,
        request: &DescribeLogDirsRequest,
        deadline: Deadline,
    ) -> Result<Vec<LogDir>, KafkaError> {
        let answer = self
            .read(At::Broker(broker), 1..=i16::MAX, deadline, |_| request.clone())
            .await?;
        if let Some(error) = KafkaError::from_code(format!("broker {broker}"), answer.error_code, None) {
            return Err(error);
        }
        // Without the right to describe the cluster, brokers before 3.2 answer with nothing at all.
        Ok(answer.results.iter().map(read_dir).collect())
    }
}

fn request(partitions: Option<&[TopicPartition]>) -> DescribeLogDirsRequest {
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(partition.partition);
        }
        topics
            .into_iter()
            .map(|(name, partitions)| {
                DescribableLogDirTopic::default()
                    .with_topic(topic_name(name))
                    .with_partitions(partitions)
            })
            .collect()
    });
    DescribeLogDirsRequest::default().with_topics(topics)
}

fn read_dir(dir: &DescribeLogDirsResult) -> LogDir {
    let partitions = dir.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let key = TopicPartition::new(topic.name.0.to_string(), partition.partition_index);
            let value = LogDirPartition {
                size: u64::try_from(partition.partition_size).unwrap_or(0),
                offset_lag: partition.offset_lag,
                is_future: partition.is_future_key,
            };
            (key, value)
        })
    });
    LogDir {
        path: dir.log_dir.to_string(),
        error: ErrorCode::new(dir.error_code),
        total_bytes: u64::try_from(dir.total_bytes).ok(),
        usable_bytes: u64::try_from(dir.usable_bytes).ok(),
        partitions: partitions.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_of_the_whole_file_system_and_absent_when_unknown() {
        let dir = |total_bytes, usable_bytes| LogDir {
            path: "/data".into(),
            error: None,
            total_bytes,
            usable_bytes,
            partitions: BTreeMap::new(),
        };
        assert_eq!(dir(Some(200), Some(50)).used_percent(), Some(75));
        assert_eq!(dir(Some(200), Some(0)).used_percent(), Some(100));
        assert_eq!(dir(Some(200), Some(300)).used_percent(), Some(0));
        assert_eq!(dir(Some(0), Some(0)).used_percent(), None);
        assert_eq!(dir(None, Some(1)).used_percent(), None);
    }
}
