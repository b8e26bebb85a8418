//! The situation of a link, and its conditions. Pure.

use jiff::{Timestamp, Unit};
use kube::Resource;

use super::facts::{and_more, link_stop, refused, stopped};
use super::{Look, Memory};
use crate::api::{Gap, Reason, ReplicationLink, ReplicationLinkStatus, STALE_AFTER_SECONDS};
use crate::controller::{Account, PodState, Told, failing, first_of, reason_of, starting_since};
use crate::health::{self, Facts, Reach, Situation};
use crate::replicator::progress::{ClusterProgress, Progress};

use super::super::sampling::Fault;

/// How long a pod may fail to run before that is more than a restart, seconds.
const FAILING_SECONDS: i64 = 60;

/// Something that is wrong.
struct Finding {
    reason: Reason,
    message: String,
    /// It does not mend itself by the line coming back.
    blocks: bool,
}

impl Finding {
    fn new(blocks: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            blocks,
        }
    }
}

/// What the conditions say, and the forecast of when the lag is gone.
pub(super) fn account(
    object: &ReplicationLink,
    memory: &mut Memory,
    look: &Look<'_>,
    old: &ReplicationLinkStatus,
    gaps: &[Gap],
) -> (Account, Option<i64>) {
    let connected = connected(memory, look);
    let finding = finding(memory, look);
    let facts = Facts {
        now: look.now,
        paused: object.spec.paused == Some(true),
        cannot_work: finding.as_ref().is_some_and(|f| f.blocks),
        was_connected: memory.was_connected,
        starting_since: starting_since(
            &old.conditions,
            object.meta().generation,
            finding.as_ref().map(|f| f.reason),
            look.now,
        ),
    };
    let judgement = memory.history.judge(&facts);
    let situation = judgement.situation;
    let row = health::row(situation);
    let halted = facts.paused || facts.cannot_work;
    let stopped = stopped(memory.workers.values(), &refused(memory.workers.values()));
    let why = why(memory, look, situation, finding, &connected);
    let account = Account {
        keeping_up: Some(keeping_up(row.keeping_up, situation, &why)),
        row,
        why,
        stopped: stopped.filter(|_| !halted),
        connected: if facts.paused {
            Told::new(None, Reason::Paused, "no pod runs")
        } else {
            connected
        },
        lossless: lossless(memory, look, gaps, facts.paused),
    };
    (account, judgement.catch_up_seconds)
}

/// Reason and message of `Ready`. No figure that moves by itself: a message is news.
fn why(
    memory: &Memory,
    look: &Look<'_>,
    situation: Situation,
    finding: Option<Finding>,
    connected: &Told,
) -> (Reason, String) {
    match situation {
        Situation::Paused => (
            Reason::Paused,
            "no pod runs, the positions stay on the target".to_owned(),
        ),
        Situation::Following | Situation::CatchingUp => (Reason::Following, following(memory)),
        Situation::FallingBehind => (
            Reason::FallingBehind,
            "the source grows faster than the link carries; give it more workers or a faster line".to_owned(),
        ),
        Situation::Disconnected => (connected.reason, connected.message.clone()),
        Situation::NotMoving => (Reason::NotMoving, not_moving(memory, finding)),
        Situation::Starting | Situation::CannotWork | Situation::Unmeasured => match finding {
            Some(finding) => (finding.reason, finding.message),
            None => (reason_of(situation), starting_message(look)),
        },
    }
}

fn following(memory: &Memory) -> String {
    match memory.ledger.topic_count() {
        Some(0) | None => "connected; no topic of the source matches topics.include yet".to_owned(),
        Some(1) => "following 1 topic".to_owned(),
        Some(count) => format!("following {count} topics"),
    }
}

fn not_moving(memory: &Memory, finding: Option<Finding>) -> String {
    let what = memory.ledger.standing().map_or_else(
        || "the positions do not move although the source has more".to_owned(),
        |(topic, partition)| {
            format!("the position of {topic}-{partition} does not move although the source has more")
        },
    );
    match finding {
        Some(finding) => format!("{what}: {}", finding.message),
        None => format!("{what}; see the log of the link's pods"),
    }
}

