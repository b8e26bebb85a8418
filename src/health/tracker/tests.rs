use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn reading(end: i64, position: i64) -> PartitionLag {
    PartitionLag {
        start: Some(0),
        end,
        position: Some(position),
        last_record_ms: None,
    }
}

fn observe(tracker: &mut Tracker, second: i64, end: i64, position: i64) {
    tracker.observe(at(second), true, [("t", 0, reading(end, position))]);
}

#[test]
fn the_age_is_that_of_the_sample_in_which_the_end_passed_the_position() {
    let mut tracker = Tracker::default();
    observe(&mut tracker, 0, 100, 100);
    observe(&mut tracker, 10, 200, 100);
    observe(&mut tracker, 20, 300, 100);
    observe(&mut tracker, 30, 400, 100);
    let lag = tracker.total(at(35));
    assert_eq!((lag.offsets, lag.seconds), (300, Some(25)));
    observe(&mut tracker, 40, 500, 250);
    assert_eq!(
        tracker.total(at(40)).seconds,
        Some(20),
        "end 300 was first seen at 20"
    );
    observe(&mut tracker, 50, 500, 500);
    assert_eq!(
        tracker.total(at(50)),
        LagFigures {
            seconds: Some(0),
            ..LagFigures::default()
        }
    );
}

#[test]
fn without_a_sample_from_before_the_lag_the_last_record_s_time_counts_else_nothing() {
    let mut tracker = Tracker::default();
    observe(&mut tracker, 0, 100, 40);
    assert_eq!(tracker.total(at(0)).seconds, None);
    let record = PartitionLag {
        last_record_ms: Some(at(-90).as_millisecond()),
        ..reading(100, 40)
    };
    tracker.observe(at(10), true, [("t", 0, record)]);
    assert_eq!(tracker.total(at(10)).seconds, Some(100));
}

#[test]
fn a_partition_without_position_counts_with_all_that_the_source_holds() {
    let lag = PartitionLag {
        start: Some(30),
        end: 100,
        position: None,
        last_record_ms: None,
    };
    assert_eq!(lag.offsets(), 70);
    assert_eq!(
        PartitionLag {
            position: Some(120),
            ..lag
        }
        .offsets(),
        0
    );
}

#[test]
fn partitions_that_vanish_are_forgotten() {
    let mut tracker = Tracker::default();
    tracker.observe(at(0), true, [("a", 0, reading(10, 0)), ("b", 0, reading(10, 0))]);
    tracker.observe(at(10), true, [("b", 0, reading(10, 0))]);
    assert_eq!(
        tracker
            .topics(at(10))
            .into_iter()
            .map(|(t, ..)| t)
            .collect::<Vec<_>>(),
        ["b"]
    );
}

#[test]
fn standing_still_counts_only_with_lag_and_a_connection() {
    let mut tracker = Tracker::default();
    observe(&mut tracker, 0, 100, 100);
    observe(&mut tracker, 100, 110, 100);
    assert_eq!(
        tracker.longest_standing(at(100)),
        None,
        "it only just fell behind"
    );
    observe(&mut tracker, 160, 120, 100);
    assert_eq!(tracker.longest_standing(at(160)), Some(("t", 0, 60)));
    tracker.observe(at(170), false, [("t", 0, reading(130, 100))]);
    assert_eq!(
        tracker.longest_standing(at(170)),
        None,
        "the line was down: nothing could move"
    );
    observe(&mut tracker, 180, 140, 120);
    assert_eq!(tracker.longest_standing(at(185)), Some(("t", 0, 5)));
}

#[test]
fn a_truncated_source_starts_a_new_history() {
    let mut tracker = Tracker::default();
    observe(&mut tracker, 0, 100, 100);
    observe(&mut tracker, 10, 200, 100);
    observe(&mut tracker, 20, 50, 100);
    assert_eq!(tracker.total(at(20)).offsets, 0);
}

proptest! {
    #[test]
    fn samples_stay_bounded_and_the_age_of_a_standing_position_is_exact_over_any_time(
        steps in prop::collection::vec((1..500_i64, 0..300_i64), 1..400),
    ) {
        let mut tracker = Tracker::default();
        observe(&mut tracker, 0, 0, 0);
        let (mut now, mut end) = (0, 0);
        let mut passed = None;
        for (wait, grow) in steps {
            now += wait;
            end += grow;
            if grow > 0 && passed.is_none() {
                passed = Some(now);
            }
            observe(&mut tracker, now, end, 0);
            prop_assert!(tracker.tracks["t"][&0].samples.len() <= MAX_SAMPLES);
            let lag = tracker.total(at(now));
            prop_assert_eq!(lag.offsets, end);
            prop_assert_eq!(lag.seconds, Some(passed.map_or(0, |p| now - p)));
        }
    }

    #[test]
    fn a_position_that_moves_is_never_older_than_the_oldest_missing_offset(
        steps in prop::collection::vec((1..100_i64, 0..300_i64, 0..300_i64), 1..200),
    ) {
        let mut tracker = Tracker::default();
        observe(&mut tracker, 0, 0, 0);
        let (mut now, mut end, mut position) = (0, 0, 0);
        let mut ends = vec![(0, 0)];
        for (wait, grow, carry) in steps {
            now += wait;
            end += grow;
            position = (position + carry).min(end);
            observe(&mut tracker, now, end, position);
            ends.push((now, end));
            let truth = ends.iter().find(|(_, e)| *e > position).map_or(0, |(at, _)| now - at);
            let seconds = tracker.total(at(now)).seconds;
            prop_assert!(seconds.is_some_and(|s| s <= truth), "{seconds:?} > {truth}");
        }
    }
}
