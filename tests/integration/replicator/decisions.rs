//! Positions that no longer fit: the partition (or the link) stands still with the reason and the missing range, and goes
//! on when somebody decides.

use tributary::kafka::positions::POSITIONS_TOPIC;
use tributary::replicator::progress::{LinkStopReason, PartitionState, StopReason};

use super::records::{Audit, Record, audit, numbered, producer_with, write};
use super::world::{World, of, plain, shared};
use crate::harness::client::{create_topic, delete_records, delete_topic};
use crate::harness::kafka::unique;

#[tokio::test(flavor = "multi_thread")]
async fn expired_records_stop_their_partition_alone_with_the_exact_range() {
    let world = shared().await;
    let topic = unique("expired");
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    write(&producer, &topic, &numbered(0, 200, 2)).await;
    let mut replicator = world.link(&[&topic]).run();
    for partition in [0, 1] {
        replicator.until_stored(&topic, partition, 100).await;
    }
    replicator.stop().await;
    write(&producer, &topic, &numbered(200, 400, 2)).await;
    delete_records(&plain(&world.source), &topic, 0, 150)
        .await
        .unwrap();
    replicator.start();
    let (stopped, progress) = replicator.until_stopped(&topic, 0).await;
    assert_eq!(
        (stopped.reason, stopped.position),
        (Some(StopReason::BelowLogStart), Some(100))
    );
    let gap = &progress.gaps[0];
    assert_eq!(
        (gap.partition, gap.from, gap.to, gap.reason),
        (0, 100, Some(150), StopReason::BelowLogStart)
    );
    // The other goes on, also with what comes now, and the stopped one stays so across a restart.
    replicator.until_stored(&topic, 1, 200).await;
    replicator.kill();
    replicator.start();
    let (_, again) = replicator.until_stopped(&topic, 0).await;
    assert_eq!((again.gaps[0].from, again.gaps[0].to), (100, Some(150)));
    let (_, metrics) = replicator.get("/metrics").await.unwrap();
    assert!(metrics.contains("reason=\"BelowLogStart\"} 1"), "{metrics}");

    // An offset that is not there is no decision; one that is there is, while it runs.
    let resume =
        |from: &str| replicator.verb(&["resume", "--topic", &topic, "--partition", "0", "--from", from]);
    assert!(resume("120").unwrap_err().contains("holds offsets 150 to 200"));
    resume("earliest").unwrap();
    let after = replicator.until_stored(&topic, 0, 200).await;
    assert!(after.gaps.is_empty());
    let arrived = world.arrived(&topic, 2, 350).await;
    let audit = audit(&arrived, 400, 2);
    assert_eq!(
        audit,
        Audit {
            lost: 50,
            repeated: 0,
            disordered: 0
        },
        "exactly what had expired"
    );
    let listed = replicator.verb(&["positions"]).unwrap();
    assert!(
        listed.contains(&format!("{topic}-0\t200\t-> munich.{topic}")),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_expire_while_the_target_is_away_are_found_when_it_is_back() {
    // The fetch position falls behind the log start while the link runs: librdkafka must not move it.
    let world = World::start().await;
    let topic = unique("expires");
    create_topic(&world.source.admin(), &topic, 1, &[("segment.bytes", "1048576")]).await;
    let producer = producer_with(&plain(&world.source), "none");
    let mut link = world.proxied_link(&[&topic]);
    link.more = "worker: 0".to_owned();
    let mut replicator = link.run();
    write(&producer, &topic, &numbered(0, 100, 1)).await;
    replicator.until_stored(&topic, 0, 100).await;
    world.source.proxy(0).cut();
    replicator
        .until("the source to be away", |progress| {
            !progress.source.is_connected()
        })
        .await;
    write(&producer, &topic, &numbered(100, 300, 1)).await;
    delete_records(&plain(&world.source), &topic, 0, 250)
        .await
        .unwrap();
    world.source.proxy(0).mend();
    let (stopped, progress) = replicator.until_stopped(&topic, 0).await;
    assert_eq!(stopped.reason, Some(StopReason::BelowLogStart));
    assert_eq!((progress.gaps[0].from, progress.gaps[0].to), (100, Some(250)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_topic_created_anew_stops_and_goes_on_from_its_beginning_when_decided() {
    let world = shared().await;
    for running in [true, false] {
        let topic = unique("recreated");
        let admin = world.source.admin();
        create_topic(&admin, &topic, 1, &[]).await;
        let producer = producer_with(&plain(&world.source), "lz4");
        write(&producer, &topic, &numbered(0, 50, 1)).await;
        let mut replicator = world.link(&[&topic]).run();
        replicator.until_stored(&topic, 0, 50).await;
        if !running {
            replicator.stop().await;
        }
        delete_topic(&plain(&world.source), &topic).await;
        create_topic(&admin, &topic, 1, &[]).await;
        // More than before: by offsets alone it would look like a continuation.
        let producer = producer_with(&plain(&world.source), "lz4");
        write(&producer, &topic, &numbered(1000, 1100, 1)).await;
        if !running {
            replicator.start();
        }
        let reason = |progress: &tributary::replicator::progress::Progress| {
            of(progress, &topic, 0).is_some_and(|found| found.reason == Some(StopReason::TopicRecreated))
        };
        let progress = replicator.until("TopicRecreated", reason).await;
        let gap = &progress.gaps[0];
        assert!(
            gap.from >= 50 && gap.to.is_none() && gap.reason == StopReason::TopicRecreated,
            "{gap:?}"
        );
        replicator
            .verb(&["resume", "--topic", &topic, "--from", "earliest"])
            .unwrap();
        replicator.until_stored(&topic, 0, 100).await;
        let arrived: Vec<u64> = world
            .arrived(&topic, 1, 150)
            .await
            .iter()
            .map(Record::number)
            .collect();
        for number in (0..50).chain(1000..1100) {
            assert!(arrived.contains(&number), "{number}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_restored_from_an_older_copy_stops() {
    let mut world = World::start().await;
    let (diverged, shorter) = (unique("diverged"), unique("shorter"));
    for topic in [&diverged, &shorter] {
        create_topic(&world.source.admin(), topic, 1, &[]).await;
        write(
            &producer_with(&plain(&world.source), "none"),
            topic,
            &numbered(0, 60, 1),
        )
        .await;
    }
    world.source.stop(0).await;
    let copy = world.source.copy_volume(0);
    world.source.start_node(0).await;
    for topic in [&diverged, &shorter] {
        write(
            &producer_with(&plain(&world.source), "none"),
            topic,
            &numbered(60, 100, 1),
        )
        .await;
    }
    let mut replicator = world.link(&[&diverged, &shorter]).run();
    for topic in [&diverged, &shorter] {
        replicator.until_stored(topic, 0, 100).await;
    }
    replicator.stop().await;
    world.source.stop(0).await;
    world.source.restore_volume(0, &copy);
    // Two starts: the log goes on in another leader epoch than the one that was read.
    world.source.start_node(0).await;
    world.source.stop(0).await;
    world.source.start_node(0).await;
    write(
        &producer_with(&plain(&world.source), "none"),
        &diverged,
        &numbered(500, 600, 1),
    )
    .await;
    replicator.start();
    let (stopped, _) = replicator.until_stopped(&diverged, 0).await;
    assert_eq!(
        stopped.reason,
        Some(StopReason::LogTruncated),
        "the offset exists, the record is another"
    );
    let (stopped, progress) = replicator.until_stopped(&shorter, 0).await;
    assert!(
        matches!(
            stopped.reason,
            Some(StopReason::BeyondLogEnd | StopReason::LogTruncated)
        ),
        "{stopped:?}"
    );
    for gap in &progress.gaps {
        assert_eq!((gap.from, gap.to), (60, Some(100)), "{gap:?}");
    }
    assert_eq!(progress.gaps.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_restored_under_a_running_link_is_noticed_although_its_epochs_fell() {
    let mut world = World::start().await;
    let topic = unique("older");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    write(
        &producer_with(&plain(&world.source), "none"),
        &topic,
        &numbered(0, 60, 1),
    )
    .await;
    world.source.stop(0).await;
    let copy = world.source.copy_volume(0);
    // Each start begins another leader epoch.
    for _ in 0..3 {
        world.source.start_node(0).await;
        world.source.stop(0).await;
    }
    world.source.start_node(0).await;
    write(
        &producer_with(&plain(&world.source), "none"),
        &topic,
        &numbered(60, 100, 1),
    )
    .await;
    let mut replicator = world.link(&[&topic]).run();
    replicator.until_stored(&topic, 0, 100).await;
    world.source.stop(0).await;
    world.source.restore_volume(0, &copy);
    world.source.start_node(0).await;
    let (stopped, progress) = replicator.until_stopped(&topic, 0).await;
    assert!(
        matches!(
            stopped.reason,
            Some(StopReason::BeyondLogEnd | StopReason::LogTruncated)
        ),
        "{stopped:?}"
    );
    assert_eq!((progress.gaps[0].from, progress.gaps[0].to), (60, Some(100)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_anew_goes_on_when_decided_although_its_epochs_are_lower() {
    let mut world = World::start().await;
    let topic = unique("younger");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    // Each start begins another leader epoch.
    world.source.stop(0).await;
    world.source.start_node(0).await;
    write(
        &producer_with(&plain(&world.source), "none"),
        &topic,
        &numbered(0, 50, 1),
    )
    .await;
    let mut replicator = world.link(&[&topic]).run();
    replicator.until_stored(&topic, 0, 50).await;
    delete_topic(&plain(&world.source), &topic).await;
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    write(
        &producer_with(&plain(&world.source), "none"),
        &topic,
        &numbered(50, 150, 1),
    )
    .await;
    let (stopped, _) = replicator.until_stopped(&topic, 0).await;
    assert_eq!(stopped.reason, Some(StopReason::TopicRecreated));
    replicator
        .verb(&["resume", "--topic", &topic, "--from", "earliest"])
        .unwrap();
    replicator.until_stored(&topic, 0, 100).await;
    let audit = audit(&world.arrived(&topic, 1, 150).await, 150, 1);
    assert_eq!(audit.lost, 0, "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_restored_from_an_older_copy_under_a_running_link_is_filled_again() {
    let mut world = World::start().await;
    let (idle, moving) = (unique("idle"), unique("moving"));
    let source = producer_with(&plain(&world.source), "none");
    for topic in [&idle, &moving] {
        create_topic(&world.source.admin(), topic, 1, &[]).await;
        write(&source, topic, &numbered(0, 60, 1)).await;
    }
    let mut replicator = world.link(&[&idle, &moving]).run();
    for topic in [&idle, &moving] {
        replicator.until_stored(topic, 0, 60).await;
    }
    world.target.stop(0).await;
    let copy = world.target.copy_volume(0);
    world.target.start_node(0).await;
    for topic in [&idle, &moving] {
        write(&source, topic, &numbered(60, 100, 1)).await;
        replicator.until_stored(topic, 0, 100).await;
    }
    world.target.stop(0).await;
    world.target.restore_volume(0, &copy);
    write(&source, &moving, &numbered(100, 150, 1)).await;
    world.target.start_node(0).await;
    // What the link had in flight may come before what is carried again.
    for (topic, count) in [(&idle, 100), (&moving, 150)] {
        let arrived = world.arrived(topic, 1, count).await;
        assert_eq!(audit(&arrived, count as u64, 1).lost, 0, "{topic}");
    }
    replicator.until_stored(&moving, 0, 150).await;
    assert!(replicator.log().contains("the target went back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_vanish_stop_the_link_until_somebody_decides() {
    let world = World::start().await;
    let (topic, other) = (unique("lost"), unique("lost-too"));
    for topic in [&topic, &other] {
        create_topic(&world.source.admin(), topic, 1, &[]).await;
        write(
            &producer_with(&plain(&world.source), "lz4"),
            topic,
            &numbered(0, 100, 1),
        )
        .await;
    }
    let mut replicator = world.link(&[&topic, &other]).run();
    for topic in [&topic, &other] {
        replicator.until_stored(topic, 0, 100).await;
    }
    delete_topic(&plain(&world.target), POSITIONS_TOPIC).await;
    let progress = replicator.until_link_stopped(LinkStopReason::PositionsLost).await;
    assert!(
        progress
            .partitions
            .iter()
            .all(|found| found.state != PartitionState::Following)
    );
    write(
        &producer_with(&plain(&world.source), "lz4"),
        &topic,
        &numbered(100, 150, 1),
    )
    .await;
    replicator.kill();

    // With the operator's memory it is the same after a restart, and nothing is created meanwhile.
    replicator.change_config(|text| format!("{text}\npositionsSeen: true\n"));
    replicator.start();
    replicator.until_link_stopped(LinkStopReason::PositionsLost).await;
    assert!(
        world
            .target
            .admin()
            .metadata(named(POSITIONS_TOPIC))
            .await
            .unwrap()
            .topics[POSITIONS_TOPIC]
            .is_err()
    );

    // Decided for one topic, the link goes on with it, and with it alone.
    replicator
        .verb(&["resume", "--topic", &topic, "--from", "100"])
        .unwrap();
    replicator.until_stored(&topic, 0, 150).await;
    replicator.until_refused(&other, "NameCollision").await;
    assert_eq!(
        audit(&world.arrived(&topic, 1, 150).await, 150, 1),
        Audit::default()
    );
    assert_eq!(
        world.arrived(&other, 1, 100).await.len(),
        100,
        "nothing was begun again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_memory_a_filled_target_keeps_a_link_from_starting_again() {
    let world = World::start().await;
    let topic = unique("forgotten");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    write(
        &producer_with(&plain(&world.source), "lz4"),
        &topic,
        &numbered(0, 100, 1),
    )
    .await;
    let mut replicator = world.link(&[&topic]).run();
    replicator.until_stored(&topic, 0, 100).await;
    replicator.stop().await;
    delete_topic(&plain(&world.target), POSITIONS_TOPIC).await;
    replicator.start();
    replicator.until_refused(&topic, "NameCollision").await;
    assert_eq!(world.arrived(&topic, 1, 100).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_topic_that_is_deleted_or_made_anew_stops_and_no_other_partition_suffers() {
    let world = shared().await;
    let (topic, other) = (unique("gone"), unique("stays"));
    for topic in [&topic, &other] {
        create_topic(&world.source.admin(), topic, 1, &[]).await;
    }
    let producer = producer_with(&plain(&world.source), "lz4");
    let mut replicator = world.link(&[&topic, &other]).run();
    write(&producer, &topic, &numbered(0, 100, 1)).await;
    replicator.until_stored(&topic, 0, 100).await;
    let target = format!("munich.{topic}");
    delete_topic(&plain(&world.target), &target).await;
    write(&producer, &topic, &numbered(100, 200, 1)).await;
    write(&producer, &other, &numbered(0, 100, 1)).await;
    let (stopped, _) = replicator.until_stopped(&topic, 0).await;
    assert_eq!(stopped.reason, Some(StopReason::TargetTopicMissing));
    replicator.until_stored(&other, 0, 100).await;
    create_topic(&world.target.admin(), &target, 1, &[]).await;
    let anew = |progress: &tributary::replicator::progress::Progress| {
        of(progress, &topic, 0).is_some_and(|found| found.reason == Some(StopReason::TargetTopicRecreated))
    };
    replicator.until("TargetTopicRecreated", anew).await;
    replicator
        .verb(&["resume", "--topic", &topic, "--from", "earliest"])
        .unwrap();
    replicator.until_stored(&topic, 0, 200).await;
    assert_eq!(
        audit(&world.arrived(&topic, 1, 200).await, 200, 1),
        Audit::default()
    );
    assert_eq!(audit(&world.arrived(&other, 1, 100).await, 100, 1).lost, 0);
}

fn named(topic: &str) -> tributary::kafka::wire::Topics {
    tributary::kafka::wire::Topics::Named(vec![topic.to_owned()])
}
