//! The conditions, each from what it is about; `Ready` from all of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::super::names;
use super::super::observe::{KafkaFacts, Unanswered};
use super::super::roll::Step;
use super::super::topics::{Outcome, state as topic_state};
use super::super::volumes::Growth;
use super::{Report, broker_state, patience};
use crate::api::{BrokerStatus, Reason, condition_type};
use crate::broker::progress::LaunchReason;
use crate::controller::Conditions;

/// A volume this full, percent, is full: Kafka dies when nothing is left.
const FULL_PERCENT: i32 = 95;

/// How far the object is from what its spec asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It is there.
    Settled,
    /// The operator works on it.
    Working,
    /// The operator waits for a start: work for a while, then a case for help.
    Starting,
    /// Somebody must help.
    Stalled,
}

/// What `Ready` says.
struct Verdict {
    ready: Option<bool>,
    progress: Progress,
    reason: Reason,
    message: String,
}

fn verdict(ready: Option<bool>, progress: Progress, reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict {
        ready,
        progress,
        reason,
        message: message.into(),
    }
}

/// Computes the list.
pub(super) fn compute(report: &Report<'_>, brokers: &[BrokerStatus]) -> Vec<Condition> {
    let previous = report
        .object
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let generation = report.object.metadata.generation;
    let Verdict {
        ready,
        progress,
        reason,
        message,
    } = ready(report, brokers);
    let waits = progress == Progress::Starting;
    let carried = if waits {
        patience::carried_over(previous, reason)
    } else {
        previous.to_vec()
    };
    let mut conditions = Conditions::new(&carried, generation, report.now);
    // Where it serves already, what it waits for is the word of the other conditions.
    let told = if waits && ready == Some(true) {
        Reason::Progressing
    } else {
        reason
    };
    conditions.set(condition_type::READY, ready, told, &message);
    kafka_conditions(&mut conditions, report);
    topics(&mut conditions, report);
    up_to_date(&mut conditions, report, brokers);
    match progress {
        Progress::Settled => {}
        Progress::Starting if patience::too_long(previous, generation, reason, report.now) => {
            conditions.stalled(reason, message);
        }
        Progress::Working | Progress::Starting => drop(conditions.reconciling(reason, message)),
        Progress::Stalled => drop(conditions.stalled(reason, message)),
    }
    conditions.finish()
}

fn ready(report: &Report<'_>, brokers: &[BrokerStatus]) -> Verdict {
    if let Err(problem) = report.cluster {
        let message = format!("{problem}; what runs stays as it is");
        return verdict(Some(false), Progress::Stalled, problem.reason, message);
    }
    if report.paused() {
        let message = "spec.paused is true: nothing is created, changed or restarted";
        return verdict(Some(false), Progress::Settled, Reason::Paused, message);
    }
    if let Some((reason, message)) = &report.stopped {
        let progress = match reason {
            Reason::IdentityMissing | Reason::IdentityMismatch | Reason::OwnershipConflict => {
                Progress::Stalled
            }
            Reason::ApiError => Progress::Starting,
            _ => Progress::Working,
        };
        return verdict(Some(false), progress, *reason, message);
    }
    help_needed(report, brokers)
        .or_else(|| under_way(report, brokers))
        .unwrap_or_else(|| match report.kafka() {
            Ok(facts) => by_kafka(report, facts),
            Err(Unanswered { reason, message }) => {
                let message = format!("the brokers run, but Kafka cannot be asked: {message}");
                verdict(None, Progress::Starting, reason, message)
            }
        })
}