fn starting_message(look: &Look<'_>) -> String {
    let current = |pod: &&crate::controller::PodView| {
        look.validated
            .is_ok_and(|(_, hash)| pod.config_hash.as_deref() == Some(hash))
    };
    let waits = look.pods.iter().find(|pod| pod.ip().is_none());
    let outdated = look.pods.iter().find(|pod| !current(pod));
    match (look.pods, waits, outdated) {
        ([], ..) => "waiting for the pods to be created".to_owned(),
        (_, Some(pod), _) => format!("waiting for pod {} to start", pod.name),
        (_, _, Some(pod)) => {
            format!(
                "waiting for pod {} to start anew with the present configuration",
                pod.name
            )
        }
        ([first, ..], ..) => {
            let silent = look.sample.and_then(|sample| {
                let mut told = sample.workers.iter();
                told.find_map(|(name, told)| Some((name, told.as_ref().err()?)))
            });
            match silent {
                Some((name, why)) => format!("the progress of pod {name} cannot be read: {why}"),
                None => format!("pod {} is connecting", first.name),
            }
        }
    }
}

fn keeping_up(value: Option<bool>, situation: Situation, why: &(Reason, String)) -> Told {
    match (value, situation) {
        (Some(true), _) => Told::new(Some(true), Reason::Following, "the link is not falling behind"),
        (Some(false), _) => Told::new(Some(false), why.0, &why.1),
        (None, Situation::Disconnected) => {
            Told::new(None, Reason::NotConnected, "not known while the line is down")
        }
        (None, Situation::Paused) => Told::new(None, Reason::Paused, "paused"),
        (None, _) => Told::new(None, why.0, &why.1),
    }
}

fn finding(memory: &mut Memory, look: &Look<'_>) -> Option<Finding> {
    if let Err(problems) = look.validated
        && let Some((reason, message)) = first_of(problems)
    {
        return Some(Finding::new(reason != Reason::Progressing, reason, message));
    }
    let current = look.current();
    if let Some((reason, message)) = &look.stopped_by
        && current.is_empty()
    {
        return Some(Finding::new(
            *reason == Reason::OwnershipConflict,
            *reason,
            message,
        ));
    }
    if let Some(finding) = pods_finding(memory, look) {
        return Some(finding);
    }
    if let Some((reason, stop)) = link_stop(current.iter().copied()) {
        return Some(Finding::new(true, reason, &stop.message));
    }
    if let Some((reason, message)) = cut(&current) {
        return Some(Finding::new(false, reason, message));
    }
    if let Some((side, fault)) = faults(look).next() {
        return Some(Finding::new(
            false,
            fault.reason,
            format!("{side}: {}", fault.message),
        ));
    }
    let lasting = current
        .iter()
        .filter_map(|p| p.last_error.as_ref())
        .find(|e| e.until.is_none())?;
    Some(Finding::new(false, reason(&lasting.reason), &lasting.message))
}

/// A pod that Kubernetes cannot run, for longer than a restart takes.
fn pods_finding(memory: &mut Memory, look: &Look<'_>) -> Option<Finding> {
    let Some(why) = failing(look.pods) else {
        memory.failing_since = None;
        return None;
    };
    let since = *memory.failing_since.get_or_insert(look.now);
    let lasts = look.now.duration_since(since).as_secs() >= FAILING_SECONDS;
    Some(Finding::new(lasts, Reason::PodsUnavailable, why))
}

fn connected(memory: &Memory, look: &Look<'_>) -> Told {
    let current = look.current();
    match look.reach() {
        Reach::Up => Told::new(Some(true), Reason::Following, "connected to source and target"),
        Reach::Down => match (cut(&current), faults(look).find(|(_, fault)| fault.down)) {
            (Some((reason, message)), _) => Told::new(Some(false), reason, message),
            (None, Some((side, fault))) => {
                let since = memory.down_since.map(since).unwrap_or_default();
                Told::new(
                    Some(false),
                    fault.reason,
                    format!("{side}: {}{since}", fault.message),
                )
            }
            (None, None) => Told::new(Some(false), Reason::NotConnected, "not connected"),
        },
        Reach::Unknown => {
            let running = look
                .pods
                .iter()
                .any(|p| matches!(p.state, PodState::Running { .. }));
            let reason = if running {
                Reason::Starting
            } else {
                Reason::PodsUnavailable
            };
            Told::new(None, reason, starting_message(look))
        }
    }
}

