//! From a situation to conditions, the same for bridges and links.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{Reason, condition_type};
use crate::health::{ReadyStatus, Row, Situation};

use super::{Conditions, Kind, Problem};

/// Age up to which a status stands in for a look that is under way, seconds: well below the 180 after which readers
/// take it for unknown.
const GRACE_SECONDS: i64 = 90;

/// What somebody must mend before a start can begin: then that start has its own ten minutes.
const BEFORE_A_START: [Reason; 13] = [
    Reason::InvalidSpec,
    Reason::SecretNotFound,
    Reason::SecretKeyNotFound,
    Reason::ClusterNotFound,
    Reason::ListenerNotFound,
    Reason::OwnershipConflict,
    Reason::SubscriptionRefused,
    Reason::PositionsLost,
    Reason::PartitionStopped,
    Reason::LoopRefused,
    Reason::NameCollision,
    Reason::TopicNotCreated,
    Reason::TopicRefused,
];

/// A condition's status, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// True, False, or Unknown.
    pub status: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// Why, for people; no figure that moves by itself.
    pub message: String,
}

impl Told {
    /// Builds one.
    pub fn new(status: Option<bool>, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }
}

/// What is known besides the row of the table.
#[derive(Clone, Debug)]
pub struct Account {
    /// The row.
    pub row: &'static Row,
    /// Reason and message for `Ready`, and for `Reconciling` or `Stalled` where they stand.
    pub why: (Reason, String),
    /// What of the work is stopped until somebody decides, though the rest goes on.
    pub stopped: Option<(Reason, String)>,
    /// `Connected`.
    pub connected: Told,
    /// `KeepingUp`, for links.
    pub keeping_up: Option<Told>,
    /// `Lossless`.
    pub lossless: Told,
}

impl Account {
    /// Writes the conditions.
    pub fn tell(&self, conditions: &mut Conditions) {
        let (reason, message) = self.stopped.as_ref().unwrap_or(&self.why);
        let ready = if self.stopped.is_some() {
            ReadyStatus::False
        } else {
            self.row.ready
        };
        conditions.set(condition_type::READY, ready.as_bool(), *reason, message);
        set(conditions, condition_type::CONNECTED, &self.connected);
        if let Some(told) = &self.keeping_up {
            set(conditions, condition_type::KEEPING_UP, told);
        }
        set(conditions, condition_type::LOSSLESS, &self.lossless);
        if self.stopped.is_some() || self.row.stalled {
            conditions.stalled(*reason, message);
        } else if self.row.reconciling {
            conditions.reconciling(*reason, message);
        }
    }
}

fn set(conditions: &mut Conditions, type_: &str, told: &Told) {
    conditions.set(type_, told.status, told.reason, &told.message);
}

/// The reason that a situation has by itself, where nothing more precise is known.
#[must_use]
pub const fn reason_of(situation: Situation) -> Reason {
    match situation {
        Situation::Starting | Situation::CannotWork => Reason::Starting,
        Situation::Following | Situation::CatchingUp | Situation::FallingBehind => Reason::Following,
        Situation::NotMoving => Reason::NotMoving,
        Situation::Disconnected => Reason::NotConnected,
        Situation::Unmeasured => Reason::KafkaUnknown,
        Situation::Paused => Reason::Paused,
    }
}

/// The first of several findings, with how many more there are.
#[must_use]
pub fn first_of(problems: &[Problem]) -> Option<(Reason, String)> {
    let first = problems.first()?;
    Some(match problems.len() {
        1 => (first.reason, first.to_string()),
        n => (first.reason, format!("{first} (and {} more)", n - 1)),
    })
}

/// Since when this generation has been on its way, as the conditions remember it across restarts of the operator.
/// `wrong` is the reason of what is found wrong now.
///
/// What stalled for being too long on its way stays so until it is connected, whatever reason is at hand by then.
#[must_use]
pub fn starting_since(
    old: &[Condition],
    generation: Option<i64>,
    wrong: Option<Reason>,
    now: Timestamp,
) -> Timestamp {
    let condition = |type_: &str| {
        old.iter()
            .find(|c| c.type_ == type_ && c.observed_generation == generation)
    };
    if let Some(reconciling) = condition(condition_type::RECONCILING) {
        return reconciling.last_transition_time.0;
    }
    let Some(stalled) = condition(condition_type::STALLED) else {
        return now;
    };
    let is = |reason: &Reason| reason.as_str() == stalled.reason;
    if BEFORE_A_START.iter().any(is) && !wrong.as_ref().is_some_and(is) {
        now
    } else {
        Timestamp::MIN
    }
}

/// Whether the object's status is of this generation and young enough to stand until a look that is under way ends:
/// after a restart of the operator, or for a changed credential, nothing that is well turns Unknown for some seconds.
#[must_use]
pub fn stands_in<K: Kind>(object: &K, now: Timestamp) -> bool {
    let Some(status) = object.status() else {
        return false;
    };
    let generation = K::observed_generation(status);
    let fresh = |at: Timestamp| now.duration_since(at).as_secs() < GRACE_SECONDS;
    generation.is_some()
        && generation == object.meta().generation
        && K::observed_at(status).is_some_and(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn stalled(reason: Reason) -> Vec<Condition> {
        let mut conditions = Conditions::new(&[], Some(1), at(600));
        conditions.stalled(reason, "");
        conditions.finish()
    }

    #[test]
    fn a_start_counts_from_the_first_look_at_its_generation() {
        assert_eq!(starting_since(&[], Some(1), None, STARTED), STARTED);
        let mut conditions = Conditions::new(&[], Some(1), STARTED);
        conditions.reconciling(Reason::Starting, "");
        let old = conditions.finish();
        let wrong = Some(Reason::KafkaUnreachable);
        assert_eq!(starting_since(&old, Some(1), wrong, at(599)), STARTED);
        assert_eq!(starting_since(&old, Some(2), wrong, at(599)), at(599));
    }

    #[test]
    fn what_took_too_long_stays_so_with_any_other_reason_until_the_spec_changes() {
        for reason in [
            Reason::Starting,
            Reason::ApiError,
            Reason::CredentialsInvalid,
            Reason::Progressing,
            Reason::PodsUnavailable,
            Reason::MqttUnreachable,
        ] {
            for wrong in [Some(reason), Some(Reason::KafkaUnreachable), None] {
                let since = starting_since(&stalled(reason), Some(1), wrong, at(620));
                assert_eq!(since, Timestamp::MIN, "{reason:?}, then {wrong:?}");
            }
            assert_eq!(starting_since(&stalled(reason), Some(2), None, at(620)), at(620));
        }
    }

    #[test]
    fn what_somebody_mended_lets_a_start_begin_and_what_stands_does_not() {
        for reason in BEFORE_A_START {
            let old = stalled(reason);
            assert_eq!(
                starting_since(&old, Some(1), None, at(620)),
                at(620),
                "{reason:?}"
            );
            let since = starting_since(&old, Some(1), Some(reason), at(620));
            assert_eq!(since, Timestamp::MIN, "{reason:?}");
        }
    }
}
