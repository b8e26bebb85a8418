//! What a bridge may not do: use a topic, hold a subscription.

use super::*;

fn unauthorized(second: i64) -> Result<BridgeProgress, String> {
    let mut unauthorized = progress(second);
    unauthorized.problems = vec![problem(Component::Topic, bridge::Reason::TopicUnauthorized)];
    Ok(unauthorized)
}

#[test]
fn a_bridge_that_may_not_use_its_topic_is_not_ready_for_a_moment_either() {
    let mut bridge = Watched::new();
    for second in [10, 20] {
        bridge.look(second, &[running()], unauthorized(second));
        bridge.expect("Ready", "False", Reason::KafkaError);
        bridge.expect("Stalled", "True", Reason::KafkaError);
    }
    // After a restart of the operator.
    bridge.memory = Memory::default();
    bridge.look(30, &[running()], unauthorized(30));
    bridge.expect("Ready", "False", Reason::KafkaError);
    // With another spec, also if it worked before.
    bridge.following(40).expect("Ready", "True", Reason::Following);
    bridge.object.metadata.generation = Some(4);
    bridge.look(50, &[running()], unauthorized(50));
    bridge.expect("Ready", "False", Reason::KafkaError);
    bridge.following(60).expect("Ready", "True", Reason::Following);
}

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
