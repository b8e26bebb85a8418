//! The MQTT session: kept, resumed, lost, changed, ended.

use tributary::bridge::config::SubscriptionConfig;
use tributary::bridge::progress::{BridgeProgress, Component, Lossless, Reason};

use super::setup::{Audit, Bridge, Publisher, audit, payload, read_until, ready_config, topic_of, v311};
use crate::harness::kafka::{Listener, shared};
use crate::harness::mosquitto::{Mosquitto, Options};
use crate::harness::proxy::Proxy;
use crate::harness::wait::{PATIENCE, eventually};

const PERFECT: Audit = Audit {
    lost: 0,
    duplicates: 0,
    disorder: 0,
};

#[tokio::test]
async fn what_arrives_while_the_bridge_is_away_waits_in_the_session() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for config in [
        ready_config(&mqtt, kafka).await,
        v311(ready_config(&mqtt, kafka).await),
    ] {
        let mut bridge = Bridge::ready(&config).await;
        let progress = bridge.progress().await.expect("progress");
        assert_eq!(progress.mqtt.first_session_present, Some(false));
        bridge.stop().await;
        let mut publisher = Publisher::connect(&mqtt).await;
        publisher.publish_range(5, 0..100).await;
        bridge.start_again();
        let (found, _) = audit(&config, kafka, 5, 100).await;
        assert_eq!(found, PERFECT);
        let progress = bridge.wait("to be subscribed", BridgeProgress::subscribed).await;
        assert_eq!(progress.mqtt.first_session_present, Some(true));
        assert_eq!(progress.lossless(), Lossless::Yes);
    }
}

#[tokio::test]
async fn a_server_that_restarts_with_its_sessions_loses_nothing() {
    let (mut mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let config = ready_config(&mqtt, kafka).await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(5, 0..100).await;
    mqtt.stop().await;
    let lost = |p: &BridgeProgress| {
        p.problem(Component::Mqtt)
            .is_some_and(|p| p.reason == Reason::MqttUnreachable)
    };
    let progress = bridge.wait("to miss the server", lost).await;
    assert!(progress.mqtt.connected_since.is_none() && !progress.subscribed());
    let (status, why) = bridge.readyz().await;
    assert!(status == 503 && why.contains("MqttUnreachable"), "{status} {why}");
    mqtt.start_again().await;
    let progress = bridge
        .wait("to be back", |p| p.subscribed() && p.problems.is_empty())
        .await;
    assert_eq!(
        (progress.counters.connects, progress.mqtt.session_present),
        (2, Some(true))
    );
    assert_eq!(bridge.readyz().await.0, 200);
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(5, 100..200).await;
    let (found, _) = audit(&config, kafka, 5, 200).await;
    assert_eq!((found.lost, found.disorder), (0, 0), "{found:?}");
    let progress = bridge
        .wait("to have settled all", |p| p.in_flight.messages == 0)
        .await;
    assert_eq!(
        (progress.counters.sessions_lost, progress.lossless()),
        (0, Lossless::Yes)
    );
}

#[tokio::test]
async fn what_a_cut_leaves_unacknowledged_comes_again_marked_as_such_and_is_not_repeated() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let v5 = super::setup::config("mqtt://unused", kafka.bootstrap(Listener::Plain));
    let v3 = super::setup::config("mqtt://unused", kafka.bootstrap(Listener::Plain));
    for mut config in [v5, v311(v3)] {
        let line = Proxy::start(mqtt.port());
        config.mqtt.servers = vec![format!("mqtt://127.0.0.1:{}", line.port())];
        // The topic does not exist yet: everything stays in flight.
        let mut bridge = Bridge::ready(&config).await;
        let mut publisher = Publisher::connect(&mqtt).await;
        publisher.publish_range(5, 0..2).await;
        bridge.wait("to have all", |p| p.in_flight.messages == 10).await;
        let lost = |p: &BridgeProgress| p.mqtt.connected_since.is_none();
        line.cut();
        bridge.wait("to be cut off", lost).await;
        line.mend();
        bridge
            .wait("to get all again", |p| p.counters.received == 20)
            .await;
        // And once more: settled meanwhile, they only have to be acknowledged.
        line.cut();
        bridge.wait("to be cut off again", lost).await;
        super::setup::create_topics(&config, kafka).await;
        bridge.wait("to settle all", |p| p.in_flight.messages == 0).await;
        line.mend();
        bridge
            .wait("to get all again", |p| p.counters.received == 30)
            .await;
        assert_eq!(audit(&config, kafka, 5, 2).await.0, PERFECT);
        let metrics = bridge.metrics().await;
        let line = "tributary_bridge_recognised_total 20";
        assert!(metrics.lines().any(|l| l == line), "{metrics}");
        bridge.stop().await;
        bridge.start_again();
        let progress = bridge.wait("to be back", BridgeProgress::subscribed).await;
        assert_eq!(
            progress.counters.received, 0,
            "the server has seen every acknowledgement"
        );
    }
}

