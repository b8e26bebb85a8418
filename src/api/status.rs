//! What every status has in common: verdicts, lag, conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Readers treat a status whose `observedAt` is older than this, in seconds, as Unknown.
pub const STALE_AFTER_SECONDS: i64 = 180;

/// What the operator makes of an object's lag over a window of time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Keeps up.
    InSync,
    /// Behind, and gaining.
    CatchingUp,
    /// Behind, and losing ground.
    FallingBehind,
    /// Connected, the source moves, the position does not.
    NotMoving,
    /// Was connected in this generation; the line is down.
    Disconnected,
    /// Stopped by `spec.paused`.
    Paused,
    /// Not known, or known too long ago.
    Unknown,
}

impl Verdict {
    /// All verdicts, in the order of the documentation's table.
    pub const ALL: [Self; 7] = [
        Self::InSync,
        Self::CatchingUp,
        Self::FallingBehind,
        Self::NotMoving,
        Self::Disconnected,
        Self::Paused,
        Self::Unknown,
    ];

    /// The name as it stands in status, metrics and docs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "InSync",
            Self::CatchingUp => "CatchingUp",
            Self::FallingBehind => "FallingBehind",
            Self::NotMoving => "NotMoving",
            Self::Disconnected => "Disconnected",
            Self::Paused => "Paused",
            Self::Unknown => "Unknown",
        }
    }
}

/// How far a link, or one of its topics, is behind its source.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Source end offset minus position, summed over partitions. A difference of offsets, not of records: transaction
    /// markers and compaction leave holes.
    pub offsets: i64,
    /// `offsets` times the mean record size seen, in bytes; absent before a record was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_bytes: Option<i64>,
    /// Age, in seconds, of the moment at which the source's end passed the position; absent when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// Forecast, in seconds, of when the lag will be gone at the present rates; absent when it is not shrinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up_seconds: Option<i64>,
}

/// Types of conditions. Meaning and remedies: the book's chapter "Conditions".
pub mod condition_type {
    /// The object does what its spec asks.
    pub const READY: &str = "Ready";
    /// Present and True only while the operator works towards the spec.
    pub const RECONCILING: &str = "Reconciling";
    /// Present and True only while the operator cannot get further without help.
    pub const STALLED: &str = "Stalled";
    /// EdgeCluster: the KRaft quorum has a leader and a majority of caught-up voters.
    pub const QUORUM_HEALTHY: &str = "QuorumHealthy";
    /// EdgeCluster: no partition is offline or under-replicated.
    pub const PARTITIONS_HEALTHY: &str = "PartitionsHealthy";
    /// EdgeCluster: every topic of the spec exists as described.
    pub const TOPICS_SYNCED: &str = "TopicsSynced";
    /// EdgeCluster: every broker runs the built configuration.
    pub const UP_TO_DATE: &str = "UpToDate";
    /// Bridge and link: connected to both sides.
    pub const CONNECTED: &str = "Connected";
    /// Link: not falling behind.
    pub const KEEPING_UP: &str = "KeepingUp";
    /// Bridge and link: nothing acknowledged is known to be lost.
    pub const LOSSLESS: &str = "Lossless";
}

/// Generates the schema of a condition list as a map keyed by `type` (for server-side apply), at most 16 entries.
pub(crate) fn conditions_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let item = generator.subschema_for::<Condition>();
    schemars::json_schema!({
        "type": "array",
        "items": item,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
