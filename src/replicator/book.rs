//! What a worker knows of each of its partitions, kept across sessions of the process. Pure: the link tells it what
//! happened, and it tells what to show, what to store and where to go on.

mod restored;
mod show;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::engine::SlotState;
use super::plan::Identity;
use super::progress::{RefusedTopic, StopReason, TopicProgress};
use super::report::Round;
use super::tracker::Reached;
use super::verdict::{Known, Missing, Stored};
use crate::kafka::offsets::TopicPartition;
use crate::kafka::positions::{Position, PositionKey};
use crate::kafka::topic_id::TopicId;
use show::{gap, mean, show};

/// Where a partition's records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The source's topic.
    pub(super) topic_id: TopicId,
    /// Name on the target.
    pub(super) target: String,
    /// The target's topic.
    pub(super) target_topic_id: TopicId,
}

/// Why a partition stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) reason: StopReason,
    pub(super) message: String,
    pub(super) missing: Option<Missing>,
    pub(super) seen_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Not copied yet, or not at the moment; says why if that is worth telling.
    Waiting(Option<String>),
    /// Copied by this slot of the engine.
    Following(usize),
    /// Stands still.
    Stopped(Stop),
}

#[derive(Clone, Debug)]
struct Entry {
    route: Route,
    state: State,
    /// Everything before it is on the target, as this process has seen.
    reached: Option<Reached>,
    /// What is stored on the target, as this process has read or written it.
    stored: Option<i64>,
    /// When the newest position was written that this process has read or written.
    written_at_ms: i64,
    /// Totals of earlier slots, and of the present one.
    before: Totals,
    now: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    records: u64,
    bytes: u64,
    offsets: u64,
}

/// All partitions of this worker that the link has met.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<TopicPartition, Entry>,
    /// Records and bytes of partitions that are no longer wanted.
    left: (u64, u64),
    refused: BTreeMap<String, RefusedTopic>,
    topics: BTreeMap<String, TopicProgress>,
}

impl Book {
    /// What is known of a partition's position, given what the positions topic says: this process's own knowledge is
    /// at least as new, unless somebody else has stored another position meanwhile, which then counts. For a partition
    /// that stands still only what is stored counts: a decision may well repeat the offset at which it stopped.
    pub(super) fn known(&self, partition: &TopicPartition, read: Stored) -> Stored {
        let (Some(entry), Stored::Known(known)) = (self.entries.get(partition), read) else {
            return read;
        };
        let untouched = !matches!(entry.state, State::Stopped(_))
            && entry.stored == Some(known.position.next_offset)
            && entry.route.topic_id == known.topic_id;
        match entry.reached {
            Some(position) if untouched && position.next_offset >= known.position.next_offset => {
                Stored::Known(Known { position, ..known })
            }
            _ => read,
        }
    }

    /// The positions topic holds this for the partition.
    pub(super) fn read(&mut self, partition: &TopicPartition, route: &Route, next_offset: Option<i64>) {
        let entry = self.entry(partition, route);
        if entry.stored != next_offset {
            entry.stored = next_offset;
            entry.reached = None;
        }
    }

    /// As [`read`](Self::read), for a partition of which this process knows no position yet: one that stands still from
    /// the start shows where.
    pub(super) fn met(&mut self, partition: &TopicPartition, route: &Route, next_offset: Option<i64>) {
        let entry = self.entry(partition, route);
        if entry.reached.is_none() {
            entry.stored = entry.stored.or(next_offset);
        }
    }

    /// The partition is copied from here on.
    pub(super) fn following(
        &mut self,
        partition: &TopicPartition,
        route: Route,
        slot: usize,
        start: Reached,
    ) {
        let entry = self.entry(partition, &route);
        if matches!(entry.state, State::Stopped(_)) {
            tracing::info!(%partition, offset = start.next_offset, "partition goes on");
        }
        entry.route = route;
        entry.state = State::Following(slot);
        entry.reached = Some(start);
    }

    /// The partition cannot be copied at the moment.
    pub(super) fn waiting(&mut self, partition: &TopicPartition, route: &Route, why: Option<String>) {
        let entry = self.entry(partition, route);
        entry.fold();
        entry.state = State::Waiting(why);
    }

    /// The partition stands still. True when that is new.
    pub(super) fn stopped(&mut self, partition: &TopicPartition, route: &Route, stop: Stop) -> bool {
        let entry = self.entry(partition, route);
        entry.fold();
        if let State::Stopped(known) = &mut entry.state
            && known.reason == stop.reason
            && known.missing == stop.missing
        {
            known.message = stop.message;
            return false;
        }
        tracing::error!(%partition, reason = stop.reason.as_str(), message = stop.message, "partition has stopped");
        entry.state = State::Stopped(stop);
        true
    }

