use super::super::sampling::{Fault, Source, Target};
use super::super::tests::{object, validated};
use super::*;
use crate::api::condition_type;
use crate::controller::PodState;
use crate::kafka::TopicId;
use crate::kafka::offsets::{LogRange, TopicPartition};
use crate::kafka::positions::Position;
use crate::kafka::wire::TopicRange;
use crate::replicator::progress::{
    ClusterProgress, Gap as ToldGap, LinkStop, LinkStopReason, PartitionProgress, PartitionState,
    RefusedTopic as ToldTopic, StopReason, Totals,
};

mod findings;
mod pods;

const HASH: &str = "h1";
const ID: &str = "munich-id/factory/to-eu";
const POD: &str = "to-eu-replicator-0";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

fn up(cluster_id: &str) -> ClusterProgress {
    ClusterProgress {
        cluster_id: Some(cluster_id.into()),
        connected_since: Some(at(0)),
        ..ClusterProgress::default()
    }
}

fn down(second: i64) -> ClusterProgress {
    ClusterProgress {
        disconnected_since: Some(at(second)),
        reason: Some("KafkaTimeout".into()),
        message: Some("kafka.eu.example:31092 did not answer".into()),
        ..ClusterProgress::default()
    }
}

pub(in super::super) fn progress(second: i64) -> Progress {
    Progress {
        observed_at: at(second),
        started_at: at(0),
        config_hash: String::new(),
        generation: None,
        name: "factory/to-eu".into(),
        link_id: Some(ID.into()),
        worker: 0,
        workers: 1,
        source: up("munich-id"),
        target: up("eu-id"),
        positions_seen: true,
        stopped: None,
        partitions: Vec::new(),
        gaps: Vec::new(),
        refused: Vec::new(),
        topics: Vec::new(),
        totals: Totals::default(),
        last_error: None,
    }
}

fn pod(state: PodState) -> PodView {
    PodView {
        name: POD.into(),
        state,
        config_hash: Some(HASH.into()),
        workers: None,
        restarts: 0,
        uid: String::new(),
    }
}

fn running() -> PodView {
    pod(PodState::Running {
        ip: "10.0.0.1".into(),
        ready: true,
    })
}

fn source(end: i64) -> Source {
    source_from(0, end)
}

fn source_from(start: i64, end: i64) -> Source {
    let range = TopicRange {
        topic_id: TopicId::ZERO,
        range: LogRange { start, end },
        end_epoch: None,
    };
    Source {
        cluster_id: "munich-id".into(),
        ranges: [(TopicPartition::new("telemetry", 0), range)].into(),
    }
}

fn target(second: i64, next_offset: Option<i64>) -> Target {
    let position = |next_offset| Position {
        next_offset,
        leader_epoch: None,
        source_topic: "telemetry".into(),
        target_topic: "munich.telemetry".into(),
        target_topic_id: None,
        last_record_timestamp_ms: None,
        written_at_ms: 0,
        generation: 1,
    };
    Target {
        cluster_id: "eu-id".into(),
        at: at(second),
        positions: next_offset
            .map(|next| ((TopicId::ZERO, 0), Ok(position(next))))
            .into_iter()
            .collect(),
        any: next_offset.is_some(),
    }
}

fn fault(down: bool, reason: Reason) -> Fault {
    Fault {
        down,
        late: false,
        reason,
        message: "what was seen; what to do".into(),
    }
}

fn sample(
    second: i64,
    source: Result<Source, Fault>,
    target: Result<Target, Fault>,
    told: Option<Progress>,
) -> Sample {
    let told = told.ok_or_else(|| "connection refused".to_owned());
    Sample {
        at: at(second),
        source,
        target,
        workers: [(POD.to_owned(), told)].into(),
        runs: [(POD.to_owned(), running().run())].into(),
        broker_ports: BTreeSet::new(),
    }
}

/// A link that is looked at again and again.
struct Watched {
    object: ReplicationLink,
    memory: Memory,
}

impl Watched {
    fn new() -> Self {
        Self {
            object: object(),
            memory: Memory::default(),
        }
    }

    fn look(&mut self, second: i64, pods: &[PodView], sample: Option<&Sample>) -> &mut Self {
        let link = validated(&self.object);
        let identity = Identity::of(&self.object, Some(&link.config), sample, None);
        self.with(&Look {
            now: at(second),
            validated: Ok((&link, HASH)),
            stopped_by: None,
            pods,
            sample,
            identity: &identity,
        })
    }

    fn with(&mut self, look: &Look<'_>) -> &mut Self {
        self.object.status = Some(status(&self.object, &mut self.memory, look));
        self
    }

    /// Everything answers.
    fn at(&mut self, second: i64, end: i64, position: i64) -> &mut Self {
        self.told(second, end, position, progress(second))
    }

