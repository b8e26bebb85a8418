//! Does an object need a person? A pure rule over its conditions, derived from health's table.

use jiff::Timestamp;

use super::object::{Kind, Told};
use crate::api::{Reason, Verdict, condition_type as condition};
use crate::health::{STALLED_AFTER, TABLE};

/// Reasons for which `Lossless` is merely not known yet, or nobody looks: no loss is suspected.
const NOT_KNOWN_YET: [Reason; 9] = [
    Reason::Starting,
    Reason::Progressing,
    Reason::Paused,
    Reason::NotConnected,
    Reason::KafkaUnknown,
    Reason::KafkaUnreachable,
    Reason::MqttUnreachable,
    Reason::PodsUnavailable,
    Reason::Stale,
];

/// What the rule looks at.
pub(super) struct Facts<'a> {
    pub(super) kind: Kind,
    /// The verdict that stands in the status, if it is one that this program knows.
    pub(super) verdict: Option<Verdict>,
    pub(super) conditions: &'a [Told],
    pub(super) now: Timestamp,
}

impl Facts<'_> {
    fn condition(&self, type_: &str) -> Option<&Told> {
        self.conditions.iter().find(|c| c.type_ == type_)
    }

    fn stands(&self, type_: &str, status: &str) -> Option<&Told> {
        self.condition(type_).filter(|c| c.status == status)
    }

    /// The condition has not been True for longer than a start may take.
    fn lasting(&self, type_: &str) -> Option<&Told> {
        let told = self.condition(type_).filter(|c| c.status != "True")?;
        let seconds = self.now.duration_since(told.since?).as_secs();
        (seconds > STALLED_AFTER.as_secs().cast_signed()).then_some(told)
    }
}

/// Whether every situation with this verdict is one that does not mend itself.
pub(super) fn verdict_needs_person(verdict: Verdict) -> bool {
    TABLE
        .iter()
        .filter(|row| row.verdict == verdict)
        .all(|row| row.stalled || row.keeping_up == Some(false))
}

/// Why the object needs a person: one word or condition each; empty if it does not.
pub(super) fn reasons(facts: &Facts<'_>) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(stalled) = facts.stands(condition::STALLED, "True") {
        why.push(format!("Stalled: {}", stalled.reason));
    }
    if let Some(verdict) = facts.verdict.filter(|v| verdict_needs_person(*v))
        && !why.iter().any(|told| told.ends_with(verdict.as_str()))
    {
        why.push(verdict.as_str().to_owned());
    }
    if let Some(told) = facts.condition(condition::LOSSLESS).filter(|c| loss(c)) {
        why.push(format!("Lossless={}: {}", told.status, told.reason));
    }
    let progresses = |c: &&Told| c.reason == Reason::Progressing.as_str();
    if let Some(told) = facts
        .stands(condition::TOPICS_SYNCED, "False")
        .filter(|c| !progresses(c))
    {
        why.push(format!("TopicsSynced=False: {}", told.reason));
    }
    if why.is_empty() {
        why.extend(lasting(facts).map(|c| format!("{}={} for long: {}", c.type_, c.status, c.reason)));
    }
    why
}

/// Something is known, or must be feared, to be lost.
fn loss(lossless: &Told) -> bool {
    let harmless = || NOT_KNOWN_YET.iter().any(|r| r.as_str() == lossless.reason);
    match lossless.status.as_str() {
        "True" => false,
        "False" => true,
        _ => !harmless(),
    }
}

