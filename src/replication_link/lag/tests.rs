use super::*;
use crate::api::Reason;
use crate::kafka::offsets::{LogRange, TopicPartition};
use crate::kafka::positions::{Position, PositionError};
use crate::kafka::wire::TopicRange;
use crate::replicator::progress::{PartitionProgress, PartitionState, TopicProgress};

use super::super::sampling::Fault;

const ID: TopicId = TopicId::ZERO;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

fn source(ranges: &[(&str, i32, i64, i64)]) -> Source {
    let range = |start, end| TopicRange {
        topic_id: ID,
        range: LogRange { start, end },
        end_epoch: None,
    };
    Source {
        cluster_id: "munich".into(),
        ranges: ranges
            .iter()
            .map(|(topic, partition, start, end)| {
                (TopicPartition::new(*topic, *partition), range(*start, *end))
            })
            .collect(),
    }
}

fn position(next_offset: i64) -> Position {
    Position {
        next_offset,
        leader_epoch: None,
        source_topic: "t".into(),
        target_topic: "t".into(),
        target_topic_id: None,
        last_record_timestamp_ms: None,
        written_at_ms: 0,
        generation: 1,
    }
}

fn target(second: i64, positions: &[(i32, i64)]) -> Target {
    Target {
        cluster_id: "eu".into(),
        at: at(second),
        positions: positions
            .iter()
            .map(|(p, next)| ((ID, *p), Ok(position(*next))))
            .collect(),
        any: !positions.is_empty(),
    }
}

fn cut() -> Fault {
    Fault {
        down: true,
        late: false,
        reason: Reason::KafkaUnreachable,
        message: "gone".into(),
    }
}

fn sample(second: i64, source: Result<Source, Fault>, target: Result<Target, Fault>) -> Sample {
    Sample {
        at: at(second),
        source,
        target,
        workers: BTreeMap::new(),
        runs: BTreeMap::new(),
        broker_ports: BTreeSet::new(),
    }
}

fn take(ledger: &mut Ledger, sample: &Sample) {
    ledger.take(sample, &BTreeMap::new(), &BTreeSet::new(), Start::Earliest, true);
}

fn worker(stored: &[(i32, i64)], mean: Option<f64>) -> Progress {
    let mut progress = super::super::status::tests::progress(0);
    progress.topics = vec![TopicProgress {
        name: "t".into(),
        target_name: "t".into(),
        partitions: 2,
        mean_record_bytes: mean,
    }];
    progress.partitions = stored
        .iter()
        .map(|(partition, stored)| PartitionProgress {
            topic: "t".into(),
            topic_id: ID.to_string(),
            partition: *partition,
            state: PartitionState::Following,
            reason: None,
            message: None,
            position: Some(*stored + 50),
            stored: Some(*stored),
            leader_epoch: None,
            last_timestamp: None,
            bytes: 0,
            records: 0,
        })
        .collect();
    progress
}

#[test]
fn lag_is_the_sources_end_minus_the_position_on_the_target() {
    let mut ledger = Ledger::default();
    let ends = source(&[("t", 0, 0, 100), ("t", 1, 0, 50), ("u", 0, 10, 30)]);
    take(
        &mut ledger,
        &sample(0, Ok(ends), Ok(target(0, &[(0, 90), (1, 50)]))),
    );
    let lag = ledger.lag(None).unwrap();
    // "u" has partition 0's position here, since all test topics share one ID: 30 - 90 is no lag.
    assert_eq!(lag.offsets, 10);
    assert_eq!(ledger.position_read_at(), Some(at(0)));
    let worst = ledger.worst();
    assert_eq!(
        (worst[0].name.as_str(), worst[0].partitions, worst[0].lag.offsets),
        ("t", 2, 10)
    );
    assert_eq!(ledger.partitions()[0], ("t".to_owned(), 0, 10));
}

