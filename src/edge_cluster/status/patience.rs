//! How long something is waited for before it needs help: the verdict's table says ten minutes.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{Reason, condition_type};

/// A wait that takes longer than this needs help.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Reasons of a wait, as opposed to work under way, and to findings that, once mended, let a wait begin.
const WAITS: [Reason; 9] = [
    Reason::Starting,
    Reason::PodsUnavailable,
    Reason::ApiError,
    Reason::KafkaUnreachable,
    Reason::KafkaUnknown,
    Reason::KafkaError,
    Reason::NotKafka,
    Reason::QuorumLost,
    Reason::PartitionsOffline,
];

/// Whether the wait for `reason` has lasted too long, by what stood before for this generation: another is another
/// start.
pub(super) fn too_long(
    previous: &[Condition],
    generation: Option<i64>,
    reason: Reason,
    now: Timestamp,
) -> bool {
    let of = |type_: &str| {
        let ours = |c: &&Condition| c.type_ == type_ && c.observed_generation == generation;
        previous.iter().find(ours).filter(|c| is_wait(c, reason))
    };
    let since = of(condition_type::RECONCILING).map(|c| c.last_transition_time.0);
    // Stalled, it did last too long: it does not begin anew.
    let since = since.or_else(|| of(condition_type::STALLED).map(|_| Timestamp::MIN));
    since.is_some_and(|since| now.duration_since(since) >= PATIENCE)
}

/// What stood before, as far as it goes on in a wait for `reason`: work that took long leaves it its ten minutes.
pub(super) fn carried_over(previous: &[Condition], reason: Reason) -> Vec<Condition> {
    let ended = |c: &&Condition| c.type_ == condition_type::RECONCILING && !is_wait(c, reason);
    previous.iter().filter(|c| !ended(c)).cloned().collect()
}

/// Whether a condition tells of a wait, of this one or of another that it follows.
fn is_wait(condition: &Condition, reason: Reason) -> bool {
    let is = |reason: &Reason| reason.as_str() == condition.reason;
    is(&reason) || WAITS.iter().any(is)
}
