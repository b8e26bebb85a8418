//! What goes in comes out: complete, in order, with key and headers; also when the bridge or its peers are killed.

use std::cell::Cell;
use std::time::Duration;

use tributary::bridge::config::{PayloadFormat, RouteConfig};
use tributary::bridge::progress::{BridgeProgress, Component, Reason};

use super::setup::{
    Audit, Bridge, Publisher, Seen, audit, payload, read_until, ready_config, topic_of, v311,
};
use crate::harness::kafka::{KafkaCluster, Listener, shared};
use crate::harness::mosquitto::{Mosquitto, Options};

const PERFECT: Audit = Audit {
    lost: 0,
    duplicates: 0,
    disorder: 0,
};

#[tokio::test]
async fn every_message_arrives_once_in_order_with_key_and_headers() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let v5 = ready_config(&mqtt, kafka).await;
    for config in [v5.clone(), v311(ready_config(&mqtt, kafka).await)] {
        let mut bridge = Bridge::ready(&config).await;
        let mut publisher = Publisher::connect(&mqtt).await;
        publisher.publish_range(10, 0..200).await;
        let (found, seen) = audit(&config, kafka, 10, 200).await;
        assert_eq!(found, PERFECT);
        let first = seen.iter().find(|r| r.key == "l1/m3").expect("machine 3");
        assert_eq!(first.text(), payload(3, 0));
        let headers: Vec<_> = first
            .headers
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            headers,
            [("mqtt.qos", "1"), ("mqtt.topic", "f/l1/m3/t"), ("site", "test")]
        );
        let progress = bridge
            .wait("to have settled all", |p| p.counters.acknowledged == 2000)
            .await;
        assert_eq!(
            (progress.counters.received, progress.counters.records),
            (2000, 2000)
        );
        assert_eq!(progress.in_flight.messages, 0);
        assert_eq!(progress.problems, []);
        assert!(progress.kafka.connected_since.is_some());
        let metrics = bridge.metrics().await;
        let line = "tributary_bridge_records_total{route=\"telemetry\"} 2000";
        assert!(metrics.lines().any(|l| l == line), "{metrics}");
        bridge.stop().await;
    }
}

#[tokio::test]
async fn the_same_key_goes_where_a_java_producer_would_put_it() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let config = ready_config(&mqtt, kafka).await;
    let _bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(4, 0..1).await;
    let (_, seen) = audit(&config, kafka, 4, 1).await;
    // murmur2 of the key, without its sign, modulo 3 partitions.
    let mut partitions: Vec<_> = seen.iter().map(|r| (r.key.as_str(), r.partition)).collect();
    partitions.sort_unstable();
    let expected = ["l0/m0", "l0/m2", "l1/m1", "l1/m3"].map(|key| (key, java_partition(key, 3)));
    assert_eq!(partitions, expected);
}

/// `Utils.toPositive(Utils.murmur2(key)) % partitions`, from Kafka's Java client.
fn java_partition(key: &str, partitions: u32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let data = key.as_bytes();
    let mut h: u32 = 0x9747_b28c ^ u32::try_from(data.len()).expect("short");
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().expect("four")).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0_u32, |k, b| (k << 8) | u32::from(*b));
        h = (h ^ tail).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^= h >> 15;
    i32::try_from((h & 0x7FFF_FFFF) % partitions).expect("small")
}

#[tokio::test]
async fn every_matching_route_gets_its_record() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = super::setup::config(&mqtt.url(), kafka.bootstrap(Listener::Plain));
    config.routes.push(RouteConfig {
        name: "raw".into(),
        match_: "f/#".into(),
        topic: format!("{}-raw", config.routes[0].topic),
        key: None,
        format: PayloadFormat::Raw,
        headers: [].into(),
    });
    super::setup::create_topics(&config, kafka).await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish(&topic_of(1), payload(1, 0)).await;
    publisher.publish(&topic_of(1), "not json").await;
    publisher.flush().await;
    let connection = || kafka.connection(Listener::Plain);
    let raw = read_until(connection(), &config.routes[1].topic, |seen| seen.len() >= 2).await;
    assert_eq!(
        raw.iter().map(Seen::text).collect::<Vec<_>>(),
        [payload(1, 0), "not json".into()]
    );
    assert_eq!(raw[0].key, "f/l1/m1/t", "without a key the MQTT topic is the key");
    let json = read_until(connection(), &config.routes[0].topic, |seen| !seen.is_empty()).await;
    assert_eq!(json.iter().map(Seen::text).collect::<Vec<_>>(), [payload(1, 0)]);
    bridge
        .wait("to have settled both", |p| {
            p.counters.acknowledged == 2 && p.counters.dead_lettered == 1
        })
        .await;
}

#[tokio::test]
async fn qos_0_is_carried_as_it_is() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = ready_config(&mqtt, kafka).await;
    config.mqtt.subscriptions[0].qos = 0;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_at(&topic_of(0), payload(0, 0), 0).await;
    publisher.publish_at(&topic_of(0), payload(0, 1), 1).await;
    publisher.flush().await;
    let (found, seen) = audit(&config, kafka, 1, 2).await;
    assert_eq!(found, PERFECT);
    assert!(seen.iter().all(|r| r.headers["mqtt.qos"] == "0"));
    let progress = bridge
        .wait("to have settled both", |p| p.counters.acknowledged == 2)
        .await;
    assert_eq!(progress.mqtt.subscriptions[0].granted_qos, Some(0));
    publisher.close().await;
}

