//! How a partition looks to others.

use super::{Entry, State, Stop};
use crate::kafka::offsets::TopicPartition;
use crate::replicator::progress::{Gap, PartitionProgress, PartitionState};

/// Bytes per offset.
#[allow(clippy::cast_precision_loss)] // a mean of sizes needs no more than 53 bits
pub(super) fn mean((bytes, offsets): (u64, u64)) -> Option<f64> {
    (offsets > 0).then(|| bytes as f64 / offsets as f64)
}

/// A partition in the progress document.
pub(super) fn show(partition: &TopicPartition, entry: &Entry) -> PartitionProgress {
    let (state, reason, message) = match &entry.state {
        State::Waiting(why) => (PartitionState::Starting, None, why.clone()),
        State::Following(_) => (PartitionState::Following, None, None),
        State::Stopped(stop) => (
            PartitionState::Stopped,
            Some(stop.reason),
            Some(stop.message.clone()),
        ),
    };
    PartitionProgress {
        topic: partition.topic.clone(),
        topic_id: entry.route.topic_id.to_string(),
        partition: partition.partition,
        state,
        reason,
        message,
        position: entry.reached.map(|reached| reached.next_offset).or(entry.stored),
        stored: entry.stored,
        leader_epoch: entry.reached.and_then(|reached| reached.leader_epoch),
        last_timestamp: entry.reached.and_then(|reached| reached.timestamp),
        bytes: entry.before.bytes + entry.now.bytes,
        records: entry.before.records + entry.now.records,
    }
}

/// The range that the target does not get, if the partition stands still for one.
pub(super) fn gap(partition: &TopicPartition, entry: &Entry) -> Option<Gap> {
    let State::Stopped(Stop {
        reason,
        missing: Some(missing),
        seen_at,
        ..
    }) = &entry.state
    else {
        return None;
    };
    Some(Gap {
        topic: partition.topic.clone(),
        topic_id: missing.topic_id.to_string(),
        partition: partition.partition,
        from: missing.from,
        to: missing.to,
        reason: *reason,
        seen_at: *seen_at,
    })
}
