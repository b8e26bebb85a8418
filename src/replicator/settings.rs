//! Which of a topic's settings go along when it is created on the target. Pure.

use std::collections::BTreeMap;

use crate::kafka::wire::{ConfigEntry, ConfigSource};

/// Settings that describe the data and its life, and so belong to the topic wherever it is. They are taken over when
/// they are set on the source's topic itself; defaults of its brokers are not.
///
/// Not here, on purpose: `min.insync.replicas`, replica throttles, placement, `unclean.leader.election.enable`,
/// `flush.*`, `remote.*` and `local.retention.*` belong to a cluster and its machines; `message.timestamp.type` and
/// its bounds would change or refuse timestamps that are to be kept.
pub const COPIED: [&str; 14] = [
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
];

/// Kafka's own default of `max.message.bytes`, for targets that do not tell theirs.
pub const DEFAULT_MAX_MESSAGE_BYTES: u64 = 1_048_588;

/// Settings of the target's topic that decide whether it takes a record.
pub const DECISIVE: [&str; 4] = [
    "cleanup.policy",
    "max.message.bytes",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
];

/// What a topic of the target takes, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The largest batch, in bytes; absent without the right to read the topic's settings.
    pub largest_batch: Option<u64>,
    /// The [`DECISIVE`] settings in one line: as long as it is the same, a refused record is refused again.
    pub fingerprint: String,
}

impl Limits {
    /// What these settings say.
    #[must_use]
    pub fn of(target: &BTreeMap<String, ConfigEntry>) -> Self {
        Self {
            largest_batch: largest_batch(target),
            fingerprint: fingerprint(target),
        }
    }
}

/// What to create a topic with, given the settings of the source's.
#[must_use]
pub fn copied(source: &BTreeMap<String, ConfigEntry>) -> BTreeMap<String, String> {
    COPIED
        .iter()
        .filter_map(|name| {
            let entry = source
                .get(*name)
                .filter(|entry| entry.source == ConfigSource::DynamicTopic)?;
            Some(((*name).to_owned(), entry.value.clone()?))
        })
        .collect()
}

fn largest_batch(target: &BTreeMap<String, ConfigEntry>) -> Option<u64> {
    let value = target.get("max.message.bytes")?.value.as_deref()?;
    value.parse().ok()
}

fn fingerprint(target: &BTreeMap<String, ConfigEntry>) -> String {
    let values = DECISIVE.iter().map(|name| {
        let value = target
            .get(*name)
            .and_then(|entry| entry.value.as_deref())
            .unwrap_or("?");
        format!("{name}={value}")
    });
    values.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &str, source: ConfigSource) -> ConfigEntry {
        ConfigEntry {
            value: Some(value.to_owned()),
            source,
            read_only: false,
            sensitive: false,
        }
    }

    fn settings(list: &[(&str, &str, ConfigSource)]) -> BTreeMap<String, ConfigEntry> {
        list.iter()
            .map(|(name, value, source)| ((*name).to_owned(), entry(value, *source)))
            .collect()
    }

    #[test]
    fn only_listed_settings_that_are_set_on_the_topic_go_along() {
        let source = settings(&[
            ("cleanup.policy", "compact", ConfigSource::DynamicTopic),
            ("retention.ms", "604800000", ConfigSource::Default),
            ("segment.bytes", "1048576", ConfigSource::StaticBroker),
            ("min.insync.replicas", "2", ConfigSource::DynamicTopic),
            (
                "follower.replication.throttled.replicas",
                "*",
                ConfigSource::DynamicTopic,
            ),
            (
                "message.timestamp.type",
                "LogAppendTime",
                ConfigSource::DynamicTopic,
            ),
            ("flush.messages", "1", ConfigSource::DynamicTopic),
        ]);
        assert_eq!(
            copied(&source),
            BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())])
        );
    }

    #[test]
    fn a_clusters_own_settings_are_never_on_the_list() {
        for name in COPIED {
            assert!(
                !name.contains("insync") && !name.contains("throttled") && !name.contains("timestamp"),
                "{name}"
            );
        }
    }

    #[test]
    fn the_limit_is_read_whatever_sets_it() {
        let target = settings(&[("max.message.bytes", "5000", ConfigSource::StaticBroker)]);
        assert_eq!(Limits::of(&target).largest_batch, Some(5000));
        assert_eq!(Limits::of(&BTreeMap::new()).largest_batch, None);
    }

    #[test]
    fn the_fingerprint_changes_with_what_decides() {
        let with = |bytes, policy| {
            fingerprint(&settings(&[
                ("max.message.bytes", bytes, ConfigSource::DynamicTopic),
                ("cleanup.policy", policy, ConfigSource::DynamicTopic),
            ]))
        };
        assert_eq!(with("1", "delete"), with("1", "delete"));
        assert_ne!(with("1", "delete"), with("2", "delete"));
        assert_ne!(with("1", "delete"), with("1", "compact"));
    }
}
