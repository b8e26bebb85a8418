use proptest::prelude::*;

use uuid::Uuid;

use super::*;

const TOPIC: TopicId = TopicId(Uuid::from_u128(1));
const OTHER: TopicId = TopicId(Uuid::from_u128(2));
const TARGET: TopicId = TopicId(Uuid::from_u128(3));

fn known(next_offset: i64, leader_epoch: Option<i32>) -> Known {
    Known {
        topic_id: TOPIC,
        target_topic_id: Some(TARGET),
        position: Reached {
            next_offset,
            leader_epoch,
            timestamp: None,
        },
    }
}

fn source(log_start: i64, log_end: i64) -> SourceFacts {
    SourceFacts {
        topic_id: TOPIC,
        log_start,
        log_end,
        epoch_end: None,
    }
}

fn target(log_end: i64) -> Option<TargetFacts> {
    Some(TargetFacts {
        topic_id: TARGET,
        log_end,
    })
}

fn stopped(verdict: Verdict) -> (StopReason, Option<(i64, Option<i64>)>) {
    match verdict {
        Verdict::Stop { reason, missing } => (reason, missing.map(|missing| (missing.from, missing.to))),
        other => panic!("expected a stop, got {other:?}"),
    }
}

#[test]
fn a_position_within_the_log_is_resumed_unchanged() {
    for next in [10, 15, 20] {
        let verdict = judge(Stored::Known(known(next, None)), source(10, 20), target(7));
        assert_eq!(verdict, Verdict::Resume(known(next, None).position));
    }
}

#[test]
fn a_position_below_the_log_start_stops_with_what_expired() {
    let verdict = judge(Stored::Known(known(4, None)), source(10, 20), target(4));
    assert_eq!(stopped(verdict), (StopReason::BelowLogStart, Some((4, Some(10)))));
}

#[test]
fn a_position_beyond_the_log_end_stops_with_what_the_source_lost() {
    let verdict = judge(Stored::Known(known(25, None)), source(10, 20), target(25));
    assert_eq!(stopped(verdict), (StopReason::BeyondLogEnd, Some((20, Some(25)))));
}

#[test]
fn a_divergence_of_epochs_stops_although_the_offset_exists() {
    let facts = SourceFacts {
        epoch_end: Some(EpochEnd::Offset(90)),
        ..source(0, 200)
    };
    let verdict = judge(Stored::Known(known(100, Some(5))), facts, target(100));
    assert_eq!(
        stopped(verdict),
        (StopReason::LogTruncated, Some((90, Some(100))))
    );
}

#[test]
fn an_epoch_that_ends_at_or_behind_the_position_is_no_divergence() {
    for end in [100, 101, 200] {
        let facts = SourceFacts {
            epoch_end: Some(EpochEnd::Offset(end)),
            ..source(0, 200)
        };
        let stored = Stored::Known(known(100, Some(5)));
        assert!(
            matches!(judge(stored, facts, target(100)), Verdict::Resume(_)),
            "{end}"
        );
    }
}

#[test]
fn an_epoch_that_the_leader_never_had_is_another_log() {
    let facts = SourceFacts {
        epoch_end: Some(EpochEnd::Unknown),
        ..source(20, 200)
    };
    let verdict = judge(Stored::Known(known(100, Some(5))), facts, target(100));
    assert_eq!(
        stopped(verdict),
        (StopReason::LogTruncated, Some((20, Some(100))))
    );
}

#[test]
fn another_log_that_begins_at_the_position_stops_without_an_empty_range() {
    let facts = SourceFacts {
        epoch_end: Some(EpochEnd::Unknown),
        ..source(100, 200)
    };
    let verdict = judge(Stored::Known(known(100, Some(5))), facts, target(100));
    assert_eq!(stopped(verdict), (StopReason::LogTruncated, None));
}

#[test]
fn a_shorter_log_of_the_same_epoch_is_beyond_its_end() {
    let facts = SourceFacts {
        epoch_end: Some(EpochEnd::Offset(20)),
        ..source(0, 20)
    };
    let verdict = judge(Stored::Known(known(25, Some(5))), facts, target(25));
    assert_eq!(stopped(verdict), (StopReason::BeyondLogEnd, Some((20, Some(25)))));
}

#[test]
fn a_topic_created_anew_stops_with_the_old_topics_open_range() {
    let facts = SourceFacts {
        topic_id: OTHER,
        ..source(0, 1000)
    };
    let verdict = judge(Stored::Known(known(25, None)), facts, target(25));
    assert_eq!(stopped(verdict), (StopReason::TopicRecreated, Some((25, None))));
}

