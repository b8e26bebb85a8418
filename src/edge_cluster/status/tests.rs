use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::super::roll::{Voter, Wait};
use super::super::topics::{state as topic_state, status as topic_status};
use super::super::validate::tests::{factory, options, region, valid};
use super::super::validate::validate;
use super::*;
use crate::api::{PartitionCounts, TopicStatus};
use crate::broker::progress::LastWords;

mod away;
mod time;

const NOW: i64 = 100_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(id: i32, process: Process) -> PodFacts {
    PodFacts {
        name: format!("munich-kafka-{id}"),
        uid: "u".into(),
        version: None,
        revision: Some("r".into()),
        config: None,
        terminating: false,
        host_ip: Some("192.0.2.7".into()),
        process,
        failing: false,
        last_words: None,
        trouble: None,
    }
}

fn known(report: Vec<TopicStatus>) -> Option<Outcome> {
    let waiting = None;
    Some(Outcome::Known { report, waiting })
}

/// A situation, healthy until a test makes it otherwise.
struct Situation {
    object: EdgeCluster,
    observed: Observed,
    sample: Option<Sample>,
    stopped: Option<(Reason, String)>,
    step: Option<Step>,
    topics: Option<Outcome>,
    growth: Growth,
}

impl Situation {
    fn healthy(object: EdgeCluster) -> Self {
        let brokers = object.spec.brokers;
        let voter = Voter {
            caught_up_ms: Some(1_000),
        };
        let facts = KafkaFacts {
            cluster_id: "c".into(),
            live: (0..brokers).collect(),
            quorum: Ok((Some(0), (0..brokers).map(|id| (id, voter)).collect())),
            counts: PartitionCounts {
                total: 57,
                ..PartitionCounts::default()
            },
            lagging: Vec::new(),
            topics: BTreeMap::new(),
            disks: BTreeMap::from([(0, 12)]),
        };
        Self {
            object,
            observed: Observed {
                pods: (0..brokers).map(|id| (id, pod(id, Process::Serving))).collect(),
                set: None,
                identity: None,
                claims: BTreeMap::new(),
                topics: None,
            },
            sample: Some(Sample {
                at: at(NOW),
                result: Ok(facts),
            }),
            stopped: None,
            step: Some(Step::Done),
            topics: known(Vec::new()),
            growth: Growth::Done,
        }
    }

    fn facts(&mut self) -> &mut KafkaFacts {
        self.sample.as_mut().unwrap().result.as_mut().unwrap()
    }

    fn pod(&mut self, id: i32) -> &mut PodFacts {
        self.observed.pods.get_mut(&id).unwrap()
    }

    fn unreachable(&mut self) {
        let unanswered = Unanswered {
            reason: Reason::KafkaUnreachable,
            message: "no answer".into(),
        };
        self.sample.as_mut().unwrap().result = Err(unanswered);
    }