    fn told(&mut self, second: i64, end: i64, position: i64, told: Progress) -> &mut Self {
        let sample = sample(
            second,
            Ok(source(end)),
            Ok(target(second, Some(position))),
            Some(told),
        );
        self.look(second, &[running()], Some(&sample))
    }

    /// The target does not answer.
    fn cut(&mut self, second: i64, end: i64) -> &mut Self {
        let mut told = progress(second);
        told.target = down(second);
        let target = Err(fault(true, Reason::KafkaUnreachable));
        let sample = sample(second, Ok(source(end)), target, Some(told));
        self.look(second, &[running()], Some(&sample))
    }

    fn status(&self) -> &ReplicationLinkStatus {
        self.object.status.as_ref().unwrap()
    }

    fn condition(&self, type_: &str) -> Option<(&str, &str, &str)> {
        let found = self.status().conditions.iter().find(|c| c.type_ == type_)?;
        Some((&found.status, &found.reason, &found.message))
    }

    fn expect(&self, type_: &str, status: &str, reason: Reason) -> String {
        let (is, why, message) = self.condition(type_).unwrap_or_else(|| panic!("no {type_}"));
        assert_eq!((is, why), (status, reason.as_str()), "{type_}: {message}");
        message.to_owned()
    }

    fn verdict(&self) -> Verdict {
        self.status().verdict.unwrap()
    }

    fn offsets(&self) -> Option<i64> {
        self.status().lag.as_ref().map(|lag| lag.offsets)
    }
}

#[test]
fn a_first_start_is_reconciling_and_stalled_after_ten_minutes_with_the_cause_at_hand() {
    let mut link = Watched::new();
    link.look(0, &[], None);
    assert_eq!(link.verdict(), Verdict::Unknown);
    link.expect("Ready", "False", Reason::Starting);
    link.expect("Reconciling", "True", Reason::Starting);
    link.cut(10, 100);
    let message = link.expect("Reconciling", "True", Reason::KafkaUnreachable);
    assert!(message.contains("target: kafka.eu.example:31092"), "{message}");
    link.expect("Connected", "False", Reason::KafkaUnreachable);
    link.cut(599, 100)
        .expect("Reconciling", "True", Reason::KafkaUnreachable);
    link.cut(601, 100)
        .expect("Stalled", "True", Reason::KafkaUnreachable);
    assert_eq!(link.condition("Reconciling"), None);
    for second in [620, 1300] {
        link.memory = Memory::default();
        link.cut(second, 100)
            .expect("Stalled", "True", Reason::KafkaUnreachable);
    }
    link.at(1310, 100, 100)
        .at(1320, 100, 100)
        .expect("Ready", "True", Reason::Following);
    assert_eq!(link.condition("Stalled"), None);
}

#[test]
fn a_start_that_stalled_stays_so_whatever_keeps_it_until_the_spec_changes() {
    let mut link = Watched::new();
    let refused = |link: &mut Watched, second| {
        let good = validated(&link.object);
        let identity = Identity::of(&link.object, Some(&good.config), None, None);
        link.with(&Look {
            now: at(second),
            validated: Ok((&good, HASH)),
            stopped_by: Some((Reason::ApiError, "cannot apply ConfigMap: no answer".into())),
            pods: &[],
            sample: None,
            identity: &identity,
        });
    };
    refused(&mut link, 0);
    link.expect("Reconciling", "True", Reason::ApiError);
    for second in [601, 620, 1300] {
        refused(&mut link, second);
        link.expect("Stalled", "True", Reason::ApiError);
        assert_eq!(link.condition("Reconciling"), None);
    }
    link.look(1310, &[pod(PodState::Failing("ErrImagePull".into()))], None)
        .expect("Stalled", "True", Reason::PodsUnavailable);
    link.look(1320, &[], None)
        .expect("Stalled", "True", Reason::Starting);
    link.object.metadata.generation = Some(4);
    link.look(1330, &[], None)
        .expect("Reconciling", "True", Reason::Starting);
}

#[test]
fn a_link_that_follows_is_in_sync_ready_and_says_who_it_is() {
    let mut link = Watched::new();
    link.at(0, 100, 100);
    assert_eq!((link.verdict(), link.offsets()), (Verdict::InSync, Some(0)));
    link.expect("Ready", "True", Reason::Following);
    link.expect("Connected", "True", Reason::Following);
    link.expect("KeepingUp", "True", Reason::Following);
    link.expect("Lossless", "True", Reason::NothingLost);
    let status = link.status();
    let effective = status.effective.as_ref().unwrap();
    assert_eq!(effective.link_id.as_deref(), Some(ID));
    assert_eq!(effective.target_cluster_id.as_deref(), Some("eu-id"));
    assert!(effective.positions_seen);
    assert_eq!((effective.workers, effective.replication_factor), (1, -1));
    assert_eq!(status.observed_at, Some(Time(at(0))));
    assert_eq!(status.topics[0].name, "telemetry");
}

