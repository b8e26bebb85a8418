use super::ConfigProblem as P;
use super::*;
use crate::bridge::config::tests::example;
use crate::bridge::config::{DeadLetterConfig, PayloadFormat, RouteConfig};

fn problems(change: impl FnOnce(&mut BridgeConfig)) -> Vec<P> {
    let mut config = example();
    change(&mut config);
    config.validate().into_iter().map(|e| e.problem).collect()
}

fn first(change: impl FnOnce(&mut BridgeConfig)) -> ConfigError {
    let mut config = example();
    change(&mut config);
    config.validate().into_iter().next().expect("an error")
}

fn subscription(filter: &str) -> SubscriptionConfig {
    SubscriptionConfig {
        filter: filter.into(),
        qos: 1,
    }
}

fn route(name: &str, match_: &str) -> RouteConfig {
    RouteConfig {
        name: name.into(),
        match_: match_.into(),
        topic: "telemetry".into(),
        key: None,
        format: PayloadFormat::Raw,
        headers: [].into(),
    }
}

#[test]
fn an_error_names_field_value_cause_and_remedy() {
    let error = first(|c| c.routes[0].key = Some("{site}".into()));
    assert_eq!(error.problem, P::UnknownCapture);
    assert_eq!(
        error.to_string(),
        "routes[telemetry].key: \"{site}\" uses {site}, which the route's match does not capture; \
         use {line}, {machine}, {mqtt.topic}, or capture the level in match"
    );
}

