use jiff::Timestamp;
use serde_json::json;

use super::super::session::Ending;
use super::super::tests::{object, objects, validated};
use super::super::{Applied, BridgePipelines, MAX_LEFT, locked};
use super::*;
use crate::bridge::progress::{Counters, InFlight, KafkaProgress};
use crate::controller::ObjectKey;

const CLIENT: &str = "tributary.factory.machines";

fn at(second: i64) -> Timestamp {
    Timestamp::from_millisecond((1_750_000_000 + second) * 1000 + 345).unwrap()
}

/// A subscribed process that began at `started`.
fn progress(started: i64, session_present: bool, dropped: Option<(u64, u64)>) -> BridgeProgress {
    let dropped = dropped.map(|(baseline, current)| {
        json!({"baseline": baseline, "current": current, "growth": current - baseline, "observedAt": at(started + 2)})
    });
    serde_json::from_value(json!({
        "observedAt": at(started + 3), "startedAt": at(started), "configHash": "h", "generation": 3,
        "mqtt": {
            "clientId": CLIENT, "connectedSince": at(started + 1), "sessionPresent": session_present,
            "firstSessionPresent": session_present, "paused": false, "brokerDropped": dropped,
            "subscriptions": [{"filter": "factory/+/+/telemetry", "requestedQos": 1, "grantedQos": 1}],
        },
        "kafka": KafkaProgress::default(), "counters": Counters::default(), "inFlight": InFlight::default(),
        "problems": [],
    }))
    .unwrap()
}

/// What is seen of a process, with the status kept as the operator keeps it.
fn look(
    object: &BridgePipeline,
    old: &mut BridgePipelineStatus,
    progress: &BridgeProgress,
) -> Option<Reason> {
    let loss = lost_while_away(object, CLIENT, progress, old);
    old.session = held(object, CLIENT, Some(progress), old);
    // As the API server keeps it: with whole seconds.
    *old = serde_json::from_value(serde_json::to_value(&*old).unwrap()).unwrap();
    loss.map(|l| l.reason)
}

#[test]
fn the_first_bridge_of_all_has_lost_nothing_although_it_finds_no_session() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    let first = progress(0, false, Some((7, 7)));
    assert_eq!(look(&object, &mut old, &first), None);
    assert_eq!(look(&object, &mut old, &first), None);
    assert_eq!(old.session.unwrap().broker_dropped, Some(7));
}

#[test]
fn a_session_that_a_later_process_does_not_find_again_is_lost_and_told_once() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    look(&object, &mut old, &progress(0, false, None));
    assert_eq!(look(&object, &mut old, &progress(100, true, None)), None);
    let later = progress(200, false, None);
    assert_eq!(look(&object, &mut old, &later), Some(Reason::SessionLost));
    assert_eq!(look(&object, &mut old, &later), None);
}

#[test]
fn it_is_lost_also_when_the_process_was_seen_before_it_was_subscribed() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    look(&object, &mut old, &progress(0, false, None));
    let mut connecting = progress(100, false, None);
    connecting.mqtt.connected_since = None;
    connecting.mqtt.first_session_present = None;
    assert_eq!(look(&object, &mut old, &connecting), None);
    assert_eq!(
        look(&object, &mut old, &progress(100, false, None)),
        Some(Reason::SessionLost)
    );
}

#[test]
fn another_server_or_client_has_another_session() {
    let (mut object, mut old) = (object(), BridgePipelineStatus::default());
    look(&object, &mut old, &progress(0, false, Some((0, 0))));
    object.spec.mqtt.servers = vec!["mqtts://other:8883".into()];
    assert_eq!(look(&object, &mut old, &progress(100, false, Some((9, 9)))), None);
    assert_eq!(
        lost_while_away(&object, "another", &progress(200, false, Some((99, 99))), &old),
        None
    );
}

#[test]
fn what_the_broker_dropped_while_no_bridge_ran_is_told_with_its_number() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    look(&object, &mut old, &progress(0, false, Some((3, 5))));
    let later = progress(100, true, Some((10_005, 10_005)));
    let loss = lost_while_away(&object, CLIENT, &later, &old).unwrap();
    assert_eq!((loss.reason, loss.count), (Reason::BrokerDropped, 10_000));
    assert!(loss.message.contains("10000 messages"), "{}", loss.message);
    look(&object, &mut old, &later);
    assert_eq!(look(&object, &mut old, &later), None);
}

#[test]
fn a_broker_that_began_anew_has_dropped_nothing_of_ours() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    look(&object, &mut old, &progress(0, false, Some((3, 5))));
    assert_eq!(look(&object, &mut old, &progress(100, true, Some((0, 0)))), None);
}

