//! Creates the positions topic, and mends the settings without which it would lose positions.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;

use super::{POSITIONS_PARTITIONS, POSITIONS_TOPIC, PositionsError};
use crate::kafka::error::KafkaError;
use crate::kafka::wire::{
    Admin, ConfigChange, ConfigResource, NewTopic, TopicConfigChange, TopicMetadata, Topics,
};

/// Settings that must be so: retention would delete positions, and compressed batches cannot be read.
const REQUIRED: [(&str, &str); 2] = [
    ("cleanup.policy", "compact"),
    ("compression.type", "uncompressed"),
];

/// Settings for a new topic beyond [`REQUIRED`], so that a reader has little to read: the log stays within a few small
/// segments. An administrator may change them.
const INITIAL: [(&str, &str); 2] = [("segment.bytes", "4194304"), ("min.cleanable.dirty.ratio", "0.1")];

/// What [`ensure_positions_topic`] found or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PositionsTopic {
    /// It was there, as it must be.
    Present,
    /// It was not there and was created: this target has no positions of any link.
    Created,
    /// It was there, and these settings were set to what they must be.
    Mended(Vec<String>),
}

/// Makes sure that the positions topic is there and keeps what is written to it. Safe to call by many at once.
///
/// # Errors
/// [`PositionsError::WrongPartitions`] if somebody created it with another number of partitions;
/// [`PositionsError::Kafka`] if the cluster refuses or cannot be asked.
pub async fn ensure_positions_topic(admin: &Admin) -> Result<PositionsTopic, PositionsError> {
    if let Some(topic) = find(admin).await? {
        check_partitions(&topic)?;
        return mend(admin).await;
    }
    let configs = REQUIRED.iter().chain(&INITIAL);
    let topic = NewTopic {
        name: POSITIONS_TOPIC.to_owned(),
        partitions: POSITIONS_PARTITIONS,
        replication_factor: -1,
        configs: configs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    match admin
        .create_topics(&[topic], false)
        .await?
        .remove(POSITIONS_TOPIC)
    {
        Some(Ok(_)) => Ok(PositionsTopic::Created),
        // Another link was quicker.
        Some(Err(error)) if error.is(ResponseError::TopicAlreadyExists) => mend(admin).await,
        Some(Err(error)) => Err(error.into()),
        None => Err(unanswered()),
    }
}

/// The topic's metadata; `None` if there is no such topic.
pub(super) async fn find(admin: &Admin) -> Result<Option<TopicMetadata>, PositionsError> {
    let topics = Topics::Named(vec![POSITIONS_TOPIC.to_owned()]);
    match admin.metadata(topics).await?.topics.remove(POSITIONS_TOPIC) {
        Some(Ok(topic)) => Ok(Some(topic)),
        Some(Err(error)) if error.is(ResponseError::UnknownTopicOrPartition) => Ok(None),
        Some(Err(error)) => Err(error.into()),
        None => Err(unanswered()),
    }
}

pub(super) fn check_partitions(topic: &TopicMetadata) -> Result<(), PositionsError> {
    let found = topic.partitions.len();
    if i32::try_from(found) == Ok(POSITIONS_PARTITIONS) {
        Ok(())
    } else {
        Err(PositionsError::WrongPartitions { found })
    }
}

async fn mend(admin: &Admin) -> Result<PositionsTopic, PositionsError> {
    let resource = ConfigResource::Topic(POSITIONS_TOPIC.to_owned());
    let names = REQUIRED.map(|(name, _)| name);
    let mut configs = admin
        .describe_configs(std::slice::from_ref(&resource), Some(&names))
        .await?;
    let present = configs.remove(&resource).ok_or_else(unanswered)??;
    let wrong = REQUIRED.iter().filter(|(name, value)| {
        present
            .get(*name)
            .and_then(|entry| entry.value.as_deref())
            .is_none_or(|present| present != *value)
    });
    let changes: BTreeMap<String, ConfigChange> = wrong
        .map(|(name, value)| ((*name).to_owned(), ConfigChange::Set((*value).to_owned())))
        .collect();
    if changes.is_empty() {
        return Ok(PositionsTopic::Present);
    }
    let mended = changes.keys().cloned().collect();
    let change = TopicConfigChange {
        topic: POSITIONS_TOPIC.to_owned(),
        changes,
    };
    admin
        .incremental_alter_configs(&[change], false)
        .await?
        .remove(POSITIONS_TOPIC)
        .ok_or_else(unanswered)??;
    Ok(PositionsTopic::Mended(mended))
}

fn unanswered() -> PositionsError {
    let why = format!("the answer does not mention {POSITIONS_TOPIC}");
    PositionsError::Kafka(KafkaError::Protocol {
        address: "the cluster".into(),
        why,
    })
}
