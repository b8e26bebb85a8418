//! DescribeConfigs and IncrementalAlterConfigs (KIP-339). Legacy AlterConfigs is not here: it resets what it does not
//! name.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;

use super::Admin;
use super::deadline::Deadline;
use super::pool::At;
use crate::kafka::error::KafkaError;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// What has settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker.
    Broker(i32),
}

/// One setting as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its value; `None` for a secret one, which Kafka never tells.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it can only be changed by a restart.
    pub read_only: bool,
    /// Whether Kafka hides its value.
    pub sensitive: bool,
}

/// Where a setting's value comes from, most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic,
    /// Set on this broker while it runs.
    DynamicBroker,
    /// Set on all brokers while they run.
    DynamicDefaultBroker,
    /// In the broker's properties file.
    StaticBroker,
    /// Kafka's own default.
    Default,
    /// Another source, by its number in the protocol.
    Other(i8),
}

impl ConfigSource {
    const fn from_protocol(source: i8) -> Self {
        match source {
            1 => Self::DynamicTopic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// What happens to one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// It gets this value.
    Set(String),
    /// It is no longer set: what is less specific is in effect again.
    Delete,
}

/// Changes to a topic's settings; the others stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TopicConfigChange {
    /// The topic.
    pub topic: String,
    /// Changes by setting.
    pub changes: BTreeMap<String, ConfigChange>,
}

/// Results by resource.
type Configs = BTreeMap<ConfigResource, Result<BTreeMap<String, ConfigEntry>, KafkaError>>;

impl Admin {
    /// The settings of topics and brokers: all of them, or those with these names.
    ///
    /// # Errors
    /// No broker could be asked about the topics; each resource has its own result, a broker that could not be asked too.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        names: Option<&[&str]>,
    ) -> Result<Configs, KafkaError> {
        let deadline = self.deadline();
        let mut results = Configs::new();
        let topics: BTreeSet<_> = resources
            .iter()
            .filter(|r| matches!(r, ConfigResource::Topic(_)))
            .collect();
        if !topics.is_empty() {
            results.extend(
                self.describe_at(At::Any, topics.into_iter().cloned().collect(), names, deadline)
                    .await?,
            );
        }
        for resource in resources {
            let ConfigResource::Broker(id) = *resource else {
                continue;
            };
            // Only the broker itself knows its static settings.
            let answer = match self.ensure_known(id, deadline).await {
                Ok(()) => {
                    self.describe_at(At::Broker(id), vec![resource.clone()], names, deadline)
                        .await
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => results.extend(answer),
                Err(error) => drop(results.insert(resource.clone(), Err(error))),
            }
        }
        for resource in resources {
            results
                .entry(resource.clone())
                .or_insert_with(|| Err(unanswered(resource)));
        }
        Ok(results)
    }

    async fn describe_at(
        &self,
        at: At,
        resources: Vec<ConfigResource>,
        names: Option<&[&str]>,
        deadline: Deadline,
    ) -> Result<Configs, KafkaError> {
        let keys: Option<Vec<StrBytes>> = names.map(|names| {
            names
                .iter()
                .map(|name| StrBytes::from_string((*name).to_owned()))
                .collect()
        });
        let resources = resources.iter().map(|resource| {
            let (kind, name) = protocol_name(resource);
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_string(name))
                .with_configuration_keys(keys.clone())
        });
        let request = DescribeConfigsRequest::default().with_resources(resources.collect());
        let answer = self.read(at, 1..=i16::MAX, deadline, |_| request.clone()).await?;
        Ok(answer.results.iter().filter_map(read_resource).collect())
    }

