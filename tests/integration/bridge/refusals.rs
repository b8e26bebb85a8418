//! What routes and topics refuse: dead letters, and what happens where there are none.

use sha2::{Digest as _, Sha256};
use tributary::bridge::config::PayloadFormat;
use tributary::bridge::progress::{BridgeProgress, Component, Lossless, Reason};
use tributary::kafka::wire::{ConfigChange, TopicConfigChange, Topics};

use super::setup::{
    Audit, Bridge, Publisher, Seen, audit, config, create_topics, payload, read_until, ready_config, topic_of,
};
use crate::harness::client::{create_topic, delete_topic, noise};
use crate::harness::kafka::{KafkaCluster, Listener, shared};
use crate::harness::mosquitto::{Mosquitto, Options};

#[tokio::test]
async fn what_is_not_json_is_a_dead_letter_with_its_reason_and_does_not_stop_the_rest() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = ready_config(&mqtt, kafka).await;
    // What no route takes is a dead letter too.
    config.mqtt.subscriptions[0].filter = "f/#".into();
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish(&topic_of(0), payload(0, 0)).await;
    publisher.publish(&topic_of(0), "{not json").await;
    publisher.publish("f/elsewhere", "x").await;
    publisher.publish(&topic_of(0), payload(0, 1)).await;
    publisher.flush().await;
    let dead_letters = &config.dead_letter.as_ref().expect("set").topic;
    let dead = read_until(kafka.connection(Listener::Plain), dead_letters, |seen| {
        seen.len() == 2
    })
    .await;
    assert_eq!(
        (dead[0].text().as_str(), dead[0].key.as_str()),
        ("{not json", "f/l0/m0/t")
    );
    assert_eq!(dead[0].headers["tributary.reason"], "InvalidPayload");
    assert_eq!(dead[0].headers["tributary.route"], "telemetry");
    assert_eq!(dead[0].headers["tributary.topic"], config.routes[0].topic);
    assert!(
        dead[0].headers["tributary.message"].contains("not JSON"),
        "{:?}",
        dead[0].headers
    );
    assert_eq!(dead[1].headers["tributary.reason"], "NoRoute");
    assert_eq!(dead[1].headers["mqtt.topic"], "f/elsewhere");
    let (found, _) = audit(&config, kafka, 1, 2).await;
    assert_eq!(
        found,
        Audit {
            lost: 0,
            duplicates: 0,
            disorder: 0
        }
    );
    let progress = bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 4)
        .await;
    assert_eq!(progress.counters.dead_lettered, 2);
    assert_eq!(
        progress.lossless(),
        Lossless::Yes,
        "a whole dead letter is no loss"
    );
}

#[tokio::test]
async fn without_a_dead_letter_topic_the_message_is_named_and_nothing_behind_it_is_acknowledged() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = ready_config(&mqtt, kafka).await;
    let dead_letter = config.dead_letter.take();
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish(&topic_of(7), "{not json").await;
    publisher.publish(&topic_of(0), payload(0, 0)).await;
    publisher.flush().await;
    let progress = bridge
        .wait("to name the head", |p| {
            p.head_of_line.is_some() && p.counters.records == 1
        })
        .await;
    let head = progress.head_of_line.clone().expect("as waited for");
    assert_eq!(
        (head.reason, head.mqtt_topic.as_str()),
        (Reason::InvalidPayload, "f/l1/m7/t")
    );
    assert_eq!(progress.counters.acknowledged, 0);
    assert_eq!(
        progress
            .problem(Component::Topic)
            .expect("it is a problem")
            .reason,
        Reason::InvalidPayload
    );
    // Mended by another configuration, it goes on where it stood.
    bridge.stop().await;
    config.dead_letter = dead_letter;
    bridge.configure(&config);
    bridge.start_again();
    let progress = bridge.wait("to go on", |p| p.counters.acknowledged == 2).await;
    assert_eq!(progress.counters.dead_lettered, 1);
    assert_eq!(progress.head_of_line, None);
}

