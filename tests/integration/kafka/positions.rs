//! The positions topic on a real broker: created, mended, written, compacted, truncated, re-created.

use std::collections::BTreeMap;

use rdkafka::producer::{FutureProducer, Producer as _};
use tributary::kafka::positions::{
    POSITIONS_PARTITIONS, POSITIONS_TOPIC, Position, PositionError, PositionKey, Positions, PositionsError,
    PositionsReader, PositionsTopic, Scope, ensure_positions_topic,
};
use tributary::kafka::wire::{
    Admin, ConfigChange, ConfigResource, Deadline, FetchFrom, MAX_CALL, TopicConfigChange, Topics,
};
use tributary::kafka::{KafkaConnection, TopicId};
use uuid::Uuid;

use crate::harness::client::{
    blocking, create_topic, delete_records, delete_topic, produce, producer, transactional,
};
use crate::harness::kafka::{KafkaCluster, Listener, shared, unique};
use crate::harness::wait::{PATIENCE, eventually, until};

fn key(link: &str, partition: i32) -> PositionKey {
    PositionKey {
        link_id: link.into(),
        source_cluster_id: "source".into(),
        topic_id: TopicId(Uuid::from_u128(7)),
        partition,
    }
}

fn position(next_offset: i64) -> Position {
    Position {
        next_offset,
        leader_epoch: Some(1),
        source_topic: "telemetry".into(),
        target_topic: "munich.telemetry".into(),
        target_topic_id: None,
        last_record_timestamp_ms: Some(1),
        written_at_ms: 2,
        generation: 1,
    }
}

async fn write(producer: &FutureProducer, key: &PositionKey, position: Option<&Position>) -> i64 {
    let value = position.map(Position::encode);
    produce(
        producer,
        POSITIONS_TOPIC,
        key.positions_partition(),
        Some(&key.encode()),
        value.as_deref(),
    )
    .await
}

/// Next offsets by partition of the source.
fn offsets(positions: &Positions) -> BTreeMap<i32, i64> {
    let ok = |(key, position): (&PositionKey, &Result<Position, PositionError>)| {
        (
            key.partition,
            position.as_ref().expect("a readable position").next_offset,
        )
    };
    positions.positions.iter().map(ok).collect()
}

async fn ensure(admin: &Admin) -> PositionsTopic {
    let done = ensure_positions_topic(admin)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let topics = Topics::Named(vec![POSITIONS_TOPIC.into()]);
    until("leaders of the positions topic", PATIENCE, || async {
        let metadata = admin.metadata(topics.clone()).await;
        metadata.is_ok_and(|metadata| {
            metadata.topics[POSITIONS_TOPIC]
                .as_ref()
                .is_ok_and(|t| t.partitions.values().all(|p| p.leader.is_some()))
        })
    })
    .await;
    done
}

#[tokio::test]
async fn positions_are_followed_and_withdrawn_and_links_do_not_see_each_other() {
    let kafka = shared().await;
    let admin = kafka.admin();
    ensure(&admin).await;
    let writer = producer(&kafka.connection(Listener::Plain));
    let (mine, other) = (unique("mine"), unique("other"));
    let mut reader = PositionsReader::new(admin.clone(), Scope::link(&mine));
    assert_eq!(offsets(&reader.read().await.expect("an answer")), BTreeMap::new());

    write(&writer, &key(&mine, 0), Some(&position(5))).await;
    write(&writer, &key(&mine, 1), Some(&position(6))).await;
    write(&writer, &key(&other, 2), Some(&position(7))).await;
    assert_eq!(
        offsets(&reader.read().await.expect("an answer")),
        BTreeMap::from([(0, 5), (1, 6)])
    );
    write(&writer, &key(&mine, 0), Some(&position(50))).await;
    write(&writer, &key(&mine, 1), None).await;
    let read = reader.read().await.expect("an answer");
    assert_eq!(offsets(&read), BTreeMap::from([(0, 50)]));
    assert_eq!(reader.read().await.expect("an answer"), read, "nothing new");
    let fresh = PositionsReader::new(admin.clone(), Scope::link(&mine))
        .read()
        .await
        .expect("an answer");
    assert_eq!(fresh, read, "whoever starts now learns the same");

    let all = PositionsReader::new(admin, Scope::All)
        .read()
        .await
        .expect("an answer");
    assert!(all.positions.contains_key(&key(&mine, 0)) && all.positions.contains_key(&key(&other, 2)));
}

