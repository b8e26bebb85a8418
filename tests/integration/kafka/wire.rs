//! Our own client against a healthy broker.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use tributary::kafka::offsets::{LogRange, TopicPartition};
use tributary::kafka::wire::{
    Admin, ConfigChange, ConfigResource, ConfigSource, Isolation, NewTopic, OffsetSpec, TopicConfigChange,
    TopicMetadata, Topics,
};
use tributary::kafka::{KafkaError, TopicId};

use crate::harness::client::{
    blocking, create_topic, delete_records, delete_topic, produce, producer, transactional,
};
use crate::harness::kafka::{Listener, shared, unique};
use rdkafka::producer::Producer as _;

fn new_topic(name: &str, partitions: i32, replication_factor: i16, configs: &[(&str, &str)]) -> NewTopic {
    let configs = configs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    NewTopic {
        name: name.into(),
        partitions,
        replication_factor,
        configs,
    }
}

async fn topic(admin: &Admin, name: &str) -> Result<TopicMetadata, KafkaError> {
    let metadata = admin
        .metadata(Topics::Named(vec![name.into()]))
        .await
        .expect("an answer");
    metadata.topics.into_iter().next().expect("the topic's result").1
}

async fn offset(admin: &Admin, partition: &TopicPartition, spec: OffsetSpec) -> Option<i64> {
    let asked = [(partition.clone(), spec)];
    let mut answer = admin
        .list_offsets(asked, Isolation::ReadUncommitted)
        .await
        .expect("an answer");
    answer
        .remove(partition)
        .expect("a result")
        .expect("an offset")
        .offset
}

#[tokio::test]
async fn the_cluster_tells_its_id_and_where_its_brokers_are() {
    let kafka = shared().await;
    let cluster = kafka.admin().cluster().await.expect("an answer");
    assert_eq!(cluster.id, kafka.id());
    assert_eq!(cluster.controller, Some(0));
    let addresses: Vec<String> = cluster
        .brokers
        .values()
        .map(|broker| broker.address.to_string())
        .collect();
    assert_eq!(addresses, kafka.bootstrap(Listener::Plain));
}

#[tokio::test]
async fn a_topic_is_created_described_by_name_and_by_id_and_grown() {
    let kafka = shared().await;
    let (admin, name) = (kafka.admin(), unique("grow"));
    let created = create_topic(&admin, &name, 2, &[("compression.type", "zstd")]).await;
    assert_eq!(
        (created.partitions, created.replication_factor),
        (Some(2), Some(1))
    );
    let id = created.id.expect("an ID");

    let found = topic(&admin, &name).await.expect("the topic");
    assert_eq!((found.id, found.internal, found.partitions.len()), (id, false, 2));
    let partition = &found.partitions[&1];
    assert_eq!(
        (partition.leader, &*partition.replicas, &*partition.isr),
        (Some(0), &[0][..], &[0][..])
    );
    assert!(
        partition.leader_epoch.is_some() && !partition.is_under_replicated() && partition.error.is_none()
    );

    let nobody = TopicId(uuid::Uuid::new_v4());
    let by_id = admin
        .metadata(Topics::Ids(vec![id, nobody]))
        .await
        .expect("an answer");
    assert_eq!(by_id.topics.keys().collect::<Vec<_>>(), [&name]);
    assert!(by_id.unknown_ids[&nobody].is(ResponseError::UnknownTopicId));

    let grown = |to| BTreeMap::from([(name.clone(), to)]);
    assert_eq!(
        admin.create_partitions(&grown(3), true).await.expect("an answer")[&name],
        Ok(())
    );
    assert_eq!(
        topic(&admin, &name).await.expect("the topic").partitions.len(),
        2,
        "only validated"
    );
    assert_eq!(
        admin
            .create_partitions(&grown(3), false)
            .await
            .expect("an answer")[&name],
        Ok(())
    );
    assert_eq!(
        admin
            .create_partitions(&grown(3), false)
            .await
            .expect("an answer")[&name],
        Ok(()),
        "it is so already"
    );
    let error = admin
        .create_partitions(&grown(1), false)
        .await
        .expect("an answer")
        .remove(&name)
        .expect("a result");
    assert!(error.expect_err("fewer").is(ResponseError::InvalidPartitions));
    assert_eq!(topic(&admin, &name).await.expect("the topic").partitions.len(), 3);
}

