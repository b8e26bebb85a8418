use super::*;
use crate::api::Verdict;
use crate::health::row;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn up(second: i64, lag: i64, seconds: i64, carried: i64) -> Observation {
    Observation {
        at: at(second),
        reach: Reach::Up,
        lag: Some(lag),
        seconds: Some(seconds),
        carried,
        standing_seconds: 0,
    }
}

fn down(second: i64) -> Observation {
    Observation {
        reach: Reach::Down,
        ..up(second, 500, 60, 0)
    }
}

fn facts(second: i64) -> Facts {
    Facts {
        now: at(second),
        paused: false,
        cannot_work: false,
        was_connected: true,
        starting_since: at(0),
    }
}

fn history(observations: impl IntoIterator<Item = Observation>) -> History {
    let mut history = History::default();
    for observation in observations {
        history.push(observation);
    }
    history
}

fn situation(history: &History, facts: &Facts) -> Situation {
    history.judge(facts).situation
}

#[test]
fn a_cut_line_goes_from_disconnected_over_catching_up_to_in_sync() {
    let mut history = history([up(0, 100, 1, 0), up(10, 100, 1, 1000)]);
    assert_eq!(situation(&history, &facts(10)), Situation::Following);
    history.push(down(20));
    assert_eq!(situation(&history, &facts(20)), Situation::Disconnected);
    // Mended: even if all was caught up before the first look, one look is not enough.
    history.push(up(50, 0, 0, 50_000));
    assert_eq!(situation(&history, &facts(50)), Situation::CatchingUp);
    history.push(up(60, 100, 1, 60_000));
    assert_eq!(situation(&history, &facts(60)), Situation::Following);
}

#[test]
fn behind_is_catching_up_while_the_lag_shrinks_and_falling_behind_while_it_grows() {
    let shrinking = history([up(0, 9000, 600, 0), up(30, 6000, 500, 9000)]);
    let judgement = shrinking.judge(&facts(30));
    assert_eq!(judgement.situation, Situation::CatchingUp);
    assert_eq!(judgement.catch_up_seconds, Some(60), "6000 left at 3000 in 30 s");
    let growing = history([up(0, 6000, 500, 0), up(30, 9000, 600, 10)]);
    let judgement = growing.judge(&facts(30));
    assert_eq!(
        (judgement.situation, judgement.catch_up_seconds),
        (Situation::FallingBehind, None)
    );
    let too_early = history([up(0, 6000, 500, 0), up(10, 9000, 600, 10)]);
    assert_eq!(situation(&too_early, &facts(10)), Situation::CatchingUp);
}

#[test]
fn the_lag_of_a_cut_does_not_count_as_a_trend() {
    let mended = history([down(0), down(30), up(40, 500, 90, 10), up(65, 600, 99, 20)]);
    assert_eq!(
        situation(&mended, &facts(65)),
        Situation::FallingBehind,
        "600 after 500, both connected"
    );
    let mended = history([down(0), down(30), up(40, 700, 90, 10), up(65, 600, 99, 20)]);
    assert_eq!(situation(&mended, &facts(65)), Situation::CatchingUp);
}

#[test]
fn standing_still_for_a_minute_with_the_line_up_is_not_moving() {
    let stands = |second: i64| Observation {
        standing_seconds: second,
        ..up(second, 100 + second, second, 7)
    };
    let mut history = history((0..6).map(|i| stands(i * 10)));
    assert_ne!(situation(&history, &facts(50)), Situation::NotMoving);
    history.push(stands(60));
    assert_eq!(situation(&history, &facts(60)), Situation::NotMoving);
}

#[test]
fn one_partition_that_stands_while_others_move_gets_five_minutes() {
    let moving = |second: i64| Observation {
        standing_seconds: second,
        ..up(second, 500, second, second)
    };
    let early = history((0..25).map(|i| moving(i * 10)));
    assert_ne!(situation(&early, &facts(240)), Situation::NotMoving);
    let late = history((0..31).map(|i| moving(i * 10)));
    assert_eq!(situation(&late, &facts(300)), Situation::NotMoving);
}