#[tokio::test]
async fn a_session_that_the_server_has_lost_is_counted_and_makes_lossless_unknown() {
    let (mut mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for config in [
        ready_config(&mqtt, kafka).await,
        v311(ready_config(&mqtt, kafka).await),
    ] {
        let mut bridge = Bridge::ready(&config).await;
        mqtt.stop().await;
        mqtt.forget_sessions();
        mqtt.start_again().await;
        let progress = bridge
            .wait("to see it", |p| p.subscribed() && p.counters.sessions_lost == 1)
            .await;
        assert_eq!(progress.mqtt.session_present, Some(false));
        assert!(matches!(progress.lossless(), Lossless::Unknown(loss) if loss.reason == Reason::SessionLost));
        // The subscriptions are new, and work.
        let mut publisher = Publisher::connect(&mqtt).await;
        publisher.publish_range(1, 0..10).await;
        assert_eq!(audit(&config, kafka, 1, 10).await.0, PERFECT);
    }
}

#[tokio::test]
async fn a_filter_that_was_removed_is_unsubscribed_also_after_a_restart() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for v5 in [true, false] {
        let mut config = ready_config(&mqtt, kafka).await;
        if !v5 {
            config = v311(config);
        }
        config.mqtt.subscriptions.push(SubscriptionConfig {
            filter: "old/#".into(),
            qos: 1,
        });
        let mut bridge = Bridge::ready(&config).await;
        bridge.stop().await;
        config.mqtt.subscriptions.pop();
        config.mqtt.unsubscribe = vec!["old/#".into(), "never/subscribed".into()];
        bridge.configure(&config);
        bridge.start_again();
        let gone = |p: &BridgeProgress| p.subscribed() && p.mqtt.unsubscribed.len() == 2;
        let progress = bridge.wait("to have unsubscribed", gone).await;
        assert_eq!(progress.mqtt.session_present, Some(true));
        let mut publisher = Publisher::connect(&mqtt).await;
        publisher.publish("old/x", payload(0, 0)).await;
        publisher.publish(&topic_of(0), payload(0, 0)).await;
        publisher.flush().await;
        let progress = bridge
            .wait("to have the other", |p| p.counters.acknowledged >= 1)
            .await;
        assert_eq!(
            (progress.counters.received, progress.counters.dead_lettered),
            (1, 0)
        );
    }
}

#[tokio::test]
async fn the_session_ends_on_command_with_what_it_held() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for config in [
        ready_config(&mqtt, kafka).await,
        v311(ready_config(&mqtt, kafka).await),
    ] {
        let mut bridge = Bridge::ready(&config).await;
        bridge.stop().await;
        let mut publisher = Publisher::connect(&mqtt).await;
        publisher.publish(&topic_of(0), payload(0, 0)).await;
        publisher.flush().await;
        let output = bridge.end_session();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        bridge.start_again();
        bridge.wait("to be subscribed", BridgeProgress::subscribed).await;
        publisher.publish(&topic_of(0), payload(0, 1)).await;
        publisher.flush().await;
        let topic = &config.routes[0].topic;
        let seen = read_until(kafka.connection(Listener::Plain), topic, |seen| !seen.is_empty()).await;
        assert_eq!(seen[0].text(), payload(0, 1));
        assert_eq!(
            bridge
                .progress()
                .await
                .expect("progress")
                .mqtt
                .first_session_present,
            Some(false)
        );
    }
}

#[tokio::test]
async fn ending_a_session_without_a_server_gives_up_and_says_so() {
    let config = super::setup::config("mqtt://127.0.0.1:9", vec!["127.0.0.1:9".into()]);
    let bridge = Bridge::start(&config);
    let mut process = bridge.ending_session();
    let status = eventually("it to give up", PATIENCE, || {
        std::future::ready(process.exit_status().ok_or("it runs"))
    })
    .await;
    let log = process.log_tail();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("could not be ended within 10 s"), "{log}");
}