#[test]
fn during_a_cut_the_fresh_end_is_measured_against_the_last_position_with_its_time() {
    let mut ledger = Ledger::default();
    let ends = |end| Ok(source(&[("t", 0, 0, end)]));
    take(&mut ledger, &sample(0, ends(100), Ok(target(0, &[(0, 100)]))));
    take(&mut ledger, &sample(10, ends(400), Err(cut())));
    take(&mut ledger, &sample(20, ends(700), Err(cut())));
    let lag = ledger.lag(None).unwrap();
    assert_eq!(
        (lag.offsets, lag.seconds),
        (600, Some(10)),
        "the end passed the position by 10"
    );
    assert_eq!(ledger.position_read_at(), Some(at(0)));
}

#[test]
fn a_source_that_cannot_be_read_leaves_no_figure_behind() {
    let mut ledger = Ledger::default();
    let read = target(0, &[(0, 40)]);
    take(
        &mut ledger,
        &sample(0, Ok(source(&[("t", 0, 0, 100)])), Ok(read.clone())),
    );
    take(&mut ledger, &sample(10, Err(cut()), Ok(read)));
    assert_eq!((ledger.lag(None), ledger.worst().len()), (None, 0));
    assert_eq!((ledger.partitions(), ledger.position_read_at()), (&[][..], None));
}

#[test]
fn an_operator_that_starts_during_a_cut_uses_what_the_pods_stored_and_nothing_they_only_claim() {
    let workers = |stored: &[(i32, i64)]| BTreeMap::from([("p".to_owned(), worker(stored, None))]);
    let cut_sample = sample(10, Ok(source(&[("t", 0, 0, 100)])), Err(cut()));
    let mut ledger = Ledger::default();
    ledger.take(
        &cut_sample,
        &workers(&[]),
        &BTreeSet::new(),
        Start::Earliest,
        false,
    );
    assert_eq!(ledger.total(), None, "nobody has read a position");
    ledger.take(
        &cut_sample,
        &workers(&[(0, 30)]),
        &BTreeSet::new(),
        Start::Earliest,
        false,
    );
    assert_eq!(
        ledger.lag(None).unwrap().offsets,
        70,
        "the stored position, not the one ahead of it"
    );
    assert_eq!(ledger.position_read_at(), Some(at(0)), "the pod's own time");
}

#[test]
fn what_the_pods_stored_after_the_last_look_counts_during_a_cut_and_never_takes_a_position_back() {
    let ends = || Ok(source(&[("t", 0, 0, 100), ("t", 1, 0, 100)]));
    let mut ledger = Ledger::default();
    take(
        &mut ledger,
        &sample(-5, ends(), Ok(target(-5, &[(0, 40), (1, 40)]))),
    );
    let workers = BTreeMap::from([("p".to_owned(), worker(&[(0, 60), (1, 30)], None))]);
    let none = BTreeSet::new();
    ledger.take(
        &sample(10, ends(), Err(cut())),
        &workers,
        &none,
        Start::Earliest,
        false,
    );
    assert_eq!(
        ledger.partitions(),
        [("t".to_owned(), 0, 40), ("t".to_owned(), 1, 60)]
    );
    assert_eq!(ledger.position_read_at(), Some(at(0)));
    take(
        &mut ledger,
        &sample(20, ends(), Ok(target(20, &[(0, 55), (1, 40)]))),
    );
    assert_eq!(
        ledger.partitions()[0].2,
        45,
        "what is read on the target counts again"
    );
    ledger.take(
        &sample(30, ends(), Err(cut())),
        &workers,
        &none,
        Start::Earliest,
        false,
    );
    assert_eq!(ledger.partitions()[0].2, 45, "the pod's word is older");
}

#[test]
fn a_partition_without_position_counts_from_the_log_start_or_not_at_all_at_a_first_start_from_the_end() {
    let ends = || Ok(source(&[("t", 0, 20, 100)]));
    let lag = |start, read: Target| {
        let mut ledger = Ledger::default();
        let first = sample(0, ends(), Ok(read));
        ledger.take(&first, &BTreeMap::new(), &BTreeSet::new(), start, true);
        ledger.lag(None).unwrap().offsets
    };
    assert_eq!(lag(Start::Earliest, target(0, &[])), 80);
    assert_eq!(lag(Start::Latest, target(0, &[])), 0);
    let ran_before = Target {
        any: true,
        ..target(0, &[])
    };
    assert_eq!(
        lag(Start::Latest, ran_before),
        80,
        "a later topic starts at its beginning"
    );
}

