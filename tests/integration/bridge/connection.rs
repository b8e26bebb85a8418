//! Credentials, TLS, refused subscriptions, and peers that are not what they should be: reported, and mended without a
//! restart.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use tributary::bridge::config::BridgeConfig;
use tributary::bridge::progress::{BridgeProgress, Component, Reason};
use tributary::kafka::endpoint::{AuthenticationFile, ScramMechanism, TlsFile};
use tributary::mqtt::credentials::Credentials;
use tributary::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile};

use super::setup::{Audit, Bridge, Publisher, audit, config, create_topics, ready_config};
use crate::harness::fake_server::{Behaviour, FakeServer};
use crate::harness::kafka::{Listener, PASSWORD, USER, shared};
use crate::harness::mosquitto::{Mosquitto, Options};
use crate::harness::process::data_dir;

const PERFECT: Audit = Audit {
    lost: 0,
    duplicates: 0,
    disorder: 0,
};

fn has(component: Component, reason: Reason) -> impl Fn(&BridgeProgress) -> bool {
    move |progress| progress.problem(component).is_some_and(|p| p.reason == reason)
}

fn write(dir: &std::path::Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(name);
    fs::write(&file, text).expect("write");
    file
}

fn with_password(user: &str, file: PathBuf) -> MqttAuthenticationFile {
    MqttAuthenticationFile::Password {
        username: user.into(),
        password_file: file,
    }
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_mended_by_its_file() {
    let options = Options {
        user: Some(("bridge".into(), "right".into())),
        ..Options::default()
    };
    let (mqtt, kafka) = (Mosquitto::start(&options).await, shared().await);
    let dir = data_dir("credentials");
    let password = dir.join("password");
    let mut config = ready_config(&mqtt, kafka).await;
    config.mqtt.authentication = with_password("bridge", password.clone());

    let mut bridge = Bridge::start(&config);
    let progress = bridge
        .wait(
            "to miss the file",
            has(Component::Mqtt, Reason::CredentialsUnreadable),
        )
        .await;
    let message = &progress.problem(Component::Mqtt).expect("as waited for").message;
    assert!(message.contains(&password.display().to_string()), "{message}");
    fs::write(&password, "wrong\n").expect("write");
    bridge
        .wait(
            "to be refused",
            has(Component::Mqtt, Reason::MqttCredentialsRefused),
        )
        .await;
    fs::write(&password, "right\n").expect("write");
    bridge
        .wait("to be in", |p| p.subscribed() && p.problems.is_empty())
        .await;

    // Rotated while it runs: mosquitto leaves every client that used the old one, and nothing is lost or repeated.
    let login = |password: &str| Credentials {
        login: Some(("bridge".into(), password.into())),
        tls: None,
    };
    let mut publisher = Publisher::connect_as(&mqtt, &login("right")).await;
    publisher.publish_range(5, 0..100).await;
    bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 500)
        .await;
    mqtt.change_password("bridge", "newer");
    fs::write(&password, "newer\n").expect("write");
    let again = |p: &BridgeProgress| p.counters.connects == 2 && p.subscribed();
    let progress = bridge.wait("to be in again", again).await;
    let mut publisher = Publisher::connect_as(&mqtt, &login("newer")).await;
    publisher.publish_range(5, 100..300).await;
    assert_eq!(progress.mqtt.session_present, Some(true));
    assert_eq!(audit(&config, kafka, 5, 300).await.0, PERFECT);
}

