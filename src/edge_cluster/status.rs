//! What the object's status says: a pure function of what was observed and of how the pass went.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::durability;
use super::observe::{KafkaFacts, Observed, PodFacts, Sample, Unanswered};
use super::roll::{Process, Step};
use super::topics::Outcome;
use super::validate::ValidatedEdgeCluster;
use super::volumes::Growth;
use crate::api::{
    BrokerStatus, EdgeCluster, EdgeClusterStatus, EffectiveEdgeCluster, ListenerStatus, Reason,
};
use crate::broker::config::Identity;
use crate::broker::progress::LaunchReason;
use crate::controller::{BrokerFigures, Figures, Problem, bootstrap_host};

mod conditions;
mod patience;
#[cfg(test)]
mod tests;

/// Age up to which a status stands in for a look that is under way, seconds: well below the 180 after which readers
/// take it for unknown.
const GRACE_SECONDS: i64 = 90;

/// States of `status.brokers`.
pub mod broker_state {
    /// It has no running container yet.
    pub const PENDING: &str = "Pending";
    /// Its container runs; Kafka does not count it as live yet.
    pub const STARTING: &str = "Starting";
    /// It serves.
    pub const RUNNING: &str = "Running";
    /// Its pod is being replaced.
    pub const RESTARTING: &str = "Restarting";
    /// Its container ends again and again.
    pub const FAILING: &str = "Failing";
    /// Its volume or identity is not what it should be.
    pub const REFUSED: &str = "Refused";
    /// Its node does not report.
    pub const UNKNOWN: &str = "Unknown";
}

/// Everything that the status is made of.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The object, with its previous status.
    pub object: &'a EdgeCluster,
    /// Its spec as validated.
    pub cluster: Result<&'a ValidatedEdgeCluster, &'a Problem>,
    /// What was read from the API server.
    pub observed: &'a Observed,
    /// What Kafka said last.
    pub sample: Option<&'a Sample>,
    /// The identity record in use.
    pub identity: Option<&'a Identity>,
    /// What stopped the pass.
    pub stopped: Option<(Reason, String)>,
    /// What the roll came to.
    pub step: Option<&'a Step>,
    /// What became of the topics.
    pub topics: Option<&'a Outcome>,
    /// How far the volumes are.
    pub growth: &'a Growth,
    /// Age from which a sample says nothing about now, see [`stale_after`].
    pub stale: SignedDuration,
    /// Now.
    pub now: Timestamp,
}

/// Age from which a sample says nothing about now: one look may be missed, and one may take as long as its deadlines.
#[must_use]
pub fn stale_after(sample_interval: Duration) -> SignedDuration {
    let twice = SignedDuration::try_from(sample_interval.saturating_mul(2)).unwrap_or(SignedDuration::MAX);
    twice
        .saturating_add(SignedDuration::from_secs(10))
        .max(SignedDuration::from_secs(30))
}

impl Report<'_> {
    /// What Kafka said, if it said so recently and is the cluster that the record describes.
    fn kafka(&self) -> Result<&KafkaFacts, Unanswered> {
        let unknown = |message: &str| Unanswered {
            reason: Reason::KafkaUnknown,
            message: message.to_owned(),
        };
        let Some(sample) = self.sample else {
            return Err(unknown("Kafka was not asked yet"));
        };
        if self.now.duration_since(sample.at).abs() > self.stale {
            return Err(unknown("what Kafka said last is too old"));
        }
        sample.result.as_ref().map_err(Clone::clone)
    }

    fn paused(&self) -> bool {
        self.object.spec.paused == Some(true)
    }

    /// Brokers that the spec asks for.
    fn wanted(&self) -> i32 {
        self.object.spec.brokers
    }

    fn pod(&self, id: i32) -> Option<&PodFacts> {
        self.observed.pods.get(&id)
    }
}

/// Whether Kafka's first answer is still to come while the last status is good for a moment longer: after a restart of
/// the operator nothing that is well turns Unknown for some seconds.
#[must_use]
pub fn soon_known(report: &Report<'_>) -> bool {
    let Some(status) = &report.object.status else {
        return false;
    };
    let age = |at: &Time| report.now.duration_since(at.0).as_secs();
    report.sample.is_none()
        && report.cluster.is_ok()
        && report.stopped.is_none()
        && status.observed_generation.is_some()
        && status.observed_generation == report.object.metadata.generation
        && status
            .observed_at
            .as_ref()
            .is_some_and(|at| age(at) < GRACE_SECONDS)
}