#[tokio::test]
async fn a_payload_beyond_the_topics_limit_is_buried_cut_with_size_and_hash_of_the_whole() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = config(&mqtt.url(), kafka.bootstrap(Listener::Plain));
    config.routes[0].format = PayloadFormat::Raw;
    config.limits.max_payload_bytes = 4 * 1024 * 1024;
    create_topics(&config, kafka).await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    // Random, so that it does not shrink: beyond the topics' limit (1 MiB), and beyond the bridge's own (4 MiB).
    let noise = noise(5_000_000);
    for size in [1_500_000, 5_000_000] {
        publisher.publish(&topic_of(0), noise[..size].to_vec()).await;
    }
    publisher.publish(&topic_of(1), payload(1, 0)).await;
    publisher.flush().await;
    let dead_letters = config.dead_letter.as_ref().expect("set").topic.clone();
    let mut dead = read_until(kafka.connection(Listener::Plain), &dead_letters, |seen| {
        seen.len() == 2
    })
    .await;
    // The bridge refuses the larger one itself, before Kafka has refused the smaller one: buried in either order.
    dead.sort_by_key(|record| record.headers["tributary.original-size"].clone());
    for (record, size) in dead.iter().zip([1_500_000_usize, 5_000_000]) {
        let whole = &noise[..size];
        assert!(record.payload.len() >= 500_000 && record.payload == whole[..record.payload.len()]);
        assert_eq!(record.headers["tributary.reason"], "PayloadTooLarge");
        assert_eq!(record.headers["tributary.original-size"], size.to_string());
        assert_eq!(
            record.headers["tributary.sha256"],
            format!("{:x}", Sha256::digest(whole))
        );
        assert_eq!(record.headers["tributary.truncated"], "true");
    }
    let progress = bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 3)
        .await;
    assert_eq!(progress.counters.truncated, 2);
    assert!(matches!(progress.lossless(), Lossless::No(loss) if loss.reason == Reason::PayloadTooLarge));
}

#[tokio::test]
async fn a_topic_with_a_small_limit_takes_small_records_and_refuses_only_large_ones() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = config(&mqtt.url(), kafka.bootstrap(Listener::Plain));
    config.routes[0].format = PayloadFormat::Raw;
    create_topic(
        &kafka.admin(),
        &config.routes[0].topic,
        1,
        &[("max.message.bytes", "20000")],
    )
    .await;
    create_topic(
        &kafka.admin(),
        &config.dead_letter.as_ref().expect("set").topic,
        1,
        &[],
    )
    .await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    let noise = noise(300_000);
    // Together far beyond the limit, each far below it.
    for n in 0..100 {
        publisher
            .publish(&topic_of(0), noise[n * 2000..(n + 1) * 2000].to_vec())
            .await;
    }
    publisher.publish(&topic_of(0), noise[..30_000].to_vec()).await;
    publisher.flush().await;
    let seen = read_until(
        kafka.connection(Listener::Plain),
        &config.routes[0].topic,
        |seen| seen.len() >= 100,
    )
    .await;
    let first: Vec<_> = (0..100)
        .map(|n| {
            seen.iter()
                .position(|r| r.payload == noise[n * 2000..(n + 1) * 2000])
        })
        .collect();
    assert!(
        first.iter().all(Option::is_some) && first.is_sorted(),
        "{first:?}"
    );
    let progress = bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 101)
        .await;
    assert_eq!(
        (progress.counters.dead_lettered, progress.counters.truncated),
        (1, 0),
        "the dead-letter topic takes it whole"
    );
    assert_eq!(progress.lossless(), Lossless::Yes);
}