#[tokio::test]
async fn asking_for_a_topic_does_not_create_it() {
    let (admin, name) = (shared().await.admin(), unique("absent"));
    for _ in 0..2 {
        let error = topic(&admin, &name).await.expect_err("no such topic");
        assert!(error.is(ResponseError::UnknownTopicOrPartition), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
    let all = admin.metadata(Topics::All).await.expect("an answer");
    assert!(!all.topics.contains_key(&name));
}

#[tokio::test]
async fn what_kafka_refuses_to_create_is_told_with_its_code_and_words() {
    let admin = shared().await.admin();
    let topics = [
        new_topic(&unique("replicas"), 1, 3, &[]),
        new_topic("not a name!", 1, -1, &[]),
        new_topic(&unique("setting"), 1, -1, &[("retention.ms", "soon")]),
        new_topic(&unique("fine"), 1, -1, &[]),
    ];
    let results = admin.create_topics(&topics, true).await.expect("an answer");
    let code = |index: usize| results[&topics[index].name].clone().err();
    let replicas = code(0).expect("refused");
    assert!(replicas.is(ResponseError::InvalidReplicationFactor), "{replicas}");
    assert!(
        replicas.explain().contains("lower the replication factor"),
        "{}",
        replicas.explain()
    );
    assert!(code(1).expect("refused").is(ResponseError::InvalidTopicException));
    let setting = code(2).expect("refused");
    assert!(
        setting.is(ResponseError::InvalidConfig) && setting.to_string().contains("retention.ms"),
        "{setting}"
    );
    assert_eq!(code(3), None);
    assert!(topic(&admin, &topics[3].name).await.is_err(), "only validated");

    let name = unique("twice");
    create_topic(&admin, &name, 1, &[]).await;
    let again = admin
        .create_topics(&[new_topic(&name, 1, -1, &[])], false)
        .await
        .expect("an answer");
    assert!(
        again[&name]
            .clone()
            .expect_err("exists")
            .is(ResponseError::TopicAlreadyExists)
    );
}

#[tokio::test]
async fn settings_are_changed_one_by_one_and_their_source_is_told() {
    let (admin, name) = (shared().await.admin(), unique("configs"));
    create_topic(
        &admin,
        &name,
        1,
        &[("retention.ms", "3600000"), ("compression.type", "lz4")],
    )
    .await;
    let resource = ConfigResource::Topic(name.clone());
    let names = ["retention.ms", "compression.type", "cleanup.policy"];
    let read = || async {
        let mut configs = admin
            .describe_configs(std::slice::from_ref(&resource), Some(&names))
            .await
            .expect("an answer");
        let entries = configs.remove(&resource).expect("a result").expect("settings");
        names.map(|name| {
            (
                entries[name].value.clone().unwrap_or_default(),
                entries[name].source,
            )
        })
    };
    let dynamic = |value: &str| (value.to_owned(), ConfigSource::DynamicTopic);
    let default = |value: &str| (value.to_owned(), ConfigSource::Default);
    assert_eq!(
        read().await,
        [dynamic("3600000"), dynamic("lz4"), default("delete")]
    );

    let change = TopicConfigChange {
        topic: name.clone(),
        changes: BTreeMap::from([
            ("retention.ms".into(), ConfigChange::Set("7200000".into())),
            ("compression.type".into(), ConfigChange::Delete),
        ]),
    };
    let changes = std::slice::from_ref(&change);
    assert_eq!(
        admin
            .incremental_alter_configs(changes, true)
            .await
            .expect("an answer")[&name],
        Ok(())
    );
    assert_eq!(read().await[0], dynamic("3600000"), "only validated");
    assert_eq!(
        admin
            .incremental_alter_configs(changes, false)
            .await
            .expect("an answer")[&name],
        Ok(())
    );
    assert_eq!(
        read().await,
        [dynamic("7200000"), default("producer"), default("delete")]
    );

    let wrong = TopicConfigChange {
        topic: name.clone(),
        changes: BTreeMap::from([("retention.ms".into(), ConfigChange::Set("soon".into()))]),
    };
    let absent = TopicConfigChange {
        topic: unique("absent"),
        ..change.clone()
    };
    let results = admin
        .incremental_alter_configs(&[wrong, absent.clone()], false)
        .await
        .expect("an answer");
    assert!(
        results[&name]
            .clone()
            .expect_err("refused")
            .is(ResponseError::InvalidConfig)
    );
    assert!(
        results[&absent.topic]
            .clone()
            .expect_err("refused")
            .is(ResponseError::UnknownTopicOrPartition)
    );
    assert_eq!(read().await[0], dynamic("7200000"));
}

#[tokio::test]
async fn a_brokers_settings_come_from_that_broker() {
    let admin = shared().await.admin();
    let (there, not_there) = (ConfigResource::Broker(0), ConfigResource::Broker(7));
    let asked = [there.clone(), not_there.clone()];
    let configs = admin
        .describe_configs(&asked, Some(&["log.dirs", "ssl.keystore.location"]))
        .await
        .expect("an answer");
    let entries = configs[&there].as_ref().expect("settings");
    assert_eq!(entries["log.dirs"].source, ConfigSource::StaticBroker);
    assert!(entries["log.dirs"].read_only);
    let error = configs[&not_there].clone().expect_err("no such broker");
    assert!(error.to_string().contains("broker 7"), "{error}");
}

#[tokio::test]
async fn offsets_are_found_by_end_by_time_and_by_isolation() {
    let kafka = shared().await;
    let (admin, name) = (kafka.admin(), unique("offsets"));
    let created = create_topic(&admin, &name, 2, &[]).await;
    let connection = kafka.connection(Listener::Plain);
    let sender = producer(&connection);
    for value in [b"a", b"b", b"c"] {
        produce(&sender, &name, 0, None, Some(value)).await;
    }
    let (zero, one) = (TopicPartition::new(&name, 0), TopicPartition::new(&name, 1));
    assert_eq!(offset(&admin, &zero, OffsetSpec::Latest).await, Some(3));
    assert_eq!(offset(&admin, &zero, OffsetSpec::Timestamp(0)).await, Some(0));
    assert_eq!(offset(&admin, &zero, OffsetSpec::Timestamp(i64::MAX)).await, None);
    assert_eq!(
        offset(&admin, &one, OffsetSpec::MaxTimestamp).await,
        None,
        "an empty partition has no record"
    );
    assert!(offset(&admin, &zero, OffsetSpec::MaxTimestamp).await.is_some());

    delete_records(&connection, &name, 0, 2).await.expect("deleted");
    let (ranges, failed) = admin
        .log_ranges(
            &[name.clone(), "no-such-topic".into()],
            Isolation::ReadUncommitted,
        )
        .await
        .expect("an answer");
    let range = ranges[&zero].clone().expect("a range");
    assert_eq!(
        (range.range, range.topic_id),
        (LogRange { start: 2, end: 3 }, created.id.expect("an ID"))
    );
    assert_eq!(
        ranges[&one].clone().expect("a range").range,
        LogRange { start: 0, end: 0 }
    );
    assert!(failed["no-such-topic"].is(ResponseError::UnknownTopicOrPartition));

    let writer = transactional(&connection, &unique("offsets")).await;
    writer.begin_transaction().expect("begins");
    produce(&writer, &name, 0, None, Some(b"held")).await;
    let end = |isolation| {
        let (admin, zero) = (admin.clone(), zero.clone());
        async move {
            admin
                .list_offsets([(zero.clone(), OffsetSpec::Latest)], isolation)
                .await
                .expect("an answer")[&zero]
                .clone()
        }
    };
    assert_eq!(
        end(Isolation::ReadUncommitted).await.expect("an offset").offset,
        Some(4)
    );
    assert_eq!(
        end(Isolation::ReadCommitted).await.expect("an offset").offset,
        Some(3)
    );
    blocking(writer, |writer| {
        writer.abort_transaction(std::time::Duration::from_secs(30))
    })
    .await;
}

#[tokio::test]
async fn partitions_that_cannot_be_told_stand_beside_those_that_can() {
    let (admin, name) = (shared().await.admin(), unique("mixed"));
    create_topic(&admin, &name, 1, &[]).await;
    let (good, beyond, absent) = (
        TopicPartition::new(&name, 0),
        TopicPartition::new(&name, 9),
        TopicPartition::new(unique("absent"), 0),
    );
    let asked = [&good, &beyond, &absent].map(|partition| (partition.clone(), OffsetSpec::Latest));
    let results = admin
        .list_offsets(asked, Isolation::ReadCommitted)
        .await
        .expect("an answer");
    assert_eq!(results[&good].clone().expect("an offset").offset, Some(0));
    for partition in [beyond, absent] {
        let error = results[&partition].clone().expect_err("no such partition");
        assert!(
            error.is(ResponseError::UnknownTopicOrPartition),
            "{partition}: {error}"
        );
    }
}

#[tokio::test]
async fn the_end_of_a_leader_epoch_is_told() {
    let kafka = shared().await;
    let (admin, name) = (kafka.admin(), unique("epochs"));
    create_topic(&admin, &name, 1, &[]).await;
    let partition = TopicPartition::new(&name, 0);
    produce(
        &producer(&kafka.connection(Listener::Plain)),
        &name,
        0,
        None,
        Some(b"a"),
    )
    .await;
    let epoch = topic(&admin, &name).await.expect("the topic").partitions[&0]
        .leader_epoch
        .expect("an epoch");
    let answer = admin
        .offset_for_leader_epoch(&BTreeMap::from([(partition.clone(), epoch)]))
        .await
        .expect("an answer");
    let end = answer[&partition].clone().expect("an end");
    assert_eq!((end.leader_epoch, end.end_offset), (Some(epoch), Some(1)));
}

#[tokio::test]
async fn log_directories_tell_sizes_and_free_space() {
    let kafka = shared().await;
    let (admin, name) = (kafka.admin(), unique("dirs"));
    create_topic(&admin, &name, 1, &[]).await;
    let sender = producer(&kafka.connection(Listener::Plain));
    produce(&sender, &name, 0, None, Some(&[7; 5000])).await;
    let partition = TopicPartition::new(&name, 0);

    let all = admin
        .describe_log_dirs(None)
        .await
        .expect("an answer")
        .remove(&0)
        .expect("broker 0")
        .expect("directories");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].path, kafka.volume(0).display().to_string());
    let (total, usable) = (
        all[0].total_bytes.expect("a size"),
        all[0].usable_bytes.expect("a size"),
    );
    assert!(usable > 0 && usable < total && all[0].used_percent().is_some());
    assert!(
        (5000..6000).contains(&all[0].partitions[&partition].size),
        "{:?}",
        all[0].partitions[&partition]
    );
    assert!(all[0].error.is_none());

    let one = admin
        .describe_log_dirs(Some(std::slice::from_ref(&partition)))
        .await
        .expect("an answer");
    assert_eq!(
        one[&0].as_ref().expect("directories")[0]
            .partitions
            .keys()
            .collect::<Vec<_>>(),
        [&partition]
    );
    let none = admin.describe_log_dirs(Some(&[])).await.expect("an answer");
    let dir = &none[&0].as_ref().expect("directories")[0];
    assert!(dir.partitions.is_empty() && dir.total_bytes == Some(total));
}

