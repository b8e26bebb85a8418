//! DescribeQuorum (KIP-595, KIP-836): the state of the KRaft metadata quorum.

use kafka_protocol::messages::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_quorum_response::ReplicaState;

use super::Admin;
use super::metadata::topic_name;
use super::pool::At;
use crate::kafka::error::KafkaError;
use crate::kafka::topic_id::TopicId;

/// The topic of the metadata log; its only partition is 0.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The metadata quorum as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The leader's node ID; `None` while there is none.
    pub leader_id: Option<i32>,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The offset up to which the metadata log is committed.
    pub high_watermark: i64,
    /// The controllers that vote.
    pub voters: Vec<QuorumReplica>,
    /// Nodes that follow without a vote (brokers, controllers that are joining).
    pub observers: Vec<QuorumReplica>,
}

/// One node's copy of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    /// Node ID.
    pub id: i32,
    /// ID of its metadata directory; `None` from brokers before 3.9 or while it is not known.
    pub directory_id: Option<TopicId>,
    /// End of its log; `None` if the leader does not know it.
    pub log_end_offset: Option<i64>,
    /// When the leader last had a fetch from it, in milliseconds since 1970 by the leader's clock.
    pub last_fetch_ms: Option<i64>,
    /// When it had last caught up with the leader, likewise.
    pub last_caught_up_ms: Option<i64>,
}

impl Admin {
    /// The metadata quorum.
    ///
    /// # Errors
    /// No broker could be asked, or it has no quorum (ZooKeeper), or no right to it
    /// (`CLUSTER_AUTHORIZATION_FAILED`).
    pub async fn describe_quorum(&self) -> Result<Quorum, KafkaError> {
        let topic = TopicData::default()
            .with_topic_name(topic_name(METADATA_TOPIC))
            .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        let answer = self
            .read(At::Any, 0..=i16::MAX, self.deadline(), |_| request.clone())
            .await?;
        let what = "the metadata quorum";
        if let Some(error) = KafkaError::from_code(what, answer.error_code, answer.error_message.as_deref()) {
            return Err(error);
        }
        let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.ok_or_else(|| KafkaError::Protocol {
            address: "the cluster".into(),
            why: "DescribeQuorum without the metadata partition".into(),
        })?;
        if let Some(error) =
            KafkaError::from_code(what, partition.error_code, partition.error_message.as_deref())
        {
            return Err(error);
        }
        Ok(Quorum {
            leader_id: (partition.leader_id.0 >= 0).then_some(partition.leader_id.0),
            leader_epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: partition.current_voters.iter().map(replica).collect(),
            observers: partition.observers.iter().map(replica).collect(),
        })
    }
}

fn replica(state: &ReplicaState) -> QuorumReplica {
    let known = |value: i64| (value >= 0).then_some(value);
    let directory = TopicId(state.replica_directory_id);
    QuorumReplica {
        id: state.replica_id.0,
        directory_id: directory.is_set().then_some(directory),
        log_end_offset: known(state.log_end_offset),
        last_fetch_ms: known(state.last_fetch_timestamp),
        last_caught_up_ms: known(state.last_caught_up_timestamp),
    }
}
