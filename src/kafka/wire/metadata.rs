//! Metadata: who is in the cluster, which topics there are, who leads what.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Admin;
use super::deadline::Deadline;
use super::pool::At;
use crate::kafka::connection::BrokerAddress;
use crate::kafka::error::{ErrorCode, KafkaError};
use crate::kafka::topic_id::TopicId;

/// Lowest version with leader epochs and offline replicas (Kafka 2.1).
const LEADER_EPOCHS: i16 = 7;
/// Lowest version that answers questions by topic ID (Kafka 3.0).
const BY_ID: i16 = 12;

/// Which topics a Metadata call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// None: the cluster itself only.
    None,
    /// All that this user may describe.
    All,
    /// These; none is created by asking.
    Named(Vec<String>),
    /// These IDs; Kafka 3.0 or later.
    Ids(Vec<TopicId>),
}

/// The cluster as one broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's ID.
    pub id: String,
    /// The live brokers: registered and not fenced.
    pub brokers: BTreeMap<i32, Broker>,
    /// The broker to send changes to. With KRaft any broker forwards them, and this is any live broker: ask
    /// [`Admin::describe_quorum`] for the leader of the metadata quorum.
    pub controller: Option<i32>,
}

/// A live broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The address that it advertises on the listener which was asked.
    pub address: BrokerAddress,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// An answer to [`Admin::metadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster.
    pub cluster: Cluster,
    /// Topics by name; what was asked by name is always in it.
    pub topics: BTreeMap<String, Result<TopicMetadata, KafkaError>>,
    /// IDs that were asked for and that no topic has.
    pub unknown_ids: BTreeMap<TopicId, KafkaError>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its ID; [`TopicId::ZERO`] from brokers before 2.8.
    pub id: TopicId,
    /// Whether Kafka itself keeps state in it.
    pub internal: bool,
    /// Its partitions by index.
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The leader; `None` while there is none (the partition is offline).
    pub leader: Option<i32>,
    /// The leader's epoch; `None` from brokers that do not tell.
    pub leader_epoch: Option<i32>,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Those whose broker or disk is gone.
    pub offline: Vec<i32>,
    /// What the broker says is wrong with it.
    pub error: Option<ErrorCode>,
}

impl PartitionMetadata {
    /// Whether fewer replicas are in sync than there should be.
    pub fn is_under_replicated(&self) -> bool {
        self.isr.len() < self.replicas.len()
    }
}

impl Admin {
    /// The cluster: ID, live brokers, controller.
    ///
    /// # Errors
    /// No broker could be asked.
    pub async fn cluster(&self) -> Result<Cluster, KafkaError> {
        Ok(self.metadata(Topics::None).await?.cluster)
    }

    /// Topics with their IDs, partitions and leaders.
    ///
    /// # Errors
    /// No broker could be asked; a topic's own error stands at the topic.
    pub async fn metadata(&self, topics: Topics) -> Result<Metadata, KafkaError> {
        self.metadata_by(topics, self.deadline()).await
    }

    pub(super) async fn metadata_by(
        &self,
        topics: Topics,
        deadline: Deadline,
    ) -> Result<Metadata, KafkaError> {
        let lowest = if matches!(topics, Topics::Ids(_)) {
            BY_ID
        } else {
            LEADER_EPOCHS
        };
        let request = request(&topics);
        let answer = self
            .read(At::Any, lowest..=i16::MAX, deadline, |_| request.clone())
            .await?;
        if let Some(error) = KafkaError::from_code("Metadata", answer.error_code, None) {
            return Err(error);
        }
        let metadata = read_answer(answer, &topics);
        let addresses = metadata
            .cluster
            .brokers
            .iter()
            .map(|(id, broker)| (*id, broker.address.clone()));
        self.pool.learn(addresses.collect());
        Ok(metadata)
    }

    /// The live brokers' IDs, learnt now if need be.
    pub(super) async fn ensure_known(&self, broker: i32, deadline: Deadline) -> Result<(), KafkaError> {
        if !self.pool.knows(broker) {
            self.metadata_by(Topics::None, deadline).await?;
        }
        Ok(())
    }
}

fn request(topics: &Topics) -> MetadataRequest {
    let topics = match topics {
        Topics::None => Some(Vec::new()),
        Topics::All => None,
        Topics::Named(names) => Some(
            names
                .iter()
                .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
                .collect(),
        ),
        Topics::Ids(ids) => Some(
            ids.iter()
                .map(|id| {
                    MetadataRequestTopic::default()
                        .with_topic_id(id.0)
                        .with_name(None)
                })
                .collect(),
        ),
    };
    MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(false)
}

fn read_answer(answer: MetadataResponse, asked: &Topics) -> Metadata {
    let brokers = answer.brokers.iter().filter_map(|broker| {
        // A port outside 1..=65535 cannot be connected to; such a broker counts as not live.
        let port = u16::try_from(broker.port).ok().filter(|port| *port > 0)?;
        let address = BrokerAddress {
            host: broker.host.to_string(),
            port,
        };
        Some((
            broker.node_id.0,
            Broker {
                address,
                rack: broker.rack.as_ref().map(ToString::to_string),
            },
        ))
    });
    let cluster = Cluster {
        id: answer
            .cluster_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        brokers: brokers.collect(),
        controller: (answer.controller_id.0 >= 0).then_some(answer.controller_id.0),
    };
    let mut metadata = Metadata {
        cluster,
        topics: BTreeMap::new(),
        unknown_ids: BTreeMap::new(),
    };
    for topic in answer.topics {
        match topic
            .name
            .as_ref()
            .map(|name| name.0.to_string())
            .filter(|name| !name.is_empty())
        {
            Some(name) => {
                let result = read_topic(&name, &topic);
                metadata.topics.insert(name, result);
            }
            None => {
                let id = TopicId(topic.topic_id);
                if let Some(error) = KafkaError::from_code(format!("topic ID {id}"), topic.error_code, None) {
                    metadata.unknown_ids.insert(id, error);
                }
            }
        }
    }
    if let Topics::Named(names) = asked {
        for name in names {
            metadata
                .topics
                .entry(name.clone())
                .or_insert_with(|| Err(missing(name)));
        }
    }
    metadata
}

/// A topic that was asked for and that the answer does not mention.
fn missing(name: &str) -> KafkaError {
    KafkaError::Kafka {
        what: format!("topic {name}"),
        code: kafka_protocol::error::ResponseError::UnknownTopicOrPartition.into(),
        message: None,
    }
}

fn read_topic(name: &str, topic: &MetadataResponseTopic) -> Result<TopicMetadata, KafkaError> {
    if let Some(error) = KafkaError::from_code(format!("topic {name}"), topic.error_code, None) {
        return Err(error);
    }
    Ok(TopicMetadata {
        id: TopicId(topic.topic_id),
        internal: topic.is_internal,
        partitions: topic
            .partitions
            .iter()
            .map(|p| (p.partition_index, read_partition(p)))
            .collect(),
    })
}

fn read_partition(partition: &MetadataResponsePartition) -> PartitionMetadata {
    let ids = |nodes: &[kafka_protocol::messages::BrokerId]| nodes.iter().map(|id| id.0).collect();
    PartitionMetadata {
        leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id.0),
        leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
        replicas: ids(&partition.replica_nodes),
        isr: ids(&partition.isr_nodes),
        offline: ids(&partition.offline_replicas),
        error: ErrorCode::new(partition.error_code),
    }
}

/// A topic's name as the messages want it.
pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