/// Brokers that do not get on by themselves.
fn help_needed(report: &Report<'_>, brokers: &[BrokerStatus]) -> Option<Verdict> {
    for broker in brokers {
        let Some(pod) = report.pod(broker.id) else {
            continue;
        };
        if ![broker_state::REFUSED, broker_state::FAILING].contains(&broker.state.as_str()) {
            continue;
        }
        let (reason, message) = match &pod.last_words {
            Some(words) => (
                launch_reason(words.reason),
                explain(report, words.reason, &words.message),
            ),
            None => {
                let why = pod
                    .trouble
                    .clone()
                    .unwrap_or_else(|| "its container ends again and again".to_owned());
                (Reason::BrokerFailing, format!("broker {}: {why}", broker.id))
            }
        };
        return Some(verdict(Some(false), Progress::Stalled, reason, message));
    }
    None
}

fn launch_reason(reason: LaunchReason) -> Reason {
    match reason {
        LaunchReason::VolumeRefused => Reason::VolumeRefused,
        LaunchReason::IdentityRefused => Reason::IdentityMismatch,
        LaunchReason::DiskFull | LaunchReason::DiskLow => Reason::DiskFull,
        LaunchReason::FormatFailed | LaunchReason::InvalidConfig | LaunchReason::StartFailed => {
            Reason::BrokerFailing
        }
    }
}

/// The launcher's words, and where the record is that it speaks of.
fn explain(report: &Report<'_>, reason: LaunchReason, message: &str) -> String {
    match reason {
        LaunchReason::VolumeRefused | LaunchReason::IdentityRefused => format!(
            "{message} (the identity record: kubectl -n {} edit configmap {})",
            report.object.metadata.namespace.as_deref().unwrap_or_default(),
            names::identity(&super::name(report))
        ),
        _ => message.to_owned(),
    }
}

/// Brokers that are not running yet, or not any more.
fn under_way(report: &Report<'_>, brokers: &[BrokerStatus]) -> Option<Verdict> {
    let away: Vec<&BrokerStatus> = brokers
        .iter()
        .filter(|b| b.state != broker_state::RUNNING)
        .collect();
    let first = away.first()?;
    let told = |b: &BrokerStatus| {
        let trouble = report.pod(b.id).and_then(|p| p.trouble.as_ref());
        let trouble = trouble.map(|t| format!(": {t}")).unwrap_or_default();
        format!("broker {} is {}{trouble}", b.id, b.state)
    };
    let list = away.iter().map(|b| told(b)).collect::<Vec<_>>().join("; ");
    let rolling = away.iter().any(|b| b.state == broker_state::RESTARTING)
        || matches!(report.step, Some(Step::Restart { .. } | Step::Wait { .. }));
    let serves = serves(report, brokers.len() - away.len());
    let troubled = away
        .iter()
        .any(|b| report.pod(b.id).is_some_and(|p| p.trouble.is_some()));
    // While one of three is away and the others serve, the cluster does what it should.
    let (progress, reason) = if rolling && !troubled {
        (Progress::Working, Reason::Progressing)
    } else if troubled || first.state == broker_state::UNKNOWN {
        (Progress::Starting, Reason::PodsUnavailable)
    } else {
        (Progress::Starting, Reason::Starting)
    };
    Some(verdict(Some(serves), progress, reason, list))
}

/// Whether a majority runs, and nothing that Kafka says contradicts it.
fn serves(report: &Report<'_>, running: usize) -> bool {
    let wanted = usize::try_from(report.wanted()).unwrap_or(usize::MAX);
    running > wanted / 2 && report.kafka().is_ok_and(|facts| fault(report, facts).is_none())
}

fn has_leader(facts: &KafkaFacts) -> bool {
    facts.quorum.as_ref().is_ok_and(|(leader, _)| leader.is_some())
}

