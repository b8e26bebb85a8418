//! What a replicator says about itself at `/progress`, and what the operator reads there.
//!
//! Every figure is a fact of one worker's process at `observedAt`; lag is not among them, the operator measures it
//! against Kafka. Lists are bounded: [`MAX_PARTITIONS`], [`MAX_GAPS`], [`MAX_TOPICS`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Most partitions listed; the stopped ones first.
pub const MAX_PARTITIONS: usize = 5000;
/// Most gaps listed; the newest are left out first, since the oldest say when it began.
pub const MAX_GAPS: usize = 200;
/// Most refused topics, and most topics with sizes, listed.
pub const MAX_TOPICS: usize = 1000;

/// One worker's whole state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// When this was put together.
    pub observed_at: Timestamp,
    /// When the process started.
    pub started_at: Timestamp,
    /// SHA-256 of the configuration file's bytes, hex.
    pub config_hash: String,
    /// The configuration's `generation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// `<namespace>/<name>` from the configuration.
    pub name: String,
    /// The positions' identity; absent until the source's cluster ID is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_id: Option<String>,
    /// Which worker this is, from 0.
    pub worker: u32,
    /// Of how many.
    pub workers: u32,
    /// The cluster that is read.
    pub source: ClusterProgress,
    /// The cluster that is written.
    pub target: ClusterProgress,
    /// A position of this link was read from or stored on the target, in this process or (by the configuration) before.
    pub positions_seen: bool,
    /// Set while the whole link stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<LinkStop>,
    /// This worker's partitions.
    #[serde(default)]
    pub partitions: Vec<PartitionProgress>,
    /// Ranges of source offsets that the target will not get, unless somebody decides otherwise.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// Topics that match but are not replicated.
    #[serde(default)]
    pub refused: Vec<RefusedTopic>,
    /// What the records of each topic look like.
    #[serde(default)]
    pub topics: Vec<TopicProgress>,
    /// Running totals since `startedAt`.
    pub totals: Totals,
    /// The last fault; kept after it is over, with `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// One side of the link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterProgress {
    /// Its cluster ID, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// It answers now, and has since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<Timestamp>,
    /// It does not answer now, and has not since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_since: Option<Timestamp>,
    /// Why it does not answer: a stable word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it does not answer, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ClusterProgress {
    /// Whether it answers now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected_since.is_some()
    }
}

/// Why the whole link stands still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStop {
    /// Which rule.
    pub reason: LinkStopReason,
    /// What was found, and what to do.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// Rules that stop a whole link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkStopReason {
    /// Positions were seen once and are gone.
    PositionsLost,
    /// Source and target are one cluster and topics keep their names: each record would feed itself.
    LoopRefused,
    /// The positions topic exists but cannot be used: not compacted and not ours to change, or no rights.
    PositionsUnusable,
    /// Positions of a newer format than this version reads.
    PositionsTooNew,
}

impl LinkStopReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::PositionsLost,
        Self::LoopRefused,
        Self::PositionsUnusable,
        Self::PositionsTooNew,
    ];

    /// The word for conditions and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PositionsLost => "PositionsLost",
            Self::LoopRefused => "LoopRefused",
            Self::PositionsUnusable => "PositionsUnusable",
            Self::PositionsTooNew => "PositionsTooNew",
        }
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionProgress {
    /// Name on the source.
    pub topic: String,
    /// ID of the source's topic, as Kafka's tools print it.
    pub topic_id: String,
    /// Partition.
    pub partition: i32,
    /// Whether it is copied.
    pub state: PartitionState,
    /// Why it is stopped or waits: a stable word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<StopReason>,
    /// Why, for people, with the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Next source offset that the target does not have; absent until known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    /// The part of `position` that is stored on the target: a new process resumes here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<i64>,
    /// Leader epoch of the last record before `position`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_epoch: Option<i32>,
    /// Timestamp of the last record before `position`, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<i64>,
    /// Payload bytes (keys and values) acknowledged by the target since `startedAt`.
    pub bytes: u64,
    /// Records acknowledged by the target since `startedAt`.
    pub records: u64,
}

/// Whether a partition is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionState {
    /// Its position is being read and checked.
    Starting,
    /// It is copied.
    Following,
    /// It stands still until somebody decides, or until what `message` names is mended.
    Stopped,
}

/// Why a partition stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopReason {
    /// The source deleted records that were not yet replicated.
    BelowLogStart,
    /// The source's log ends before the position: it lost records that were replicated.
    BeyondLogEnd,
    /// The source's log was truncated and went on with other records: leader epochs say so.
    LogTruncated,
    /// The source's topic was deleted and created anew under its name.
    TopicRecreated,
    /// The source's topic is gone.
    SourceTopicMissing,
    /// The target's topic was deleted after records were replicated to it.
    TargetTopicMissing,
    /// The target's topic was deleted and created anew after records were replicated to it.
    TargetTopicRecreated,
    /// The target already holds records in a partition for which this link has no position.
    TargetNotEmpty,
    /// A record is larger than the target's topic accepts.
    RecordTooLarge,
    /// The target refuses a record for another reason, such as one without key for a compacted topic.
    RecordRefused,
    /// Rights are missing on the source's or the target's topic.
    NotAuthorized,
}