#[test]
fn a_target_that_is_gone_or_anew_stops() {
    let stored = Stored::Known(known(15, None));
    assert_eq!(
        stopped(judge(stored, source(10, 20), None)).0,
        StopReason::TargetTopicMissing
    );
    let anew = Some(TargetFacts {
        topic_id: OTHER,
        log_end: 0,
    });
    assert_eq!(
        stopped(judge(stored, source(10, 20), anew)).0,
        StopReason::TargetTopicRecreated
    );
}

#[test]
fn the_first_run_starts_where_the_file_says() {
    let begins = |stored| match judge(stored, source(10, 20), target(0)) {
        Verdict::Begin(position) => position.next_offset,
        other => panic!("{other:?}"),
    };
    assert_eq!(begins(Stored::FirstRun(Start::Earliest)), 10);
    assert_eq!(begins(Stored::FirstRun(Start::Latest)), 20);
    assert_eq!(begins(Stored::NewTopic), 10);
}

#[test]
fn a_new_partition_begins_at_zero_or_reports_what_it_lost() {
    let verdict = judge(Stored::NewPartition, source(0, 20), target(0));
    assert!(matches!(verdict, Verdict::Begin(Reached { next_offset: 0, .. })));
    let verdict = judge(Stored::NewPartition, source(5, 20), target(0));
    assert_eq!(stopped(verdict), (StopReason::BelowLogStart, Some((0, Some(5)))));
}

#[test]
fn records_on_the_target_without_a_position_stop_instead_of_repeating_all() {
    for stored in [
        Stored::FirstRun(Start::Earliest),
        Stored::FirstRun(Start::Latest),
        Stored::NewTopic,
        Stored::NewPartition,
    ] {
        assert_eq!(
            stopped(judge(stored, source(0, 20), target(1))).0,
            StopReason::TargetNotEmpty
        );
    }
}

fn facts() -> impl Strategy<Value = (Stored, SourceFacts, Option<TargetFacts>)> {
    let id = || prop_oneof![9 => Just(TOPIC), 1 => Just(OTHER)];
    let stored = prop_oneof![
        6 => (0..100_i64, prop::option::of(0..5_i32), id(), prop::bool::weighted(0.9)).prop_map(|(next, epoch, topic_id, same)| {
            Stored::Known(Known { topic_id, target_topic_id: Some(if same { TARGET } else { OTHER }), ..known(next, epoch) })
        }),
        1 => Just(Stored::FirstRun(Start::Earliest)),
        1 => Just(Stored::FirstRun(Start::Latest)),
        1 => Just(Stored::NewTopic),
        1 => Just(Stored::NewPartition),
    ];
    let end = prop::option::of(
        prop_oneof![3 => (0..150_i64).prop_map(EpochEnd::Offset), 1 => Just(EpochEnd::Unknown)],
    );
    let source =
        (id(), 0..60_i64, 0..60_i64, end).prop_map(|(topic_id, log_start, length, epoch_end)| SourceFacts {
            topic_id,
            log_start,
            log_end: log_start + length,
            epoch_end,
        });
    let target = prop::option::weighted(
        0.9,
        (0..3_i64).prop_map(|log_end| TargetFacts {
            topic_id: TARGET,
            log_end,
        }),
    );
    (stored, source, target)
}

proptest! {
    /// Whatever both sides say: a stored position is resumed as it is or not at all, only where the log still holds
    /// it, and a start is made only into an empty target.
    #[test]
    fn no_offset_is_ever_skipped((stored, source, target) in facts()) {
        match (judge(stored, source, target), stored) {
            (Verdict::Resume(position), Stored::Known(known)) => {
                prop_assert_eq!(position, known.position);
                prop_assert_eq!(known.topic_id, source.topic_id);
                prop_assert!((source.log_start..=source.log_end).contains(&position.next_offset));
                if let Some(EpochEnd::Offset(end)) = source.epoch_end {
                    prop_assert!(end >= position.next_offset);
                }
                prop_assert!(target.is_some());
            }
            (Verdict::Begin(position), Stored::FirstRun(_) | Stored::NewTopic | Stored::NewPartition) => {
                prop_assert!((source.log_start..=source.log_end).contains(&position.next_offset));
                prop_assert!(target.is_none_or(|target| target.log_end == 0));
                if stored != Stored::FirstRun(Start::Latest) {
                    prop_assert_eq!(position.next_offset, source.log_start);
                }
            }
            (Verdict::Stop { missing, .. }, _) => {
                if let Some(Missing { from, to: Some(to), .. }) = missing {
                    prop_assert!(from < to);
                }
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