/// Computes the status.
#[must_use]
pub fn compute(report: &Report<'_>) -> EdgeClusterStatus {
    let brokers: Vec<BrokerStatus> = (0..report.wanted()).map(|id| broker(report, id)).collect();
    let running = brokers
        .iter()
        .filter(|b| b.state == broker_state::RUNNING)
        .count();
    let previous = report.object.status.as_ref();
    let topics = match report.topics {
        Some(Outcome::Known { report, .. }) => report.clone(),
        // Not asked in this pass: what was reported stays true until it is known better.
        _ => previous.map(|s| s.topics.clone()).unwrap_or_default(),
    };
    EdgeClusterStatus {
        observed_generation: report.object.metadata.generation,
        observed_at: Some(Time(report.now)),
        conditions: conditions::compute(report, &brokers),
        cluster_id: report.identity.map(|i| i.cluster_id.clone()),
        ready_brokers: Some(format!("{running}/{}", report.wanted())),
        brokers,
        listeners: report
            .cluster
            .map(|c| listeners(c, report.observed))
            .unwrap_or_default(),
        partitions: report.kafka().ok().map(|k| k.counts.clone()),
        topics,
        effective: report.cluster.ok().map(|c| effective(c, report.observed)),
    }
}

/// What metrics show of it.
#[must_use]
pub fn figures(status: &EdgeClusterStatus) -> Figures {
    let broker = |broker: &BrokerStatus| BrokerFigures {
        id: broker.id,
        running: broker.state == broker_state::RUNNING,
        disk_used_percent: broker.disk_used_percent,
    };
    Figures {
        brokers: status.brokers.iter().map(broker).collect(),
        counts: status.partitions.clone(),
        ..Figures::default()
    }
}

fn broker(report: &Report<'_>, id: i32) -> BrokerStatus {
    let kafka = report.kafka().ok();
    let role = kafka.and_then(|k| {
        let (leader, voters) = k.quorum.as_ref().ok()?;
        match (*leader == Some(id), voters.contains_key(&id)) {
            (true, _) => Some("Leader"),
            (false, true) => Some("Follower"),
            (false, false) => None,
        }
    });
    let waiting = report.step.and_then(Step::waiting).and_then(|w| w.get(&id));
    BrokerStatus {
        id,
        state: state(report.pod(id), kafka, id).to_owned(),
        role: Some(role.unwrap_or("Unknown").to_owned()),
        disk_used_percent: kafka
            .and_then(|k| k.disks.get(&id))
            .map(|percent| i32::from(*percent)),
        waiting_for: waiting.map(ToString::to_string),
    }
}

fn state(pod: Option<&PodFacts>, kafka: Option<&KafkaFacts>, id: i32) -> &'static str {
    use broker_state::{FAILING, PENDING, REFUSED, RESTARTING, RUNNING, STARTING, UNKNOWN};
    let Some(pod) = pod else { return PENDING };
    if pod.terminating {
        return RESTARTING;
    }
    match pod.last_words.as_ref().map(|w| w.reason) {
        Some(LaunchReason::VolumeRefused | LaunchReason::IdentityRefused) => return REFUSED,
        Some(_) => return FAILING,
        None if pod.failing => return FAILING,
        None => {}
    }
    match pod.process {
        Process::Serving if kafka.is_none_or(|k| k.live.contains(&id)) => RUNNING,
        Process::Serving | Process::Starting { .. } => STARTING,
        Process::Stopped => PENDING,
        Process::Unknown => UNKNOWN,
    }
}

fn listeners(cluster: &ValidatedEdgeCluster, observed: &Observed) -> Vec<ListenerStatus> {
    let servers = |port: u16, hosts: Vec<String>| {
        let mut servers: Vec<String> = hosts.iter().map(|host| address(host, port)).collect();
        servers.sort();
        servers.dedup();
        (!servers.is_empty()).then(|| servers.join(","))
    };
    let status = |listener: &super::validate::ValidListener| {
        let bootstrap_servers = match &listener.node_port {
            None => servers(
                listener.port,
                vec![bootstrap_host(&cluster.name, &cluster.namespace)],
            ),
            Some(node_port) => {
                let host_of = |id: &i32, named: &Option<String>| {
                    named.clone().or_else(|| observed.pods.get(id)?.host_ip.clone())
                };
                let hosts = node_port
                    .brokers
                    .iter()
                    .filter_map(|(id, (_, named))| host_of(id, named));
                servers(node_port.bootstrap, hosts.collect())
            }
        };
        Some(ListenerStatus {
            name: listener.name.clone(),
            bootstrap_servers: bootstrap_servers?,
        })
    };
    cluster.listeners.iter().filter_map(status).collect()
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn effective(cluster: &ValidatedEdgeCluster, observed: &Observed) -> EffectiveEdgeCluster {
    let mut nodes: Vec<&str> = observed
        .pods
        .values()
        .filter_map(|p| p.host_ip.as_deref())
        .collect();
    let placed = nodes.len();
    nodes.sort_unstable();
    nodes.dedup();

    EffectiveEdgeCluster {
        storage_class_name: cluster.storage.class.clone(),
        retain: cluster.storage.retain,
        resources: Some(cluster.resources.clone()),
        heap: format!("{}m", cluster.heap_mib),
        config: cluster.chosen.clone(),
        durability: durability::of(cluster, nodes.len() < placed),
    }
}

/// The object's name for messages.
fn name(report: &Report<'_>) -> String {
    report.object.name_any()
}