impl StopReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::BelowLogStart,
        Self::BeyondLogEnd,
        Self::LogTruncated,
        Self::TopicRecreated,
        Self::SourceTopicMissing,
        Self::TargetTopicMissing,
        Self::TargetTopicRecreated,
        Self::TargetNotEmpty,
        Self::RecordTooLarge,
        Self::RecordRefused,
        Self::NotAuthorized,
    ];

    /// The word for conditions and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BelowLogStart => "BelowLogStart",
            Self::BeyondLogEnd => "BeyondLogEnd",
            Self::LogTruncated => "LogTruncated",
            Self::TopicRecreated => "TopicRecreated",
            Self::SourceTopicMissing => "SourceTopicMissing",
            Self::TargetTopicMissing => "TargetTopicMissing",
            Self::TargetTopicRecreated => "TargetTopicRecreated",
            Self::TargetNotEmpty => "TargetNotEmpty",
            Self::RecordTooLarge => "RecordTooLarge",
            Self::RecordRefused => "RecordRefused",
            Self::NotAuthorized => "NotAuthorized",
        }
    }
}

/// A range of source offsets that the target does not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Name on the source.
    pub topic: String,
    /// ID of the source's topic that the offsets belong to.
    pub topic_id: String,
    /// Partition.
    pub partition: i32,
    /// First missing offset.
    pub from: i64,
    /// First offset after the missing ones; absent when it cannot be known (the log is gone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Why.
    pub reason: StopReason,
    /// When this process first saw it.
    pub seen_at: Timestamp,
}

/// Why a topic that matches is not replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// A link from our target feeds it.
    LoopRefused,
    /// Whether it is fed from our target cannot be known.
    LoopUnknown,
    /// Its name on the target is taken.
    NameCollision,
    /// Its name on the target is not one that Kafka takes.
    InvalidTargetName,
    /// It has fewer partitions on the target than on the source.
    TooFewPartitions,
    /// Rights are missing on the source's topic.
    NotAuthorized,
    /// The target refuses to create it.
    TopicNotCreated,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::LoopRefused,
        Self::LoopUnknown,
        Self::NameCollision,
        Self::InvalidTargetName,
        Self::TooFewPartitions,
        Self::NotAuthorized,
        Self::TopicNotCreated,
    ];

    /// The word for the status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoopRefused => "LoopRefused",
            Self::LoopUnknown => "LoopUnknown",
            Self::NameCollision => "NameCollision",
            Self::InvalidTargetName => "InvalidTargetName",
            Self::TooFewPartitions => "TooFewPartitions",
            Self::NotAuthorized => "NotAuthorized",
            Self::TopicNotCreated => "TopicNotCreated",
        }
    }
}

/// A topic that matches but is not replicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedTopic {
    /// Name on the source.
    pub name: String,
    /// The word of a [`RefusalReason`]; not the type, so that an operator understands a later version's.
    pub reason: String,
    /// What stands against it, and what to do.
    pub message: String,
}

/// What the records of one topic look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicProgress {
    /// Name on the source.
    pub name: String,
    /// Name on the target.
    pub target_name: String,
    /// Partitions on the source; all workers' together.
    pub partitions: i32,
    /// Mean bytes of key and value per source offset, over what this process saw; absent until it saw records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_record_bytes: Option<f64>,
}

/// Running totals since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Records acknowledged by the target.
    pub records: u64,
    /// Their bytes (keys and values).
    pub bytes: u64,
    /// Times that positions were stored.
    pub position_writes: u64,
    /// Times that the clients were built anew: after a fault, or for a changed credential.
    pub sessions: u64,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// A stable word.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// On which side.
    pub side: Side,
    /// Since when.
    pub since: Timestamp,
    /// When it was over; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One of the two clusters, or the process itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The cluster that is read.
    Source,
    /// The cluster that is written.
    Target,
    /// The process: its files and configuration.
    Local,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::api::words::{LINK_STOPPED, REFUSED, STOPPED, words_of};

    #[test]
    fn every_word_for_what_stands_still_is_explained() {
        let known: Vec<&str> = words_of(STOPPED).map(|word| word.name).collect();
        assert_eq!(known, StopReason::ALL.map(StopReason::as_str));
        explained(LINK_STOPPED, &LinkStopReason::ALL.map(LinkStopReason::as_str));
    }

    #[test]
    fn every_word_for_a_refused_topic_is_explained() {
        explained(REFUSED, &RefusalReason::ALL.map(RefusalReason::as_str));
    }

    /// Each reason is a condition's or has its words, and no words are of a reason that there is not.
    fn explained(place: &str, reasons: &[&str]) {
        let condition = |reason: &str| Reason::ALL.iter().any(|known| known.as_str() == reason);
        let mut others: Vec<&str> = reasons.iter().copied().filter(|r| !condition(r)).collect();
        let mut known: Vec<&str> = words_of(place).map(|word| word.name).collect();
        others.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, others);
    }
}