    /// How far the engine's slots are.
    pub(super) fn advance(&mut self, states: &BTreeMap<usize, SlotState>) {
        for entry in self.entries.values_mut() {
            let State::Following(slot) = entry.state else {
                continue;
            };
            let Some(state) = states.get(&slot) else { continue };
            let start = entry
                .reached
                .map_or(state.reached.next_offset, |reached| reached.next_offset);
            let offsets = entry.now.offsets + (state.reached.next_offset - start).max(0).unsigned_abs();
            entry.now = Totals {
                records: state.records,
                bytes: state.bytes,
                offsets,
            };
            entry.reached = Some(state.reached);
        }
    }

    /// The session is over: nothing is copied.
    pub(super) fn session_ended(&mut self) {
        for entry in self.entries.values_mut() {
            entry.fold();
            if matches!(entry.state, State::Following(_)) {
                entry.state = State::Waiting(None);
            }
        }
    }

    /// Partitions that are copied, by slot.
    pub(super) fn slots(&self) -> BTreeMap<usize, TopicPartition> {
        let slots = self
            .entries
            .iter()
            .filter_map(|(partition, entry)| match entry.state {
                State::Following(slot) => Some((slot, partition.clone())),
                _ => None,
            });
        slots.collect()
    }

    /// Whether the partition is copied.
    pub(super) fn is_following(&self, partition: &TopicPartition) -> bool {
        self.entries
            .get(partition)
            .is_some_and(|entry| matches!(entry.state, State::Following(_)))
    }

    /// Whether the partition stands still.
    pub(super) fn is_stopped(&self, partition: &TopicPartition) -> bool {
        self.entries
            .get(partition)
            .is_some_and(|entry| matches!(entry.state, State::Stopped(_)))
    }

