//! Which broker is restarted next, if any: a pure function of what was observed.
//!
//! Laws: one at a time; nothing is restarted that cannot be proven safe (law 4), and only Kafka proves it. The one
//! exception needs no proof: a broker that is not running loses nothing by being replaced, and must be, when it does
//! not run because of the very configuration that was mended.
//!
//! Order: what does not run comes first, the active controller last, else the highest ID first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

#[cfg(test)]
mod tests;

/// A voter that caught up with the leader this recently, by the leader's clock, counts as caught up.
const CAUGHT_UP_WITHIN_MS: i64 = 5_000;
/// What Kafka said longer ago proves nothing about now.
const FRESH: SignedDuration = SignedDuration::from_secs(10);
/// A broker that runs this long without opening its listener counts as not running, if the others do not need it. It
/// may be recovering its log, which a restart would begin anew; so not sooner.
const STARTUP: SignedDuration = SignedDuration::from_mins(10);

/// Everything that the decision depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Each pod, by broker ID; a broker without a pod is absent.
    pub pods: BTreeMap<i32, PodState>,
    /// What Kafka said, if it could be asked.
    pub kafka: Result<KafkaState, Unasked>,
}

/// Why nothing is known of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked(pub String);

/// One broker's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodState {
    /// Whether it was made from the desired revision.
    pub up_to_date: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// What Kafka's container does.
    pub process: Process,
}

/// What Kafka's container does, as the kubelet last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// It is not running: waiting to start, ended, or in back-off between restarts.
    Stopped,
    /// It runs and has not opened its listener yet.
    Starting {
        /// Since when it runs.
        since: Timestamp,
    },
    /// It runs and its listener is open.
    Serving,
    /// The kubelet does not report: nobody knows.
    Unknown,
}

/// What Kafka says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaState {
    /// When it said so, by our clock.
    pub at: Timestamp,
    /// Brokers that are registered and not fenced.
    pub live: BTreeSet<i32>,
    /// The active controller.
    pub leader: Option<i32>,
    /// Voters of the metadata quorum.
    pub voters: BTreeMap<i32, Voter>,
    /// Partitions that lack an in-sync replica. The others block nobody.
    pub lagging: Vec<Lagging>,
}

/// A voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voter {
    /// When it had last caught up with the leader, milliseconds by the leader's clock; `None` if it never did.
    pub caught_up_ms: Option<i64>,
}

/// A partition with fewer in-sync replicas than replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lagging {
    /// Topic and partition, as in `telemetry-3`.
    pub name: String,
    /// All replicas.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub in_sync: Vec<i32>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Every pod is as it should be.
    Done,
    /// Delete this broker's pod; the StatefulSet makes it anew. The others wait.
    Restart {
        /// The broker.
        id: i32,
        /// What the others wait for.
        waiting: BTreeMap<i32, Wait>,
    },
    /// Nothing may be restarted now.
    Wait {
        /// What each broker waits for whose pod is outdated.
        waiting: BTreeMap<i32, Wait>,
    },
}

impl Step {
    /// What each broker waits for.
    pub fn waiting(&self) -> Option<&BTreeMap<i32, Wait>> {
        match self {
            Self::Done => None,
            Self::Restart { waiting, .. } | Self::Wait { waiting } => Some(waiting),
        }
    }

    /// Whether it takes another look to decide: a restart needs Kafka's word of this moment, and samples may be as far
    /// apart as the operator's settings say.
    pub fn asks_anew(&self) -> bool {
        match self {
            Self::Done => false,
            Self::Restart { .. } => true,
            Self::Wait { waiting } => waiting.values().any(|wait| *wait == Wait::Fresh),
        }
    }
}