#[tokio::test]
async fn mutual_tls_connects_and_a_foreign_ca_is_refused() {
    let options = Options {
        tls: true,
        client_certificate: true,
        ..Options::default()
    };
    let (mqtt, kafka) = (Mosquitto::start(&options).await, shared().await);
    let dir = data_dir("credentials");
    let client = mqtt.authority().client("bridge");
    let foreign = crate::harness::certificates::Authority::new("foreign");
    let ca_file = write(&dir, "ca.crt", &foreign.pem());
    let mut config = ready_config(&mqtt, kafka).await;
    config.mqtt.tls = MqttTlsFile::Verify {
        ca_file: Some(ca_file.clone()),
    };
    config.mqtt.authentication = MqttAuthenticationFile::Mtls {
        certificate_file: write(&dir, "tls.crt", &client.certificate),
        key_file: write(&dir, "tls.key", &client.key),
    };
    let mut bridge = Bridge::start(&config);
    bridge
        .wait(
            "to distrust the server",
            has(Component::Mqtt, Reason::MqttTlsFailed),
        )
        .await;
    fs::write(&ca_file, mqtt.authority().pem()).expect("write");
    bridge.wait("to be in", BridgeProgress::subscribed).await;
    let tls = MqttTlsFile::Verify {
        ca_file: Some(ca_file),
    };
    let credentials = Credentials::load(&config.mqtt.authentication, &tls).expect("they load");
    let mut publisher = Publisher::connect_as(&mqtt, &credentials).await;
    publisher.publish_range(2, 0..20).await;
    assert_eq!(audit(&config, kafka, 2, 20).await.0, PERFECT);

    // A client certificate that the server does not know.
    let stranger = foreign.client("bridge");
    bridge.stop().await;
    fs::write(dir.join("tls.crt"), &stranger.certificate).expect("write");
    fs::write(dir.join("tls.key"), &stranger.key).expect("write");
    bridge.start_again();
    bridge
        .wait("to be distrusted", has(Component::Mqtt, Reason::MqttTlsFailed))
        .await;
}

#[tokio::test]
async fn a_server_that_is_unknown_silent_or_something_else_is_named() {
    let kafka = shared().await;
    let http = FakeServer::start(Behaviour::Answers(Bytes::from_static(
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    )))
    .await;
    for (url, reason) in [
        ("mqtt://no-such-host.invalid".to_owned(), Reason::MqttNameUnknown),
        ("mqtt://127.0.0.1:9".to_owned(), Reason::MqttUnreachable),
        (format!("mqtt://{}", http.address()), Reason::MqttProtocolError),
    ] {
        let config = config(&url, kafka.bootstrap(Listener::Plain));
        let mut bridge = Bridge::start(&config);
        let progress = bridge.wait("to name it", has(Component::Mqtt, reason)).await;
        assert!(
            progress
                .problem(Component::Mqtt)
                .expect("as waited for")
                .message
                .contains(&url),
            "{progress:?}"
        );
        bridge.stop().await;
    }
}

#[tokio::test]
async fn another_address_is_tried_when_the_first_does_not_answer() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = ready_config(&mqtt, kafka).await;
    config.mqtt.servers.insert(0, "mqtt://127.0.0.1:9".into());
    let mut bridge = Bridge::ready(&config).await;
    let progress = bridge.progress().await.expect("progress");
    assert_eq!(progress.mqtt.server, Some(mqtt.url()));
}

#[tokio::test]
async fn kafka_with_scram_over_tls_is_reached_and_a_wrong_password_is_mended_by_its_file() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let dir = data_dir("credentials");
    let mut config: BridgeConfig = ready_config(&mqtt, kafka).await;
    let password_file = write(&dir, "password", "wrong");
    config.kafka.bootstrap_servers = kafka.bootstrap(Listener::SaslTls);
    config.kafka.tls = TlsFile::Verify {
        ca_file: Some(write(&dir, "ca.crt", &kafka.authority().pem())),
        certificate_file: None,
        key_file: None,
    };
    config.kafka.authentication = AuthenticationFile::Scram {
        mechanism: ScramMechanism::ScramSha512,
        username: USER.into(),
        password_file: password_file.clone(),
    };
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(3, 0..50).await;
    let progress = bridge
        .wait(
            "to be refused",
            has(Component::Kafka, Reason::KafkaCredentialsRefused),
        )
        .await;
    assert_eq!(progress.counters.acknowledged, 0);
    fs::write(&password_file, PASSWORD).expect("write");
    assert_eq!(audit(&config, kafka, 3, 50).await.0, PERFECT);
    bridge
        .wait("to have recovered", |p| {
            p.problems.is_empty() && p.in_flight.messages == 0
        })
        .await;
}