/// What should have passed by itself and did not.
fn lasting<'a>(facts: &'a Facts<'_>) -> Option<&'a Told> {
    let ready = facts.condition(condition::READY);
    // Paused on purpose; or told already by the verdict.
    if ready.is_some_and(|c| c.reason == Reason::Paused.as_str()) || facts.verdict == Some(Verdict::Paused) {
        return None;
    }
    if let Some(told) = facts.lasting(condition::READY) {
        return Some(told);
    }
    match facts.kind {
        Kind::EdgeCluster => {}
        // Its MQTT broker stands beside it, on no long line, and drops what comes when its queue is full.
        Kind::BridgePipeline => return facts.lasting(condition::CONNECTED),
        // Sites are often offline; the source keeps what waits.
        Kind::ReplicationLink => return None,
    }
    [
        condition::QUORUM_HEALTHY,
        condition::PARTITIONS_HEALTHY,
        condition::TOPICS_SYNCED,
    ]
    .iter()
    .find_map(|type_| facts.lasting(type_))
    .or_else(|| {
        facts
            .lasting(condition::UP_TO_DATE)
            .filter(|c| c.reason == Reason::RollWaiting.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(type_: &str, status: &str, reason: &str, minutes: i64) -> Told {
        Told {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message: String::new(),
            since: Timestamp::from_second(1_000_000 - 60 * minutes).ok(),
        }
    }

    fn why(kind: Kind, verdict: Option<Verdict>, conditions: &[Told]) -> Vec<String> {
        reasons(&Facts {
            kind,
            verdict,
            conditions,
            now: Timestamp::from_second(1_000_000).unwrap(),
        })
    }

    #[test]
    fn the_verdicts_that_need_a_person_follow_from_the_table() {
        let need: Vec<_> = Verdict::ALL
            .into_iter()
            .filter(|v| verdict_needs_person(*v))
            .collect();
        assert_eq!(need, [Verdict::FallingBehind, Verdict::NotMoving]);
    }

    #[test]
    fn every_situation_of_the_table_is_judged_by_its_conditions_as_by_its_row() {
        for row in &TABLE {
            let status = |v: Option<bool>| v.map_or("Unknown", |v| if v { "True" } else { "False" });
            let mut conditions = vec![
                told("Ready", status(row.ready.as_bool()), "Whatever", 1),
                told("Connected", status(row.connected), "Whatever", 1),
                told("KeepingUp", status(row.keeping_up), "Whatever", 1),
                told("Lossless", "True", "NothingLost", 1),
            ];
            if row.stalled {
                conditions.push(told("Stalled", "True", "Whatever", 1));
            }
            if row.reconciling {
                conditions.push(told("Reconciling", "True", "Whatever", 1));
            }
            let needs = !why(Kind::ReplicationLink, Some(row.verdict), &conditions).is_empty();
            assert_eq!(
                needs,
                row.stalled || row.keeping_up == Some(false),
                "{}",
                row.text
            );
        }
    }

    #[test]
    fn a_loss_needs_a_person_whatever_the_verdict() {
        for (status, reason, needs) in [
            ("False", "GapRecorded", true),
            ("Unknown", "SessionLost", true),
            ("Unknown", "PositionsLost", true),
            ("Unknown", "RecordsExpired", true),
            ("Unknown", "SomethingNewer", true),
            ("Unknown", "Starting", false),
            ("Unknown", "Paused", false),
            ("Unknown", "Stale", false),
            ("True", "NothingLost", false),
        ] {
            let why = why(
                Kind::BridgePipeline,
                Some(Verdict::InSync),
                &[told("Lossless", status, reason, 1)],
            );
            assert_eq!(!why.is_empty(), needs, "{status} {reason}");
        }
    }

    #[test]
    fn what_does_not_pass_within_ten_minutes_needs_a_person() {
        for (type_, status, reason, minutes, needs) in [
            ("Ready", "Unknown", "KafkaUnknown", 9, false),
            ("Ready", "Unknown", "KafkaUnknown", 11, true),
            ("Ready", "False", "Paused", 9999, false),
            ("QuorumHealthy", "False", "QuorumLost", 11, true),
            ("PartitionsHealthy", "False", "UnderReplicated", 5, false),
            ("PartitionsHealthy", "False", "UnderReplicated", 11, true),
            ("UpToDate", "False", "RollWaiting", 11, true),
            ("UpToDate", "False", "Progressing", 11, false),
            ("TopicsSynced", "False", "TopicsDiffer", 0, true),
            ("TopicsSynced", "False", "TopicRefused", 0, true),
            ("TopicsSynced", "False", "Progressing", 9, false),
            ("TopicsSynced", "False", "Progressing", 11, true),
        ] {
            let why = why(Kind::EdgeCluster, None, &[told(type_, status, reason, minutes)]);
            assert_eq!(!why.is_empty(), needs, "{type_}={status} {reason} {minutes} min");
        }
    }

    #[test]
    fn a_bridge_that_stays_cut_off_needs_a_person_for_its_brokers_queue_fills() {
        for (minutes, needs) in [(9, false), (11, true)] {
            let conditions = [
                told("Ready", "True", "MqttUnreachable", 9999),
                told("Connected", "False", "MqttUnreachable", minutes),
            ];
            let why = why(Kind::BridgePipeline, Some(Verdict::Disconnected), &conditions);
            assert_eq!(!why.is_empty(), needs, "{minutes} min: {why:?}");
        }
    }

    #[test]
    fn a_cut_line_needs_nobody_however_long_it_lasts() {
        let conditions = [
            told("Ready", "True", "KafkaUnreachable", 9999),
            told("Connected", "False", "KafkaUnreachable", 9999),
            told("KeepingUp", "Unknown", "NotConnected", 9999),
            told("Lossless", "True", "NothingLost", 9999),
        ];
        assert!(why(Kind::ReplicationLink, Some(Verdict::Disconnected), &conditions).is_empty());
    }
}