#[test]
fn a_cut_goes_from_disconnected_over_catching_up_to_in_sync_with_a_lag_that_counts_on() {
    let mut link = Watched::new();
    link.at(0, 100, 100).at(10, 200, 200);
    link.cut(20, 1000);
    assert_eq!(
        (link.verdict(), link.offsets()),
        (Verdict::Disconnected, Some(800))
    );
    link.expect("Ready", "True", Reason::KafkaUnreachable);
    let message = link.expect("Connected", "False", Reason::KafkaUnreachable);
    assert!(message.contains("since 2025-06-15T15:07:00Z"), "{message}");
    link.expect("KeepingUp", "Unknown", Reason::NotConnected);
    assert_eq!(
        (link.condition("Reconciling"), link.condition("Stalled")),
        (None, None)
    );
    let since = |link: &Watched| {
        let conditions = &link.status().conditions;
        conditions
            .iter()
            .find(|c| c.type_ == condition_type::CONNECTED)
            .unwrap()
            .last_transition_time
            .0
    };
    assert_eq!(since(&link), at(20));
    link.cut(40, 2000);
    assert_eq!((link.offsets(), since(&link)), (Some(1800), at(20)));
    assert_eq!(link.status().position_read_at, Some(Time(at(10))));
    link.at(50, 2100, 1000);
    assert_eq!(link.verdict(), Verdict::CatchingUp);
    link.at(60, 2100, 2100).at(70, 2100, 2100);
    assert_eq!((link.verdict(), link.offsets()), (Verdict::InSync, Some(0)));
}

#[test]
fn a_restart_of_the_operator_during_a_cut_keeps_the_verdict() {
    let mut link = Watched::new();
    link.at(0, 100, 100).cut(10, 200);
    link.memory = Memory::default();
    link.cut(20, 300);
    assert_eq!(link.verdict(), Verdict::Disconnected);
    link.expect("Ready", "True", Reason::KafkaUnreachable);
}

#[test]
fn the_operator_s_own_view_is_enough_for_a_cut_and_has_its_time() {
    let mut link = Watched::new();
    link.at(0, 100, 100);
    let target = Err(fault(true, Reason::TlsFailed));
    let cut = sample(10, Ok(source(200)), target, Some(progress(10)));
    link.look(10, &[running()], Some(&cut));
    assert_eq!(link.verdict(), Verdict::Disconnected);
    let message = link.expect("Connected", "False", Reason::TlsFailed);
    assert!(message.starts_with("target: what was seen"), "{message}");
    assert!(message.contains("since"), "{message}");
}

#[test]
fn an_answer_that_comes_too_late_for_the_operator_is_no_cut_while_the_pods_are_connected() {
    let late = Fault {
        late: true,
        ..fault(true, Reason::KafkaUnreachable)
    };
    let mut link = Watched::new();
    link.at(0, 100, 100);
    let full = |told| sample(10, Ok(source(200)), Err(late.clone()), told);
    link.look(10, &[running()], Some(&full(Some(progress(10)))));
    link.expect("Connected", "True", Reason::Following);
    assert_ne!(link.verdict(), Verdict::Disconnected);
    // Nobody contradicts it: a pod that is cut as well, or none that answers.
    let mut cut = progress(10);
    cut.target = down(10);
    for told in [Some(cut), None] {
        let mut link = Watched::new();
        link.at(0, 100, 100);
        link.look(10, &[running()], Some(&full(told)));
        assert_eq!(link.verdict(), Verdict::Disconnected);
    }
}

#[test]
fn a_source_that_cannot_be_read_makes_the_lag_unknown_and_not_old() {
    let mut link = Watched::new();
    link.at(0, 100, 50);
    let blind = sample(
        10,
        Err(fault(true, Reason::KafkaUnreachable)),
        Ok(target(10, Some(50))),
        Some(progress(10)),
    );
    link.look(10, &[running()], Some(&blind));
    assert_eq!((link.verdict(), link.offsets()), (Verdict::Unknown, None));
    let message = link.expect("Ready", "Unknown", Reason::KafkaUnreachable);
    assert!(message.starts_with("source: "), "{message}");
    let mut told = progress(20);
    told.source = down(20);
    let gone = sample(
        20,
        Err(fault(true, Reason::KafkaUnreachable)),
        Ok(target(20, Some(50))),
        Some(told),
    );
    link.look(20, &[running()], Some(&gone));
    assert_eq!(
        (link.verdict(), link.offsets()),
        (Verdict::Disconnected, None),
        "the line itself is down"
    );
}