    fn with_report<T>(&self, now: i64, use_it: impl FnOnce(&Report<'_>) -> T) -> T {
        let cluster = validate(&self.object, &options());
        use_it(&Report {
            object: &self.object,
            cluster: cluster.as_ref(),
            observed: &self.observed,
            sample: self.sample.as_ref(),
            identity: None,
            stopped: self.stopped.clone(),
            step: self.step.as_ref(),
            topics: self.topics.as_ref(),
            growth: &self.growth,
            stale: stale_after(options().sample_interval),
            now: at(now),
        })
    }

    fn status_at(&self, now: i64) -> EdgeClusterStatus {
        self.with_report(now, compute)
    }

    fn status(&self) -> EdgeClusterStatus {
        self.status_at(NOW)
    }

    /// Type, status and reason of each condition, as in `Ready=True/AsDesired`.
    fn conditions(&self) -> BTreeSet<String> {
        words(&self.status())
    }

    fn has(&self, wanted: &[&str]) {
        let found = self.conditions();
        for condition in wanted {
            assert!(found.contains(*condition), "{condition} is not in {found:?}");
        }
    }

    fn message(&self, type_: &str) -> String {
        self.status()
            .conditions
            .into_iter()
            .find(|c| c.type_ == type_)
            .unwrap()
            .message
    }
}

fn words(status: &EdgeClusterStatus) -> BTreeSet<String> {
    let word = |c: &Condition| format!("{}={}/{}", c.type_, c.status, c.reason);
    status.conditions.iter().map(word).collect()
}

fn one() -> Situation {
    Situation::healthy(factory())
}

fn three() -> Situation {
    Situation::healthy(region())
}

#[test]
fn a_healthy_cluster_says_so_and_nothing_abnormal() {
    let situation = three();
    let wanted: BTreeSet<String> = [
        "Ready=True/AsDesired",
        "QuorumHealthy=True/AsDesired",
        "PartitionsHealthy=True/AsDesired",
        "TopicsSynced=True/AsDesired",
        "UpToDate=True/AsDesired",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(situation.conditions(), wanted);
    let status = situation.status();
    assert_eq!(status.ready_brokers.as_deref(), Some("3/3"));
    assert_eq!(status.partitions.unwrap().total, 57);
    let roles: Vec<_> = status
        .brokers
        .iter()
        .map(|b| b.role.as_deref().unwrap())
        .collect();
    assert_eq!(roles, ["Leader", "Follower", "Follower"]);
    assert_eq!(status.brokers[0].disk_used_percent, Some(12));
    assert_eq!(situation.message("Ready"), "3 brokers run, 57 partitions in sync");
}

#[test]
fn what_kafka_does_not_say_is_unknown_rather_than_stale() {
    let mut situation = three();
    situation.unreachable();
    situation.has(&[
        "Ready=Unknown/KafkaUnreachable",
        "QuorumHealthy=Unknown/KafkaUnreachable",
        "PartitionsHealthy=Unknown/KafkaUnreachable",
    ]);
    let status = situation.status();
    assert_eq!(status.partitions, None);
    assert_eq!(status.brokers[0].role.as_deref(), Some("Unknown"));
    assert_eq!(status.brokers[0].disk_used_percent, None);
    let old = three().status_at(NOW + 31);
    assert!(
        old.conditions
            .iter()
            .any(|c| c.type_ == "QuorumHealthy" && c.status == "Unknown")
    );
}

#[test]
fn an_invalid_spec_is_told_with_field_value_and_remedy_and_leaves_the_rest_alone() {
    let mut situation = one();
    situation
        .object
        .spec
        .config
        .insert("min.insync.replicas".into(), "3".into());
    (situation.step, situation.topics, situation.sample) = (None, None, None);
    situation.has(&["Ready=False/InvalidSpec", "Stalled=True/InvalidSpec"]);
    let message = situation.message("Ready");
    assert!(
        message.contains("spec.config.min.insync.replicas \"3\""),
        "{message}"
    );
    assert_eq!(situation.status().ready_brokers.as_deref(), Some("1/1"));
}

#[test]
fn a_paused_cluster_is_not_ready_and_not_reconciling() {
    let mut situation = one();
    situation.object.spec.paused = Some(true);
    situation.step = None;
    situation.has(&["Ready=False/Paused"]);
    assert!(
        !situation
            .conditions()
            .iter()
            .any(|c| c.starts_with("Reconciling") || c.starts_with("Stalled"))
    );
}

#[test]
fn what_stopped_the_pass_is_told_and_is_a_case_for_help_or_not() {
    let stopped = |reason| {
        let mut situation = one();
        situation.stopped = Some((reason, "why".into()));
        situation.conditions()
    };
    assert!(stopped(Reason::IdentityMissing).contains("Stalled=True/IdentityMissing"));
    assert!(stopped(Reason::OwnershipConflict).contains("Stalled=True/OwnershipConflict"));
    assert!(stopped(Reason::Progressing).contains("Reconciling=True/Progressing"));
    assert!(stopped(Reason::ApiError).contains("Reconciling=True/ApiError"));
}

#[test]
fn a_refused_volume_names_the_record_and_the_command() {
    let mut situation = one();
    situation.pod(0).process = Process::Stopped;
    situation.pod(0).last_words = Some(LastWords {
        reason: LaunchReason::VolumeRefused,
        message: "the volume is empty".into(),
    });
    situation.unreachable();
    situation.has(&["Ready=False/VolumeRefused", "Stalled=True/VolumeRefused"]);
    let message = situation.message("Ready");
    assert!(
        message.contains("the volume is empty") && message.contains("configmap munich-kafka-identity"),
        "{message}"
    );
    assert_eq!(situation.status().brokers[0].state, broker_state::REFUSED);
}

#[test]
fn a_full_disk_is_told_before_and_after_kafka_dies_of_it() {
    let mut situation = one();
    situation.facts().disks.insert(0, 96);
    situation.has(&["Ready=False/DiskFull", "Stalled=True/DiskFull"]);
    situation.facts().disks.insert(0, 94);
    situation.has(&["Ready=True/AsDesired"]);
    situation.pod(0).process = Process::Stopped;
    situation.pod(0).last_words = Some(LastWords {
        reason: LaunchReason::DiskLow,
        message: "nearly full".into(),
    });
    situation.has(&["Ready=False/DiskFull"]);
    assert_eq!(situation.status().brokers[0].state, broker_state::FAILING);
}

#[test]
fn a_broker_that_ends_again_and_again_is_failing_with_its_last_words() {
    let mut situation = three();
    situation.pod(1).process = Process::Stopped;
    situation.pod(1).failing = true;
    situation.pod(1).trouble = Some("Kafka's container ended with status 1: ConfigException".into());
    situation.has(&["Ready=False/BrokerFailing", "Stalled=True/BrokerFailing"]);
    assert!(
        situation
            .message("Ready")
            .contains("broker 1: Kafka's container ended with status 1")
    );
}

#[test]
fn a_pod_that_cannot_start_is_told_in_kubernetes_words() {
    let mut situation = one();
    situation.pod(0).process = Process::Stopped;
    situation.pod(0).trouble = Some("it cannot be scheduled: 0/1 nodes are available".into());
    situation.has(&["Ready=False/PodsUnavailable"]);
    assert!(situation.message("Ready").contains("0/1 nodes"));
}

#[test]
fn while_one_of_three_restarts_the_cluster_stays_ready() {
    let mut situation = three();
    situation.pod(1).terminating = true;
    situation.step = Some(Step::Wait {
        waiting: BTreeMap::from([(0, Wait::Broker(1, "is restarting"))]),
    });
    situation.has(&[
        "Ready=True/Progressing",
        "Reconciling=True/Progressing",
        "UpToDate=False/RollWaiting",
    ]);
    let status = situation.status();
    assert_eq!(status.brokers[1].state, broker_state::RESTARTING);
    assert_eq!(
        status.brokers[0].waiting_for.as_deref(),
        Some("broker 1, which is restarting")
    );
    let mut single = one();
    single.pod(0).terminating = true;
    single.unreachable();
    single.has(&["Ready=False/Progressing"]);
}

#[test]
fn a_roll_that_waits_leaves_the_cluster_ready_and_says_for_what() {
    let mut situation = three();
    let waiting = BTreeMap::from([(2, Wait::Quorum { have: 1, need: 2 })]);
    situation.step = Some(Step::Wait { waiting });
    situation.has(&[
        "Ready=True/RollWaiting",
        "UpToDate=False/RollWaiting",
        "Reconciling=True/RollWaiting",
    ]);
    assert!(
        situation
            .message("UpToDate")
            .contains("broker 2 waits for the metadata quorum")
    );
}

#[test]
fn quorum_and_partitions_are_judged_by_kafkas_own_word() {
    let mut situation = three();
    situation.facts().quorum.as_mut().unwrap().0 = None;
    situation.has(&["Ready=False/QuorumLost", "QuorumHealthy=False/QuorumLost"]);
    let mut situation = three();
    for id in [1, 2] {
        situation
            .facts()
            .quorum
            .as_mut()
            .unwrap()
            .1
            .get_mut(&id)
            .unwrap()
            .caught_up_ms = None;
    }
    situation.has(&["QuorumHealthy=False/QuorumLost"]);
    let mut situation = three();
    situation.facts().counts.under_replicated = 2;
    situation.has(&[
        "Ready=True/UnderReplicated",
        "PartitionsHealthy=False/UnderReplicated",
    ]);
    situation.facts().counts.offline = 1;
    situation.has(&[
        "Ready=False/PartitionsOffline",
        "PartitionsHealthy=False/PartitionsOffline",
    ]);
}

#[test]
fn a_refused_topic_stalls_and_kept_ones_do_not() {
    let mut situation = one();
    let refused = topic_status("t", topic_state::REFUSED, "INVALID_REPLICATION_FACTOR");
    situation.topics = known(vec![refused]);
    situation.has(&[
        "Ready=False/TopicRefused",
        "TopicsSynced=False/TopicRefused",
        "Stalled=True/TopicRefused",
    ]);
    assert!(situation.message("Ready").contains("INVALID_REPLICATION_FACTOR"));
    situation.topics = known(vec![topic_status("t", topic_state::KEPT, "kept")]);
    situation.has(&["Ready=True/AsDesired", "TopicsSynced=True/AsDesired"]);
    assert!(situation.message("TopicsSynced").contains("kept"));
    situation.topics = known(vec![topic_status("t", topic_state::DIFFERS, "9 partitions")]);
    situation.has(&["Ready=True/AsDesired", "TopicsSynced=False/TopicsDiffer"]);
}

#[test]
fn topics_that_were_not_compared_keep_what_was_reported() {
    let mut situation = one();
    situation.topics = known(vec![topic_status("t", topic_state::KEPT, "kept")]);
    situation.object.status = Some(situation.status());
    situation.topics = None;
    assert_eq!(situation.status().topics.len(), 1);
    situation.has(&["TopicsSynced=Unknown/KafkaUnknown"]);
}

#[test]
fn a_volume_that_does_not_grow_is_told_and_leaves_the_cluster_ready() {
    let mut situation = one();
    situation.growth = Growth::Refused("the class does not allow it".into());
    situation.has(&[
        "Ready=True/VolumeNotGrown",
        "UpToDate=False/VolumeNotGrown",
        "Stalled=True/VolumeNotGrown",
    ]);
    situation.growth = Growth::Growing("data-munich-kafka-0 to grow to 50Gi".into());
    situation.has(&[
        "Ready=True/Progressing",
        "UpToDate=False/Progressing",
        "Reconciling=True/Progressing",
    ]);
}

#[test]
fn listeners_are_published_as_clients_need_them() {
    let servers = |object: EdgeCluster| {
        let listeners = Situation::healthy(object).status().listeners;
        listeners
            .into_iter()
            .map(|l| l.bootstrap_servers)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        servers(factory()),
        ["munich-kafka.factory.svc:9092", "192.0.2.7:31092"]
    );
    let region = servers(region());
    assert_eq!(
        region[1],
        "192.0.2.7:31092,kafka1.eu.example:31092,kafka2.eu.example:31092"
    );
    let mut unscheduled = one();
    unscheduled.observed.pods.clear();
    assert_eq!(
        unscheduled.status().listeners.len(),
        1,
        "a node port without a node has no address yet"
    );
}

#[test]
fn what_the_spec_leaves_open_is_published() {
    let effective = one().status().effective.unwrap();
    let cluster = valid(&factory());
    assert_eq!((effective.heap.as_str(), effective.retain), ("307m", true));
    assert_eq!(effective.config, cluster.chosen);
    assert_eq!(effective.config["log.flush.interval.messages"], "1");
    assert!(effective.durability.contains("fsync"));
}