#[tokio::test]
async fn credentials_that_vanish_are_named_and_end_no_connection_that_works() {
    let options = Options {
        user: Some(("bridge".into(), "right".into())),
        ..Options::default()
    };
    let (mqtt, kafka) = (Mosquitto::start(&options).await, shared().await);
    let dir = data_dir("credentials");
    let [for_mqtt, for_kafka] =
        [("mqtt", "right"), ("kafka", PASSWORD)].map(|(n, text)| write(&dir, n, text));
    let mut config = ready_config(&mqtt, kafka).await;
    config.mqtt.authentication = with_password("bridge", for_mqtt.clone());
    config.kafka.bootstrap_servers = kafka.bootstrap(Listener::SaslTls);
    config.kafka.tls = TlsFile::Verify {
        ca_file: Some(write(&dir, "ca.crt", &kafka.authority().pem())),
        certificate_file: None,
        key_file: None,
    };
    config.kafka.authentication = AuthenticationFile::Scram {
        mechanism: ScramMechanism::ScramSha512,
        username: USER.into(),
        password_file: for_kafka.clone(),
    };
    let mut bridge = Bridge::ready(&config).await;
    bridge
        .wait("to reach Kafka", |p| p.kafka.connected_since.is_some())
        .await;
    let login = Credentials {
        login: Some(("bridge".into(), "right".into())),
        tls: None,
    };
    let mut publisher = Publisher::connect_as(&mqtt, &login).await;
    publisher.publish_range(3, 0..20).await;
    for file in [&for_mqtt, &for_kafka] {
        fs::remove_file(file).expect("removed");
    }
    for (component, file) in [(Component::Mqtt, &for_mqtt), (Component::Kafka, &for_kafka)] {
        let missed = has(component, Reason::CredentialsUnreadable);
        let progress = bridge.wait("to miss the file", missed).await;
        let message = &progress.problem(component).expect("as waited for").message;
        assert!(message.contains(&file.display().to_string()), "{message}");
    }
    publisher.publish_range(3, 20..40).await;
    assert_eq!(audit(&config, kafka, 3, 40).await.0, PERFECT);
    let progress = bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 120)
        .await;
    assert!(progress.subscribed() && progress.kafka.connected_since.is_some());
    assert_eq!(progress.counters.connects, 1);
    let metrics = bridge.metrics().await;
    let restarts = "tributary_bridge_producer_restarts_total 0";
    assert!(metrics.lines().any(|l| l == restarts), "{metrics}");
    fs::write(&for_mqtt, "right").expect("write");
    fs::write(&for_kafka, PASSWORD).expect("write");
    bridge
        .wait("to have both again", |p| p.subscribed() && p.problems.is_empty())
        .await;
}

#[tokio::test]
async fn a_bootstrap_address_that_is_not_kafka_is_named() {
    let mqtt = Mosquitto::start(&Options::default()).await;
    let http = FakeServer::start(Behaviour::Answers(Bytes::from_static(
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    )))
    .await;
    let config = config(&mqtt.url(), vec![http.address()]);
    let mut bridge = Bridge::ready(&config).await;
    let progress = bridge
        .wait("to name it", has(Component::Kafka, Reason::KafkaProtocolError))
        .await;
    let message = &progress.problem(Component::Kafka).expect("as waited for").message;
    assert!(
        message.contains(&http.address()) && message.contains("HTTP/1.1 400"),
        "{message}"
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_work_ends_the_process_with_every_cause() {
    let mut config = config("mqtt://127.0.0.1:9", vec!["127.0.0.1:9".into()]);
    config.routes[0].key = Some("{nobody}".into());
    config.mqtt.subscriptions[0].qos = 2;
    let dir = data_dir("config");
    let file = write(
        &dir,
        "bridge.yaml",
        &serde_yaml::to_string(&config).expect("YAML"),
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(["bridge", "--config"])
        .arg(file)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("routes[telemetry].key") && text.contains("mqtt.subscriptions"),
        "{text}"
    );
}

#[tokio::test]
async fn topics_created_late_serve_a_bridge_that_began_without_kafka() {
    let mqtt = Mosquitto::start(&Options::default()).await;
    let kafka = shared().await;
    let config = config(&mqtt.url(), vec![kafka.address(0, Listener::Plain)]);
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(2, 0..10).await;
    create_topics(&config, kafka).await;
    assert_eq!(audit(&config, kafka, 2, 10).await.0, PERFECT);
    bridge.stop().await;
}

#[tokio::test]
async fn a_server_that_grants_less_than_asked_for_makes_it_not_ready() {
    let mut options = Options::default();
    options.config.push("max_qos 0".into());
    let (mqtt, kafka) = (Mosquitto::start(&options).await, shared().await);
    let config = ready_config(&mqtt, kafka).await;
    let mut bridge = Bridge::start(&config);
    let lowered = has(Component::Subscriptions, Reason::SubscriptionQosLowered);
    let progress = bridge.wait("to see it", lowered).await;
    assert_eq!(progress.mqtt.subscriptions[0].granted_qos, Some(0));
    assert!(!progress.subscribed());
    assert_eq!(bridge.readyz().await.0, 503);
}
