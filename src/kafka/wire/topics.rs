//! CreateTopics and CreatePartitions. Nothing here deletes.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest};
use kafka_protocol::protocol::StrBytes;

use super::Admin;
use super::admin::broker_timeout_ms;
use super::metadata::topic_name;
use crate::kafka::error::KafkaError;
use crate::kafka::topic_id::TopicId;

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; -1 for the cluster's default.
    pub partitions: i32,
    /// Replicas of each; -1 for the cluster's default.
    pub replication_factor: i16,
    /// Settings that differ from the cluster's defaults.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was created (or could be, when it was only validated).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its ID; `None` when only validated, and from brokers before 2.8.
    pub id: Option<TopicId>,
    /// Its partitions; `None` if this user may not describe it, or from brokers before 2.4.
    pub partitions: Option<i32>,
    /// Its replication factor; `None` likewise.
    pub replication_factor: Option<i16>,
}

impl Admin {
    /// Creates topics, or only says whether it could (`validate_only`). One result per topic.
    ///
    /// # Errors
    /// No broker could be asked, or it did not answer: then the topics may have been created. An existing topic is
    /// `TOPIC_ALREADY_EXISTS` at the topic.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<BTreeMap<String, Result<CreatedTopic, KafkaError>>, KafkaError> {
        let deadline = self.deadline();
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().map(creatable).collect())
            .with_timeout_ms(broker_timeout_ms(deadline))
            .with_validate_only(validate_only);
        let answer = self.write(4..=i16::MAX, deadline, |_| request.clone()).await?;
        let mut results: BTreeMap<_, _> = answer
            .topics
            .iter()
            .map(|topic| (topic.name.0.to_string(), read_created(topic)))
            .collect();
        for topic in topics {
            results
                .entry(topic.name.clone())
                .or_insert_with(|| Err(unanswered(&topic.name)));
        }
        Ok(results)
    }

    /// Grows topics to these numbers of partitions, or only says whether it could (`validate_only`). A topic that has
    /// as many already is a success: growing is meant, and it is done.
    ///
    /// # Errors
    /// As [`Admin::create_topics`]; fewer partitions than there are is `INVALID_PARTITIONS` at the topic.
    pub async fn create_partitions(
        &self,
        totals: &BTreeMap<String, i32>,
        validate_only: bool,
    ) -> Result<BTreeMap<String, Result<(), KafkaError>>, KafkaError> {
        let deadline = self.deadline();
        let present = self
            .metadata_by(super::Topics::Named(totals.keys().cloned().collect()), deadline)
            .await?;
        let mut results = BTreeMap::new();
        let mut growing = Vec::new();
        for (name, total) in totals {
            match present.topics.get(name) {
                Some(Err(error)) => drop(results.insert(name.clone(), Err(error.clone()))),
                Some(Ok(topic)) if i32::try_from(topic.partitions.len()) == Ok(*total) => {
                    results.insert(name.clone(), Ok(()));
                }
                _ => growing.push(
                    CreatePartitionsTopic::default()
                        .with_name(topic_name(name))
                        .with_count(*total)
                        .with_assignments(None),
                ),
            }
        }
        if growing.is_empty() {
            return Ok(results);
        }
        let request = CreatePartitionsRequest::default()
            .with_topics(growing)
            .with_timeout_ms(broker_timeout_ms(deadline))
            .with_validate_only(validate_only);
        let answer = self.write(0..=i16::MAX, deadline, |_| request.clone()).await?;
        for topic in &answer.results {
            let name = topic.name.0.to_string();
            let error = KafkaError::from_code(
                format!("topic {name}"),
                topic.error_code,
                topic.error_message.as_deref(),
            );
            let result = match error {
                // The broker that was asked before did not know yet what the controller knows.
                Some(error) if already(&error, totals.get(&name)) => Ok(()),
                Some(error) => Err(error),
                None => Ok(()),
            };
            results.insert(name, result);
        }
        for name in totals.keys() {
            results
                .entry(name.clone())
                .or_insert_with(|| Err(unanswered(name)));
        }
        Ok(results)
    }
}

/// Whether Kafka refuses to grow a topic because it has just this many partitions; only its words tell that from a
/// topic that has more.
fn already(error: &KafkaError, total: Option<&i32>) -> bool {
    let KafkaError::Kafka { message, .. } = error else {
        return false;
    };
    error.is(ResponseError::InvalidPartitions)
        && total.is_some_and(|total| {
            message.as_deref() == Some(&*format!("Topic already has {total} partition(s)."))
        })
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(configs.collect())
}

fn read_created(topic: &CreatableTopicResult) -> Result<CreatedTopic, KafkaError> {
    let what = format!("topic {}", topic.name.0);
    if let Some(error) = KafkaError::from_code(what, topic.error_code, topic.error_message.as_deref()) {
        return Err(error);
    }
    let id = TopicId(topic.topic_id);
    Ok(CreatedTopic {
        id: id.is_set().then_some(id),
        partitions: (topic.num_partitions > 0).then_some(topic.num_partitions),
        replication_factor: (topic.replication_factor > 0).then_some(topic.replication_factor),
    })
}

fn unanswered(topic: &str) -> KafkaError {
    KafkaError::Kafka {
        what: format!("topic {topic}"),
        code: ResponseError::UnknownServerError.into(),
        message: Some("the answer does not mention it".into()),
    }
}