    /// Changes topics' settings, or only says whether it could (`validate_only`). One result per topic: a topic's
    /// changes are made all or none.
    ///
    /// # Errors
    /// No broker could be asked. After a [`KafkaError::Timeout`] the changes may or may not have been made; making
    /// them again does no harm.
    pub async fn incremental_alter_configs(
        &self,
        changes: &[TopicConfigChange],
        validate_only: bool,
    ) -> Result<BTreeMap<String, Result<(), KafkaError>>, KafkaError> {
        let resources = changes.iter().map(|change| {
            let configs = change.changes.iter().map(alterable);
            AlterConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(StrBytes::from_string(change.topic.clone()))
                .with_configs(configs.collect())
        });
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(resources.collect())
            .with_validate_only(validate_only);
        let answer = self
            .read(At::Any, 0..=i16::MAX, self.deadline(), |_| request.clone())
            .await?;
        let mut results: BTreeMap<String, Result<(), KafkaError>> = answer
            .responses
            .iter()
            .map(|result| {
                let name = result.resource_name.to_string();
                let error = KafkaError::from_code(
                    format!("topic {name}"),
                    result.error_code,
                    result.error_message.as_deref(),
                );
                (name, error.map_or(Ok(()), Err))
            })
            .collect();
        for change in changes {
            let resource = ConfigResource::Topic(change.topic.clone());
            results
                .entry(change.topic.clone())
                .or_insert_with(|| Err(unanswered(&resource)));
        }
        Ok(results)
    }

    /// Changes settings of all brokers while they run. They win over the brokers' properties, also after a restart.
    ///
    /// # Errors
    /// No broker could be asked, or Kafka refuses the change. After a [`KafkaError::Timeout`] it may have been made;
    /// making it again does no harm.
    pub async fn alter_broker_defaults(
        &self,
        changes: &BTreeMap<String, ConfigChange>,
    ) -> Result<(), KafkaError> {
        let resource = AlterConfigsResource::default()
            .with_resource_type(BROKER)
            // The empty name stands for all brokers (KIP-226).
            .with_resource_name(StrBytes::from_static_str(""))
            .with_configs(changes.iter().map(alterable).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self
            .read(At::Any, 0..=i16::MAX, self.deadline(), |_| request.clone())
            .await?;
        let what = "the brokers' defaults";
        match answer.responses.first() {
            Some(result) => {
                match KafkaError::from_code(what, result.error_code, result.error_message.as_deref()) {
                    Some(error) => Err(error),
                    None => Ok(()),
                }
            }
            None => Err(KafkaError::Protocol {
                address: "the cluster".into(),
                why: format!("the answer lacks {what}"),
            }),
        }
    }
}

fn alterable((name, change): (&String, &ConfigChange)) -> AlterableConfig {
    let (operation, value) = match change {
        ConfigChange::Set(value) => (SET, Some(StrBytes::from_string(value.clone()))),
        ConfigChange::Delete => (DELETE, None),
    };
    AlterableConfig::default()
        .with_name(StrBytes::from_string(name.clone()))
        .with_config_operation(operation)
        .with_value(value)
}

fn protocol_name(resource: &ConfigResource) -> (i8, String) {
    match resource {
        ConfigResource::Topic(name) => (TOPIC, name.clone()),
        ConfigResource::Broker(id) => (BROKER, id.to_string()),
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(id) => write!(f, "broker {id}"),
        }
    }
}

fn unanswered(resource: &ConfigResource) -> KafkaError {
    KafkaError::Protocol {
        address: "the cluster".into(),
        why: format!("the answer lacks {resource}"),
    }
}

fn read_resource(
    result: &DescribeConfigsResult,
) -> Option<(ConfigResource, Result<BTreeMap<String, ConfigEntry>, KafkaError>)> {
    let resource = match result.resource_type {
        TOPIC => ConfigResource::Topic(result.resource_name.to_string()),
        BROKER => ConfigResource::Broker(result.resource_name.parse().ok()?),
        _ => return None,
    };
    let error = KafkaError::from_code(
        resource.to_string(),
        result.error_code,
        result.error_message.as_deref(),
    );
    let entries = match error {
        Some(error) => Err(error),
        None => Ok(result
            .configs
            .iter()
            .map(|entry| (entry.name.to_string(), read_entry(entry)))
            .collect()),
    };
    Some((resource, entries))
}

fn read_entry(entry: &DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        value: entry.value.as_ref().map(ToString::to_string),
        source: ConfigSource::from_protocol(entry.config_source),
        read_only: entry.read_only,
        sensitive: entry.is_sensitive,
    }
}
