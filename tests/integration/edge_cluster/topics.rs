//! Topics: what the spec says becomes so in Kafka; what it no longer says is kept and told.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tributary::api::TopicStatus;
use tributary::kafka::wire::{ConfigResource, ConfigSource, Topics};

use super::world::{World, munich};
use crate::harness::kafka::{KafkaCluster, shared, unique};
use crate::harness::wait::eventually;
use crate::operator::PATIENCE;

/// Waits until the topic has this many partitions and exactly these settings.
async fn is_in_kafka(kafka: &KafkaCluster, topic: &str, partitions: usize, settings: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    eventually(topic, PATIENCE, async || {
        let found = look(kafka, topic).await?;
        if found == (partitions, wanted.clone()) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
}

async fn look(kafka: &KafkaCluster, topic: &str) -> Result<(usize, BTreeMap<String, String>), String> {
    let admin = kafka.admin();
    let metadata = admin.metadata(Topics::Named(vec![topic.to_owned()])).await;
    let mut topics = metadata.map_err(|e| e.to_string())?.topics;
    let found = topics
        .remove(topic)
        .ok_or("no answer")?
        .map_err(|e| e.to_string())?;
    let resource = ConfigResource::Topic(topic.to_owned());
    let mut configs = admin
        .describe_configs(std::slice::from_ref(&resource), None)
        .await
        .map_err(|e| e.to_string())?;
    let entries = configs
        .remove(&resource)
        .ok_or("no answer")?
        .map_err(|e| e.to_string())?;
    let own = entries
        .into_iter()
        .filter(|(_, entry)| entry.source == ConfigSource::DynamicTopic);
    let own = own.map(|(key, entry)| (key, entry.value.unwrap_or_default()));
    Ok((found.partitions.len(), own.collect()))
}

async fn entry(world: &World, topic: &str, state: &str) -> TopicStatus {
    world
        .status(|status| {
            let mut found = status.topics.iter();
            let found = found.find(|t| t.name == topic && t.state == state);
            found.cloned().ok_or_else(|| format!("{:?}", status.topics))
        })
        .await
}

async fn start(what: &str, topics: &Value) -> (&'static KafkaCluster, World, Value) {
    let kafka = shared().await;
    let world = World::new(what).await;
    world.restore_record_of(kafka, 1).await;
    world.reach(kafka);
    let mut spec = munich(1);
    spec["spec"]["topics"] = topics.clone();
    world.apply(&spec).await;
    world.run_broker(0).await;
    (kafka, world, spec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_grown_and_configured_and_what_is_removed_is_kept_and_told() {
    let topic = unique("telemetry");
    let described = |partitions: i32, config: Value| json!([{"name": topic, "partitions": partitions, "replicas": 1, "config": config}]);
    let first = described(2, json!({"retention.ms": "3600000", "compression.type": "zstd"}));
    let (kafka, world, mut spec) = start("ec-topics", &first).await;
    is_in_kafka(
        kafka,
        &topic,
        2,
        &[("compression.type", "zstd"), ("retention.ms", "3600000")],
    )
    .await;
    world.told("TopicsSynced", "True", "AsDesired", "1 topics").await;

    spec["spec"]["topics"] = described(5, json!({"retention.ms": "7200000"}));
    world.apply(&spec).await;
    // A setting that is no longer described keeps its value.
    is_in_kafka(
        kafka,
        &topic,
        5,
        &[("compression.type", "zstd"), ("retention.ms", "7200000")],
    )
    .await;
    let kept = entry(&world, &topic, "SettingsKept").await.message;
    assert!(kept.contains("compression.type=zstd"), "{kept}");

    spec["spec"]["topics"] = json!([]);
    world.apply(&spec).await;
    let kept = entry(&world, &topic, "Kept").await.message;
    assert!(kept.contains("kept with its data"), "{kept}");
    world
        .told(
            "TopicsSynced",
            "True",
            "AsDesired",
            "removed from the spec and is kept",
        )
        .await;
    world.several_passes().await;
    is_in_kafka(
        kafka,
        &topic,
        5,
        &[("compression.type", "zstd"), ("retention.ms", "7200000")],
    )
    .await;

    spec["spec"]["topics"] = described(5, json!({"retention.ms": "7200000", "compression.type": "zstd"}));
    world.apply(&spec).await;
    world
        .status(|status| {
            let none = status.topics.is_empty();
            none.then_some(()).ok_or_else(|| format!("{:?}", status.topics))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_refuses_is_told_in_its_words_and_recovers_when_corrected() {
    let (good, bad, wide) = (unique("good"), unique("bad"), unique("wide"));
    let topics = |retention: &str| {
        json!([
            {"name": good, "partitions": 1, "replicas": 1},
            {"name": bad, "partitions": 1, "replicas": 1, "config": {"retention.ms": retention}},
        ])
    };
    let mut first = topics("for ever");
    let replicated = json!({"name": wide, "partitions": 1, "replicas": 3});
    first.as_array_mut().unwrap().push(replicated);
    let (kafka, world, mut spec) = start("ec-refused", &first).await;
    let message = world.told("Ready", "False", "TopicRefused", &bad).await;
    assert!(message.contains("retention.ms"), "{message}");
    world
        .told("TopicsSynced", "False", "TopicRefused", "2 topics are refused")
        .await;
    entry(&world, &bad, "Refused").await;
    entry(&world, &wide, "Refused").await;
    // The others do not wait for it.
    is_in_kafka(kafka, &good, 1, &[]).await;

    spec["spec"]["topics"] = topics("60000");
    world.apply(&spec).await;
    is_in_kafka(kafka, &bad, 1, &[("retention.ms", "60000")]).await;
    world.told("TopicsSynced", "True", "AsDesired", "2 topics").await;
    world.told("Ready", "True", "AsDesired", "1 broker runs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_somebody_changed_comes_back_and_one_that_is_too_large_is_told() {
    use tributary::kafka::wire::{ConfigChange, TopicConfigChange};
    let topic = unique("drift");
    let topics =
        json!([{"name": topic, "partitions": 1, "replicas": 1, "config": {"retention.ms": "60000"}}]);
    let (kafka, world, mut spec) = start("ec-drift-topic", &topics).await;
    is_in_kafka(kafka, &topic, 1, &[("retention.ms", "60000")]).await;
    world.told("TopicsSynced", "True", "AsDesired", "1 topics").await;

    let change = TopicConfigChange {
        topic: topic.clone(),
        changes: BTreeMap::from([("retention.ms".to_owned(), ConfigChange::Set("1".to_owned()))]),
    };
    let admin = kafka.admin();
    admin.incremental_alter_configs(&[change], false).await.unwrap();
    // More partitions than described: Kafka cannot take them back, and neither can we.
    let grown = BTreeMap::from([(topic.clone(), 3)]);
    admin.create_partitions(&grown, false).await.unwrap();
    let message = entry(&world, &topic, "Differs").await.message;
    assert!(message.contains("3 partitions, the spec says 1"), "{message}");
    is_in_kafka(kafka, &topic, 3, &[("retention.ms", "60000")]).await;
    world.condition("TopicsSynced", "False", "TopicsDiffer").await;

    spec["spec"]["topics"][0]["partitions"] = json!(3);
    world.apply(&spec).await;
    world.told("TopicsSynced", "True", "AsDesired", "1 topics").await;
}