#[tokio::test]
async fn a_re_created_topic_is_another_one() {
    let kafka = shared().await;
    let (admin, name) = (kafka.admin(), unique("again"));
    let first = create_topic(&admin, &name, 1, &[]).await.id.expect("an ID");
    delete_topic(&kafka.connection(Listener::Plain), &name).await;
    let gone = admin.metadata(Topics::Ids(vec![first])).await.expect("an answer");
    assert!(gone.unknown_ids[&first].is(ResponseError::UnknownTopicId));
    let second = create_topic(&admin, &name, 1, &[]).await.id.expect("an ID");
    assert_ne!(first, second);
    let partition = TopicPartition::new(&name, 0);
    let listed = admin
        .list_offsets(
            [(partition.clone(), OffsetSpec::Latest)],
            Isolation::ReadCommitted,
        )
        .await;
    assert_eq!(
        listed.expect("an answer")[&partition]
            .clone()
            .expect("an offset")
            .topic_id,
        second
    );
}

#[tokio::test]
async fn many_calls_at_once_share_a_few_connections() {
    let admin = shared().await.admin();
    let calls = (0..50).map(|_| admin.cluster());
    for result in futures::future::join_all(calls).await {
        result.expect("an answer");
    }
}

#[tokio::test]
async fn a_single_voter_is_leader_and_caught_up() {
    let quorum = shared().await.admin().describe_quorum().await.expect("an answer");
    assert_eq!(
        (quorum.leader_id, quorum.voters.len(), quorum.observers.len()),
        (Some(0), 1, 0)
    );
    let voter = &quorum.voters[0];
    assert!(voter.directory_id.is_some());
    assert!(
        voter
            .log_end_offset
            .is_some_and(|end| end >= quorum.high_watermark && quorum.high_watermark > 0)
    );
}
