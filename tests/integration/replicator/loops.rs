//! What would feed itself, or what another feeds, is refused.

use tributary::replicator::progress::LinkStopReason;

use super::records::{Audit, audit, numbered, producer_with, write};
use super::world::{Link, plain, shared};
use crate::harness::client::create_topic;
use crate::harness::kafka::{Listener, unique};

const IDENTITY: &str = "{type: Identity}";

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_refused_in_both_directions() {
    let world = shared().await;
    let (factory, region) = (&world.source, &world.target);
    // Whichever way is first, the other is refused.
    for (from, to) in [(factory, region), (region, factory)] {
        let topic = unique("loop");
        create_topic(&from.admin(), &topic, 1, &[]).await;
        write(&producer_with(&plain(from), "lz4"), &topic, &numbered(0, 10, 1)).await;
        let identity = |from: &crate::harness::kafka::KafkaCluster,
                        to: &crate::harness::kafka::KafkaCluster| {
            let mut link = Link::new(
                from.bootstrap(Listener::Plain),
                to.bootstrap(Listener::Plain),
                &[&topic],
            );
            link.naming = IDENTITY.to_owned();
            link
        };
        let (there, back) = (identity(from, to), identity(to, from));
        let mut there = there.run();
        there.until_stored(&topic, 0, 10).await;
        let mut back = back.run();
        let message = back.until_refused(&topic, "LoopRefused").await;
        assert!(
            message.contains(&there.progress().await.unwrap().link_id.unwrap()),
            "{message}"
        );
        write(&producer_with(&plain(from), "lz4"), &topic, &numbered(10, 20, 1)).await;
        there.until_stored(&topic, 0, 20).await;
        assert_eq!(
            audit(&super::records::read(&plain(from), &topic, 1, 20).await, 20, 1),
            Audit::default()
        );
        // The link that was there first goes on also after a restart.
        there.kill();
        there.start();
        there.until_following(&topic, 1).await;

        // Once the first is gone for good, and somebody says so, the way is free; what is there already is not begun
        // upon, because no position accounts for it.
        there.stop().await;
        let forgotten = there.verb(&["forget", "--yes"]).unwrap();
        assert!(forgotten.contains("1 positions withdrawn"), "{forgotten}");
        back.until_refused(&topic, "NameCollision").await;
        back.verb(&["resume", "--topic", &topic, "--from", "latest"])
            .unwrap();
        back.until_following(&topic, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_start_at_once_in_both_directions_make_no_circle() {
    let world = shared().await;
    let topic = unique("at-once");
    for cluster in [&world.source, &world.target] {
        create_topic(&cluster.admin(), &topic, 1, &[]).await;
    }
    let identity = |from: &crate::harness::kafka::KafkaCluster, to: &crate::harness::kafka::KafkaCluster| {
        let mut link = Link::new(
            from.bootstrap(Listener::Plain),
            to.bootstrap(Listener::Plain),
            &[&topic],
        );
        link.naming = IDENTITY.to_owned();
        link
    };
    let links = [
        identity(&world.source, &world.target),
        identity(&world.target, &world.source),
    ];
    let mut replicators = [links[0].run(), links[1].run()];
    // One follows and the other is refused, or both looked before either stored: then one comes to be refused too.
    crate::harness::wait::eventually(
        "one to follow and one to be refused",
        super::world::PATIENCE,
        || async {
            let (a, b) = (replicators[0].progress().await?, replicators[1].progress().await?);
            let follows = |progress: &tributary::replicator::progress::Progress| {
                progress
                    .partitions
                    .iter()
                    .any(|p| p.state == tributary::replicator::progress::PartitionState::Following)
            };
            let refused = |progress: &tributary::replicator::progress::Progress| {
                progress
                    .refused
                    .iter()
                    .any(|refused| refused.reason == "LoopRefused")
            };
            let settled = follows(&a) && refused(&b) || follows(&b) && refused(&a);
            if settled {
                Ok(())
            } else {
                Err(format!("{a:#?}\n{b:#?}"))
            }
        },
    )
    .await;
    for cluster in [&world.source, &world.target] {
        write(
            &producer_with(&plain(cluster), "lz4"),
            &topic,
            &numbered(0, 10, 1),
        )
        .await;
    }
    let winner = usize::from(replicators[0].progress().await.unwrap().refused.len() == 1);
    replicators[winner].until_stored(&topic, 0, 10).await;
    let (from, to) = if winner == 0 {
        (&world.source, &world.target)
    } else {
        (&world.target, &world.source)
    };
    assert_eq!(
        super::records::read(&plain(from), &topic, 1, 10).await.len(),
        10,
        "its own, and nothing came back"
    );
    assert_eq!(
        super::records::read(&plain(to), &topic, 1, 20).await.len(),
        20,
        "its own and the other's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_not_copied_into_itself_under_the_same_names() {
    let world = shared().await;
    let topic = unique("self");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let bootstrap = world.source.bootstrap(Listener::Plain);
    let mut link = Link::new(bootstrap.clone(), bootstrap, &[&format!("(copy\\.)*{topic}")]);
    link.naming = IDENTITY.to_owned();
    let mut replicator = link.run();
    let stop = replicator
        .until_link_stopped(LinkStopReason::LoopRefused)
        .await
        .stopped
        .unwrap();
    assert!(stop.message.contains(world.source.id()), "{}", stop.message);
    replicator.stop().await;

    // Under other names it is, once: a copy is not copied again although the pattern takes it.
    link.naming = "{type: Prefix, prefix: copy.}".to_owned();
    let mut replicator = link.run();
    write(
        &producer_with(&plain(&world.source), "none"),
        &topic,
        &numbered(0, 10, 1),
    )
    .await;
    replicator.until_stored(&topic, 0, 10).await;
    replicator
        .until_refused(&format!("copy.{topic}"), "LoopRefused")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_another_link_feeds_is_refused() {
    let world = shared().await;
    let topic = unique("collision");
    create_topic(&world.source.admin(), &topic, 1, &[]).await;
    let mut first = world.link(&[&topic]).run();
    first.until_following(&topic, 1).await;
    let mut second = world.link(&[&topic]).run();
    let message = second.until_refused(&topic, "NameCollision").await;
    assert!(
        message.contains(&first.progress().await.unwrap().link_id.unwrap()),
        "{message}"
    );
    let (_, metrics) = second.get("/metrics").await.unwrap();
    let line = format!("tributary_replicator_topic_refused{{topic=\"{topic}\",reason=\"NameCollision\"}} 1");
    assert!(metrics.contains(&line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_others_filled_or_made_too_narrow_is_refused_until_that_is_mended() {
    let world = shared().await;
    let topic = unique("occupied");
    let target = format!("munich.{topic}");
    create_topic(&world.source.admin(), &topic, 2, &[]).await;
    create_topic(&world.target.admin(), &target, 1, &[]).await;
    write(
        &producer_with(&plain(&world.target), "none"),
        &target,
        &numbered(0, 5, 1),
    )
    .await;
    let mut replicator = world.link(&[&topic]).run();
    replicator.until_refused(&topic, "TooFewPartitions").await;
    let grown = world
        .target
        .admin()
        .create_partitions(&[(target, 2)].into(), false)
        .await;
    assert!(grown.unwrap().values().all(Result::is_ok));
    replicator.until_refused(&topic, "NameCollision").await;
    replicator
        .verb(&["resume", "--topic", &topic, "--from", "earliest"])
        .unwrap();
    replicator.until_following(&topic, 2).await;
}
