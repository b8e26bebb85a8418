//! Topics of the spec against topics of Kafka: a pure plan, and what became of it.
//!
//! What the operator made is remembered in the ConfigMap `<name>-kafka-topics` (topics with the names of the settings
//! that were set), so that what is removed from the spec can be told from what others made. Removed topics and settings
//! are kept in Kafka and reported; they leave the record when they are gone from Kafka. The record goes with the
//! EdgeCluster; after a re-creation it begins anew with the spec.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::observe::TopicFacts;
use super::validate::ValidTopic;
use crate::api::TopicStatus;
use crate::kafka::wire::{ConfigChange, ConfigEntry, ConfigSource, NewTopic, TopicConfigChange};

mod apply;
#[cfg(test)]
mod tests;

pub use apply::{Memory, Outcome, sync};

/// Removed topics that are remembered, at most; beyond that the first by name are forgotten, and no longer reported.
const KEPT_MOST: usize = 400;
/// Entries of `status.topics`, at most.
const REPORTED_MOST: usize = 50;
/// Key of the record in its ConfigMap.
pub const RECORD_KEY: &str = "topics.yaml";

/// Names of settings by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Each topic that the operator made or configured, with the settings that it set.
    pub topics: BTreeMap<String, BTreeSet<String>>,
}

/// A topic's settings as Kafka has them, or why they are not known.
pub type Settings = Result<BTreeMap<String, ConfigEntry>, String>;

/// What to do, and what to report however it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Topics to create.
    pub create: Vec<NewTopic>,
    /// Topics to grow, with their new number of partitions.
    pub grow: BTreeMap<String, i32>,
    /// Settings to change.
    pub alter: Vec<TopicConfigChange>,
    /// What differs and stays so.
    pub report: Vec<TopicStatus>,
    /// The record as it must be before anything is done.
    pub record: Record,
}

/// States of `status.topics`.
pub mod state {
    /// Kafka refuses what the spec asks.
    pub const REFUSED: &str = "Refused";
    /// It cannot be changed to what the spec asks.
    pub const DIFFERS: &str = "Differs";
    /// Removed from the spec, still in Kafka.
    pub const KEPT: &str = "Kept";
    /// Settings removed from the spec, still in Kafka.
    pub const SETTINGS_KEPT: &str = "SettingsKept";
    /// In the order of what matters most.
    pub const ALL: [&str; 4] = [REFUSED, DIFFERS, KEPT, SETTINGS_KEPT];
}

/// Builds an entry of `status.topics`.
pub fn status(name: &str, state: &str, message: impl Into<String>) -> TopicStatus {
    TopicStatus {
        name: name.to_owned(),
        state: state.to_owned(),
        message: message.into(),
    }
}

/// Decides. `settings` has the topics of spec and record that exist.
#[must_use]
pub fn plan(
    spec: &BTreeMap<String, ValidTopic>,
    existing: &BTreeMap<String, TopicFacts>,
    settings: &BTreeMap<String, Settings>,
    record: &Record,
) -> Plan {
    let mut plan = Plan::default();
    for (name, topic) in spec {
        // Of a topic that is not there nothing is forgotten: Kafka may not tell of it yet. What was set on an earlier topic of
        // this name leaves the record when the new one is seen without it.
        let mut known = record.topics.get(name).cloned().unwrap_or_default();
        match existing.get(name) {
            None => plan.create.push(NewTopic {
                name: name.clone(),
                partitions: topic.partitions,
                replication_factor: topic.replicas,
                configs: topic.config.clone(),
            }),
            Some(facts) => {
                plan_shape(&mut plan, name, topic, *facts);
                plan_settings(&mut plan, name, topic, settings.get(name), &mut known);
            }
        }
        known.extend(topic.config.keys().cloned());
        plan.record.topics.insert(name.clone(), known);
    }
    let removed = record
        .topics
        .iter()
        .filter(|(name, _)| !spec.contains_key(*name) && existing.contains_key(*name));
    let removed: Vec<_> = removed.collect();
    for (name, known) in removed.iter().skip(removed.len().saturating_sub(KEPT_MOST)) {
        let message = "it was removed from spec.topics and is kept with its data; delete it with Kafka's own tools, or \
                       add it to the spec again";
        plan.report.push(status(name, state::KEPT, message));
        plan.record.topics.insert((*name).clone(), (*known).clone());
    }
    plan
}

fn plan_shape(plan: &mut Plan, name: &str, topic: &ValidTopic, facts: TopicFacts) {
    if facts.partitions < topic.partitions {
        plan.grow.insert(name.to_owned(), topic.partitions);
    } else if facts.partitions > topic.partitions {
        let message = format!(
            "it has {} partitions, the spec says {}: Kafka cannot remove partitions; set the spec to {}",
            facts.partitions, topic.partitions, facts.partitions
        );
        plan.report.push(status(name, state::DIFFERS, message));
    }
    if facts.replicas != usize::from(topic.replicas.unsigned_abs()) {
        let message = format!(
            "it has {} replicas, the spec says {}: reassignment is not supported yet; set the spec to {}",
            facts.replicas, topic.replicas, facts.replicas
        );
        plan.report.push(status(name, state::DIFFERS, message));
    }
}

fn plan_settings(
    plan: &mut Plan,
    name: &str,
    topic: &ValidTopic,
    settings: Option<&Settings>,
    known: &mut BTreeSet<String>,
) {
    // What is not known is neither changed nor reported.
    let Some(Ok(settings)) = settings else { return };
    let set = |key: &str| {
        let entry = settings
            .get(key)
            .filter(|e| e.source == ConfigSource::DynamicTopic);
        entry.and_then(|e| e.value.as_deref())
    };
    let wrong = topic
        .config
        .iter()
        .filter(|(key, value)| set(key) != Some(value.as_str()));
    let changes: BTreeMap<String, ConfigChange> = wrong
        .map(|(key, value)| (key.clone(), ConfigChange::Set(value.clone())))
        .collect();
    if !changes.is_empty() {
        plan.alter.push(TopicConfigChange {
            topic: name.to_owned(),
            changes,
        });
    }
    known.retain(|key| topic.config.contains_key(key) || set(key).is_some());
    let kept = known.iter().filter(|key| !topic.config.contains_key(*key));
    let kept: Vec<String> = kept
        .filter_map(|key| Some(format!("{key}={}", set(key)?)))
        .collect();
    if !kept.is_empty() {
        let message = format!(
            "removed from the spec and kept: {}; reset them with Kafka's own tools, or add them to the spec again",
            kept.join(", ")
        );
        plan.report.push(status(name, state::SETTINGS_KEPT, message));
    }
}

/// What matters most first, one entry for each topic, and no more than fit the status.
#[must_use]
pub fn condense(mut report: Vec<TopicStatus>) -> Vec<TopicStatus> {
    let rank = |s: &TopicStatus| state::ALL.iter().position(|known| *known == s.state);
    report.sort_by(|a, b| (rank(a), &a.name).cmp(&(rank(b), &b.name)));
    let mut condensed: Vec<TopicStatus> = Vec::new();
    for entry in report {
        match condensed.iter_mut().find(|c| c.name == entry.name) {
            Some(first) => first.message = format!("{}; {}", first.message, entry.message),
            None => condensed.push(entry),
        }
    }
    condensed.truncate(REPORTED_MOST);
    condensed
}
