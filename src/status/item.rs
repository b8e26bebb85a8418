//! One object as it is shown: what its status says, as far as it can still be believed. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::explain;
use super::object::{Kind, Object, Told};
use super::person;
use crate::api::{Reason, STALE_AFTER_SECONDS, Verdict, condition_type as condition};

/// An EdgeCluster has no verdict in its status: these stand for what its conditions say.
mod cluster_word {
    pub(super) const READY: &str = "Ready";
    pub(super) const NOT_READY: &str = "NotReady";
}

/// How far an object is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Behind {
    /// Link: source end offsets minus positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offsets: Option<i64>,
    /// Link: `offsets` in bytes, estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_bytes: Option<i64>,
    /// Bridge: messages received and not yet acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<i64>,
    /// Age, in seconds, of the oldest that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// Forecast, in seconds, of when it will have caught up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up_seconds: Option<i64>,
    /// The figures are an upper bound: the target could not be asked since `positionReadAt`.
    pub upper_bound: bool,
    /// When the position was read that the lag is measured from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_read_at: Option<Timestamp>,
}

/// One object as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is to be believed now: the reported verdict, or `Unknown` when that is too old. EdgeCluster: `Ready`,
    /// `NotReady`, `Paused` or `Unknown`.
    pub verdict: String,
    /// The verdict as it stands in the status; EdgeCluster: as its Ready condition gives it.
    pub reported_verdict: Option<String>,
    /// Whether this program knows the reported verdict; a newer operator may have more.
    pub verdict_known: bool,
    /// Since when the verdict has stood, by the condition that says it.
    pub since: Option<Timestamp>,
    /// When the figures were read.
    pub observed_at: Option<Timestamp>,
    /// Whether they are too old to be believed, or were never read.
    pub stale: bool,
    /// Their age, in seconds; negative when they claim to come from the future by more than clocks may differ.
    pub age_seconds: Option<i64>,
    /// EdgeCluster: running of wanted brokers, such as `3/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<String>,
    /// Bridge and link: how far it is behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// Conditions that say that something is wrong or under way, worst first.
    pub conditions: Vec<Told>,
    /// Conditions of a newer operator that are not True; what they mean is not known here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_conditions: Vec<Told>,
    /// The object is being deleted.
    pub being_deleted: bool,
    /// The spec was changed and the status does not speak of it yet.
    pub spec_not_seen: bool,
    /// Whether a person must do something.
    pub needs_person: bool,
    /// Why.
    pub why: Vec<String>,
    #[serde(skip)]
    rank: u8,
}

impl Item {
    /// Reads an object at `now`, which is the time by the clock of its cluster.
    pub(super) fn read(object: &Object, now: Timestamp) -> Self {
        let told = object.conditions();
        let is_cluster = object.kind == Kind::EdgeCluster;
        let reported = if is_cluster {
            find(&told, condition::READY).map(|_| word(object, &told))
        } else {
            object.verdict()
        };
        let known = reported.as_deref().and_then(known_verdict);
        let observed_at = object.observed_at();
        let age = observed_at.map(|at| age(at, now));
        let stale = !age.is_some_and(|age| (0..=STALE_AFTER_SECONDS).contains(&age));
        let verdict = if stale {
            Verdict::Unknown.as_str().to_owned()
        } else {
            word(object, &told)
        };
        let mut item = Self {
            kind: object.kind,
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            since: since(&verdict, &told).filter(|_| !stale),
            verdict,
            behind: behind(object, known, stale),
            verdict_known: is_cluster || reported.is_none() || known.is_some(),
            reported_verdict: reported,
            observed_at,
            stale,
            age_seconds: age,
            brokers: object.ready_brokers().map(str::to_owned),
            conditions: worth_telling(&told),
            unknown_conditions: not_known(&told),
            being_deleted: object.is_being_deleted(),
            spec_not_seen: object.is_behind_its_spec(),
            needs_person: false,
            why: Vec::new(),
            rank: 0,
        };
        item.judge(object, known, &told, now);
        item
    }

