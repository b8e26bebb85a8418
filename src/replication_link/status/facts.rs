//! What the pods report that does not depend on the moment: gaps, refused topics, stopped partitions. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use crate::api::{Gap, Reason, RefusedTopic, ReplicationLink, ReplicationLinkStatus};
use crate::replicator::progress::{LinkStop, LinkStopReason, PartitionProgress, PartitionState, Progress};

/// Gaps that a status lists; the oldest stay, since they say when it began.
const MAX_GAPS: usize = 50;
/// Stopped partitions that a message names beside the first.
const MAX_NAMED: usize = 5;
/// Refused topics that a status lists.
const MAX_REFUSED: usize = 20;

/// What the target will not get. A range stays told until the spec changes: a pod that went on after somebody's
/// decision forgets it, and the records do not come back.
pub(super) fn gaps<'a>(
    object: &ReplicationLink,
    old: &ReplicationLinkStatus,
    workers: impl Iterator<Item = &'a Progress>,
) -> Vec<Gap> {
    type Key = (String, i32, i64, String);
    let mut all: BTreeMap<Key, Gap> = BTreeMap::new();
    let key = |gap: &Gap| (gap.topic.clone(), gap.partition, gap.from, gap.reason.clone());
    if old.observed_generation == object.meta().generation {
        all.extend(old.gaps.iter().map(|gap| (key(gap), gap.clone())));
    }
    for gap in workers.flat_map(|progress| &progress.gaps) {
        let now = Gap {
            topic: gap.topic.clone(),
            partition: gap.partition,
            from: gap.from,
            to: gap.to,
            reason: gap.reason.as_str().to_owned(),
            seen_at: Time(gap.seen_at),
        };
        let entry = all.entry(key(&now)).or_insert_with(|| now.clone());
        // The range may have grown meanwhile.
        entry.to = now.to;
    }
    let mut gaps: Vec<Gap> = all.into_values().collect();
    gaps.sort_by_key(|gap| gap.seen_at.0);
    gaps.truncate(MAX_GAPS);
    gaps
}

/// Topics that match and are not replicated, in the order of their names.
pub(super) fn refused<'a>(workers: impl Iterator<Item = &'a Progress>) -> Vec<RefusedTopic> {
    let mut all = BTreeMap::new();
    for topic in workers.flat_map(|progress| &progress.refused) {
        all.entry(&topic.name).or_insert_with(|| RefusedTopic {
            name: topic.name.clone(),
            reason: topic.reason.clone(),
            message: topic.message.clone(),
        });
    }
    all.into_values().take(MAX_REFUSED).collect()
}

/// What stops the whole link.
pub(super) fn link_stop<'a>(
    workers: impl IntoIterator<Item = &'a Progress>,
) -> Option<(Reason, &'a LinkStop)> {
    let stop = workers
        .into_iter()
        .find_map(|progress| progress.stopped.as_ref())?;
    let reason = match stop.reason {
        LinkStopReason::PositionsLost => Reason::PositionsLost,
        LinkStopReason::LoopRefused => Reason::LoopRefused,
        LinkStopReason::PositionsUnusable | LinkStopReason::PositionsTooNew => Reason::KafkaError,
    };
    Some((reason, stop))
}

/// What of the link stands still though the rest goes on: partitions first, then whole topics.
pub(super) fn stopped<'a>(
    workers: impl Iterator<Item = &'a Progress>,
    refused: &[RefusedTopic],
) -> Option<(Reason, String)> {
    let partitions = workers.flat_map(|progress| &progress.partitions);
    let mut stopped: Vec<&PartitionProgress> = partitions
        .filter(|partition| partition.state == PartitionState::Stopped)
        .collect();
    stopped.sort_by_key(|partition| (&partition.topic, partition.partition));
    if let Some(first) = stopped.first() {
        let why = first.reason.map_or("stopped", |reason| reason.as_str());
        let words = first.message.as_deref().unwrap_or_default();
        let message = format!(
            "partition {}-{} stands still: {why}: {words}{}",
            first.topic,
            first.partition,
            others(stopped.get(1..).unwrap_or_default())
        );
        return Some((Reason::PartitionStopped, message));
    }
    let first = refused.first()?;
    let reason = match first.reason.as_str() {
        "LoopRefused" | "LoopUnknown" => Reason::LoopRefused,
        "NameCollision" => Reason::NameCollision,
        "TopicNotCreated" => Reason::TopicNotCreated,
        _ => Reason::TopicRefused,
    };
    let message = format!("topic {} is not replicated: {}", first.name, first.message);
    Some((reason, and_more(message, refused.len(), "status.refused")))
}

/// The other partitions that stand still, by name: not each of them has a gap, so no list of the status has them all.
fn others(stopped: &[&PartitionProgress]) -> String {
    if stopped.is_empty() {
        return String::new();
    }
    let named = stopped.iter().take(MAX_NAMED);
    let named: Vec<String> = named
        .map(|p| {
            let why = p.reason.map_or("stopped", |reason| reason.as_str());
            format!("{}-{} ({why})", p.topic, p.partition)
        })
        .collect();
    let more = match stopped.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("; also stopped: {}{more}", named.join(", "))
}

/// The first of several, with how many more there are and where they stand.
pub(super) fn and_more(first: String, count: usize, place: &str) -> String {
    match count {
        0 | 1 => first,
        n => format!("{first} (and {} more, see {place})", n - 1),
    }
}
