//! From what was observed to the status. Pure.

mod account;
mod facts;
mod identity;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use super::lag::Ledger;
use super::sampling::{Fault, Sample};
use super::validate::{ValidatedLink, replication_factor, workers};
use crate::api::{EffectiveReplicationLink, Reason, ReplicationLink, ReplicationLinkStatus, Verdict};
use crate::controller::{Conditions, PodView, Problem, stands_in};
use crate::health::{History, Observation, Reach};
use crate::replicator::progress::Progress;

pub(super) use identity::Identity;

/// What is remembered of an object between passes; lost at a restart of the operator.
#[derive(Debug, Default)]
pub(super) struct Memory {
    uid: Option<String>,
    generation: Option<i64>,
    history: History,
    ledger: Ledger,
    was_connected: bool,
    failing_since: Option<Timestamp>,
    /// Since when the operator itself has not reached a side.
    down_since: Option<Timestamp>,
    /// The last that each pod told, as long as the pod exists: at most 16.
    workers: BTreeMap<String, Progress>,
    /// When each of these was told, by the operator's clock.
    heard: BTreeMap<String, Timestamp>,
    /// The round that was taken last.
    taken: Option<Timestamp>,
}

/// One look at everything.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) now: Timestamp,
    /// What the spec was found to mean, with the hash that pods must run; or what is wrong with it.
    pub(super) validated: Result<(&'a ValidatedLink, &'a str), &'a [Problem]>,
    /// Why the pass ended early.
    pub(super) stopped_by: Option<(Reason, String)>,
    pub(super) pods: &'a [PodView],
    pub(super) sample: Option<&'a Sample>,
    pub(super) identity: &'a Identity,
}

impl Look<'_> {
    /// The pods that run what the spec now says, and have told something in this round; while the spec cannot work, those
    /// that go on with the last that could.
    fn current(&self) -> Vec<&Progress> {
        let Some(sample) = self.sample else {
            return Vec::new();
        };
        let right = |pod: &PodView| match self.validated {
            Ok((_, hash)) => pod.config_hash.as_deref() == Some(hash),
            Err(_) => true,
        };
        // A sample may be older than the pod, and its predecessor's.
        let told = |pod: &PodView| sample.runs.get(&pod.name) == Some(&pod.run());
        let runs = |pod: &&PodView| pod.ip().is_some() && right(pod) && told(pod);
        let told = self
            .pods
            .iter()
            .filter(runs)
            .filter_map(|pod| sample.workers.get(&pod.name));
        told.filter_map(|told| told.as_ref().ok()).collect()
    }

    /// Whether the line stands: the pods carry the records, so their word counts; the operator notices a cut sooner,
    /// but an answer that came too late proves none.
    fn reach(&self) -> Reach {
        let Some(sample) = self.sample else {
            return Reach::Unknown;
        };
        let workers = self.current();
        let cut =
            |p: &&&Progress| p.source.disconnected_since.is_some() || p.target.disconnected_since.is_some();
        let connected = |p: &&Progress| p.source.is_connected() && p.target.is_connected();
        let all_connected = !workers.is_empty() && workers.iter().all(connected);
        let unreached = |fault: &Fault| fault.down && !(fault.late && all_connected);
        if sample.target.as_ref().is_err_and(unreached) || workers.iter().any(|p| cut(&p)) {
            return Reach::Down;
        }
        if all_connected { Reach::Up } else { Reach::Unknown }
    }

    /// Whether no pod has connected anew since then: the positions could have moved all the time.
    fn connected_since(&self, then: Timestamp) -> bool {
        let sides = |p: &Progress| [p.source.connected_since, p.target.connected_since];
        let mut all = self.current().into_iter().flat_map(sides);
        all.all(|since| since.is_some_and(|since| since <= then))
    }
}