    fn judge(&mut self, object: &Object, verdict: Option<Verdict>, told: &[Told], now: Timestamp) {
        let lives = object
            .created_at()
            .map_or(i64::MAX, |at| now.duration_since(at).as_secs());
        if self.being_deleted {
            // It goes; nothing about it is for a person.
        } else if !object.has_status() {
            // A new object gets its first status within seconds; one that has none has no operator.
            if lives > STALE_AFTER_SECONDS {
                self.why.push("no status: does the operator run?".to_owned());
            }
        } else {
            if self.age_seconds.is_some_and(|age| age < 0) {
                self.why
                    .push("its status is of the future: are the clocks right?".to_owned());
            } else if self.stale {
                self.why.push("stale: does the operator run?".to_owned());
            } else if lives > STALE_AFTER_SECONDS && find(told, condition::READY).is_none() {
                self.why.push("no condition Ready".to_owned());
            }
            self.why.extend(person::reasons(&person::Facts {
                kind: object.kind,
                verdict,
                conditions: told,
                now,
            }));
        }
        self.needs_person = !self.why.is_empty();
        self.rank = rank(self, verdict);
    }

    /// What is only remembered is known of nobody: the context needs the person, not each of its objects.
    pub(super) fn remembered(mut self) -> Self {
        Verdict::Unknown.as_str().clone_into(&mut self.verdict);
        self.stale = true;
        self.age_seconds = self.age_seconds.map(|age| age.max(0));
        self.since = None;
        if let Some(behind) = &mut self.behind {
            behind.catch_up_seconds = None;
        }
        self.going()
    }

    /// What ends by itself needs nobody.
    pub(super) fn going(mut self) -> Self {
        self.needs_person = false;
        self.why.clear();
        self.rank = self.rank.max(RANK_REMEMBERED);
        self
    }

    /// Whether it was ever looked at by an operator.
    pub(super) const fn was_observed(&self) -> bool {
        self.observed_at.is_some()
    }

    /// What siblings are sorted by: worst first, then what is furthest behind, then by kind and name.
    pub(super) fn order(&self) -> impl Ord + use<> {
        let seconds = self.behind.as_ref().and_then(|b| b.seconds).unwrap_or(0);
        // What is in order stays where it is, however its small lag trembles.
        let seconds = if self.rank < RANK_IN_ORDER { seconds } else { 0 };
        (
            self.rank,
            std::cmp::Reverse(seconds),
            self.kind,
            self.name.clone(),
        )
    }

    /// 0 is worst.
    pub(super) const fn rank(&self) -> u8 {
        self.rank
    }
}

/// A status may be read a little before it was written: clocks differ. More than a status may be old, and its time says
/// nothing; the age is negative then.
fn age(observed_at: Timestamp, now: Timestamp) -> i64 {
    let age = now.duration_since(observed_at).as_secs();
    if age < -STALE_AFTER_SECONDS {
        age
    } else {
        age.max(0)
    }
}

const RANK_REMEMBERED: u8 = 4;
const RANK_IN_ORDER: u8 = 9;

fn rank(item: &Item, verdict: Option<Verdict>) -> u8 {
    let says = |start: &str| item.why.iter().any(|why| why.starts_with(start));
    if item.needs_person {
        return if says("Lossless=") {
            0
        } else if says("Stalled") || verdict == Some(Verdict::NotMoving) {
            1
        } else if verdict == Some(Verdict::FallingBehind) {
            2
        } else {
            3
        };
    }
    match (item.stale, verdict) {
        (true, _) => RANK_REMEMBERED,
        (_, Some(Verdict::Disconnected)) => 5,
        (_, Some(Verdict::CatchingUp)) => 7,
        (_, Some(Verdict::Paused)) => 8,
        (_, Some(Verdict::InSync)) => RANK_IN_ORDER,
        _ => match item.verdict.as_str() {
            cluster_word::READY => RANK_IN_ORDER,
            word if word == Verdict::Paused.as_str() => 8,
            _ => 6,
        },
    }
}

fn known_verdict(word: &str) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|v| v.as_str() == word)
}

fn find<'a>(told: &'a [Told], type_: &str) -> Option<&'a Told> {
    told.iter().find(|c| c.type_ == type_)
}

