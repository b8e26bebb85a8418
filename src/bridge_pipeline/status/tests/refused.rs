//! What a bridge may not do: use a topic, hold a subscription.

use super::*;

#[test]
fn a_lost_session_is_counted_once_also_while_a_subscription_is_refused_for_good() {
    let process = |started: i64| {
        let mut refused = progress(started + 5);
        refused.started_at = at(started);
        refused.mqtt.client_id = client_id(&object());
        refused.mqtt.first_session_present = Some(false);
        refused.mqtt.subscriptions[0].granted_qos = None;
        refused.problems = vec![problem(
            Component::Subscriptions,
            bridge::Reason::SubscriptionRefused,
        )];
        Ok(refused)
    };
    let mut bridge = Watched::new();
    let counted = [0, 0, 50, 50].map(|started| bridge.look(started + 5, &[running()], process(started)).lost);
    assert_eq!(counted, [0, 0, 1, 0]);
    bridge.expect("Lossless", "Unknown", Reason::SessionLost);
    let session = bridge.object.status.unwrap().session.unwrap();
    assert_eq!(session.process_started_at, Some(Time(at(50))));
}