/// What of the cluster's work is not done, by Kafka's own word.
fn fault(report: &Report<'_>, facts: &KafkaFacts) -> Option<Verdict> {
    let waits = |reason, message: String| Some(verdict(Some(false), Progress::Starting, reason, message));
    let stalls = |reason, message: String| Some(verdict(Some(false), Progress::Stalled, reason, message));
    if !has_leader(facts) {
        return waits(Reason::QuorumLost, "the metadata quorum has no leader".to_owned());
    }
    if facts.counts.offline > 0 {
        let message = format!(
            "{} of {} partitions have no leader",
            facts.counts.offline, facts.counts.total
        );
        return waits(Reason::PartitionsOffline, message);
    }
    if let Some((id, percent)) = facts.disks.iter().find(|(_, p)| i32::from(**p) >= FULL_PERCENT) {
        let message = format!(
            "the volume of broker {id} is {percent}% full; lower retention, or grow storage.size, before Kafka stops"
        );
        return stalls(Reason::DiskFull, message);
    }
    let Some(Outcome::Known { report, waiting }) = report.topics else {
        return None;
    };
    if let Some(refused) = report.iter().find(|t| t.state == topic_state::REFUSED) {
        let message = format!("topic {}: {}", refused.name, refused.message);
        return stalls(Reason::TopicRefused, message);
    }
    waits(Reason::Starting, waiting.clone()?)
}

/// All brokers run: what Kafka says decides.
fn by_kafka(report: &Report<'_>, facts: &KafkaFacts) -> Verdict {
    if let Some(fault) = fault(report, facts) {
        return fault;
    }
    match report.step {
        Some(Step::Restart { id, .. }) => {
            let message = format!("broker {id} restarts for a changed configuration");
            return verdict(Some(true), Progress::Working, Reason::Progressing, message);
        }
        Some(Step::Wait { waiting }) => {
            let first = waiting.iter().next();
            let message = first
                .map(|(id, wait)| format!("broker {id} waits for {wait}"))
                .unwrap_or_default();
            return verdict(Some(true), Progress::Working, Reason::RollWaiting, message);
        }
        _ => {}
    }
    match report.growth {
        Growth::Refused(why) => {
            return verdict(Some(true), Progress::Stalled, Reason::VolumeNotGrown, why);
        }
        Growth::Growing(what) => {
            let message = format!("waiting for {what}");
            return verdict(Some(true), Progress::Working, Reason::Progressing, message);
        }
        Growth::Done => {}
    }
    if let Some(Outcome::Unknown(why)) = report.topics {
        let message = format!("topics cannot be compared: {why}");
        return verdict(Some(true), Progress::Working, Reason::KafkaError, message);
    }
    settled(facts)
}

fn settled(facts: &KafkaFacts) -> Verdict {
    let (brokers, counts) = (facts.live.len(), &facts.counts);
    let noun = if brokers == 1 {
        "broker runs"
    } else {
        "brokers run"
    };
    if counts.under_replicated > 0 {
        let message = format!(
            "{brokers} {noun}; {} of {} partitions lack an in-sync replica",
            counts.under_replicated, counts.total
        );
        return verdict(Some(true), Progress::Settled, Reason::UnderReplicated, message);
    }
    let message = format!("{brokers} {noun}, {} partitions in sync", counts.total);
    verdict(Some(true), Progress::Settled, Reason::AsDesired, message)
}

fn kafka_conditions(conditions: &mut Conditions, report: &Report<'_>) {
    let facts = match report.kafka() {
        Ok(facts) => facts,
        Err(Unanswered { reason, message }) => {
            conditions.unknown(condition_type::QUORUM_HEALTHY, reason, &message);
            conditions.unknown(condition_type::PARTITIONS_HEALTHY, reason, message);
            return;
        }
    };
    match &facts.quorum {
        Err(why) => drop(conditions.unknown(condition_type::QUORUM_HEALTHY, Reason::KafkaUnknown, why)),
        Ok((None, voters)) => {
            let message = format!("no leader among {} voters", voters.len());
            conditions.no(condition_type::QUORUM_HEALTHY, Reason::QuorumLost, message);
        }
        Ok((Some(leader), voters)) => {
            let caught_up = super::super::roll::caught_up(*leader, voters);
            let message = format!(
                "broker {leader} leads, {caught_up} of {} voters are caught up",
                voters.len()
            );
            if caught_up > voters.len() / 2 {
                conditions.yes(condition_type::QUORUM_HEALTHY, Reason::AsDesired, message);
            } else {
                conditions.no(condition_type::QUORUM_HEALTHY, Reason::QuorumLost, message);
            }
        }
    }
    let (type_, counts) = (condition_type::PARTITIONS_HEALTHY, &facts.counts);
    let of = |n: i32, what: &str| format!("{n} of {} partitions {what}", counts.total);
    if counts.offline > 0 {
        conditions.no(
            type_,
            Reason::PartitionsOffline,
            of(counts.offline, "have no leader"),
        );
    } else if counts.under_replicated > 0 {
        let message = of(counts.under_replicated, "lack an in-sync replica");
        conditions.no(type_, Reason::UnderReplicated, message);
    } else {
        conditions.yes(
            type_,
            Reason::AsDesired,
            format!("{} partitions in sync", counts.total),
        );
    }
}

