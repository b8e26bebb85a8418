//! SIGKILL at any time, under load: nothing acknowledged by the source is missing on the target.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::records::{audit, numbered, producer_with, write};
use super::world::{plain, shared};
use crate::harness::client::create_topic;
use crate::harness::kafka::unique;

const KILLS: u64 = 12;
const PARTITIONS: i32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_it_is_killed_again_and_again_under_load() {
    let world = shared().await;
    let topic = unique("kills");
    create_topic(&world.source.admin(), &topic, PARTITIONS, &[]).await;
    let mut replicator = world.link(&[&topic]).run();
    replicator.until_following(&topic, PARTITIONS).await;
    let producer = producer_with(&plain(&world.source), "lz4");
    let enough = Arc::new(AtomicBool::new(false));
    let load = {
        let (producer, topic, enough) = (producer.clone(), topic.clone(), Arc::clone(&enough));
        tokio::spawn(async move {
            let mut count = 0;
            while !enough.load(Ordering::Relaxed) {
                write(&producer, &topic, &numbered(count, count + 200, PARTITIONS)).await;
                count += 200;
                // A rate, not a wait: the load goes on while the process dies and comes back.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            count
        })
    };
    for kill in 0..KILLS {
        // Each time it has copied something since its start, so that it dies with records in flight.
        let copied =
            |progress: &tributary::replicator::progress::Progress| progress.totals.records > 100 + kill * 137;
        replicator.until("records in flight", copied).await;
        replicator.kill();
        replicator.start();
    }
    enough.store(true, Ordering::Relaxed);
    let count = load.await.unwrap();
    for partition in 0..PARTITIONS {
        let end = i64::try_from(count / u64::from(PARTITIONS.unsigned_abs())).unwrap();
        replicator.until_stored(&topic, partition, end).await;
    }
    let arrived = world
        .arrived(&topic, PARTITIONS, usize::try_from(count).unwrap())
        .await;
    let audit = audit(&arrived, count, PARTITIONS);
    assert_eq!((audit.lost, audit.disordered), (0, 0), "{audit:?}");
    // Beginning anew each time would repeat half of everything with each kill.
    assert!(
        audit.repeated < count * KILLS / 4,
        "a kill repeats what was not stored, not everything: {audit:?}"
    );
}
