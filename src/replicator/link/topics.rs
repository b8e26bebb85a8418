//! Creates and grows topics on the target, and reads what they take.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;

use super::admit::Outcome;
use super::limits::batch_limit;
use super::session::Session;
use super::survey::Failure;
use crate::kafka::wire::{ConfigEntry, ConfigResource, NewTopic};
use crate::replicator::plan::Decision;
use crate::replicator::progress::{RefusalReason, Side};
use crate::replicator::settings::{self, Limits};

impl Session<'_> {
    /// Creates and grows topics on the target.
    pub(super) async fn place_topics(
        &mut self,
        decisions: &BTreeMap<String, Decision>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        if !self.is_registrar() {
            return Ok(());
        }
        let (mut create, mut grow) = (BTreeMap::new(), BTreeMap::new());
        for (name, decision) in decisions {
            match decision {
                Decision::Create { target, partitions } => {
                    create.insert(name.clone(), (target.clone(), *partitions));
                }
                Decision::Grow { target, partitions } => {
                    grow.insert(name.clone(), (target.clone(), *partitions));
                }
                _ => {}
            }
        }
        if !create.is_empty() {
            self.create(&create, outcome).await?;
        }
        if !grow.is_empty() {
            self.grow(&grow, outcome).await?;
        }
        Ok(())
    }

    async fn create(
        &self,
        create: &BTreeMap<String, (String, i32)>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let resources: Vec<_> = create.keys().cloned().map(ConfigResource::Topic).collect();
        let described = self
            .surveyor
            .source
            .describe_configs(&resources, Some(&settings::COPIED))
            .await;
        let mut described = described.map_err(|error| Failure::Side(Side::Source, error))?;
        let mut topics = Vec::new();
        for (name, (target, partitions)) in create {
            let configs = match described.remove(&ConfigResource::Topic(name.clone())) {
                Some(Ok(configs)) => settings::copied(&configs),
                other => {
                    let why = other
                        .and_then(Result::err)
                        .map_or_else(String::new, |error| error.explain());
                    let message = format!("its settings on the source cannot be read: {why}");
                    outcome.refuse(name, RefusalReason::TopicNotCreated, message);
                    continue;
                }
            };
            let replication_factor = self.context.config.topics.replication_factor;
            topics.push(NewTopic {
                name: target.clone(),
                partitions: *partitions,
                replication_factor,
                configs,
            });
        }
        if topics.is_empty() {
            return Ok(());
        }
        let created = self.surveyor.target.create_topics(&topics, false).await;
        let created = created.map_err(|error| Failure::Side(Side::Target, error))?;
        for (name, (target, partitions)) in create {
            match created.get(target) {
                None => {}
                Some(Ok(_)) => {
                    tracing::info!(topic = name, target, partitions, "topic created on the target");
                    outcome.changed = true;
                }
                Some(Err(error)) if error.is(ResponseError::TopicAlreadyExists) => outcome.changed = true,
                Some(Err(error)) => outcome.refuse(name, RefusalReason::TopicNotCreated, error.explain()),
            }
        }
        Ok(())
    }

    async fn grow(
        &self,
        grow: &BTreeMap<String, (String, i32)>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let totals = grow.values().cloned().collect();
        let grown = self.surveyor.target.create_partitions(&totals, false).await;
        let grown = grown.map_err(|error| Failure::Side(Side::Target, error))?;
        for (name, (target, partitions)) in grow {
            match grown.get(target) {
                Some(Err(error)) => {
                    // The partitions that are there are copied on; those that are not cannot be listed.
                    let message = format!("{partitions} partitions on the target: {}", error.explain());
                    self.context
                        .report
                        .fault(Side::Target, "PartitionsNotCreated", &message);
                }
                _ => {
                    tracing::info!(topic = name, target, partitions, "topic grown on the target");
                    outcome.changed = true;
                }
            }
        }
        Ok(())
    }

    /// Reads the limits of topics that this session does not know yet.
    pub(super) async fn describe_limits(&mut self, topics: BTreeSet<String>) -> Result<(), Failure> {
        let unknown = topics
            .into_iter()
            .filter(|topic| !self.limits.contains_key(topic));
        let resources: Vec<_> = unknown.map(ConfigResource::Topic).collect();
        if resources.is_empty() {
            return Ok(());
        }
        let described = self
            .surveyor
            .target
            .describe_configs(&resources, Some(&settings::DECISIVE))
            .await;
        let described = described.map_err(|error| Failure::Side(Side::Target, error))?;
        for (resource, entries) in described {
            if let ConfigResource::Topic(topic) = resource {
                // Without the right to read them, what the topic takes is found out: see `FoundLimit`.
                let entries: BTreeMap<String, ConfigEntry> = entries.unwrap_or_default();
                self.limits.insert(topic, Limits::of(&entries));
            }
        }
        Ok(())
    }

    /// The limit that suits all topics which this session knows.
    pub(super) fn smallest_batch(&self) -> u64 {
        let found = &self.memory.found_limits;
        let limits = self.limits.iter();
        limits
            .map(|(topic, limits)| batch_limit(limits, found.get(topic)))
            .min()
            .unwrap_or(settings::DEFAULT_MAX_MESSAGE_BYTES)
    }
}