impl Memory {
    /// The lag.
    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Starts anew for another object, and judges anew for another generation. Positions and ages stay: they are the
    /// link's, not the spec's.
    fn turn_to(&mut self, object: &ReplicationLink) {
        let meta = object.meta();
        if self.uid == meta.uid && self.generation == meta.generation {
            return;
        }
        let status = object
            .status
            .as_ref()
            .filter(|s| s.observed_generation.is_some() && s.observed_generation == meta.generation);
        let verdict = status.and_then(|s| s.verdict);
        let before = std::mem::take(self);
        let same = before.uid == meta.uid;
        *self = Self {
            uid: meta.uid.clone(),
            generation: meta.generation,
            was_connected: verdict.is_some_and(|v| !matches!(v, Verdict::Unknown | Verdict::Paused)),
            ledger: if same { before.ledger } else { Ledger::default() },
            workers: if same { before.workers } else { BTreeMap::new() },
            heard: if same { before.heard } else { BTreeMap::new() },
            ..Self::default()
        };
    }

    /// Takes a round once.
    fn take(&mut self, object: &ReplicationLink, look: &Look<'_>) {
        let exists = |name: &String| look.pods.iter().any(|pod| pod.name == *name);
        self.workers.retain(|name, _| exists(name));
        self.heard.retain(|name, _| exists(name));
        let Some(sample) = look.sample.filter(|s| self.taken != Some(s.at)) else {
            return;
        };
        let before = self.taken.replace(sample.at);
        let told = sample.workers.iter().filter(|(name, _)| exists(name));
        for (name, told) in told.filter_map(|(name, told)| Some((name, told.as_ref().ok()?))) {
            self.workers.insert(name.clone(), told.clone());
            self.heard.insert(name.clone(), sample.at);
        }
        let reach = look.reach();
        let refused: BTreeSet<String> = facts::refused(self.workers.values())
            .into_iter()
            .map(|t| t.name)
            .collect();
        let refused = refused.iter().map(String::as_str).collect();
        let connected = reach == Reach::Up;
        // A cut that began and ended between two looks is no standing still either.
        let throughout = connected && before.is_some_and(|before| look.connected_since(before));
        self.ledger
            .take(sample, &self.workers, &refused, object.spec.start, throughout);
        let total = self.ledger.total();
        self.history.push(Observation {
            at: sample.at,
            reach,
            lag: total.map(|lag| lag.offsets),
            seconds: total.and_then(|lag| lag.seconds),
            carried: self.ledger.carried(),
            standing_seconds: total.map_or(0, |lag| lag.standing_seconds),
        });
        self.was_connected |= connected;
        let down = [sample.source.as_ref().err(), sample.target.as_ref().err()];
        if !connected && down.into_iter().flatten().any(|fault| fault.down) {
            self.down_since.get_or_insert(sample.at);
        } else {
            self.down_since = None;
        }
    }
}

/// Whether the first look of a new sampler is still to come while the last status is good for a moment longer.
pub(super) fn soon_known(object: &ReplicationLink, look: &Look<'_>) -> bool {
    look.sample.is_none()
        && look.validated.is_ok()
        && look.stopped_by.is_none()
        && stands_in(object, look.now)
}

/// The next status.
pub(super) fn status(
    object: &ReplicationLink,
    memory: &mut Memory,
    look: &Look<'_>,
) -> ReplicationLinkStatus {
    memory.turn_to(object);
    memory.take(object, look);
    let old = object.status.clone().unwrap_or_default();
    let gaps = facts::gaps(object, &old, memory.workers.values());
    let (account, catch_up_seconds) = account::account(object, memory, look, &old, &gaps);
    let mut conditions = Conditions::new(&old.conditions, object.meta().generation, look.now);
    account.tell(&mut conditions);
    ReplicationLinkStatus {
        observed_generation: object.meta().generation,
        observed_at: Some(Time(look.sample.map_or(look.now, |s| s.at))),
        conditions: conditions.finish(),
        verdict: Some(account.row.verdict),
        lag: memory.ledger.lag(catch_up_seconds),
        position_read_at: memory.ledger.position_read_at().map(Time),
        topics: memory.ledger.worst(),
        gaps,
        refused: facts::refused(memory.workers.values()),
        effective: Some(effective(object, look.identity)),
    }
}

fn effective(object: &ReplicationLink, identity: &Identity) -> EffectiveReplicationLink {
    EffectiveReplicationLink {
        link_id: identity.link_id.clone(),
        source_cluster_id: identity.source_cluster_id.clone(),
        target_cluster_id: identity.target_cluster_id.clone(),
        replication_factor: replication_factor(object),
        workers: workers(object),
        positions_seen: identity.positions_seen,
    }
}

#[cfg(test)]
pub(super) mod tests;