#[tokio::test]
async fn of_a_batch_with_one_bad_record_only_that_one_is_a_dead_letter() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let config = config(&mqtt.url(), kafka.bootstrap(Listener::Plain));
    let dead_letters = config.dead_letter.as_ref().expect("set").topic.clone();
    create_topic(&kafka.admin(), &dead_letters, 1, &[]).await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish(&topic_of(0), payload(0, 0)).await;
    publisher.flush().await;
    // Its topic is not there yet. When it comes, the first message is too old for it and those behind it are not.
    let old = |p: &BridgeProgress| p.in_flight.oldest_age_seconds.is_some_and(|age| age > 46.0);
    bridge.wait("to have an old message", old).await;
    publisher.publish_range(1, 1..20).await;
    bridge
        .wait("to have them all", |p| p.in_flight.messages == 20)
        .await;
    let limit = [("message.timestamp.before.max.ms", "45000")];
    create_topic(&kafka.admin(), &config.routes[0].topic, 1, &limit).await;
    let progress = bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 20)
        .await;
    assert_eq!(
        (progress.counters.records, progress.counters.dead_lettered),
        (20, 1)
    );
    let dead = read_until(kafka.connection(Listener::Plain), &dead_letters, |seen| {
        !seen.is_empty()
    })
    .await;
    assert_eq!((dead.len(), dead[0].text()), (1, payload(0, 0)));
    assert_eq!(dead[0].headers["tributary.reason"], "RecordRefused");
    let topic = &config.routes[0].topic;
    let seen = read_until(kafka.connection(Listener::Plain), topic, |seen| seen.len() >= 19).await;
    let texts: Vec<_> = seen.iter().map(Seen::text).collect();
    assert_eq!(texts, (1..20).map(|n| payload(0, n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_behind_a_refused_message_waits_and_follows_in_order_when_the_topic_takes_it() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let mut config = config(&mqtt.url(), kafka.bootstrap(Listener::Plain));
    config.dead_letter = None;
    let topic = config.routes[0].topic.clone();
    create_topic(&kafka.admin(), &topic, 1, &[("max.message.bytes", "20000")]).await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    // Nothing that compression makes small.
    let padding: String = noise(30_000)
        .iter()
        .map(|byte| char::from(b'0' + byte % 75))
        .collect();
    let padding = padding.replace('\\', "/");
    let large = |n| format!("{{\"n\":{n},\"padding\":\"{padding}\"}}");
    publisher.publish(&topic_of(0), payload(0, 0)).await;
    publisher.publish(&topic_of(0), large(1)).await;
    publisher.flush().await;
    let progress = bridge
        .wait("to name the head", |p| p.head_of_line.is_some())
        .await;
    let head = progress.head_of_line.expect("as waited for");
    assert_eq!(
        (head.reason, head.topic.as_deref()),
        (Reason::PayloadTooLarge, Some(topic.as_str()))
    );
    for n in 2..20 {
        let text = if n % 5 == 0 { large(n) } else { payload(0, n) };
        publisher.publish(&topic_of(0), text).await;
    }
    publisher.flush().await;
    bridge
        .wait("to have them all", |p| p.in_flight.messages == 19)
        .await;
    let changes = [(
        "max.message.bytes".to_owned(),
        ConfigChange::Set("1000000".to_owned()),
    )]
    .into();
    let change = TopicConfigChange {
        topic: topic.clone(),
        changes,
    };
    let results = kafka.admin().incremental_alter_configs(&[change], false).await;
    results.expect("an answer")[&topic].clone().expect("changed");
    let (found, _) = audit(&config, kafka, 1, 20).await;
    assert_eq!(
        found,
        Audit {
            lost: 0,
            duplicates: 0,
            disorder: 0
        }
    );
    let progress = bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 20)
        .await;
    assert_eq!(progress.head_of_line, None);
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_named_and_waited_for() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let config = config(&mqtt.url(), kafka.bootstrap(Listener::Plain));
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(3, 0..50).await;
    let missing = |p: &BridgeProgress| {
        p.problem(Component::Topic)
            .is_some_and(|p| p.reason == Reason::TopicMissing)
    };
    let progress = bridge
        .wait("to miss the topic", |p| missing(p) && p.head_of_line.is_some())
        .await;
    assert_eq!(progress.kafka.missing_topics.len(), 2);
    let head = progress.head_of_line.clone().expect("as waited for");
    assert_eq!(
        (head.reason, head.topic.as_deref()),
        (Reason::TopicMissing, Some(config.routes[0].topic.as_str()))
    );
    assert_eq!(progress.counters.acknowledged, 0);
    create_topics(&config, kafka).await;
    let (found, _) = audit(&config, kafka, 3, 50).await;
    assert_eq!(
        found,
        Audit {
            lost: 0,
            duplicates: 0,
            disorder: 0
        }
    );
    bridge
        .wait("to have recovered", |p| {
            p.problems.is_empty() && p.in_flight.messages == 0
        })
        .await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_under_load_and_created_again_loses_nothing_that_comes_after() {
    let (mqtt, kafka) = (Mosquitto::start(&Options::default()).await, shared().await);
    let config = ready_config(&mqtt, kafka).await;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    publisher.publish_range(3, 0..50).await;
    audit(&config, kafka, 3, 50).await;
    bridge
        .wait("to have settled all", |p| p.counters.acknowledged == 150)
        .await;
    delete_topic(&kafka.connection(Listener::Plain), &config.routes[0].topic).await;
    publisher.publish_range(3, 50..100).await;
    let waits = |p: &BridgeProgress| p.kafka.missing_topics.len() == 1 && p.in_flight.messages > 0;
    bridge.wait("to miss the topic", waits).await;
    create_topic(&kafka.admin(), &config.routes[0].topic, 3, &[]).await;
    let seen = read_until(
        kafka.connection(Listener::Plain),
        &config.routes[0].topic,
        |seen| seen.len() >= 150,
    )
    .await;
    for machine in 0..3 {
        for n in 50..100 {
            assert!(
                seen.iter().any(|r| r.text() == payload(machine, n)),
                "machine {machine} message {n}"
            );
        }
    }
    bridge
        .wait("to have recovered", |p| {
            p.problems.is_empty() && p.in_flight.messages == 0
        })
        .await;
}

#[tokio::test]
async fn a_topic_that_is_created_anew_under_other_leaders_is_written_to_there() {
    let (mqtt, mut kafka) = (
        Mosquitto::start(&Options::default()).await,
        KafkaCluster::start(3, &[]).await,
    );
    let config = ready_config(&mqtt, &kafka).await;
    let topic = &config.routes[0].topic;
    let mut bridge = Bridge::ready(&config).await;
    let mut publisher = Publisher::connect(&mqtt).await;
    for (first, before, idle) in [(0, 0, false), (10, 120, true)] {
        // Leaders that moved have a higher epoch than those of a topic that is new.
        for node in 0..2 {
            kafka.stop(node).await;
            kafka.start_node(node).await;
        }
        let settled = |count| move |p: &BridgeProgress| p.counters.acknowledged == count;
        publisher.publish_range(12, first..first + 5).await;
        bridge.wait("to know the leaders", settled(before + 60)).await;
        let older = leaders(&kafka, topic).await;
        delete_topic(&kafka.connection(Listener::Plain), topic).await;
        if !idle {
            publisher.publish_range(12, first + 5..first + 10).await;
            let waits = |p: &BridgeProgress| p.kafka.missing_topics.len() == 1 && p.in_flight.messages > 0;
            bridge.wait("to miss the topic", waits).await;
        }
        create_topic(&kafka.admin(), topic, 3, &[]).await;
        let elsewhere = |(old, new): (&Leader, &Leader)| old.0 != new.0 && old.1 > new.1;
        while !older.iter().zip(&leaders(&kafka, topic).await).any(elsewhere) {
            delete_topic(&kafka.connection(Listener::Plain), topic).await;
            create_topic(&kafka.admin(), topic, 3, &[]).await;
        }
        if idle {
            publisher.publish_range(12, first + 5..first + 10).await;
        }
        bridge.wait("to have settled all", settled(before + 120)).await;
    }
}

/// Node and epoch.
type Leader = (Option<i32>, Option<i32>);

async fn leaders(kafka: &KafkaCluster, topic: &str) -> Vec<Leader> {
    let metadata = kafka
        .admin()
        .metadata(Topics::Named(vec![topic.to_owned()]))
        .await;
    let topics = metadata.expect("an answer").topics;
    let partitions = &topics[topic].as_ref().expect("it is there").partitions;
    partitions.values().map(|p| (p.leader, p.leader_epoch)).collect()
}