#[test]
fn refused_topics_and_positions_that_cannot_be_read_make_no_figure() {
    let mut ledger = Ledger::default();
    let ends = source(&[("t", 0, 0, 100), ("t", 1, 0, 100), ("loop", 2, 0, 100)]);
    let mut read = target(0, &[(0, 90)]);
    read.positions.insert(
        (ID, 1),
        Err(PositionError::FutureVersion {
            part: "value",
            version: 9,
        }),
    );
    let refused = BTreeSet::from(["loop"]);
    ledger.take(
        &sample(0, Ok(ends), Ok(read)),
        &BTreeMap::new(),
        &refused,
        Start::Earliest,
        true,
    );
    assert_eq!(ledger.lag(None).unwrap().offsets, 10);
    assert_eq!(ledger.partitions().len(), 1);
}

#[test]
fn deleted_offsets_without_a_position_behind_them_are_named_once_no_race_explains_them() {
    let expired = |ledger: &Ledger| -> Vec<(i32, i64, i64)> {
        let found = ledger.expired().iter();
        found.map(|e| (e.partition, e.from, e.to)).collect()
    };
    let ends = |start| {
        Ok(source(&[
            ("t", 0, start, 900),
            ("t", 1, 50, 900),
            ("t", 2, 50, 900),
        ]))
    };
    // Partition 1 stands at the log's start, and 2 has no position: nothing of them is known to be missing.
    let read = |second, next| Ok(target(second, &[(0, next), (1, 50)]));
    let mut ledger = Ledger::default();
    take(&mut ledger, &sample(0, ends(100), read(0, 100)));
    assert_eq!(expired(&ledger), []);
    take(&mut ledger, &sample(10, ends(500), read(10, 499)));
    assert_eq!(expired(&ledger), [], "it was deleted after the position was read");
    take(&mut ledger, &sample(20, ends(800), read(20, 499)));
    assert_eq!(expired(&ledger), [(0, 499, 800)]);
    take(&mut ledger, &sample(30, ends(800), Err(cut())));
    assert_eq!(expired(&ledger), [(0, 499, 800)]);
    take(&mut ledger, &sample(40, Err(cut()), read(40, 499)));
    assert_eq!(expired(&ledger), [(0, 499, 800)], "it does not come back");
    take(&mut ledger, &sample(50, ends(800), read(50, 800)));
    assert_eq!(expired(&ledger), []);
}

#[test]
fn bytes_are_offsets_by_the_mean_of_all_workers_and_absent_before_a_record_was_seen() {
    let mut ledger = Ledger::default();
    let first = sample(0, Ok(source(&[("t", 0, 0, 100)])), Ok(target(0, &[(0, 0)])));
    take(&mut ledger, &first);
    assert_eq!(ledger.lag(None).unwrap().estimated_bytes, None);
    let workers = BTreeMap::from([
        ("a".to_owned(), worker(&[], Some(100.0))),
        ("b".to_owned(), worker(&[], Some(200.0))),
    ]);
    ledger.take(&first, &workers, &BTreeSet::new(), Start::Earliest, true);
    assert_eq!(ledger.lag(None).unwrap().estimated_bytes, Some(15_000));
    take(&mut ledger, &first);
    assert_eq!(
        ledger.lag(None).unwrap().estimated_bytes,
        Some(15_000),
        "sizes are remembered while no pod can be asked"
    );
}

#[test]
fn only_the_worst_twenty_topics_are_listed_the_furthest_behind_first() {
    let mut ledger = Ledger::default();
    let names: Vec<String> = (0..30).map(|i| format!("t{i:02}")).collect();
    let ranges: Vec<_> = names
        .iter()
        .zip(0..)
        .map(|(name, i)| (name.as_str(), i, 0, i64::from(i) * 10))
        .collect();
    take(&mut ledger, &sample(0, Ok(source(&ranges)), Ok(target(0, &[]))));
    let worst = ledger.worst();
    assert_eq!(
        (worst.len(), worst[0].name.as_str(), worst[19].name.as_str()),
        (20, "t29", "t10")
    );
}
