//! What arrives is what was there: order, keys, headers, timestamps, tombstones; and nothing that was not.

use std::collections::BTreeMap;

use rdkafka::producer::{FutureProducer, Producer as _};
use tributary::kafka::wire::{ConfigResource, ConfigSource};

use super::records::{Audit, Record, audit, numbered, of_partition, producer_with, read, recently, write};
use super::world::{PATIENCE, World, of, plain, shared};
use crate::harness::client::{blocking, create_topic, transactional};
use crate::harness::kafka::unique;

async fn copies_everything_of(codec: &str) {
    let world = shared().await;
    let topic = unique(codec);
    create_topic(&world.source.admin(), &topic, 4, &[]).await;
    let producer = producer_with(&plain(&world.source), codec);
    let mut sent = numbered(0, 8000, 4);
    let odd = |key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]| Record {
        partition: 2,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        timestamp: recently() - 1,
        headers: headers
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.map(<[u8]>::to_vec)))
            .collect(),
    };
    sent.extend([
        odd(Some(b"tombstone"), None, &[]),
        odd(
            Some(b""),
            Some(b""),
            &[
                ("empty", Some(b"")),
                ("null", None),
                ("twice", Some(b"1")),
                ("twice", Some(b"2")),
            ],
        ),
        odd(None, Some(b"\x00\xff not text"), &[]),
        odd(None, None, &[]),
    ]);
    write(&producer, &topic, &sent).await;

    let mut replicator = world.link(&[&topic]).run();
    let arrived = world.arrived(&topic, 4, sent.len()).await;
    for partition in 0..4 {
        assert_eq!(
            of_partition(&arrived, partition),
            of_partition(&sent, partition),
            "partition {partition}"
        );
    }
    let end = i64::try_from(of_partition(&sent, 2).len()).unwrap();
    let progress = replicator.until_stored(&topic, 2, end).await;
    assert!(progress.source.is_connected() && progress.target.is_connected() && progress.positions_seen);
    assert_eq!(progress.source.cluster_id.as_deref(), Some(world.source.id()));
    let partition = of(&progress, &topic, 2).unwrap();
    assert_eq!(partition.last_timestamp, Some(recently() - 1));
    assert_eq!(partition.records, of_partition(&sent, 2).len() as u64);
    let topic_progress = progress.topics.iter().find(|found| found.name == topic).unwrap();
    assert!(
        topic_progress
            .mean_record_bytes
            .is_some_and(|mean| (90.0..150.0).contains(&mean)),
        "{topic_progress:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_records_arrive_as_they_were() {
    copies_everything_of("lz4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uncompressed_records_arrive_as_they_were() {
    copies_everything_of("none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_restart_repeats_nothing() {
    let world = shared().await;
    let topic = unique("restart");
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    let mut replicator = world.link(&[&topic]).run();
    replicator.until_following(&topic, 2).await;
    for round in 0..3 {
        write(&producer, &topic, &numbered(round * 5000, (round + 1) * 5000, 2)).await;
        // In the middle of the work: what is in flight is waited for and stored.
        let begun = |progress: &tributary::replicator::progress::Progress| progress.totals.records > 0;
        replicator.until("the first records", begun).await;
        replicator.stop().await;
        replicator.start();
    }
    let arrived = world.arrived(&topic, 2, 15_000).await;
    assert_eq!(audit(&arrived, 15_000, 2), Audit::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_committed_records_are_copied_and_markers_leave_no_lag() {
    let world = shared().await;
    let topic = unique("transactions");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let connection = plain(&world.source);
    let producer: FutureProducer = transactional(&connection, &topic).await;
    let in_transaction = async |from: u64, commit: bool| {
        producer.begin_transaction().expect("begun");
        write(&producer, &topic, &numbered(from, from + 10, 1)).await;
        if commit {
            blocking(producer.clone(), |producer| producer.commit_transaction(PATIENCE)).await;
        } else {
            blocking(producer.clone(), |producer| producer.abort_transaction(PATIENCE)).await;
        }
    };
    in_transaction(0, true).await;
    in_transaction(100, false).await;
    in_transaction(10, true).await;
    in_transaction(200, false).await;
    let mut replicator = world.link(&[&topic]).run();
    let arrived = world.arrived(&topic, 1, 20).await;
    assert_eq!(audit(&arrived, 20, 1), Audit::default());
    // 40 records and 4 markers: the position passes the last marker although no record follows it.
    replicator.until_stored(&topic, 0, 44).await;
    replicator.stop().await;
    // Also when there is nothing but a marker behind the stored position.
    in_transaction(300, false).await;
    replicator.start();
    replicator.until_stored(&topic, 0, 55).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_aborted_under_a_newer_leader_does_not_make_the_log_look_truncated() {
    let mut world = World::start().await;
    let topic = unique("aborted");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let ten = async |world: &World, from: u64| {
        let producer = producer_with(&plain(&world.source), "none");
        write(&producer, &topic, &numbered(from, from + 10, 1)).await;
    };
    ten(&world, 0).await;
    let mut replicator = world.link(&[&topic]).run();
    let before = replicator.until_stored(&topic, 0, 10).await;
    replicator.stop().await;
    // After a restart the log goes on in a newer leader epoch, with ten records and a marker that are not carried.
    world.source.stop(0).await;
    world.source.start_node(0).await;
    let producer = transactional(&plain(&world.source), &topic).await;
    producer.begin_transaction().expect("begun");
    write(&producer, &topic, &numbered(100, 110, 1)).await;
    blocking(producer, |producer| producer.abort_transaction(PATIENCE)).await;
    replicator.start();
    let after = replicator.until_stored(&topic, 0, 21).await;
    let epoch = |progress| of(progress, &topic, 0).and_then(|found| found.leader_epoch);
    assert!(
        epoch(&after) > epoch(&before) && epoch(&before).is_some(),
        "{after:#?}"
    );
    replicator.stop().await;
    replicator.start();
    ten(&world, 10).await;
    replicator.until_stored(&topic, 0, 31).await;
    assert_eq!(
        audit(&world.arrived(&topic, 1, 20).await, 20, 1),
        Audit::default()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_with_holes_is_copied_with_its_policy() {
    let world = shared().await;
    let topic = unique("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.insync.replicas", "1"),
    ];
    let admin = world.source.admin();
    create_topic(&admin, &topic, 1, &settings).await;
    let producer = producer_with(&plain(&world.source), "none");
    let keyed = |number: u64, key: u64| Record {
        key: Some(vec![u8::try_from(key).unwrap()]),
        ..Record::numbered(0, number)
    };
    // Rounds over the same keys, a pause apart, until compaction has made holes.
    let mut number = 0;
    let mut left = Vec::new();
    crate::harness::wait::until("holes by compaction", PATIENCE, async || {
        let round: Vec<Record> = (0..50).map(|key| keyed(number + key, key % 10)).collect();
        number += 50;
        let (producer, topic, connection) = (&producer, &topic, plain(&world.source));
        write(producer, topic, &round).await;
        left = read(&connection, topic, 1, 1).await;
        left.len() as u64 + 20 < number
    })
    .await;
    let mut replicator = world.link(&[&topic]).run();
    replicator
        .until_stored(&topic, 0, i64::try_from(number).unwrap())
        .await;
    let arrived = world.arrived(&topic, 1, 1).await;
    // Both sides go on compacting: what counts is the last record of each key, and order.
    let last = |records: &[Record]| -> BTreeMap<Vec<u8>, u64> {
        records
            .iter()
            .map(|record| (record.key.clone().unwrap(), record.number()))
            .collect()
    };
    assert_eq!(last(&arrived), last(&left));
    assert!(arrived.iter().map(Record::number).is_sorted());

    let resource = ConfigResource::Topic(format!("munich.{topic}"));
    let mut configs = world
        .target
        .admin()
        .describe_configs(std::slice::from_ref(&resource), None)
        .await
        .unwrap();
    let configs = configs.remove(&resource).unwrap().unwrap();
    let set_here: Vec<&str> = configs
        .iter()
        .filter(|(_, entry)| entry.source == ConfigSource::DynamicTopic)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        set_here,
        ["cleanup.policy", "min.cleanable.dirty.ratio", "segment.ms"],
        "never min.insync.replicas"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_partitions_of_a_link() {
    let world = shared().await;
    let topic = unique("workers");
    create_topic(&world.source.admin(), &topic, 4, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    write(&producer, &topic, &numbered(0, 4000, 4)).await;
    let link = world.link(&[&topic]);
    // The second alone waits for the first, who registers.
    let mut second = link.run_with("workers: 2\nworker: 1");
    second
        .until("waiting for worker 0", |progress| progress.partitions.len() == 2)
        .await;
    let mut first = link.run_with("workers: 2\nworker: 0");
    let arrived = world.arrived(&topic, 4, 4000).await;
    assert_eq!(audit(&arrived, 4000, 4), Audit::default());
    let of_both = [
        first.until_following_all(2).await,
        second.until_following_all(2).await,
    ]
    .concat();
    let mut partitions: Vec<i32> = of_both.iter().map(|partition| partition.partition).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2, 3]);
}
