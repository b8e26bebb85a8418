//! Records that the target does not take: their partition stands still, and nothing is passed over without a decision.

use tributary::replicator::progress::StopReason;

use super::records::{Record, audit, numbered, producer_with, write};
use super::world::{of, plain, shared};
use crate::harness::client::{create_topic, delete_records, noise, set_config};
use crate::harness::kafka::unique;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_target_stops_its_partition_until_the_limit_is_raised() {
    let world = shared().await;
    let topic = unique("large");
    let target = format!("munich.{topic}");
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    create_topic(
        &world.target.admin(),
        &target,
        2,
        &[("max.message.bytes", "20000")],
    )
    .await;
    let producer = producer_with(&plain(&world.source), "none");
    // Batches far above the target's limit on the source: they are cut to what the target takes.
    write(&producer, &topic, &numbered(0, 2000, 2)).await;
    let noise = noise(60_000);
    let large = Record {
        value: Some([b"000000002000 ".as_slice(), &noise].concat()),
        ..Record::numbered(0, 2000)
    };
    write(&producer, &topic, &[large]).await;
    write(&producer, &topic, &numbered(2001, 3001, 2)).await;
    let mut replicator = world.link(&[&topic]).run();
    let (stopped, progress) = replicator.until_stopped(&topic, 0).await;
    assert_eq!(
        (stopped.reason, stopped.position),
        (Some(StopReason::RecordTooLarge), Some(1000))
    );
    assert!(
        stopped
            .message
            .as_deref()
            .is_some_and(|message| message.contains("max.message.bytes 20000")),
        "{stopped:?}"
    );
    assert!(
        progress.gaps.is_empty(),
        "it waits on the source: {:?}",
        progress.gaps
    );
    replicator.until_stored(&topic, 1, 1500).await;

    set_config(&world.target.admin(), &target, "max.message.bytes", "100000").await;
    replicator.until_stored(&topic, 0, 1501).await;
    let arrived = world.arrived(&topic, 2, 3001).await;
    let audit = audit(&arrived, 3001, 2);
    assert_eq!((audit.lost, audit.disordered), (0, 0), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_is_lost_only_when_the_source_deletes_it_and_passed_over_only_by_decision() {
    let world = shared().await;
    let topic = unique("waits");
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    let small = [("max.message.bytes", "20000")];
    create_topic(&world.target.admin(), &format!("munich.{topic}"), 2, &small).await;
    let producer = producer_with(&plain(&world.source), "none");
    let large = |number: u64| Record {
        value: Some([format!("{number:012} ").into_bytes(), noise(60_000)].concat()),
        ..Record::numbered(i32::try_from(number % 2).unwrap(), number)
    };
    write(&producer, &topic, &[large(0), large(1)]).await;
    write(&producer, &topic, &numbered(2, 20, 2)).await;
    let mut replicator = world.link(&[&topic]).run();
    for partition in [0, 1] {
        let (stopped, progress) = replicator.until_stopped(&topic, partition).await;
        assert_eq!(stopped.reason, Some(StopReason::RecordTooLarge));
        assert!(progress.gaps.is_empty(), "{:?}", progress.gaps);
    }
    replicator
        .verb(&["resume", "--topic", &topic, "--partition", "0", "--from", "1"])
        .unwrap();
    replicator.until_stored(&topic, 0, 10).await;
    delete_records(&plain(&world.source), &topic, 1, 5).await.unwrap();
    let gone = |progress: &tributary::replicator::progress::Progress| {
        of(progress, &topic, 1).is_some_and(|found| found.reason == Some(StopReason::BelowLogStart))
    };
    let progress = replicator.until("the source's loss", gone).await;
    assert_eq!((progress.gaps[0].from, progress.gaps[0].to), (0, Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_target_refuses_stops_its_partition_until_the_topic_takes_it() {
    let world = shared().await;
    let topic = unique("keyless");
    let target = format!("munich.{topic}");
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    create_topic(
        &world.target.admin(),
        &target,
        2,
        &[("cleanup.policy", "compact")],
    )
    .await;
    let producer = producer_with(&plain(&world.source), "none");
    // Two in the middle of a batch: Kafka refuses all of it, and the first report is that of an innocent record, which
    // says nothing. (With one alone, librdkafka gives all records its code.)
    let mut records = numbered(0, 10, 2);
    for record in [4, 6] {
        records[record].key = None;
    }
    write(&producer, &topic, &records).await;
    let mut replicator = world.link(&[&topic]).run();
    let (stopped, _) = replicator.until_stopped(&topic, 0).await;
    assert_eq!(stopped.reason, Some(StopReason::RecordRefused));
    // Its batch need not begin at the first record, but it is not passed.
    assert!(stopped.position <= Some(2), "{stopped:?}");
    let message = stopped.message.unwrap_or_default();
    assert!(message.contains("source offset 2"), "{message}");
    replicator.until_stored(&topic, 1, 5).await;
    set_config(&world.target.admin(), &target, "cleanup.policy", "delete").await;
    replicator.until_stored(&topic, 0, 5).await;
    assert_eq!(audit(&world.arrived(&topic, 2, 10).await, 10, 2).lost, 0);
}