/// What a broker's restart waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Another broker, which comes first.
    Turn(i32),
    /// Another broker that restarts, starts or does not run.
    Broker(i32, &'static str),
    /// Its own pod, which is being deleted.
    Terminating,
    /// Its own start: it runs and has not opened its listener.
    OwnStart,
    /// The kubelet's word on its own pod.
    OwnUnknown,
    /// An answer from Kafka.
    Kafka(String),
    /// A newer answer from Kafka.
    Fresh,
    /// Kafka's own word that the broker is live.
    Registered(i32),
    /// An active controller.
    NoLeader,
    /// A voter list that has this broker.
    NotVoter,
    /// A majority of caught-up voters without this broker.
    Quorum {
        /// Caught-up voters without it.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// In-sync replicas.
    Replicas {
        /// The first partition that lacks some.
        partition: String,
        /// How many it has.
        have: usize,
        /// How many it should have.
        of: usize,
        /// How many more partitions are like it.
        more: usize,
    },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn(id) => write!(f, "its turn: broker {id} comes first"),
            Self::Broker(id, what) => write!(f, "broker {id}, which {what}"),
            Self::Terminating => f.write_str("its old pod to end"),
            Self::OwnStart => f.write_str(
                "itself: it is starting, and may be recovering its log; if you know that it does not, delete its pod",
            ),
            Self::OwnUnknown => f.write_str("word of its pod: the node does not report"),
            Self::Kafka(why) => write!(f, "Kafka, which cannot be asked whether a restart is safe: {why}"),
            Self::Fresh => f.write_str("a fresh answer from Kafka"),
            Self::Registered(id) => write!(f, "broker {id}, which Kafka does not count as live"),
            Self::NoLeader => f.write_str("an active controller: the metadata quorum has no leader"),
            Self::NotVoter => f.write_str("Kafka to list it as a voter of the metadata quorum"),
            Self::Quorum { have, need } => write!(
                f,
                "the metadata quorum: without this broker {have} voters are caught up, {need} are needed"
            ),
            Self::Replicas {
                partition,
                have,
                of,
                more,
            } => {
                write!(
                    f,
                    "partition {partition}, which has {have} of {of} in-sync replicas"
                )?;
                if *more > 0 {
                    write!(f, " (and {more} more partitions)")?;
                }
                Ok(())
            }
        }
    }
}

/// Decides. `brokers` is the wanted number, their IDs are 0 to `brokers - 1`.
#[must_use]
pub fn next(observed: &Observed, brokers: i32, now: Timestamp) -> Step {
    let outdated: Vec<i32> = observed
        .pods
        .iter()
        .filter(|(_, pod)| !pod.up_to_date)
        .map(|(id, _)| *id)
        .collect();
    if outdated.is_empty() {
        return Step::Done;
    }
    let view = View {
        observed,
        brokers,
        now,
    };
    let mut order = outdated.clone();
    order.sort_by_key(|id| {
        (
            !view.is_down(*id),
            view.leader() == Some(*id),
            std::cmp::Reverse(*id),
        )
    });
    let mut waiting = BTreeMap::new();
    let mut chosen = None;
    for id in order {
        if let Some(first) = chosen {
            waiting.insert(id, Wait::Turn(first));
            continue;
        }
        match view.blocked(id) {
            None => chosen = Some(id),
            Some(wait) => drop(waiting.insert(id, wait)),
        }
    }
    match chosen {
        // A leader that is healthy keeps the quorum together while the others restart.
        Some(id) if view.leader() == Some(id) && !view.is_down(id) && !waiting.is_empty() => {
            let first = waiting.keys().copied().max().unwrap_or(id);
            waiting.insert(id, Wait::Turn(first));
            Step::Wait { waiting }
        }
        Some(id) => Step::Restart { id, waiting },
        None => Step::Wait { waiting },
    }
}

struct View<'a> {
    observed: &'a Observed,
    brokers: i32,
    now: Timestamp,
}