/// What a pod says of a side that does not answer it.
fn cut(workers: &[&Progress]) -> Option<(Reason, String)> {
    let sides = |p: &&Progress| [("source", p.source.clone()), ("target", p.target.clone())];
    let (side, cluster) = workers
        .iter()
        .flat_map(sides)
        .find(|(_, cluster)| cluster.disconnected_since.is_some())?;
    let ClusterProgress {
        reason: word,
        message,
        disconnected_since,
        ..
    } = cluster;
    let since = disconnected_since.map(since).unwrap_or_default();
    let message = message.unwrap_or_else(|| "does not answer".to_owned());
    let reason = word.as_deref().map_or(Reason::KafkaUnreachable, reason);
    Some((reason, format!("{side}: {message}{since}")))
}

/// What the operator itself cannot read.
fn faults<'a>(look: &Look<'a>) -> impl Iterator<Item = (&'static str, &'a Fault)> {
    let faults = look.sample.map(|sample| {
        [
            sample.source.as_ref().err().map(|fault| ("source", fault)),
            sample.target.as_ref().err().map(|fault| ("target", fault)),
        ]
    });
    faults.into_iter().flatten().flatten()
}

fn since(at: Timestamp) -> String {
    // Seconds are enough; a time so near the end of all times that it cannot be rounded stands as it is.
    format!(" (since {})", at.round(Unit::Second).unwrap_or(at))
}

/// The condition's reason for the replicator's own word.
fn reason(word: &str) -> Reason {
    match word {
        "KafkaUnreachable" | "KafkaTimeout" => Reason::KafkaUnreachable,
        "TlsFailed" => Reason::TlsFailed,
        "AuthenticationFailed" | "SaslAuthenticationFailed" => Reason::KafkaAuthenticationFailed,
        "NotKafka" => Reason::NotKafka,
        "CredentialsMissing" | "CredentialsInvalid" => Reason::CredentialsInvalid,
        _ => Reason::KafkaError,
    }
}

fn lossless(memory: &Memory, look: &Look<'_>, gaps: &[Gap], paused: bool) -> Told {
    if let Some(gap) = gaps.first() {
        let to = gap
            .to
            .map_or_else(|| "an unknown end".to_owned(), |to| to.to_string());
        let message = format!(
            "offsets {} to {to} of {}-{} are not on the target: {}",
            gap.from, gap.topic, gap.partition, gap.reason
        );
        return Told::new(
            Some(false),
            Reason::GapRecorded,
            and_more(message, gaps.len(), "status.gaps"),
        );
    }
    if let Some((Reason::PositionsLost, stop)) = link_stop(memory.workers.values()) {
        return Told::new(None, Reason::PositionsLost, &stop.message);
    }
    if let Some(told) = expired(memory) {
        return told;
    }
    if paused {
        return Told::new(None, Reason::Paused, "nobody looks for gaps");
    }
    unseen(memory, look).unwrap_or_else(|| {
        let message = "no source record is known to be missing";
        Told::new(Some(true), Reason::NothingLost, message)
    })
}

/// What the operator itself sees: not False, since what is in flight, or not yet stored, may still arrive.
fn expired(memory: &Memory) -> Option<Told> {
    let [first, others @ ..] = memory.ledger.expired() else {
        return None;
    };
    let more = match others.len() {
        0 => String::new(),
        more => format!(" (and {more} more partitions)"),
    };
    let message = format!(
        "the source deleted offsets {} to {} of {}-{}, and the target has no position behind them yet{more}",
        first.from, first.to, first.topic, first.partition
    );
    Some(Told::new(None, Reason::RecordsExpired, message))
}

/// Why nobody can say that nothing is lost: a pod does not report, or neither the pods nor the operator know positions.
fn unseen(memory: &Memory, look: &Look<'_>) -> Option<Told> {
    if memory.workers.is_empty() {
        let message = "the link's pods have not reported yet";
        return Some(Told::new(None, Reason::Starting, message));
    }
    for pod in look.pods {
        match memory.heard.get(&pod.name) {
            None => {
                let message = format!("pod {} has not reported yet", pod.name);
                return Some(Told::new(None, Reason::Starting, message));
            }
            Some(at) if look.now.duration_since(*at).as_secs() > STALE_AFTER_SECONDS => {
                let message = format!(
                    "pod {} has not reported for more than {STALE_AFTER_SECONDS} seconds",
                    pod.name
                );
                return Some(Told::new(None, Reason::Stale, message));
            }
            Some(_) => {}
        }
    }
    let connected = |p: &Progress| p.source.is_connected() && p.target.is_connected();
    let known = memory.ledger.is_measured() || memory.workers.values().all(connected);
    (!known).then(|| {
        let message = "the positions have not been compared with the source since the line was cut";
        Told::new(None, Reason::NotConnected, message)
    })
}
