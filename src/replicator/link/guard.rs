//! Rules that stop a link or a partition, apart from the verdict on a position. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::limits::is_too_large;
use crate::kafka::error::KafkaError;
use crate::kafka::positions::{
    POSITIONS_TOPIC, PositionError, PositionKey, Positions, PositionsError, partition_for,
};
use crate::replicator::engine::Refusal;
use crate::replicator::progress::{LinkStopReason, StopReason};
use crate::replicator::settings::Limits;

/// A record that the target refused is tried again after this long, doubling up to [`RETRY_LONGEST`], or as soon as the
/// topic's settings have changed; one that the source does not give, likewise.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// Each attempt at a refused record begins a new session, which the other partitions notice as a moment's pause.
const RETRY_LONGEST: Duration = Duration::from_secs(3600);

/// A source fault that comes again within this time of the next attempt is the same: longer than from one survey to the
/// next, however rare they are.
const SAME_FAULT: Duration = Duration::from_secs(600);

/// Pause after so many earlier attempts.
fn retry_pause(attempts: u32) -> Duration {
    RETRY_FIRST
        .saturating_mul(1 << attempts.min(6))
        .min(RETRY_LONGEST)
}

/// A side that the engine heard from within this time is there, however late it answers a survey: a full batch takes as
/// long on a line of 200 kB/s. Longer would tell of a silent cut too late: it counts on top of a survey's own deadline.
const HEARD_LATELY: Duration = Duration::from_secs(5);

/// Whether a call that failed says only that the answer is late, given how long ago the engine's own clients `heard` from
/// that side: the line may be full of the very records that they carry. What was heard before the side went `down` (how
/// long ago) says nothing any more.
pub(super) fn is_only_late(error: &KafkaError, heard: Option<Duration>, down: Option<Duration>) -> bool {
    let lately = |age: Duration| age <= HEARD_LATELY && down.is_none_or(|down| age < down);
    matches!(error, KafkaError::Timeout { .. }) && heard.is_some_and(lately)
}

/// A whole link stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Halt {
    pub(super) reason: LinkStopReason,
    pub(super) message: String,
}

impl Halt {
    /// Positions that were there are not.
    pub(super) fn lost(link_id: &str, what: &str) -> Self {
        Self {
            reason: LinkStopReason::PositionsLost,
            message: format!(
                "positions of link {link_id} were on the target and {what}; nothing is replicated, because starting \
                 again would repeat or skip records; restore {POSITIONS_TOPIC}, or decide where each topic goes on with \
                 `tributary replicator resume`"
            ),
        }
    }

    fn too_new(what: &str) -> Self {
        Self {
            reason: LinkStopReason::PositionsTooNew,
            message: format!("{what}; run the version of Tributary that wrote it, or a later one"),
        }
    }
}

/// Looks at all positions of a target before anything is done on their strength.
///
/// `seen`: positions of this link were there once. `stored`: keys that this process knows to be there.
pub(super) fn check_positions(
    link_id: &str,
    seen: bool,
    stored: &BTreeSet<PositionKey>,
    found: &Positions,
) -> Result<(), Halt> {
    let future = |error: &PositionError| matches!(error, PositionError::FutureVersion { .. });
    // A key that cannot be read may be anybody's who shares our partition of the topic.
    let shared = partition_for(link_id);
    if let Some(unreadable) = found
        .unreadable
        .iter()
        .find(|u| u.partition == shared && future(&u.error))
    {
        let what = format!(
            "{POSITIONS_TOPIC}-{shared} offset {}: {}",
            unreadable.offset, unreadable.error
        );
        return Err(Halt::too_new(&what));
    }
    let ours = || found.positions.iter().filter(|(key, _)| key.link_id == link_id);
    for (key, position) in ours() {
        match position {
            Err(error) if future(error) => return Err(Halt::too_new(&format!("{key}: {error}"))),
            Err(error) => {
                let message =
                    format!("{key}: {error}; withdraw it with `tributary replicator forget`, or restore it");
                return Err(Halt {
                    reason: LinkStopReason::PositionsUnusable,
                    message,
                });
            }
            Ok(_) => {}
        }
    }
    if let Some(missing) = stored.iter().find(|key| !found.positions.contains_key(*key)) {
        return Err(Halt::lost(
            link_id,
            &format!("at least that of {missing} is gone"),
        ));
    }
    if seen && ours().next().is_none() {
        return Err(Halt::lost(link_id, "all are gone"));
    }
    Ok(())
}

/// What it means that the target's positions cannot be read; `None` when it is a matter of reaching it.
pub(super) fn unreadable(error: &PositionsError) -> Option<Halt> {
    let unusable = |message| {
        Some(Halt {
            reason: LinkStopReason::PositionsUnusable,
            message,
        })
    };
    match error {
        PositionsError::TopicMissing | PositionsError::OpenTransaction { .. } => None,
        PositionsError::Kafka(error) if error.code().is_none() => None,
        PositionsError::Kafka(error) if error.code().is_some_and(|code| code.is_retriable()) => None,
        PositionsError::Kafka(kafka) => unusable(format!("{error}; {}", kafka.remedy())),
        PositionsError::WrongPartitions { .. } | PositionsError::TooMany { .. } => {
            unusable(error.to_string())
        }
    }
}

/// A record that the target refused, and when it is worth another attempt.
#[derive(Clone, Debug)]
pub(super) struct RefusedRecord {
    pub(super) reason: StopReason,
    /// Its source offset; for a batch of which it may be any, that of the first record.
    pub(super) offset: i64,
    pub(super) message: String,
    /// The target topic's decisive settings at that time.
    pub(super) settings: String,
    attempts: u32,
    since: Instant,
}