impl View<'_> {
    fn leader(&self) -> Option<i32> {
        self.observed.kafka.as_ref().ok().and_then(|k| k.leader)
    }

    /// Whether a broker certainly does not run: nothing can be lost by replacing its pod.
    fn is_down(&self, id: i32) -> bool {
        let stopped = self
            .observed
            .pods
            .get(&id)
            .is_some_and(|pod| pod.process == Process::Stopped);
        // The kubelet's word may be old; where Kafka still counts the broker as live, it is believed.
        let live = self.observed.kafka.as_ref().is_ok_and(|k| k.live.contains(&id));
        stopped && !live
    }

    /// Why the broker cannot be restarted now; `None` if it can.
    fn blocked(&self, id: i32) -> Option<Wait> {
        let Some(pod) = self.observed.pods.get(&id) else {
            return Some(Wait::Terminating);
        };
        if pod.terminating {
            return Some(Wait::Terminating);
        }
        if let Some(wait) = self.another_is_away(id) {
            return Some(wait);
        }
        if self.is_down(id) {
            return None;
        }
        let serving = pod.process == Process::Serving;
        match pod.process {
            Process::Unknown => return Some(Wait::OwnUnknown),
            // Recovery of a log has no bound, and ended half way it begins anew. With others, Kafka's word on them decides.
            Process::Starting { since } if self.brokers == 1 || self.now.duration_since(since) < STARTUP => {
                return Some(Wait::OwnStart);
            }
            Process::Starting { .. } | Process::Stopped | Process::Serving => {}
        }
        match &self.observed.kafka {
            Err(Unasked(why)) => Some(Wait::Kafka(why.clone())),
            Ok(kafka) if self.now.duration_since(kafka.at).abs() > FRESH => Some(Wait::Fresh),
            Ok(_) if self.brokers == 1 => None,
            Ok(kafka) => self.unsafe_without(id, serving, kafka),
        }
    }

    /// Another broker that is between two lives: one at a time. Brokers that are down and outdated themselves do not
    /// block each other: all of them may be down because of what was mended.
    fn another_is_away(&self, id: i32) -> Option<Wait> {
        (0..self.brokers).filter(|other| *other != id).find_map(|other| {
            let Some(pod) = self.observed.pods.get(&other) else {
                return Some(Wait::Broker(other, "has no pod yet"));
            };
            if pod.terminating {
                return Some(Wait::Broker(other, "is restarting"));
            }
            // A broker that is down cannot be made worse by others that are away.
            if self.is_down(id) {
                return None;
            }
            match pod.process {
                Process::Serving => None,
                Process::Stopped => Some(Wait::Broker(other, "does not run")),
                Process::Starting { .. } => Some(Wait::Broker(other, "is starting")),
                Process::Unknown => Some(Wait::Broker(other, "is on a node that does not report")),
            }
        })
    }

    /// What would be lost without the broker, by Kafka's own word.
    fn unsafe_without(&self, id: i32, serving: bool, kafka: &KafkaState) -> Option<Wait> {
        let others = (0..self.brokers).filter(|other| *other != id);
        if let Some(other) = others.into_iter().find(|other| !kafka.live.contains(other)) {
            return Some(Wait::Registered(other));
        }
        quorum(id, kafka).or_else(|| replicas(id, serving, kafka))
    }
}

/// The metadata quorum must keep a caught-up majority.
fn quorum(id: i32, kafka: &KafkaState) -> Option<Wait> {
    let Some(leader) = kafka.leader else {
        return Some(Wait::NoLeader);
    };
    if !kafka.voters.contains_key(&id) {
        return Some(Wait::NotVoter);
    }
    let others = kafka.voters.iter().filter(|(voter, _)| **voter != id);
    let have = others
        .filter(|(voter, state)| is_caught_up(leader, &kafka.voters, **voter, **state))
        .count();
    let need = kafka.voters.len() / 2 + 1;
    (have < need).then_some(Wait::Quorum { have, need })
}

fn is_caught_up(leader: i32, voters: &BTreeMap<i32, Voter>, voter: i32, state: Voter) -> bool {
    let now_ms = voters.get(&leader).and_then(|v| v.caught_up_ms);
    let recent = now_ms
        .zip(state.caught_up_ms)
        .is_some_and(|(now, then)| now - then <= CAUGHT_UP_WITHIN_MS);
    voter == leader || recent
}

/// How many voters are caught up with the leader, itself included.
#[must_use]
pub fn caught_up(leader: i32, voters: &BTreeMap<i32, Voter>) -> usize {
    voters
        .iter()
        .filter(|(id, state)| is_caught_up(leader, voters, **id, **state))
        .count()
}

/// Every partition of the broker must be fully in sync. A broker that never came to serve is in sync with nothing, and is
/// not waited for on its own account.
fn replicas(id: i32, serving: bool, kafka: &KafkaState) -> Option<Wait> {
    let blocks = |p: &&Lagging| {
        let concerned =
            p.replicas.len() > 1 && p.replicas.contains(&id) && p.in_sync.len() < p.replicas.len();
        concerned && (serving || p.in_sync.contains(&id))
    };
    let mut blocking = kafka.lagging.iter().filter(blocks);
    let first = blocking.next()?;
    Some(Wait::Replicas {
        partition: first.name.clone(),
        have: first.in_sync.len(),
        of: first.replicas.len(),
        more: blocking.count(),
    })
}
