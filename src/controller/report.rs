//! From a situation to conditions, the same for bridges and links.

use crate::api::{Reason, condition_type};
use crate::health::{ReadyStatus, Row, Situation};

use super::{Conditions, Problem};

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