#[test]
fn what_a_broker_had_dropped_before_it_began_anew_under_a_bridge_is_not_told_as_lost_since() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    // As the bridge counts: a smaller count begins at 0.
    for (baseline, current) in [(100, 100), (100, 130), (0, 0), (0, 0), (0, 2)] {
        let process = progress(0, true, Some((baseline, current)));
        for _ in 0..2 {
            assert_eq!(look(&object, &mut old, &process), None, "{current}");
        }
        assert_eq!(
            old.session.as_ref().unwrap().broker_dropped,
            Some(current.cast_signed())
        );
    }
    // A later process is measured by the new count.
    assert_eq!(
        look(&object, &mut old, &progress(100, true, Some((9, 9)))),
        Some(Reason::BrokerDropped)
    );
}

#[test]
fn a_session_is_held_and_its_loss_told_also_while_a_subscription_is_refused() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    let refused = |started, session_present| {
        let mut refused = progress(started, session_present, None);
        let mut another = refused.mqtt.subscriptions[0].clone();
        another.filter = "office/#".into();
        another.granted_qos = None;
        another.refused = Some("not authorized".into());
        refused.mqtt.subscriptions.push(another);
        refused
    };
    assert_eq!(look(&object, &mut old, &refused(0, false)), None);
    assert!(old.session.is_some());
    for told in [Some(Reason::SessionLost), None] {
        assert_eq!(look(&object, &mut old, &refused(100, false)), told);
    }
}

#[test]
fn what_was_known_stays_while_nobody_can_be_asked() {
    let (object, mut old) = (object(), BridgePipelineStatus::default());
    look(&object, &mut old, &progress(0, false, Some((0, 5))));
    assert_eq!(held(&object, CLIENT, None, &old), old.session);
    let unreadable = held(&object, CLIENT, Some(&progress(100, true, None)), &old).unwrap();
    assert_eq!(unreadable.broker_dropped, Some(5));
}

#[test]
fn a_bridge_made_anew_with_another_filter_unsubscribes_what_the_session_still_holds() {
    let mut former = object();
    former.spec.mqtt.subscriptions[0].filter = "factory/press/+/telemetry".to_owned();
    former.status = None;
    let left = Left::by(&validated(&former).config.mqtt);
    let mut anew = object();
    anew.status = None;
    assert_eq!(
        validated(&left.told_to(&anew).unwrap()).config.mqtt.unsubscribe,
        ["factory/press/+/telemetry"]
    );
    // What was still to be unsubscribed when it was deleted is so now.
    let between = Left::by(&validated(&left.told_to(&anew).unwrap()).config.mqtt);
    assert_eq!(
        validated(&between.told_to(&anew).unwrap())
            .config
            .mqtt
            .unsubscribe,
        ["factory/press/+/telemetry"]
    );
}

#[test]
fn a_bridge_with_a_status_or_another_session_takes_nothing_over() {
    let mut former = object();
    former.status = None;
    let left = Left::by(&validated(&former).config.mqtt);
    assert!(left.told_to(&former).is_some());
    let mut other = former.clone();
    other.spec.mqtt.client_id = Some("another".to_owned());
    assert_eq!(left.told_to(&other), None);
    let mut other = former.clone();
    other.spec.mqtt.servers = vec!["mqtt://elsewhere:1883".to_owned()];
    assert_eq!(left.told_to(&other), None);
    former.status = Some(BridgePipelineStatus::default());
    assert_eq!(left.told_to(&former), None);
}

/// An operator that has applied this object.
fn having_applied(object: &BridgePipeline, key: &ObjectKey) -> BridgePipelines {
    let bridges = BridgePipelines::default();
    let applied = Applied {
        uid: object.metadata.uid.clone(),
        ending: Ending::of(&objects(object)).unwrap(),
        left: Left::by(&validated(object).config.mqtt),
    };
    locked(&bridges.applied).insert(key.clone(), applied);
    bridges
}

#[test]
fn a_successor_is_known_by_its_uid_although_nobody_told_that_the_former_one_went() {
    let mut former = object();
    former.status = None;
    let key = ObjectKey::of(&former);
    let bridges = having_applied(&former, &key);
    assert_eq!(bridges.successor(&key, &former), None);
    let mut anew = former.clone();
    anew.metadata.uid = Some("u2".to_owned());
    let told = bridges.successor(&key, &anew).unwrap();
    assert_eq!(
        told.status.unwrap().subscriptions[0].filter,
        "factory/+/+/telemetry"
    );
    // Once it has a status of its own there is nothing left to tell.
    anew.status = Some(BridgePipelineStatus::default());
    assert_eq!(bridges.successor(&key, &anew), None);
}

#[test]
fn sessions_of_bridges_that_never_come_back_are_not_kept_without_bound() {
    let bridges = BridgePipelines::default();
    let left = Left::by(&validated(&object()).config.mqtt);
    for number in 0..=MAX_LEFT {
        bridges.leave(
            &ObjectKey::new("BridgePipeline", "factory", number.to_string()),
            left.clone(),
        );
    }
    assert!(locked(&bridges.left).len() <= MAX_LEFT);
}