#[tokio::test]
async fn ending_a_session_stops_at_once_when_told_to() {
    // A server that takes the connection and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let server = format!("mqtt://{}", listener.local_addr().expect("bound"));
    let config = super::setup::config(&server, vec!["127.0.0.1:9".into()]);
    let bridge = Bridge::start(&config);
    let mut process = bridge.ending_session();
    // The bridge's own, and this one's.
    let _connections = [listener.accept().await, listener.accept().await];
    let status = process.stop(PATIENCE).await;
    let log = process.log_tail();
    assert_eq!(status.code(), Some(3), "{status}; {log}");
    // And not that its own time was over.
    assert!(log.contains("told to stop"), "{log}");
}

/// A queue of ten messages: what comes while a bridge is away does not fit.
fn small_queue() -> Options {
    Options {
        config: vec![
            "max_inflight_messages 10".into(),
            "max_queued_messages 10".into(),
            "sys_interval 1".into(),
        ],
        ..Options::default()
    }
}

#[tokio::test]
async fn messages_that_the_server_drops_are_seen() {
    let options = small_queue();
    let (mqtt, kafka) = (Mosquitto::start(&options).await, shared().await);
    let config = ready_config(&mqtt, kafka).await;
    let mut bridge = Bridge::ready(&config).await;
    let other = ready_config(&mqtt, kafka).await;
    let mut away = Bridge::ready(&other).await;
    away.stop().await;
    bridge
        .wait("to have read the count", |p| p.mqtt.broker_dropped.is_some())
        .await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(1, 0..100).await;
    let progress = bridge
        .wait("to see it grow", |p| {
            p.mqtt.broker_dropped.is_some_and(|d| d.growth > 0)
        })
        .await;
    assert!(matches!(progress.lossless(), Lossless::No(loss) if loss.reason == Reason::BrokerDropped));
}

#[tokio::test]
async fn what_the_server_drops_while_the_bridge_is_away_is_in_the_first_count_that_it_reads_again() {
    let options = small_queue();
    let kafka = shared().await;
    for v5 in [true, false] {
        let mqtt = Mosquitto::start(&options).await;
        let ready = async || {
            let config = ready_config(&mqtt, kafka).await;
            if v5 { config } else { v311(config) }
        };
        let counts = |p: &BridgeProgress| p.mqtt.broker_dropped.is_some();
        let mut bridge = Bridge::ready(&ready().await).await;
        let mut witness = Bridge::ready(&ready().await).await;
        let known = bridge.wait("to have read the count", counts).await;
        let known = known.mqtt.broker_dropped.expect("as waited for").current;
        bridge.stop().await;
        let mut publisher = Publisher::connect(&mqtt).await;
        publisher.publish_range(1, 0..100).await;
        // The server has told it, and tells no other count from now on.
        let more = |p: &BridgeProgress| p.mqtt.broker_dropped.is_some_and(|d| d.current > known);
        witness.wait("to see it grow", more).await;
        bridge.start_again();
        let progress = bridge.wait("to have read the count again", counts).await;
        assert_eq!(progress.mqtt.first_session_present, Some(true));
        let dropped = progress.mqtt.broker_dropped.expect("as waited for");
        assert!(dropped.baseline > known, "{dropped:?}, and {known} before");
    }
}

#[tokio::test]
async fn two_bridges_with_one_client_id_are_told_so() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for config in [
        ready_config(&mqtt, kafka).await,
        v311(ready_config(&mqtt, kafka).await),
    ] {
        let mut first = Bridge::ready(&config).await;
        let mut twin = config.clone();
        twin.telemetry.listen = ([127, 0, 0, 1], crate::harness::ports::free_port()).into();
        let _second = Bridge::start(&twin);
        let taken = |p: &BridgeProgress| {
            p.last_error
                .as_ref()
                .is_some_and(|e| e.reason == Reason::MqttSessionTakenOver)
        };
        let progress = first.wait("to be told", taken).await;
        let message = progress.last_error.expect("as waited for").message;
        let named = format!("mqtt.clientId {:?}", config.mqtt.client_id);
        assert!(
            message.contains(&named) && message.contains("give each pipeline its own"),
            "{message}"
        );
    }
}
