//! Messages that wait although everything answers.

use super::*;

#[test]
fn a_bridge_that_gets_nothing_confirmed_says_what_to_look_at() {
    let mut bridge = Watched::new();
    bridge.following(10);
    for second in (20..=200).step_by(10) {
        let mut stuck = progress(second);
        stuck.in_flight = InFlight {
            messages: 5,
            bytes: 100,
            oldest_age_seconds: Some(f64::from(i32::try_from(second).unwrap() - 10)),
        };
        bridge.look(second, &[running()], Ok(stuck));
    }
    assert_eq!(bridge.verdict(), Verdict::NotMoving);
    let message = bridge.expect("Stalled", "True", Reason::NotMoving);
    assert!(message.contains("min.insync.replicas"), "{message}");
}

#[test]
fn a_kafka_that_is_back_after_long_has_time_to_confirm() {
    let mut bridge = Watched::new();
    bridge.following(10);
    let held = |second: i64, connected: Option<i64>| {
        let mut held = progress(second);
        held.kafka.connected_since = connected.map(at);
        held.in_flight = InFlight {
            messages: 5,
            bytes: 100,
            oldest_age_seconds: Some(f64::from(i32::try_from(second).unwrap() - 10)),
        };
        held
    };
    for second in (20..400).step_by(10) {
        bridge.look(second, &[running()], Ok(held(second, None)));
    }
    assert_eq!(bridge.verdict(), Verdict::Disconnected);
    bridge.look(401, &[running()], Ok(held(401, Some(400))));
    assert_eq!(bridge.verdict(), Verdict::CatchingUp);
}

#[test]
fn a_bridge_that_carries_is_not_stuck_however_old_its_oldest_message_is() {
    let mut bridge = Watched::new();
    bridge.following(10);
    for second in (1000..1200).step_by(10) {
        let mut busy = progress(second);
        busy.counters.acknowledged = u64::try_from(second).unwrap();
        busy.in_flight = InFlight {
            messages: u64::try_from(5000 - second).unwrap(),
            bytes: 100,
            oldest_age_seconds: Some(900.0),
        };
        bridge.look(second, &[running()], Ok(busy));
    }
    assert_eq!(bridge.verdict(), Verdict::CatchingUp);
}