#[test]
fn a_first_start_is_progressing_for_ten_minutes_and_then_stalled() {
    let never = |second| Facts {
        was_connected: false,
        ..facts(second)
    };
    assert_eq!(situation(&History::default(), &never(0)), Situation::Starting);
    assert_eq!(situation(&history([down(590)]), &never(599)), Situation::Starting);
    assert_eq!(
        situation(&history([down(600)]), &never(600)),
        Situation::CannotWork
    );
    assert_eq!(
        situation(&history([up(700, 0, 0, 0)]), &never(700)),
        Situation::Following
    );
}

#[test]
fn what_cannot_be_measured_is_unknown() {
    let blind = Observation {
        lag: None,
        seconds: None,
        ..up(0, 0, 0, 0)
    };
    let judgement = history([blind]).judge(&facts(0));
    assert_eq!(row(judgement.situation).verdict, Verdict::Unknown);
    let deaf = Observation {
        reach: Reach::Unknown,
        ..up(0, 0, 0, 0)
    };
    assert_eq!(situation(&history([deaf]), &facts(0)), Situation::Unmeasured);
}

#[test]
fn a_lag_whose_age_is_unknown_is_not_in_sync() {
    let unknown_age = Observation {
        seconds: None,
        ..up(0, 10, 0, 0)
    };
    assert_eq!(
        situation(&history([unknown_age]), &facts(0)),
        Situation::CatchingUp
    );
}

fn any_observation() -> impl Strategy<Value = Observation> {
    (
        prop_oneof![Just(Reach::Up), Just(Reach::Down), Just(Reach::Unknown)],
        prop::option::of(0..10_000_i64),
        prop::option::of(0..1000_i64),
        0..10_000_i64,
        0..400_i64,
    )
        .prop_map(|(reach, lag, seconds, carried, standing_seconds)| Observation {
            at: at(0),
            reach,
            lag,
            seconds,
            carried,
            standing_seconds,
        })
}

fn any_history() -> impl Strategy<Value = History> {
    prop::collection::vec((1..40_i64, any_observation()), 0..300).prop_map(|steps| {
        let mut second = 0;
        history(steps.into_iter().map(|(wait, observation)| {
            second += wait;
            Observation {
                at: at(second),
                ..observation
            }
        }))
    })
}

proptest! {
    #[test]
    fn paused_wins_over_everything_and_a_spec_that_cannot_work_over_all_else(h in any_history(), was in any::<bool>()) {
        let base = Facts { was_connected: was, ..facts(9999) };
        prop_assert_eq!(situation(&h, &Facts { paused: true, cannot_work: true, ..base }), Situation::Paused);
        prop_assert_eq!(situation(&h, &Facts { cannot_work: true, ..base }), Situation::CannotWork);
    }

    #[test]
    fn nothing_is_claimed_that_was_not_measured_with_the_line_up(h in any_history(), was in any::<bool>()) {
        let verdict = row(situation(&h, &Facts { was_connected: was, ..facts(9999) })).verdict;
        let claims = [Verdict::InSync, Verdict::CatchingUp, Verdict::FallingBehind, Verdict::NotMoving];
        let measured = h.latest().is_some_and(|o| o.reach == Reach::Up && o.lag.is_some());
        prop_assert_eq!(claims.contains(&verdict), measured);
        prop_assert!(verdict != Verdict::Disconnected || (was && h.latest().unwrap().reach == Reach::Down));
    }

    #[test]
    fn in_sync_means_a_small_lag_at_the_last_look(h in any_history()) {
        if situation(&h, &facts(9999)) == Situation::Following {
            prop_assert!(in_sync(h.latest().unwrap()));
        }
    }

    #[test]
    fn a_forecast_exists_only_for_a_lag_that_shrinks(h in any_history()) {
        if let Some(seconds) = h.judge(&facts(9999)).catch_up_seconds {
            prop_assert!(seconds >= 0 && h.latest().unwrap().lag.unwrap() > 0);
        }
    }

    #[test]
    fn the_window_is_bounded(h in any_history()) {
        prop_assert!(h.observations.len() <= MAX_OBSERVATIONS);
        if let (Some(first), Some(last)) = (h.observations.front(), h.observations.back()) {
            prop_assert!(last.at.duration_since(first.at).as_secs() <= 120);
        }
    }
}
