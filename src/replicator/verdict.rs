//! What a stored position is worth, given what both clusters say now. Pure.
//!
//! A position is never corrected: it is good as it stands, or the partition stops with the range that is missing. The
//! decision what then to do is a person's (`tributary replicator … resume`).

use crate::kafka::topic_id::TopicId;

use super::config::Start;
use super::progress::StopReason;
use super::tracker::Reached;

/// A position as it was read from the target (or is remembered from before a reconnect).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The source's topic that it belongs to.
    pub topic_id: TopicId,
    /// The target's topic that the records went to, when the position says so.
    pub target_topic_id: Option<TopicId>,
    /// The position.
    pub position: Reached,
}

/// What is stored for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A position under the topic's name; its topic ID may be another one.
    Known(Known),
    /// None, and the link has none at all: it runs for the first time.
    FirstRun(Start),
    /// None for any partition of this topic, but for others: the topic is new to the link.
    NewTopic,
    /// None for this partition, but for others of the same topic: the partition is new, and begins at 0.
    NewPartition,
}

/// The source's partition as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFacts {
    /// ID of the topic which has the name now.
    pub topic_id: TopicId,
    /// First offset that is still held.
    pub log_start: i64,
    /// Offset that the next record will get: the high watermark.
    pub log_end: i64,
    /// What the leader answers to `OffsetForLeaderEpoch` for the position's epoch; absent when the position has none.
    pub epoch_end: Option<EpochEnd>,
}

/// Answer to `OffsetForLeaderEpoch` (KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochEnd {
    /// The newest epoch up to the asked one ended here; for the current epoch: the log's end.
    Offset(i64),
    /// The leader does not know the epoch: it is newer than all that the leader has.
    Unknown,
}

/// The target's partition as it is now; `None` where a whole is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// ID of the topic which has the name now.
    pub topic_id: TopicId,
    /// Offset that its next record will get.
    pub log_end: i64,
}

/// What to do with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on from a stored position.
    Resume(Reached),
    /// Store this position, then start from it.
    Begin(Reached),
    /// Stand still.
    Stop {
        /// Why.
        reason: StopReason,
        /// Which source offsets the target does not get, when that can be said.
        missing: Option<Missing>,
    },
}

/// A range of source offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The topic that the offsets belong to.
    pub topic_id: TopicId,
    /// First missing offset.
    pub from: i64,
    /// First offset after them; absent when it cannot be known.
    pub to: Option<i64>,
}

/// Judges one partition.
#[must_use]
pub fn judge(stored: Stored, source: SourceFacts, target: Option<TargetFacts>) -> Verdict {
    match stored {
        Stored::Known(known) => judge_known(known, source, target),
        _ if target.is_some_and(|target| target.log_end > 0) => stop(StopReason::TargetNotEmpty, None),
        Stored::FirstRun(Start::Latest) => begin(source.log_end),
        Stored::FirstRun(Start::Earliest) | Stored::NewTopic => begin(source.log_start),
        // What a partition that we follow from its birth has lost already is a gap like any other.
        Stored::NewPartition if source.log_start > 0 => below_log_start(source.topic_id, 0, source.log_start),
        Stored::NewPartition => begin(0),
    }
}

fn judge_known(known: Known, source: SourceFacts, target: Option<TargetFacts>) -> Verdict {
    let next = known.position.next_offset;
    let Some(target) = target else {
        return stop(StopReason::TargetTopicMissing, None);
    };
    if known.target_topic_id.is_some_and(|id| id != target.topic_id) {
        return stop(StopReason::TargetTopicRecreated, None);
    }
    if known.topic_id != source.topic_id {
        let missing = Missing {
            topic_id: known.topic_id,
            from: next,
            to: None,
        };
        return stop(StopReason::TopicRecreated, Some(missing));
    }
    if next < source.log_start {
        return below_log_start(source.topic_id, next, source.log_start);
    }
    let lost = |from, to| {
        Some(Missing {
            topic_id: source.topic_id,
            from,
            to,
        })
    };
    match source.epoch_end {
        Some(EpochEnd::Offset(end)) if end < next && end < source.log_end => {
            stop(StopReason::LogTruncated, lost(end, Some(next)))
        }
        _ if next > source.log_end => stop(StopReason::BeyondLogEnd, lost(source.log_end, Some(next))),
        // A log without the epoch that we read from is another log; where the two part cannot be said. If it holds
        // nothing before the position, there is no range to name.
        Some(EpochEnd::Unknown) if source.log_start == next => stop(StopReason::LogTruncated, None),
        Some(EpochEnd::Unknown) => stop(StopReason::LogTruncated, lost(source.log_start, Some(next))),
        Some(EpochEnd::Offset(end)) if end < next => stop(StopReason::LogTruncated, lost(end, Some(next))),
        _ => Verdict::Resume(known.position),
    }
}

fn begin(next_offset: i64) -> Verdict {
    Verdict::Begin(Reached {
        next_offset,
        leader_epoch: None,
        timestamp: None,
    })
}

fn below_log_start(topic_id: TopicId, from: i64, log_start: i64) -> Verdict {
    stop(
        StopReason::BelowLogStart,
        Some(Missing {
            topic_id,
            from,
            to: Some(log_start),
        }),
    )
}

fn stop(reason: StopReason, missing: Option<Missing>) -> Verdict {
    Verdict::Stop { reason, missing }
}

#[cfg(test)]
mod tests;