/// The verdict of a status that is fresh.
fn word(object: &Object, told: &[Told]) -> String {
    if object.kind != Kind::EdgeCluster {
        let unknown = || Verdict::Unknown.as_str().to_owned();
        return object.verdict().unwrap_or_else(unknown);
    }
    let word = match find(told, condition::READY) {
        Some(ready) if ready.reason == Reason::Paused.as_str() => Verdict::Paused.as_str(),
        Some(ready) if ready.status == "True" => cluster_word::READY,
        Some(ready) if ready.status == "False" => cluster_word::NOT_READY,
        _ => Verdict::Unknown.as_str(),
    };
    word.to_owned()
}

/// When the verdict began, by the condition that changes with it. Between `CatchingUp` and `InSync` none changes: both
/// count from the last change before, such as the line's return.
fn since(verdict: &str, told: &[Told]) -> Option<Timestamp> {
    let one = |type_: &str, status: &str| find(told, type_).filter(|c| c.status == status)?.since;
    let last = || {
        let with_it = [condition::READY, condition::CONNECTED, condition::KEEPING_UP];
        with_it.iter().filter_map(|type_| find(told, type_)?.since).max()
    };
    let by_verdict = match known_verdict(verdict) {
        Some(Verdict::Disconnected) => one(condition::CONNECTED, "False"),
        Some(Verdict::FallingBehind | Verdict::NotMoving) => {
            one(condition::KEEPING_UP, "False").or_else(|| one(condition::STALLED, "True"))
        }
        Some(Verdict::InSync | Verdict::CatchingUp) => last(),
        _ => None,
    };
    by_verdict.or_else(|| find(told, condition::READY)?.since)
}

fn behind(object: &Object, verdict: Option<Verdict>, stale: bool) -> Option<Behind> {
    let (is_link, is_bridge) = match object.kind {
        Kind::EdgeCluster => return None,
        Kind::BridgePipeline => (false, true),
        Kind::ReplicationLink => (true, false),
    };
    let figure = |wanted: bool, field: &str| object.lag(field).filter(|_| wanted);
    let behind = Behind {
        offsets: figure(is_link, "offsets"),
        estimated_bytes: figure(is_link, "estimatedBytes"),
        in_flight: figure(is_bridge, "inFlight"),
        seconds: figure(true, if is_link { "seconds" } else { "oldestSeconds" }),
        // A forecast of then says nothing about now.
        catch_up_seconds: figure(is_link && !stale, "catchUpSeconds"),
        upper_bound: is_link && verdict == Some(Verdict::Disconnected),
        position_read_at: object.position_read_at().filter(|_| is_link),
    };
    (behind.offsets.is_some() || behind.in_flight.is_some()).then_some(behind)
}

/// What a newer operator has to say: which of its statuses is the bad one is not known here, but True mostly is not.
fn not_known(told: &[Told]) -> Vec<Told> {
    let strange = |c: &&Told| c.status != "True" && !explain::knows_condition(&c.type_);
    told.iter().filter(strange).cloned().collect()
}

/// The conditions that say that something is wrong or under way, each cause once.
fn worth_telling(told: &[Told]) -> Vec<Told> {
    let abnormal = [condition::STALLED, condition::RECONCILING];
    let wrong = |c: &&Told| {
        if !explain::knows_condition(&c.type_) {
            false
        } else if abnormal.contains(&c.type_.as_str()) {
            c.status == "True"
        } else {
            c.status != "True"
        }
    };
    let mut found: Vec<Told> = told.iter().filter(wrong).cloned().collect();
    found.sort_by_key(weight);
    // What is said twice is said by Ready and by the condition that is its cause: once is enough.
    let mut kept: Vec<Told> = Vec::new();
    for told in found {
        let said =
            |k: &Told| k.reason == told.reason && (k.message == told.message || told.status == "Unknown");
        let echo = told.status == "Unknown" && told.type_ != condition::LOSSLESS && !kept.is_empty();
        if !echo && !kept.iter().any(said) {
            kept.push(told);
        }
    }
    kept
}

fn weight(told: &Told) -> u8 {
    match (told.type_.as_str(), told.status.as_str()) {
        (condition::STALLED, _) => 0,
        (condition::LOSSLESS, "False") => 1,
        (condition::READY, _) => 2,
        (condition::RECONCILING, _) => 3,
        (_, "Unknown") => 6,
        (condition::CONNECTED, _) => 4,
        _ => 5,
    }
}
