use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::kafka::topic_id::TopicId;
use crate::replicator::verdict::{EpochEnd, Known, SourceFacts, Stored, TargetFacts, Verdict, judge};

fn record(offset: i64) -> Sent {
    Sent {
        offset,
        leader_epoch: Some(3),
        timestamp: Some(offset * 10),
        bytes: 100,
    }
}

fn at(next_offset: i64) -> Reached {
    Reached {
        next_offset,
        leader_epoch: None,
        timestamp: None,
    }
}

fn started(offset: i64, records: &[i64]) -> Tracker {
    let mut tracker = Tracker::new(at(offset));
    for offset in records {
        tracker.sent(record(*offset));
    }
    tracker
}

#[test]
fn the_position_waits_for_the_oldest_unacknowledged_record() {
    let mut tracker = started(5, &[5, 6, 7]);
    tracker.acknowledged(7);
    tracker.acknowledged(6);
    assert_eq!(tracker.position().next_offset, 5);
    tracker.acknowledged(5);
    assert_eq!(
        tracker.position(),
        Reached {
            next_offset: 8,
            leader_epoch: Some(3),
            timestamp: Some(70)
        }
    );
    assert_eq!(
        (tracker.records(), tracker.bytes(), tracker.in_flight_bytes()),
        (3, 300, 0)
    );
}

#[test]
fn an_acknowledgement_yields_its_record_once() {
    let mut tracker = started(5, &[5, 6]);
    assert_eq!(tracker.acknowledged(6), Some(record(6)));
    assert_eq!((tracker.acknowledged(6), tracker.acknowledged(7)), (None, None));
    assert_eq!(tracker.in_flight(), 2, "6 waits for 5");
    assert_eq!(tracker.acknowledged(5), Some(record(5)));
    assert_eq!((tracker.acknowledged(5), tracker.in_flight()), (None, 0));
}

#[test]
fn holes_between_records_are_passed_with_the_record_behind_them() {
    let mut tracker = started(0, &[2, 9]);
    assert_eq!(
        tracker.position().next_offset,
        0,
        "offsets 0 and 1 are passed with 2"
    );
    tracker.acknowledged(2);
    assert_eq!(
        tracker.position().next_offset,
        3,
        "what lies before 9 may be of another epoch than 2"
    );
    tracker.acknowledged(9);
    assert_eq!(tracker.position().next_offset, 10);
}

#[test]
fn a_marker_at_the_end_is_passed_once_nothing_is_in_flight() {
    let mut tracker = started(0, &[0]);
    tracker.passed(2, Some(4));
    assert_eq!(tracker.position().next_offset, 0);
    tracker.acknowledged(0);
    let behind_the_marker = Reached {
        next_offset: 2,
        leader_epoch: Some(4),
        timestamp: Some(0),
    };
    assert_eq!(tracker.position(), behind_the_marker);
    tracker.passed(1, Some(3));
    tracker.sent(record(2));
    assert_eq!(
        tracker.position(),
        behind_the_marker,
        "neither a consumer's position nor a record takes it back"
    );
}

#[test]
fn what_was_aborted_in_a_newer_epoch_is_not_passed_with_the_older_one() {
    let mut tracker = started(43, &[43]);
    tracker.acknowledged(43);
    // 44 to 54 are aborted, of an epoch that nothing tells.
    tracker.passed(55, None);
    assert_eq!(
        (tracker.position().next_offset, tracker.position().leader_epoch),
        (55, None)
    );
    // With a record behind them that is on its way, the same.
    let mut tracker = started(43, &[43, 55]);
    tracker.acknowledged(43);
    assert_eq!(
        (tracker.position().next_offset, tracker.position().leader_epoch),
        (44, Some(3))
    );
}

#[test]
fn a_marker_is_passed_while_only_records_behind_it_are_in_flight() {
    let mut tracker = started(0, &[0]);
    tracker.passed(2, Some(4));
    tracker.sent(record(2));
    tracker.acknowledged(0);
    assert_eq!(
        (tracker.position().next_offset, tracker.position().leader_epoch),
        (2, Some(4))
    );
}

#[test]
fn a_record_seen_before_is_not_sent_twice() {
    let mut tracker = started(10, &[10, 11]);
    tracker.sent(record(9));
    tracker.sent(record(11));
    assert_eq!(tracker.in_flight_bytes(), 200);
    assert!(!tracker.wants(11));
    assert!(tracker.wants(12));
}

#[test]
fn before_any_record_the_start_is_kept_with_its_epoch() {
    let start = Reached {
        next_offset: 4,
        leader_epoch: Some(1),
        timestamp: Some(99),
    };
    let mut tracker = Tracker::new(start);
    assert_eq!(tracker.position(), start);
    tracker.passed(4, None);
    assert_eq!(tracker.position(), start, "nothing was passed");
    tracker.passed(6, Some(2));
    assert_eq!(
        tracker.position(),
        Reached {
            next_offset: 6,
            leader_epoch: Some(2),
            ..start
        }
    );
}

#[test]
fn the_size_of_a_waiting_record_is_known() {
    let tracker = started(0, &[0, 4]);
    assert_eq!(tracker.size_of(4), Some(100));
    assert_eq!(tracker.size_of(3), None);
}