impl RefusedRecord {
    /// What a delivery report says about a record; `None` when it says nothing about the record itself, and the next
    /// session tries again.
    pub(super) fn new(refusal: &Refusal, limits: &Limits, before: Option<&Self>) -> Option<Self> {
        let (code, offset) = (refusal.code, refusal.offset());
        let (reason, what) = match code {
            code if is_too_large(code) => (StopReason::RecordTooLarge, too_large(refusal, limits)),
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => (
                StopReason::NotAuthorized,
                format!(
                    "the target refuses to be written to ({code}); grant Write on the topic to this link's user"
                ),
            ),
            RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidDifferentRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::UnsupportedForMessageFormat
            | RDKafkaErrorCode::InvalidTopic => (
                StopReason::RecordRefused,
                format!(
                    "the target refuses {}: {code}; a compacted topic takes no record without key, and \
                     message.timestamp.*.max.ms none too old or new: change the topic's settings there, and copying \
                     goes on by itself",
                    refused_part(refusal)
                ),
            ),
            _ => return None,
        };
        let again = before.filter(|before| before.offset == offset && before.reason == reason);
        Some(Self {
            reason,
            offset,
            message: what,
            settings: limits.fingerprint.clone(),
            attempts: again.map_or(0, |before| before.attempts.saturating_add(1)),
            since: Instant::now(),
        })
    }

    /// Whether a partition that goes on from here meets it; missing rights are met anywhere.
    pub(super) fn is_at(&self, next_offset: i64) -> bool {
        next_offset <= self.offset || self.reason == StopReason::NotAuthorized
    }

    /// Whether another attempt is due: the topic's settings have changed, or it is long enough ago.
    pub(super) fn is_due(&self, limits: &Limits, now: Instant) -> bool {
        if self.settings != limits.fingerprint {
            return true;
        }
        // A record does not shrink; where the limit cannot be read, only an attempt tells whether it was raised.
        let waits = self.reason != StopReason::RecordTooLarge || limits.largest_batch.is_none();
        waits && now.saturating_duration_since(self.since) >= retry_pause(self.attempts)
    }
}

/// That a record is too large, and what becomes of it.
fn too_large(refusal: &Refusal, limits: &Limits) -> String {
    let what = format!(
        "the record at source offset {} ({} bytes before compression) is larger than the target's topic takes",
        refusal.offset(),
        refusal.bytes
    );
    match limits.largest_batch {
        Some(limit) => {
            format!("{what} (max.message.bytes {limit}); raise it there, and copying goes on by itself")
        }
        None => format!(
            "{what}; raise max.message.bytes there; this link's user may not read it (grant DescribeConfigs on the \
             topic), so the record is tried again less and less often, at least hourly"
        ),
    }
}

/// What of a partition the target refuses, with what has to wait for it.
fn refused_part(refusal: &Refusal) -> String {
    match (refusal.first, refusal.culprit) {
        (first, None) => format!("the batch that begins at source offset {first}"),
        (first, Some(culprit)) if first < culprit => {
            format!(
                "the record at source offset {culprit} (those from {first} on are in its batch and wait with it)"
            )
        }
        (_, Some(culprit)) => format!("the record at source offset {culprit}"),
    }
}

/// The source did not give the record at a position, although the position is good.
#[derive(Clone, Debug)]
pub(super) struct SourceFault {
    /// The position.
    pub(super) offset: i64,
    code: RDKafkaErrorCode,
    /// Times that the same happened before.
    attempts: u32,
    since: Instant,
}

impl SourceFault {
    /// `before` is what the partition met last, which counts while it lasts.
    pub(super) fn new(code: RDKafkaErrorCode, offset: i64, before: Option<&Self>, now: Instant) -> Self {
        // A fault that was tried again in vain shows soon; one that comes long after is another.
        let lasts = |before: &&Self| {
            let age = now.saturating_duration_since(before.since);
            before.code == code && before.is_at(offset) && age <= before.pause() + SAME_FAULT
        };
        Self {
            offset,
            code,
            attempts: before
                .filter(lasts)
                .map_or(0, |before| before.attempts.saturating_add(1)),
            since: now,
        }
    }

    /// Whether it is news.
    pub(super) fn is_first(&self) -> bool {
        self.attempts == 0
    }

    /// Whether it keeps a partition from being followed from `next_offset`.
    pub(super) fn holds(&self, next_offset: i64, now: Instant) -> bool {
        self.is_at(next_offset) && now.saturating_duration_since(self.since) < self.pause()
    }

    /// The reason for which the partition stands still, rather than waits.
    pub(super) fn stops(&self) -> Option<StopReason> {
        self.lacks_rights().then_some(StopReason::NotAuthorized)
    }

    fn lacks_rights(&self) -> bool {
        self.code == RDKafkaErrorCode::TopicAuthorizationFailed
    }

    /// Rights are missing at any offset.
    fn is_at(&self, offset: i64) -> bool {
        self.lacks_rights() || self.offset == offset
    }

    fn pause(&self) -> Duration {
        match self.attempts {
            attempts if self.lacks_rights() => retry_pause(attempts),
            // A leader that moved, and the like.
            0 => Duration::ZERO,
            attempts => retry_pause(attempts - 1),
        }
    }
}

impl fmt::Display for SourceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, code, .. } = self;
        if self.lacks_rights() {
            return write!(
                f,
                "the source refuses to be read ({code}); grant Read on the topic to this link's user"
            );
        }
        write!(
            f,
            "the source does not give the record at offset {offset}: {code}; it is asked again, less and less often, at \
             least hourly"
        )
    }
}

#[cfg(test)]
mod tests;
