//! Brokers are restarted one at a time, and only as long as Kafka itself says that it is safe.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{SET, World, munich};
use crate::harness::kafka::{KafkaCluster, shared};
use crate::harness::wait::eventually;
use crate::operator::PATIENCE;

/// Changes the brokers' configuration and waits until the StatefulSet has it.
async fn reconfigure(world: &World, spec: &mut Value) -> StatefulSet {
    let before = world.set().await.metadata.generation;
    spec["spec"]["config"] = json!({"log.retention.hours": "24"});
    world.apply(spec).await;
    world
        .fixture
        .wait(SET, |set: &StatefulSet| {
            let new = set.metadata.generation > before;
            new.then(|| set.clone()).ok_or("still the old one".to_owned())
        })
        .await
}

async fn is_left_alone(world: &World, pods: &[Pod]) {
    world.several_passes().await;
    for (id, before) in (0..).zip(pods) {
        let pod = world.pod(id).await;
        assert_eq!(pod.uid(), before.uid(), "broker {id}");
        assert_eq!(pod.metadata.deletion_timestamp, None, "broker {id}");
    }
}

/// Waits until exactly one pod is being deleted; yields its ordinal.
async fn restarting(world: &World, brokers: u32) -> u32 {
    eventually("a broker's restart", PATIENCE, async || {
        let mut deleted = Vec::new();
        for id in 0..brokers {
            if world.pod(id).await.metadata.deletion_timestamp.is_some() {
                deleted.push(id);
            }
        }
        assert!(deleted.len() < 2, "{deleted:?} at once");
        deleted.first().copied().ok_or("none restarts")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_not_restarted_before_kafka_was_asked_and_the_set_was_seen() {
    let kafka = shared().await;
    let world = World::new("ec-roll").await;
    world.restore_record_of(kafka, 1).await;
    let mut spec = munich(1);
    world.apply(&spec).await;
    let pod = world.run_broker(0).await;
    world.see(&world.set().await).await;
    world.condition("UpToDate", "True", "AsDesired").await;

    let set = reconfigure(&world, &mut spec).await;
    let message = world.condition("UpToDate", "False", "RollWaiting").await;
    assert!(
        message.contains("broker 0 waits for Kafka, which cannot be asked"),
        "{message}"
    );
    world.see(&set).await;
    is_left_alone(&world, std::slice::from_ref(&pod)).await;

    // Kafka answers, but the set's controller would bring back the pod as it was.
    let stale = json!({"status": {"replicas": 1, "observedGeneration": 1}});
    let sets = world.fixture.api::<StatefulSet>();
    sets.patch_status(SET, &PatchParams::default(), &Patch::Merge(&stale))
        .await
        .unwrap();
    world.reach(kafka);
    world.condition("QuorumHealthy", "True", "AsDesired").await;
    is_left_alone(&world, std::slice::from_ref(&pod)).await;

    world.see(&set).await;
    assert_eq!(restarting(&world, 1).await, 0);
    world.end(&world.pod(0).await).await;
    world.run_broker(0).await;
    world.condition("UpToDate", "True", "AsDesired").await;
    world.told("Ready", "True", "AsDesired", "1 broker runs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_restart_one_by_one_with_the_leader_last_and_none_without_a_quorum() {
    let mut kafka = KafkaCluster::start(3, &[]).await;
    let world = World::new("ec-quorum").await;
    world.restore_record_of(&kafka, 3).await;
    world.reach(&kafka);
    let mut spec = munich(3);
    world.apply(&spec).await;
    let mut pods = Vec::new();
    for id in 0..3 {
        pods.push(world.run_broker(id).await);
    }
    world.see(&world.set().await).await;
    world.told("Ready", "True", "AsDesired", "3 brokers run").await;

    // The kubelet still believes that their pods serve; Kafka knows better.
    kafka.kill(1);
    kafka.kill(2);
    world.condition_is_not("QuorumHealthy", "True").await;
    let set = reconfigure(&world, &mut spec).await;
    world.see(&set).await;
    world.condition("UpToDate", "False", "RollWaiting").await;
    is_left_alone(&world, &pods).await;

    // With a quorum, what Kafka misses is what can be spared.
    kafka.start_node(2).await;
    assert_eq!(restart_next(&world).await, 1);
    kafka.start_node(1).await;
    let leader = kafka.admin().describe_quorum().await.unwrap().leader_id.unwrap();
    let second = restart_next(&world).await;
    let last = restart_next(&world).await;
    assert_eq!((i32::try_from(last), second + last), (Ok(leader), 2));
    world.condition("UpToDate", "True", "AsDesired").await;
}

/// Waits until a broker restarts, sees that the others wait for it, and lets it come back; yields its ordinal.
async fn restart_next(world: &World) -> u32 {
    let id = restarting(world, 3).await;
    world.several_passes().await;
    assert_eq!(restarting(world, 3).await, id);
    world.end(&world.pod(id).await).await;
    world.run_broker(id).await;
    id
}