/// How often the bridge is killed, in each version of MQTT.
const KILLS: usize = 10;

#[tokio::test]
async fn a_bridge_that_is_killed_again_and_again_under_load_loses_nothing() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for config in [
        ready_config(&mqtt, kafka).await,
        v311(ready_config(&mqtt, kafka).await),
    ] {
        let mut bridge = Bridge::ready(&config).await;
        let mut publisher = Publisher::connect(&mqtt).await;
        let killed = Cell::new(false);
        let publishing = async {
            // A rate, not a wait: 4,000 messages a second, while the bridge dies and comes back.
            let mut pace = tokio::time::interval(Duration::from_millis(25));
            let mut sent = 0;
            while !killed.get() {
                pace.tick().await;
                publisher.publish_range(10, sent..sent + 10).await;
                sent += 10;
            }
            sent
        };
        let killing = async {
            let in_flight = |p: &BridgeProgress| p.in_flight.messages > 0 && p.counters.acknowledged > 50;
            for _ in 0..KILLS {
                bridge.wait("to have something in flight", in_flight).await;
                bridge.kill();
                bridge.start_again();
            }
            killed.set(true);
        };
        let (sent, ()) = tokio::join!(publishing, killing);
        let (found, _) = audit(&config, kafka, 10, sent).await;
        assert_eq!((found.lost, found.disorder), (0, 0), "{found:?} of {}", sent * 10);
        bridge.stop().await;
    }
}

#[tokio::test]
async fn an_orderly_restart_under_load_loses_and_repeats_nothing() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    for config in [
        ready_config(&mqtt, kafka).await,
        v311(ready_config(&mqtt, kafka).await),
    ] {
        let mut bridge = Bridge::ready(&config).await;
        let mut publisher = Publisher::connect(&mqtt).await;
        let mut sent = 0;
        for _ in 0..3 {
            let publishing = async {
                publisher.publish_range(10, sent..sent + 300).await;
                sent += 300;
            };
            let restarting = async {
                bridge.wait("to carry", |p| p.counters.received > 100).await;
                bridge.stop().await;
                bridge.start_again();
                bridge.wait("to be subscribed", BridgeProgress::subscribed).await;
            };
            tokio::join!(publishing, restarting);
        }
        let (found, _) = audit(&config, kafka, 10, sent).await;
        assert_eq!(found, PERFECT);
        bridge.stop().await;
    }
}

#[tokio::test]
async fn a_kafka_that_is_away_is_reported_and_waited_for() {
    let mqtt = Mosquitto::start(&Options::default()).await;
    let mut kafka = KafkaCluster::start(1, &[]).await;
    let config = ready_config(&mqtt, &kafka).await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(5, 0..100).await;
    kafka.kill(0);
    publisher.publish_range(5, 100..400).await;
    let unreachable = |p: &BridgeProgress| {
        p.problem(Component::Kafka)
            .is_some_and(|p| p.reason == Reason::KafkaUnreachable)
            && p.in_flight.messages > 0
    };
    let progress = bridge.wait("to miss Kafka", unreachable).await;
    assert!(progress.subscribed(), "MQTT has nothing to do with it");
    assert_eq!(progress.kafka.connected_since, None);
    kafka.start_node(0).await;
    let (found, _) = audit(&config, &kafka, 5, 400).await;
    assert_eq!((found.lost, found.disorder), (0, 0), "{found:?}");
    let settled = |p: &BridgeProgress| p.problems.is_empty() && p.in_flight.messages == 0;
    let progress = bridge.wait("to have recovered", settled).await;
    assert_eq!(
        progress.last_error.expect("it is remembered").reason,
        Reason::KafkaUnreachable
    );
    assert_eq!(
        progress.counters.connects, 1,
        "the MQTT connection stood all the while"
    );
}

#[tokio::test]
async fn a_bound_that_is_reached_pauses_reading_and_keeps_the_connection() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let proxied = v311(super::setup::config(
        &mqtt.url(),
        vec![kafka.address(0, Listener::Plain)],
    ));
    let mut config = proxied;
    config.limits.max_in_flight_messages = 50;
    config.mqtt.keep_alive_seconds = Some(20);
    // The topic does not exist yet: nothing can be settled.
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(5, 0..100).await;
    let progress = bridge.wait("to pause", |p| p.mqtt.paused).await;
    assert_eq!(progress.in_flight.messages, 50);
    let connected = progress.mqtt.connected_since;
    // Longer than the server would wait for a client that does not ping (20 s, times 1.5).
    let waited = |p: &BridgeProgress| p.in_flight.oldest_age_seconds.is_some_and(|age| age > 31.0);
    let progress = bridge.wait("to have waited", waited).await;
    assert_eq!(
        (progress.in_flight.messages, progress.mqtt.connected_since),
        (50, connected)
    );
    super::setup::create_topics(&config, kafka).await;
    let (found, _) = audit(&config, kafka, 5, 100).await;
    assert_eq!(found, PERFECT);
    let progress = bridge
        .wait("to go on", |p| !p.mqtt.paused && p.in_flight.messages == 0)
        .await;
    assert_eq!(progress.counters.connects, 1);
}
