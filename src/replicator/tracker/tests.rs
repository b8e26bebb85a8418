use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

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
        2,
        "offsets 0 and 1 hold no record"
    );
    tracker.acknowledged(2);
    assert_eq!(tracker.position().next_offset, 9);
    tracker.acknowledged(9);
    assert_eq!(tracker.position().next_offset, 10);
}

#[test]
fn a_marker_at_the_end_is_passed_once_nothing_is_in_flight() {
    let mut tracker = started(0, &[0]);
    tracker.passed(2);
    assert_eq!(tracker.position().next_offset, 0);
    tracker.acknowledged(0);
    assert_eq!(tracker.position().next_offset, 2);
    tracker.passed(1);
    assert_eq!(
        tracker.position().next_offset,
        2,
        "a consumer's position never takes it back"
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
    tracker.passed(6);
    assert_eq!(
        tracker.position(),
        Reached {
            next_offset: 6,
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
                    tracker.passed(next);
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
