//! Conditions as the Kubernetes API conventions and kstatus ask for them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::{Reason, condition_type};

/// Characters of a condition's message, at most: what fits a terminal's few lines.
const MAX_MESSAGE_CHARS: usize = 1024;

/// Builds the next list of conditions from the previous one: `lastTransitionTime` moves only when a status changes,
/// each condition says which generation it speaks of, and `Reconciling` and `Stalled` stand only while True.
#[derive(Debug)]
pub struct Conditions {
    previous: Vec<Condition>,
    next: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts a list. What is not set again is not carried over.
    #[must_use]
    pub fn new(previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            previous: previous.to_vec(),
            next: Vec::new(),
            generation,
            now,
        }
    }

    /// Sets a condition; a type that was set before is replaced.
    pub fn set(
        &mut self,
        type_: &str,
        status: Option<bool>,
        reason: Reason,
        message: impl Into<String>,
    ) -> &mut Self {
        let status = match status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        // A new generation is new work: the ten minutes of the verdict's table count from there.
        let same_work =
            |c: &Condition| type_ != condition_type::RECONCILING || c.observed_generation == self.generation;
        let since = self
            .previous
            .iter()
            .find(|c| c.type_ == type_ && c.status == status && same_work(c));
        let condition = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: shorten(message.into()),
            observed_generation: self.generation,
            last_transition_time: since.map_or(Time(self.now), |c| c.last_transition_time.clone()),
        };
        match self.next.iter_mut().find(|c| c.type_ == type_) {
            Some(old) => *old = condition,
            None => self.next.push(condition),
        }
        self
    }

    /// `type_` is True.
    pub fn yes(&mut self, type_: &str, reason: Reason, message: impl Into<String>) -> &mut Self {
        self.set(type_, Some(true), reason, message)
    }

    /// `type_` is False.
    pub fn no(&mut self, type_: &str, reason: Reason, message: impl Into<String>) -> &mut Self {
        self.set(type_, Some(false), reason, message)
    }

    /// `type_` is Unknown.
    pub fn unknown(&mut self, type_: &str, reason: Reason, message: impl Into<String>) -> &mut Self {
        self.set(type_, None, reason, message)
    }

    /// `Reconciling=True`: the operator works towards the spec.
    pub fn reconciling(&mut self, reason: Reason, message: impl Into<String>) -> &mut Self {
        self.yes(condition_type::RECONCILING, reason, message)
    }

    /// `Stalled=True`: the operator cannot get further without help.
    pub fn stalled(&mut self, reason: Reason, message: impl Into<String>) -> &mut Self {
        self.yes(condition_type::STALLED, reason, message)
    }

    /// Carries a condition over as it stands.
    pub fn keep(&mut self, condition: &Condition) {
        self.next.retain(|c| c.type_ != condition.type_);
        self.next.push(condition.clone());
    }

    /// The list, in the order in which types were first set, without `Reconciling` and `Stalled` that are not True.
    #[must_use]
    pub fn finish(self) -> Vec<Condition> {
        let abnormal = [condition_type::RECONCILING, condition_type::STALLED];
        let stays = |c: &Condition| c.status == "True" || !abnormal.contains(&c.type_.as_str());
        self.next.into_iter().filter(stays).collect()
    }
}

fn shorten(message: String) -> String {
    if message.chars().count() <= MAX_MESSAGE_CHARS {
        return message;
    }
    message.chars().take(MAX_MESSAGE_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(previous: &[Condition], status: bool, second: i64) -> Vec<Condition> {
        let mut conditions = Conditions::new(previous, Some(second), at(second));
        conditions.set(
            condition_type::READY,
            Some(status),
            Reason::Following,
            format!("at {second}"),
        );
        conditions.finish()
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_changes() {
        let first = ready(&[], true, 1);
        let second = ready(&first, true, 2);
        assert_eq!(second[0].last_transition_time.0, at(1));
        assert_eq!(
            (second[0].message.as_str(), second[0].observed_generation),
            ("at 2", Some(2))
        );
        let third = ready(&second, false, 3);
        assert_eq!(third[0].last_transition_time.0, at(3));
    }

    #[test]
    fn reconciling_and_stalled_stand_only_while_true() {
        let mut conditions = Conditions::new(&[], Some(1), at(1));
        conditions.no(condition_type::READY, Reason::Starting, "");
        conditions
            .no(condition_type::RECONCILING, Reason::Starting, "")
            .stalled(Reason::InvalidSpec, "x");
        let types: Vec<_> = conditions.finish().into_iter().map(|c| c.type_).collect();
        assert_eq!(types, ["Ready", "Stalled"]);
    }

    #[test]
    fn reconciling_counts_from_the_generation_it_works_towards() {
        let reconciling = |previous: &[Condition], generation, second| {
            let mut conditions = Conditions::new(previous, Some(generation), at(second));
            conditions.reconciling(Reason::Starting, "");
            conditions.finish()
        };
        let first = reconciling(&[], 1, 1);
        let same = reconciling(&first, 1, 2);
        assert_eq!(same[0].last_transition_time.0, at(1));
        assert_eq!(reconciling(&same, 2, 3)[0].last_transition_time.0, at(3));
    }

    #[test]
    fn what_is_not_set_again_is_gone() {
        let previous = ready(&[], true, 1);
        let mut conditions = Conditions::new(&previous, Some(1), at(2));
        conditions.unknown(condition_type::CONNECTED, Reason::Starting, "");
        let conditions = conditions.finish();
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].status, "Unknown");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut conditions = Conditions::new(&[], None, at(1));
        conditions.yes(condition_type::READY, Reason::Following, "ä".repeat(5000));
        let message = &conditions.finish()[0].message;
        assert_eq!(message.chars().count(), MAX_MESSAGE_CHARS);
        assert!(message.ends_with("ä…"));
    }
}
