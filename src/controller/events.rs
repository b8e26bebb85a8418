//! Events: one for each transition, none for a state that lasts.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::timeout;

use super::context::API_DEADLINE;
use super::{FIELD_MANAGER, Kind};
use crate::api::condition_type;

/// Bytes of an event's note, at most (the API's bound is 1024).
const MAX_NOTE_BYTES: usize = 1000;

/// Whether an event tells of something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Nothing is wrong.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Publishes events. An event that cannot be published is logged: it never stops a reconcile.
#[derive(Clone)]
pub struct Events(Recorder);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Events of the operator's process `instance` (its pod's name).
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self(Recorder::new(client, reporter))
    }

    /// Publishes one event about `object`.
    pub async fn publish<K: Kind>(
        &self,
        object: &K,
        kind: EventKind,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_: match kind {
                EventKind::Normal => EventType::Normal,
                EventKind::Warning => EventType::Warning,
            },
            reason: reason.to_owned(),
            note: Some(cut(note)),
            action: action.to_owned(),
            secondary: None,
        };
        match timeout(API_DEADLINE, self.0.publish(&event, &object.object_ref(&()))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(reason, %error, "event not published"),
            Err(_) => tracing::warn!(reason, "event not published: no answer in time"),
        }
    }

    /// Publishes an event for each condition whose status or reason differs between two lists.
    pub async fn transitions<K: Kind>(&self, object: &K, old: &[Condition], new: &[Condition]) {
        for (kind, condition) in transitions(old, new) {
            self.publish(
                object,
                kind,
                &condition.reason,
                &condition.type_,
                &note(&condition),
            )
            .await;
        }
    }
}

fn note(condition: &Condition) -> String {
    if condition.message.is_empty() {
        format!("{} is {}", condition.type_, condition.status)
    } else {
        format!(
            "{} is {}: {}",
            condition.type_, condition.status, condition.message
        )
    }
}

/// What changed between two lists; `Reconciling` and `Stalled` that end are covered by `Ready`.
fn transitions(old: &[Condition], new: &[Condition]) -> Vec<(EventKind, Condition)> {
    let changed = |c: &&Condition| {
        let same = |o: &Condition| o.type_ == c.type_ && o.status == c.status && o.reason == c.reason;
        !old.iter().any(same) && c.type_ != condition_type::RECONCILING
    };
    // A first list that is all well, or merely starting, is no news but for its Ready.
    let first = old.is_empty();
    let news = |c: &&Condition| !first || c.type_ == condition_type::READY || is_bad(c);
    new.iter()
        .filter(changed)
        .filter(news)
        .map(|c| {
            (
                if is_bad(c) {
                    EventKind::Warning
                } else {
                    EventKind::Normal
                },
                c.clone(),
            )
        })
        .collect()
}

fn is_bad(condition: &Condition) -> bool {
    let harmless = ["Starting", "Progressing", "Paused"];
    if harmless.contains(&condition.reason.as_str()) {
        return false;
    }
    if condition.type_ == condition_type::STALLED {
        condition.status == "True"
    } else {
        condition.status != "True"
    }
}

fn cut(note: &str) -> String {
    if note.len() <= MAX_NOTE_BYTES {
        return note.to_owned();
    }
    let end = (0..=MAX_NOTE_BYTES)
        .rev()
        .find(|i| note.is_char_boundary(*i))
        .unwrap_or(0);
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::super::Conditions;
    use super::*;
    use crate::api::Reason;
    use jiff::Timestamp;

    fn list(ready: Option<bool>, reason: Reason, message: &str) -> Vec<Condition> {
        let mut conditions = Conditions::new(&[], Some(1), Timestamp::UNIX_EPOCH);
        conditions.set(condition_type::READY, ready, reason, message);
        conditions.finish()
    }

    #[test]
    fn only_a_changed_status_or_reason_is_an_event() {
        let following = list(Some(true), Reason::Following, "lag 1");
        assert_eq!(
            transitions(&following, &list(Some(true), Reason::Following, "lag 2")),
            []
        );
        let lost = list(Some(false), Reason::KafkaUnreachable, "no answer");
        let events = transitions(&following, &lost);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].0, EventKind::Warning);
        assert_eq!(note(&events[0].1), "Ready is False: no answer");
        assert_eq!(transitions(&lost, &following)[0].0, EventKind::Normal);
    }

    #[test]
    fn a_first_status_that_is_merely_starting_is_no_warning() {
        let events = transitions(&[], &list(Some(false), Reason::Starting, "the pod starts"));
        assert_eq!(events[0].0, EventKind::Normal);
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        let note = cut(&"ä".repeat(1000));
        assert!(note.len() <= MAX_NOTE_BYTES + 3 && note.ends_with("ä…"));
    }
}
