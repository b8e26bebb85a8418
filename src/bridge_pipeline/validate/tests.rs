use super::super::tests::{endpoint, object, validated};
use super::*;
use crate::api::{Duration, MqttSession};

fn problems(change: impl FnOnce(&mut BridgePipeline)) -> Vec<String> {
    let mut object = object();
    change(&mut object);
    let problems = validate(&object, &mqtt_files(&object).unwrap(), &endpoint(), &[]).unwrap_err();
    assert!(problems.iter().all(|p| p.reason == Reason::InvalidSpec));
    problems.into_iter().map(|p| p.to_string()).collect()
}

#[test]
fn silent_fields_get_their_documented_values() {
    let bridge = validated(&object());
    assert_eq!(bridge.config.mqtt.client_id, "tributary.factory.machines");
    assert_eq!(bridge.config.mqtt.session_expiry_seconds, Some(7 * 24 * 3600));
    assert_eq!(bridge.session_expiry.as_deref(), Some("168h"));
    assert_eq!(bridge.config.generation, None);
    assert!(!bridge.paused);
}

#[test]
fn the_client_id_of_the_spec_wins_and_an_empty_one_counts_as_none() {
    let mut object = object();
    object.spec.mqtt.client_id = Some("line-7".into());
    assert_eq!(client_id(&object), "line-7");
    object.spec.mqtt.client_id = Some(String::new());
    assert_eq!(client_id(&object), "tributary.factory.machines");
}

#[test]
fn mqtt_3_1_1_has_no_expiry() {
    let mut object = object();
    object.spec.mqtt.protocol = MqttProtocol::V311;
    let bridge = validated(&object);
    assert_eq!(
        (bridge.config.mqtt.session_expiry_seconds, bridge.session_expiry),
        (None, None)
    );
}

#[test]
fn each_fault_names_field_value_and_remedy() {
    let route = |change: fn(&mut crate::api::Route)| problems(|o| change(&mut o.spec.routes[0]));
    for (found, parts) in [
        (
            route(|r| r.key = Some("{plant}".into())),
            ["spec.routes[telemetry].key", "{plant}", "{line}, {machine}"],
        ),
        (
            route(|r| r.match_ = "office/{room}".into()),
            ["spec.routes[telemetry].match", "office/{room}", "subscribe to"],
        ),
        (
            route(|r| r.match_ = "factory/{li".into()),
            ["spec.routes[telemetry].match", "factory/{li", "whole level"],
        ),
        (
            problems(|o| {
                o.spec.mqtt.subscriptions.push(crate::api::Subscription {
                    filter: "factory/#".into(),
                    qos: 1,
                });
            }),
            ["spec.mqtt.subscriptions", "factory/", "keep the wider one"],
        ),
        (
            problems(|o| {
                o.spec.mqtt.subscriptions.push(crate::api::Subscription {
                    filter: "office/+".into(),
                    qos: 1,
                });
                o.spec.dead_letter = None;
            }),
            [
                "spec.mqtt.subscriptions[office/+]",
                "feeds no route",
                "add a route or a deadLetter",
            ],
        ),
        (
            problems(|o| o.spec.mqtt.servers = vec!["mqtts://broker:0".into()]),
            ["spec.mqtt.servers", "mqtts://broker:0", "write mqtt://"],
        ),
        (
            problems(|o| {
                o.spec.mqtt.session = Some(MqttSession {
                    expiry: Duration("5s".into()),
                });
            }),
            ["spec.mqtt.session.expiry", "\"5s\"", "at least 60s"],
        ),
    ] {
        assert!(
            found.iter().any(|p| parts.iter().all(|part| p.contains(part))),
            "{parts:?}: {found:#?}"
        );
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let found = problems(|o| {
        o.spec.routes[0].key = Some("{plant}".into());
        o.spec.mqtt.session = Some(MqttSession {
            expiry: Duration("5s".into()),
        });
    });
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn a_filter_that_the_session_still_holds_is_unsubscribed() {
    let mut object = object();
    let held = |filter: &str| SubscriptionStatus {
        filter: filter.into(),
        granted_qos: Some(1),
        message: None,
    };
    object.status = Some(crate::api::BridgePipelineStatus {
        subscriptions: vec![held("factory/+/+/telemetry"), held("old/#")],
        ..Default::default()
    });
    assert_eq!(validated(&object).config.mqtt.unsubscribe, ["old/#"]);
}

#[test]
fn credentials_are_files_and_never_in_the_configuration() {
    let files = mqtt_files(&object()).unwrap();
    let MqttAuthenticationFile::Password { password_file, .. } = &files.authentication else {
        panic!("{files:?}")
    };
    assert_eq!(
        password_file.to_str(),
        Some("/etc/tributary/credentials/mqtt/password")
    );
    let (volume, mount) = files.mounts.volume().unwrap();
    assert_eq!(mount.mount_path, "/etc/tributary/credentials/mqtt");
    assert_eq!(mount.sub_path, None, "a subPath is never refreshed");
    let sources = volume.projected.unwrap().sources.unwrap();
    assert_eq!(sources.iter().filter_map(|s| s.secret.as_ref()).count(), 2);
}