    /// Every partition.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.entries.keys().cloned().collect()
    }

    /// A topic's partitions.
    pub(super) fn partitions_of(&self, topic: &str) -> Vec<TopicPartition> {
        self.entries
            .keys()
            .filter(|partition| partition.topic == topic)
            .cloned()
            .collect()
    }

    /// The slot that copies a partition.
    pub(super) fn slot(&self, partition: &TopicPartition) -> Option<usize> {
        match self.entries.get(partition)?.state {
            State::Following(slot) => Some(slot),
            _ => None,
        }
    }

    /// Next offset that the target does not have, as far as this process has seen.
    pub(super) fn reached(&self, partition: &TopicPartition) -> Option<i64> {
        self.entries
            .get(partition)?
            .reached
            .map(|reached| reached.next_offset)
    }

    /// Where a partition's records go.
    pub(super) fn route(&self, partition: &TopicPartition) -> Option<&Route> {
        self.entries.get(partition).map(|entry| &entry.route)
    }

    /// Forgets what is no longer wanted; the slots that copied it.
    pub(super) fn retain(&mut self, wanted: &BTreeSet<TopicPartition>) -> Vec<usize> {
        let mut left = Vec::new();
        self.entries.retain(|partition, entry| {
            let keep = wanted.contains(partition);
            if !keep && let State::Following(slot) = entry.state {
                tracing::info!(%partition, "no longer replicated");
                left.push(slot);
            }
            if !keep {
                entry.fold();
                self.left.0 += entry.before.records;
                self.left.1 += entry.before.bytes;
            }
            keep
        });
        self.topics
            .retain(|topic, _| wanted.iter().any(|partition| partition.topic == *topic));
        left
    }

    /// Topics that match and are not replicated, whole; says what is new.
    pub(super) fn refuse(&mut self, refused: BTreeMap<String, RefusedTopic>) {
        for (name, topic) in &refused {
            if self
                .refused
                .get(name)
                .is_none_or(|known| known.reason != topic.reason)
            {
                tracing::error!(
                    topic = name,
                    reason = topic.reason,
                    message = topic.message,
                    "topic is refused"
                );
            }
        }
        self.refused = refused;
    }

    /// What a topic looks like on both sides.
    pub(super) fn topic(&mut self, name: &str, target: &str, partitions: i32) {
        let topic = TopicProgress {
            name: name.to_owned(),
            target_name: target.to_owned(),
            partitions,
            mean_record_bytes: None,
        };
        self.topics.insert(name.to_owned(), topic);
    }

    /// Keys of partitions that are copied and whose position is stored: each must be in the positions topic.
    pub(super) fn stored_keys(&self, identity: &Identity) -> BTreeSet<PositionKey> {
        let copied = self.entries.iter().filter(|(_, entry)| {
            entry.stored.is_some() && !matches!(entry.state, State::Stopped(_)) && entry.reached.is_some()
        });
        copied
            .map(|(partition, entry)| key(identity, partition, entry))
            .collect()
    }

    /// Positions that are ahead of what is stored. Also of a partition that stands still, until it is stored once: from
    /// then on what others store for it is not touched.
    pub(super) fn unstored(
        &self,
        identity: &Identity,
        generation: u64,
    ) -> Vec<(TopicPartition, PositionKey, Position)> {
        let now = Timestamp::now().as_millisecond();
        let ahead = self.entries.iter().filter_map(|(partition, entry)| {
            let reached = entry.reached?;
            let moved = entry.stored.is_some_and(|stored| stored < reached.next_offset);
            moved.then(|| {
                (
                    partition.clone(),
                    key(identity, partition, entry),
                    position(partition, entry, reached, generation, now),
                )
            })
        });
        ahead.collect()
    }

    /// The position to register for a partition that is not copied yet.
    pub(super) fn registration(
        identity: &Identity,
        generation: u64,
        partition: &TopicPartition,
        route: &Route,
        start: Reached,
    ) -> (PositionKey, Position) {
        let entry = Entry::new(route.clone());
        let now = Timestamp::now().as_millisecond();
        (
            key(identity, partition, &entry),
            position(partition, &entry, start, generation, now),
        )
    }

    /// The target has stored this offset for the partition, as written at this time.
    pub(super) fn stored(&mut self, partition: &TopicPartition, next_offset: i64, written_at_ms: i64) {
        if let Some(entry) = self.entries.get_mut(partition) {
            entry.stored = Some(next_offset);
            entry.written_at_ms = entry.written_at_ms.max(written_at_ms);
        }
    }

    /// What was stored is gone: what the positions topic says from now on counts alone.
    pub(super) fn forget_stored(&mut self) {
        for entry in self.entries.values_mut() {
            entry.stored = None;
            entry.reached = None;
            entry.written_at_ms = i64::MIN;
        }
    }

    /// All of it, for others to see.
    pub(super) fn round(&self) -> Round {
        let partitions = self
            .entries
            .iter()
            .map(|(partition, entry)| show(partition, entry))
            .collect();
        let gaps = self
            .entries
            .iter()
            .filter_map(|(partition, entry)| gap(partition, entry))
            .collect();
        let refused = self.refused.values().cloned().collect();
        Round {
            partitions,
            gaps,
            refused,
            topics: self.show_topics(),
            left: self.left,
        }
    }

    fn show_topics(&self) -> Vec<TopicProgress> {
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (partition, entry) in &self.entries {
            let sum = sums.entry(&partition.topic).or_default();
            sum.0 += entry.before.bytes + entry.now.bytes;
            sum.1 += entry.before.offsets + entry.now.offsets;
        }
        let with_mean = self.topics.values().cloned().map(|mut topic| {
            topic.mean_record_bytes = sums.get(topic.name.as_str()).and_then(|sum| mean(*sum));
            topic
        });
        with_mean.collect()
    }

    fn entry(&mut self, partition: &TopicPartition, route: &Route) -> &mut Entry {
        self.entries
            .entry(partition.clone())
            .or_insert_with(|| Entry::new(route.clone()))
    }
}

impl Entry {
    fn new(route: Route) -> Self {
        Self {
            route,
            state: State::Waiting(None),
            reached: None,
            stored: None,
            written_at_ms: i64::MIN,
            before: Totals::default(),
            now: Totals::default(),
        }
    }

    /// A slot is over: its totals go to those before.
    fn fold(&mut self) {
        let now = std::mem::take(&mut self.now);
        self.before.records += now.records;
        self.before.bytes += now.bytes;
        self.before.offsets += now.offsets;
    }
}

fn key(identity: &Identity, partition: &TopicPartition, entry: &Entry) -> PositionKey {
    PositionKey {
        link_id: identity.link_id.clone(),
        source_cluster_id: identity.source_cluster.clone(),
        topic_id: entry.route.topic_id,
        partition: partition.partition,
    }
}

fn position(
    partition: &TopicPartition,
    entry: &Entry,
    reached: Reached,
    generation: u64,
    now: i64,
) -> Position {
    Position {
        next_offset: reached.next_offset,
        leader_epoch: reached.leader_epoch,
        source_topic: partition.topic.clone(),
        target_topic: entry.route.target.clone(),
        target_topic_id: entry
            .route
            .target_topic_id
            .is_set()
            .then_some(entry.route.target_topic_id),
        last_record_timestamp_ms: reached.timestamp,
        written_at_ms: now,
        generation,
    }
}

#[cfg(test)]
mod tests;
