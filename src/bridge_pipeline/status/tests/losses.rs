//! What was lost, for how long it is told, and that it is counted once.

use super::*;
use crate::bridge::progress::Loss;

#[test]
fn a_loss_stays_told_when_the_pod_forgets_it_until_the_spec_changes() {
    let loss = |reason| Loss {
        reason,
        count: 1,
        message: "what and where".into(),
        last_seen: at(1),
    };
    let with = |second, losses: &[bridge::Reason]| {
        let mut lossy = progress(second);
        lossy.losses = losses.iter().map(|r| loss(*r)).collect();
        lossy
    };
    let mut bridge = Watched::new();
    bridge.look(10, &[running()], Ok(with(10, &[bridge::Reason::SessionLost])));
    bridge.expect("Lossless", "Unknown", Reason::SessionLost);
    bridge
        .following(20)
        .expect("Lossless", "Unknown", Reason::SessionLost);
    bridge.look(30, &[running()], Ok(with(30, &[bridge::Reason::PayloadTooLarge])));
    bridge.expect("Lossless", "False", Reason::PayloadTooLarge);
    bridge.look(40, &[running()], Ok(with(40, &[bridge::Reason::SessionLost])));
    bridge.expect("Lossless", "False", Reason::PayloadTooLarge);
    bridge.expect("Ready", "True", Reason::Following);
    bridge.object.metadata.generation = Some(4);
    bridge
        .following(50)
        .expect("Lossless", "True", Reason::NothingLost);
}

#[test]
fn losses_up_to_the_time_that_a_person_acknowledges_are_told_no_more() {
    let lossy = |second, last_seen| {
        let mut lossy = progress(second);
        lossy.losses = vec![Loss {
            reason: bridge::Reason::BrokerDropped,
            count: 1,
            message: "dropped".into(),
            last_seen: at(last_seen),
        }];
        lossy
    };
    let acknowledge = |bridge: &mut Watched, text: String| {
        let annotations = bridge.object.metadata.annotations.get_or_insert_default();
        annotations.insert(lossless::ACKNOWLEDGED_ANNOTATION.to_owned(), text);
    };
    let mut bridge = Watched::new();
    bridge.look(10, &[running()], Ok(lossy(10, 5)));
    bridge.expect("Lossless", "False", Reason::BrokerDroppedMessages);
    acknowledge(&mut bridge, "yesterday".into());
    for second in [20, 30] {
        bridge.look(second, &[running()], Ok(lossy(second, 5)));
        let told = bridge.expect("Lossless", "False", Reason::BrokerDroppedMessages);
        assert_eq!(told.matches("is not a time such as").count(), 1, "{told}");
    }
    acknowledge(&mut bridge, at(30).to_string());
    bridge.look(40, &[running()], Ok(lossy(40, 5)));
    bridge.expect("Lossless", "True", Reason::NothingLost);
    bridge.look(50, &[running()], Ok(lossy(50, 45)));
    bridge.expect("Lossless", "False", Reason::BrokerDroppedMessages);
    bridge
        .following(60)
        .expect("Lossless", "False", Reason::BrokerDroppedMessages);
    acknowledge(&mut bridge, at(60).to_string());
    bridge
        .following(70)
        .expect("Lossless", "True", Reason::NothingLost);
}

#[test]
fn lost_sessions_are_counted_over_restarts_of_the_pod_but_not_those_from_before() {
    let count = |started: i64, lost: u64| {
        let mut p = progress(started + 100);
        p.started_at = at(started);
        p.counters.sessions_lost = lost;
        p
    };
    let mut bridge = Watched::new();
    let counted: Vec<u64> = [(0, 2), (0, 2), (0, 3), (50, 1), (50, 1)]
        .into_iter()
        .map(|(started, lost)| {
            bridge
                .look(started + 100, &[running()], Ok(count(started, lost)))
                .lost
        })
        .collect();
    assert_eq!(counted, [0, 0, 1, 1, 0]);
}

#[test]
fn a_session_that_was_lost_while_no_bridge_ran_is_told_and_counted_once() {
    let process = |started: i64, session_present| {
        let mut p = progress(started + 5);
        p.started_at = at(started);
        p.mqtt.client_id = client_id(&object());
        p.mqtt.first_session_present = Some(session_present);
        p
    };
    let mut bridge = Watched::new();
    let counted: Vec<u64> = [(0, false), (0, false), (50, true), (90, false), (90, false)]
        .into_iter()
        .map(|(started, present)| {
            let seen = bridge.look(started + 5, &[running()], Ok(process(started, present)));
            if started < 90 {
                seen.expect("Lossless", "True", Reason::NothingLost);
            }
            seen.lost
        })
        .collect();
    assert_eq!(counted, [0, 0, 0, 1, 0]);
    bridge.expect("Lossless", "Unknown", Reason::SessionLost);
}
