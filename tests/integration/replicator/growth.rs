//! Topics and partitions that come later, and where a link starts.

use super::records::{Audit, audit, numbered, producer_with, write};
use super::world::{of, plain, shared};
use crate::harness::client::{create_topic, grow_topic};
use crate::harness::kafka::unique;

#[tokio::test(flavor = "multi_thread")]
async fn latest_leaves_out_what_was_there_before_the_first_run_and_nothing_later() {
    let world = shared().await;
    let (topic, producer) = (unique("latest"), producer_with(&plain(&world.source), "lz4"));
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    write(&producer, &topic, &numbered(0, 100, 2)).await;
    let mut link = world.link(&[&format!("{topic}.*")]);
    link.start = "Latest";
    let mut replicator = link.run();
    replicator.until_following(&topic, 2).await;
    // Killed before it copied anything: the place is kept, and what comes meanwhile is not left out.
    replicator.kill();
    write(&producer, &topic, &numbered(100, 200, 2)).await;
    replicator.start();
    replicator.until_stored(&topic, 0, 100).await;

    // A topic that comes later starts at its beginning.
    let later = format!("{topic}-later");
    create_topic(&world.source.admin(), &later, 1, &[]).await;
    write(&producer, &later, &numbered(0, 50, 1)).await;
    let arrived = world.arrived(&later, 1, 50).await;
    assert_eq!(audit(&arrived, 50, 1), Audit::default());

    // So do partitions by which a topic grows.
    grow_topic(&world.source.admin(), &topic, 4).await;
    // Another producer: the first one looks for new partitions every few minutes only.
    let producer = producer_with(&plain(&world.source), "lz4");
    write(&producer, &topic, &numbered(1000, 1100, 4)).await;
    replicator.until_stored(&topic, 3, 25).await;
    let arrived = world.arrived(&topic, 4, 200).await;
    let numbers: Vec<u64> = arrived.iter().map(super::records::Record::number).collect();
    assert!(
        numbers.iter().all(|number| *number >= 100),
        "what was there before the first run"
    );
    for number in (100..200).chain(1000..1100) {
        assert_eq!(
            numbers.iter().filter(|found| **found == number).count(),
            1,
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_joins_or_leaves_disturbs_no_other() {
    let world = shared().await;
    let (prefix, producer) = (unique("join"), producer_with(&plain(&world.source), "lz4"));
    let (stays, comes) = (format!("{prefix}.a"), format!("{prefix}.b"));
    create_topic(&world.source.admin(), &stays, 2, &[]).await;
    let mut replicator = world.link(&[&format!("{prefix}\\..*")]).run();
    let before = replicator.until_following(&stays, 2).await;
    write(&producer, &stays, &numbered(0, 1000, 2)).await;
    create_topic(&world.source.admin(), &comes, 1, &[]).await;
    write(&producer, &comes, &numbered(0, 100, 1)).await;
    replicator.until_stored(&comes, 0, 100).await;
    crate::harness::client::delete_topic(&plain(&world.source), &comes).await;
    let (gone, _) = replicator.until_stopped(&comes, 0).await;
    assert_eq!(
        gone.reason
            .map(tributary::replicator::progress::StopReason::as_str),
        Some("SourceTopicMissing")
    );
    write(&producer, &stays, &numbered(1000, 2000, 2)).await;
    let after = replicator.until_stored(&stays, 1, 1000).await;
    assert_eq!(
        after.totals.sessions, before.totals.sessions,
        "no client was built anew"
    );
    assert_eq!(
        audit(&world.arrived(&stays, 2, 2000).await, 2000, 2),
        Audit::default()
    );
    assert!(of(&after, &stays, 0).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_more_than_double_get_clients_of_their_size_and_nothing_is_lost_or_repeated() {
    let world = shared().await;
    let (prefix, producer) = (unique("multiply"), producer_with(&plain(&world.source), "lz4"));
    let (one, five) = (format!("{prefix}.one"), format!("{prefix}.five"));
    create_topic(&world.source.admin(), &one, 1, &[]).await;
    write(&producer, &one, &numbered(0, 100, 1)).await;
    let mut replicator = world.link(&[&format!("{prefix}\\..*")]).run();
    let before = replicator.until_stored(&one, 0, 100).await;
    create_topic(&world.source.admin(), &five, 5, &[]).await;
    write(&producer, &five, &numbered(0, 500, 5)).await;
    write(&producer, &one, &numbered(100, 200, 1)).await;
    for partition in 0..5 {
        replicator.until_stored(&five, partition, 100).await;
    }
    let after = replicator.until_stored(&one, 0, 200).await;
    assert!(
        after.totals.sessions > before.totals.sessions,
        "six share the memory now"
    );
    for (topic, partitions, count) in [(&one, 1, 200), (&five, 5, 500)] {
        let arrived = world.arrived(topic, partitions, count).await;
        assert_eq!(audit(&arrived, count as u64, partitions), Audit::default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_and_denied_topics_are_left_alone() {
    let world = shared().await;
    let prefix = unique("deny");
    let (wanted, denied) = (format!("{prefix}.a"), format!("{prefix}.secret"));
    for topic in [&wanted, &denied] {
        create_topic(&world.source.admin(), topic, 1, &[]).await;
    }
    let mut link = world.link(&[&format!("{prefix}\\..*"), "__.*"]);
    link.include = format!("{}, deny: ['.*\\.secret']", link.include);
    let mut replicator = link.run();
    let progress = replicator.until_following(&wanted, 1).await;
    let topics: Vec<&str> = progress
        .partitions
        .iter()
        .map(|partition| partition.topic.as_str())
        .collect();
    assert_eq!(topics, [wanted.as_str()]);
}