fn topics(conditions: &mut Conditions, report: &Report<'_>) {
    let type_ = condition_type::TOPICS_SYNCED;
    let (topics, waiting) = match report.topics {
        Some(Outcome::Known { report, waiting }) => (report, waiting),
        Some(Outcome::Unknown(why)) => {
            conditions.unknown(type_, Reason::KafkaUnknown, why);
            return;
        }
        None => {
            conditions.unknown(
                type_,
                Reason::KafkaUnknown,
                "topics were not compared in this pass",
            );
            return;
        }
    };
    let of = |state: &str| topics.iter().filter(|t| t.state == state).count();
    let kept = of(topic_state::KEPT) + of(topic_state::SETTINGS_KEPT);
    let kept = match kept {
        0 => String::new(),
        n => format!("; {n} with what was removed from the spec and is kept, see status.topics"),
    };
    match (of(topic_state::REFUSED), waiting, of(topic_state::DIFFERS)) {
        (0, None, 0) => {
            let message = format!(
                "{} topics are as the spec says{kept}",
                report.object.spec.topics.len()
            );
            conditions.yes(type_, Reason::AsDesired, message);
        }
        (0, None, differ) => {
            let message = format!("{differ} topics differ from the spec, see status.topics{kept}");
            conditions.no(type_, Reason::TopicsDiffer, message);
        }
        (0, Some(waiting), _) => {
            conditions.no(type_, Reason::Progressing, format!("{waiting}{kept}"));
        }
        (refused, ..) => {
            let message = format!("{refused} topics are refused by Kafka, see status.topics{kept}");
            conditions.no(type_, Reason::TopicRefused, message);
        }
    }
}

fn up_to_date(conditions: &mut Conditions, report: &Report<'_>, brokers: &[BrokerStatus]) {
    let type_ = condition_type::UP_TO_DATE;
    match (report.step, report.growth) {
        (None, _) => {
            let message = "whether brokers must restart was not decided in this pass";
            conditions.unknown(type_, Reason::Progressing, message);
        }
        (Some(Step::Restart { id, .. }), _) => {
            conditions.no(type_, Reason::Progressing, format!("broker {id} restarts"));
        }
        (Some(Step::Wait { waiting }), _) => {
            let list: Vec<String> = waiting
                .iter()
                .map(|(id, wait)| format!("broker {id} waits for {wait}"))
                .collect();
            conditions.no(type_, Reason::RollWaiting, list.join("; "));
        }
        (Some(Step::Done), Growth::Refused(why)) => drop(conditions.no(type_, Reason::VolumeNotGrown, why)),
        (Some(Step::Done), Growth::Growing(what)) => {
            conditions.no(type_, Reason::Progressing, format!("waiting for {what}"));
        }
        (Some(Step::Done), Growth::Done) => {
            let message = format!("{} brokers have the built configuration", brokers.len());
            conditions.yes(type_, Reason::AsDesired, message);
        }
    }
}