#[tokio::test]
async fn compressed_writes_are_readable_because_the_topic_unpacks_them() {
    let kafka = shared().await;
    ensure(&kafka.admin()).await;
    let link = unique("compressed");
    let mut config = kafka.connection(Listener::Plain).client_config();
    let writer: FutureProducer = config
        .set("compression.codec", "lz4")
        .create()
        .expect("a producer");
    let long = Position {
        source_topic: "x".repeat(2000),
        ..position(3)
    };
    write(&writer, &key(&link, 0), Some(&long)).await;
    let read = PositionsReader::new(kafka.admin(), Scope::link(&link))
        .read()
        .await
        .expect("an answer");
    assert_eq!(read.positions, BTreeMap::from([(key(&link, 0), Ok(long))]));
}

#[tokio::test]
async fn a_newer_format_is_told_and_never_taken_for_no_position() {
    let kafka = KafkaCluster::start(1, &[]).await;
    let admin = kafka.admin();
    ensure(&admin).await;
    let writer = producer(&kafka.connection(Listener::Plain));
    let mine = key("mine", 0);
    let partition = mine.positions_partition();
    produce(
        &writer,
        POSITIONS_TOPIC,
        partition,
        Some(&mine.encode()),
        Some(br#"{"v":2,"at":9}"#),
    )
    .await;
    let future = br#"{"v":3,"link":"mine"}"#;
    let offset = produce(&writer, POSITIONS_TOPIC, partition, Some(future), Some(b"{}")).await;
    let read = PositionsReader::new(admin, Scope::link("mine"))
        .read()
        .await
        .expect("an answer");
    assert_eq!(
        read.positions[&mine],
        Err(PositionError::FutureVersion {
            part: "value",
            version: 2
        })
    );
    assert_eq!(
        (read.unreadable[0].partition, read.unreadable[0].offset),
        (partition, offset)
    );
    assert_eq!(
        read.unreadable[0].error,
        PositionError::FutureVersion {
            part: "key",
            version: 3
        }
    );
}

#[tokio::test]
async fn the_topic_is_created_once_and_mended_when_its_settings_would_lose_positions() {
    let kafka = KafkaCluster::start(1, &[]).await;
    let admin = kafka.admin();
    let mut reader = PositionsReader::new(admin.clone(), Scope::link("mine"));
    assert_eq!(reader.read().await, Err(PositionsError::TopicMissing));
    let both = tokio::join!(ensure_positions_topic(&admin), ensure_positions_topic(&admin));
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    assert_eq!(ensure(&admin).await, PositionsTopic::Present);
    assert_eq!(
        offsets(&reader.read().await.expect("an answer")),
        BTreeMap::new(),
        "empty is not missing"
    );

    let change = TopicConfigChange {
        topic: POSITIONS_TOPIC.into(),
        changes: BTreeMap::from([(
            "cleanup.policy".into(),
            ConfigChange::Set("compact,delete".into()),
        )]),
    };
    admin
        .incremental_alter_configs(&[change], false)
        .await
        .expect("an answer")[POSITIONS_TOPIC]
        .clone()
        .expect("changed");
    assert_eq!(
        ensure(&admin).await,
        PositionsTopic::Mended(vec!["cleanup.policy".into()])
    );
    let resource = ConfigResource::Topic(POSITIONS_TOPIC.into());
    let configs = admin
        .describe_configs(std::slice::from_ref(&resource), None)
        .await
        .expect("an answer");
    assert_eq!(
        configs[&resource].as_ref().expect("settings")["cleanup.policy"]
            .value
            .as_deref(),
        Some("compact")
    );

    delete_topic(&kafka.connection(Listener::Plain), POSITIONS_TOPIC).await;
    create_topic(&admin, POSITIONS_TOPIC, 3, &[]).await;
    let wrong = PositionsError::WrongPartitions { found: 3 };
    assert_eq!(ensure_positions_topic(&admin).await, Err(wrong.clone()));
    assert_eq!(reader.read().await, Err(wrong));
}

#[tokio::test]
async fn an_open_transaction_holds_the_reader_and_its_end_frees_it() {
    let kafka = KafkaCluster::start(1, &[]).await;
    let admin = kafka.admin();
    ensure(&admin).await;
    let mine = key("mine", 0);
    let writer = transactional(&kafka.connection(Listener::Plain), "positions").await;
    let end = |writer: FutureProducer, commit: bool| {
        blocking(writer, move |writer| {
            if commit {
                writer.commit_transaction(PATIENCE)
            } else {
                writer.abort_transaction(PATIENCE)
            }
        })
    };
    writer.begin_transaction().expect("begins");
    write(&writer, &mine, Some(&position(1))).await;
    let mut reader = PositionsReader::new(admin, Scope::link("mine"));
    let held = reader.read().await.expect_err("held");
    assert!(
        matches!(held, PositionsError::OpenTransaction { at: 0, end: 1, .. }),
        "{held:?}"
    );
    end(writer.clone(), true).await;
    let committed = eventually("the commit", PATIENCE, async || reader.read().await).await;
    assert_eq!(offsets(&committed), BTreeMap::from([(0, 1)]));

    writer.begin_transaction().expect("begins");
    write(&writer, &mine, Some(&position(2))).await;
    end(writer, false).await;
    let aborted = eventually("the abort", PATIENCE, async || reader.read().await).await;
    assert_eq!(
        offsets(&aborted),
        BTreeMap::from([(0, 1)]),
        "what was aborted never was"
    );
}

/// Records that are in a partition of the positions topic.
async fn count_records(admin: &Admin, partition: i32) -> usize {
    let topics = Topics::Named(vec![POSITIONS_TOPIC.into()]);
    let metadata = admin.metadata(topics).await.expect("an answer");
    let topic = metadata.topics[POSITIONS_TOPIC].as_ref().expect("the topic");
    let (mut offset, mut count) = (0, 0);
    loop {
        let found = &topic.partitions[&partition];
        let from = FetchFrom {
            leader: found.leader.expect("a leader"),
            leader_epoch: found.leader_epoch,
            offset,
        };
        let froms = BTreeMap::from([(partition, from)]);
        let mut answer = admin
            .fetch(
                POSITIONS_TOPIC,
                topic.id,
                &froms,
                1 << 20,
                Deadline::after(MAX_CALL),
            )
            .await;
        let fetched = answer.remove(&partition).expect("a result").expect("records");
        count += fetched.records.len();
        if fetched.next_offset >= fetched.high_watermark {
            return count;
        }
        offset = fetched.next_offset;
    }
}

#[tokio::test]
async fn a_compacted_topic_says_the_same_as_before() {
    let kafka = KafkaCluster::start(1, &[]).await;
    let admin = kafka.admin();
    ensure(&admin).await;
    let eager = [
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    let changes = eager
        .map(|(name, value)| (name.to_owned(), ConfigChange::Set(value.to_owned())))
        .into();
    let change = TopicConfigChange {
        topic: POSITIONS_TOPIC.into(),
        changes,
    };
    admin
        .incremental_alter_configs(&[change], false)
        .await
        .expect("an answer")[POSITIONS_TOPIC]
        .clone()
        .expect("changed");

    let writer = producer(&kafka.connection(Listener::Plain));
    let partition = key("mine", 0).positions_partition();
    let mut follower = PositionsReader::new(admin.clone(), Scope::link("mine"));
    for next in 0..200 {
        write(
            &writer,
            &key("mine", i32::try_from(next % 4).expect("small")),
            Some(&position(next)),
        )
        .await;
    }
    write(&writer, &key("mine", 3), None).await;
    let before = follower.read().await.expect("an answer");
    assert_eq!(offsets(&before), BTreeMap::from([(0, 196), (1, 197), (2, 198)]));
    // Compaction never touches the active segment: each write may begin a new one.
    until("compaction", PATIENCE, || async {
        write(&writer, &key("mine", 0), Some(&position(196))).await;
        count_records(&admin, partition).await < 20
    })
    .await;
    assert_eq!(
        follower.read().await.expect("an answer").positions,
        before.positions
    );
    let fresh = PositionsReader::new(admin, Scope::link("mine"))
        .read()
        .await
        .expect("an answer");
    assert_eq!(fresh.positions, before.positions);
    assert_eq!(
        fresh.truncated,
        BTreeMap::new(),
        "compaction does not move the log's start"
    );
}

/// Deletes records of the positions topic, for which somebody must have spoilt its settings first.
async fn truncate(kafka: &KafkaCluster, partition: i32, before: i64) {
    let changes = BTreeMap::from([(
        "cleanup.policy".into(),
        ConfigChange::Set("compact,delete".into()),
    )]);
    let change = TopicConfigChange {
        topic: POSITIONS_TOPIC.into(),
        changes,
    };
    let results = kafka
        .admin()
        .incremental_alter_configs(&[change], false)
        .await
        .expect("an answer");
    results[POSITIONS_TOPIC].clone().expect("changed");
    let connection = kafka.connection(Listener::Plain);
    eventually("the broker to allow it", PATIENCE, async || {
        delete_records(&connection, POSITIONS_TOPIC, partition, before).await
    })
    .await;
}

#[tokio::test]
async fn deleted_records_are_told_and_a_re_created_topic_starts_anew() {
    let kafka = KafkaCluster::start(1, &[]).await;
    let (admin, connection) = (kafka.admin(), kafka.connection(Listener::Plain));
    ensure(&admin).await;
    let writer = producer(&connection);
    let mut follower = PositionsReader::new(admin.clone(), Scope::link("mine"));
    write(&writer, &key("mine", 0), Some(&position(1))).await;
    assert_eq!(
        offsets(&follower.read().await.expect("an answer")),
        BTreeMap::from([(0, 1)])
    );

    // A reader that stands at the end: what it knows is still there for it, and the truncation is told.
    let partition = key("mine", 0).positions_partition();
    let offset = write(&writer, &key("mine", 1), Some(&position(2))).await;
    truncate(&kafka, partition, offset).await;
    let mut fresh = PositionsReader::new(admin.clone(), Scope::link("mine"));
    let read = fresh.read().await.expect("an answer");
    assert_eq!(
        (offsets(&read), &read.truncated),
        (BTreeMap::from([(1, 2)]), &BTreeMap::from([(partition, offset)]))
    );
    // A reader whose place is gone starts from what is left.
    write(&writer, &key("mine", 2), Some(&position(3))).await;
    let offset = write(&writer, &key("mine", 3), Some(&position(4))).await;
    truncate(&kafka, partition, offset).await;
    for reader in [&mut follower, &mut fresh] {
        let read = reader.read().await.expect("an answer");
        assert_eq!(
            (offsets(&read), &read.truncated),
            (BTreeMap::from([(3, 4)]), &BTreeMap::from([(partition, offset)]))
        );
    }

    let id = fresh.read().await.expect("an answer").topic_id;
    delete_topic(&connection, POSITIONS_TOPIC).await;
    assert_eq!(fresh.read().await, Err(PositionsError::TopicMissing));
    assert_eq!(ensure(&admin).await, PositionsTopic::Created);
    let anew = fresh.read().await.expect("an answer");
    assert!(anew.positions.is_empty() && anew.truncated.is_empty() && anew.topic_id != id);
}

#[tokio::test]
async fn an_unreachable_cluster_is_neither_missing_nor_empty() {
    let mut kafka = KafkaCluster::start(1, &[]).await;
    let admin =
        Admin::new(&KafkaConnection::plaintext([kafka.address(0, Listener::Proxied)])).expect("a client");
    ensure(&admin).await;
    let writer = producer(&kafka.connection(Listener::Plain));
    let mut reader = PositionsReader::new(admin, Scope::link("mine"));
    write(&writer, &key("mine", 0), Some(&position(1))).await;
    reader.read().await.expect("an answer");
    write(&writer, &key("mine", 0), Some(&position(2))).await;
    kafka.proxy(0).cut();
    let error = reader.read().await.expect_err("unreachable");
    assert!(
        matches!(&error, PositionsError::Kafka(error) if error.is_unreachable()),
        "{error:?}"
    );
    kafka.proxy(0).mend();
    let read = eventually("the mended line", PATIENCE, async || reader.read().await).await;
    assert_eq!(offsets(&read), BTreeMap::from([(0, 2)]));
    kafka.kill(0);
    assert!(matches!(reader.read().await, Err(PositionsError::Kafka(_))));
    assert_eq!(POSITIONS_PARTITIONS, 8, "part of the format");
}