#[test]
fn subscriptions_are_judged() {
    let with = |filters: &[&str]| {
        problems(|c| c.mqtt.subscriptions = filters.iter().map(|f| subscription(f)).collect())
    };
    assert_eq!(with(&["factory/+/+/telemetry"]), []);
    assert_eq!(
        with(&["factory/#", "factory/+/+/telemetry"]),
        [P::OverlappingSubscriptions]
    );
    assert_eq!(with(&["factory/#", "factory/#"]), [P::DuplicateSubscription]);
    assert_eq!(with(&["factory/#", "a+"]), [P::InvalidFilter]);
    assert_eq!(with(&["factory/#", "$share/g/a"]), [P::SharedSubscription]);
    assert_eq!(with(&[]), [P::OutOfBounds, P::UnfedRoute]);
    let many: Vec<String> = (0..65).map(|i| format!("s{i}/#")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(with(&many)[0], P::OutOfBounds);
    assert_eq!(problems(|c| c.mqtt.subscriptions[0].qos = 2), [P::InvalidQos]);
    assert_eq!(
        problems(|c| c.mqtt.unsubscribe = vec!["a#".into()]),
        [P::InvalidFilter]
    );
    assert_eq!(
        problems(|c| c.mqtt.unsubscribe = vec!["a/#".into(); 257]),
        [P::OutOfBounds]
    );
}

#[test]
fn a_route_must_be_fed_and_a_subscription_must_lead_somewhere() {
    assert_eq!(
        problems(|c| c.routes.push(route("other", "plant/{x}"))),
        [P::UnfedRoute]
    );
    let error = first(|c| c.routes.push(route("other", "plant/{x}")));
    assert!(error.remedy.contains("\"plant/+\""), "{error}");
    // A dead-letter topic takes what no route takes.
    assert_eq!(
        problems(|c| c.mqtt.subscriptions.push(subscription("plant/#"))),
        []
    );
    let unrouted = problems(|c| {
        c.mqtt.subscriptions.push(subscription("plant/#"));
        c.dead_letter = None;
    });
    assert_eq!(unrouted, [P::UnroutedSubscription]);
}

#[test]
fn routes_are_judged() {
    let with = |change: fn(&mut RouteConfig)| problems(|c| change(&mut c.routes[0]));
    assert_eq!(
        with(|r| r.match_ = "factory/line-{line}/x".into()),
        [P::InvalidMatch]
    );
    assert_eq!(
        with(|r| r.match_ = "factory/{line}/{line}/telemetry".into()),
        [P::InvalidMatch]
    );
    assert_eq!(with(|r| r.match_ = "factory/#/x".into()), [P::InvalidMatch]);
    assert_eq!(with(|r| r.key = Some("{line".into())), [P::InvalidTemplate]);
    assert_eq!(with(|r| r.key = Some(String::new())), [P::InvalidTemplate]);
    assert_eq!(with(|r| r.key = Some("x".repeat(1025))), [P::InvalidTemplate]);
    assert_eq!(with(|r| r.key = None), []);
    assert_eq!(with(|r| r.topic = "a/b".into()), [P::InvalidTopic]);
    assert_eq!(with(|r| r.topic = "..".into()), [P::InvalidTopic]);
    assert_eq!(with(|r| r.topic = "x".repeat(250)), [P::InvalidTopic]);
    assert_eq!(with(|r| r.name = "Telemetry".into()), [P::InvalidName]);
    assert_eq!(
        with(|r| r.headers = [("a".into(), "{nope}".into())].into()),
        [P::UnknownCapture]
    );
    assert_eq!(with(|r| r.headers = [("a".into(), "{line}".into())].into()), []);
    assert_eq!(
        with(|r| r.headers = [("mqtt.topic".into(), "x".into())].into()),
        [P::InvalidHeader]
    );
    assert_eq!(
        with(|r| r.headers = [("tributary.x".into(), "x".into())].into()),
        [P::InvalidHeader]
    );
    assert_eq!(
        with(|r| r.headers = [(String::new(), "x".into())].into()),
        [P::InvalidHeader]
    );
    assert_eq!(
        problems(|c| c.routes.push(route("telemetry", "factory/#"))),
        [P::DuplicateRoute]
    );
    assert_eq!(problems(|c| c.routes.clear()), [P::OutOfBounds]);
}

#[test]
fn the_dead_letter_topic_is_its_own() {
    let dead = |topic: &str| problems(|c| c.dead_letter = Some(DeadLetterConfig { topic: topic.into() }));
    assert_eq!(dead("telemetry"), [P::DeadLetterIsRouteTopic]);
    assert_eq!(dead("a b"), [P::InvalidTopic]);
    assert_eq!(problems(|c| c.dead_letter = None), []);
}

#[test]
fn addresses_tls_and_credentials_must_go_together() {
    let servers = |list: &[&str]| problems(|c| c.mqtt.servers = list.iter().map(|s| (*s).into()).collect());
    assert_eq!(servers(&[]), [P::InvalidServer]);
    assert_eq!(servers(&["broker:1883"]), [P::InvalidServer]);
    assert_eq!(servers(&["mqtt://broker"]), [P::TlsMismatch]);
    assert_eq!(
        problems(|c| c.mqtt.tls = MqttTlsFile::Disabled {}),
        [P::TlsMismatch]
    );
    let mtls = MqttAuthenticationFile::Mtls {
        certificate_file: "/a".into(),
        key_file: "/b".into(),
    };
    assert_eq!(problems(|c| c.mqtt.authentication = mtls.clone()), []);
    let plain = problems(|c| {
        c.mqtt.authentication = mtls.clone();
        c.mqtt.tls = MqttTlsFile::Disabled {};
        c.mqtt.servers = vec!["mqtt://broker".into()];
    });
    assert_eq!(plain, [P::InvalidCredentials]);
    let nameless = MqttAuthenticationFile::Password {
        username: String::new(),
        password_file: "/p".into(),
    };
    assert_eq!(
        problems(|c| c.mqtt.authentication = nameless),
        [P::InvalidCredentials]
    );
    assert_eq!(
        problems(|c| c.mqtt.client_id = String::new()),
        [P::InvalidClientId]
    );
    assert_eq!(
        problems(|c| c.mqtt.client_id = "x".repeat(257)),
        [P::InvalidClientId]
    );
}

#[test]
fn a_session_must_outlive_a_restart() {
    assert_eq!(
        problems(|c| c.mqtt.session_expiry_seconds = Some(0)),
        [P::InvalidSession]
    );
    assert_eq!(problems(|c| c.mqtt.session_expiry_seconds = None), []);
    assert_eq!(
        problems(|c| c.mqtt.protocol = Protocol::V311),
        [P::InvalidSession]
    );
}

#[test]
fn numbers_have_bounds() {
    assert_eq!(problems(|c| c.mqtt.receive_maximum = Some(0)), [P::OutOfBounds]);
    assert_eq!(
        problems(|c| c.mqtt.keep_alive_seconds = Some(1)),
        [P::OutOfBounds]
    );
    assert_eq!(
        problems(|c| c.limits.max_in_flight_messages = 0),
        [P::OutOfBounds]
    );
    assert_eq!(problems(|c| c.limits.max_in_flight_bytes = 1), [P::OutOfBounds]);
}