#[derive(Clone, Debug)]
enum Step {
    Send(i64),
    Acknowledge(usize),
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..4_i64).prop_map(Step::Send),
        3 => (0..50_usize).prop_map(Step::Acknowledge),
        1 => Just(Step::Pass),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Against a set: the position passes every acknowledged record that has none unacknowledged before it, and no
    /// other, and never goes back.
    #[test]
    fn nothing_unacknowledged_is_ever_passed(steps in steps()) {
        let mut tracker = Tracker::new(at(0));
        let mut waiting = BTreeSet::new();
        let mut next = 0;
        let mut before = 0;
        for step in steps {
            match step {
                Step::Send(hole) => {
                    let offset = next + hole;
                    tracker.sent(record(offset));
                    waiting.insert(offset);
                    next = offset + 1;
                }
                Step::Acknowledge(n) if !waiting.is_empty() => {
                    let offset = *waiting.iter().nth(n % waiting.len()).unwrap();
                    waiting.remove(&offset);
                    tracker.acknowledged(offset);
                }
                Step::Acknowledge(n) => {
                    let unknown = tracker.acknowledged(i64::try_from(n).unwrap());
                    prop_assert_eq!(unknown, None);
                }
                Step::Pass => {
                    next += 1;
                    tracker.passed(next, None);
                }
            }
            let position = tracker.position().next_offset;
            if let Some(oldest) = waiting.first() {
                prop_assert!(position <= *oldest);
            } else {
                prop_assert_eq!(position, next);
            }
            prop_assert!(position >= before);
            prop_assert!(tracker.in_flight_bytes() >= 100 * waiting.len() as u64);
            prop_assert_eq!(tracker.is_idle(), waiting.is_empty());
            before = position;
        }
    }
}

/// What a log holds at one offset.
#[derive(Clone, Copy, Debug)]
struct Slot {
    epoch: i32,
    /// A record, not a marker, an aborted record or a hole.
    record: bool,
}

/// A log whose leader epochs grow, and how far it was copied before.
fn logs() -> impl Strategy<Value = (Vec<Slot>, usize)> {
    let slot = (prop::bool::weighted(0.6), prop::bool::weighted(0.2));
    let log = prop::collection::vec(slot, 1..80).prop_map(|slots| {
        let mut epoch = 3;
        let grown = slots.into_iter().map(|(record, newer)| {
            epoch += i32::from(newer);
            Slot { epoch, record }
        });
        grown.collect::<Vec<_>>()
    });
    (log, 0..80_usize).prop_map(|(log, start)| {
        let start = start % log.len();
        (log, start)
    })
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Take,
    Acknowledge(usize),
    Pass,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        4 => Just(Turn::Take),
        3 => (0..50_usize).prop_map(Turn::Acknowledge),
        2 => Just(Turn::Pass),
    ];
    prop::collection::vec(turn, 0..200)
}

/// What an intact log says to a position.
fn judged(log: &[Slot], position: Reached) -> Verdict {
    let (topic_id, end) = (TopicId(Uuid::from_u128(1)), i64::try_from(log.len()).unwrap());
    let epoch_end = position.leader_epoch.map(|epoch| {
        let newer = log.iter().position(|slot| slot.epoch > epoch);
        EpochEnd::Offset(newer.map_or(end, |at| i64::try_from(at).unwrap()))
    });
    let known = Known {
        topic_id,
        target_topic_id: None,
        position,
    };
    let source = SourceFacts {
        topic_id,
        log_start: 0,
        log_end: end,
        epoch_end,
    };
    judge(
        Stored::Known(known),
        source,
        Some(TargetFacts { topic_id, log_end: 1 }),
    )
}

proptest! {
    /// Whatever is aborted, compacted away or written by another leader, and whenever the process is killed.
    #[test]
    fn an_intact_log_never_looks_truncated((log, start) in logs(), turns in turns(), tells in any::<bool>()) {
        let epoch_before = |next: usize| next.checked_sub(1).map(|before| log[before].epoch);
        let offset = |at: usize| i64::try_from(at).unwrap();
        let mut tracker = Tracker::new(Reached { leader_epoch: epoch_before(start), ..at(offset(start)) });
        let (mut next, mut waiting) = (start, BTreeSet::new());
        for turn in turns {
            match turn {
                Turn::Take if next < log.len() => {
                    if log[next].record {
                        let sent = Sent { leader_epoch: Some(log[next].epoch), ..record(offset(next)) };
                        tracker.sent(sent);
                        waiting.insert(sent.offset);
                    }
                    next += 1;
                }
                Turn::Acknowledge(n) if !waiting.is_empty() => {
                    let acknowledged = *waiting.iter().nth(n % waiting.len()).unwrap();
                    waiting.remove(&acknowledged);
                    tracker.acknowledged(acknowledged);
                }
                Turn::Pass => tracker.passed(offset(next), epoch_before(next).filter(|_| tells)),
                _ => {}
            }
            let position = tracker.position();
            prop_assert_eq!(judged(&log, position), Verdict::Resume(position));
        }
    }
}
