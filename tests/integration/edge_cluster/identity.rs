//! The identity record: kept with the volumes, adopted with them, never replaced, believed more than Kafka.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use tributary::api::EdgeCluster;
use tributary::broker::config::{FormatPermission, Identity};
use tributary::kafka::wire::Topics;

use super::world::{NAME, RECORD, SET, World, munich};
use crate::harness::kafka::{shared, unique};
use crate::harness::wait::until;
use crate::operator::PATIENCE;

const CLAIM: &str = "data-munich-kafka-0";

async fn delete(world: &World, cluster: &EdgeCluster) {
    let clusters = world.fixture.api::<EdgeCluster>();
    clusters.delete(NAME, &DeleteParams::default()).await.unwrap();
    let gone = async || world.absent::<EdgeCluster>(NAME).await;
    until("the cluster's end", PATIENCE, gone).await;
    world.collect_garbage(cluster).await;
}

#[tokio::test]
async fn a_cluster_that_is_deleted_leaves_volumes_and_record_and_one_of_the_same_name_takes_them_up() {
    let world = World::new("ec-retain").await;
    let first = world.apply(&munich(1)).await;
    let set = world.set().await;
    let policy = set
        .spec
        .unwrap()
        .persistent_volume_claim_retention_policy
        .unwrap();
    assert_eq!(policy.when_deleted.as_deref(), Some("Retain"));
    world.claim(0).await;
    let (identity, _) = world.record().await;
    world.condition("Reconciling", "True", "Starting").await;
    delete(&world, &first).await;
    assert!(world.absent::<StatefulSet>(SET).await);
    assert!(!world.absent::<PersistentVolumeClaim>(CLAIM).await);
    assert_eq!(world.record().await.0, identity);

    let second = world.apply(&munich(1)).await;
    assert_ne!(second.uid(), first.uid());
    let set = world.set().await;
    assert_eq!(set.owner_references()[0].uid, second.uid().unwrap());
    world
        .status(|status| {
            let same = status.cluster_id.as_ref() == Some(&identity.cluster_id);
            same.then_some(()).ok_or_else(|| format!("{status:?}"))
        })
        .await;
    assert_eq!(world.record().await.0, identity);
}

#[tokio::test]
async fn without_retain_record_and_volumes_belong_to_the_cluster_and_with_it_again_to_nobody() {
    let world = World::new("ec-release").await;
    let mut spec = munich(1);
    spec["spec"]["storage"]["retain"] = json!(false);
    let cluster = world.apply(&spec).await;
    let (identity, record) = world.record().await;
    let uid = cluster.uid().unwrap();
    assert_eq!(record.owner_references()[0].uid, uid);
    let set = world.set().await.spec.unwrap();
    assert_eq!(
        set.persistent_volume_claim_retention_policy
            .unwrap()
            .when_deleted
            .as_deref(),
        Some("Retain"),
        "whoever deletes the StatefulSet alone must not delete the data"
    );
    world.claim(0).await;
    let owned = |claim: &PersistentVolumeClaim| match claim.owner_references() {
        [owner] if owner.uid == uid && owner.controller.is_none() => Ok(()),
        other => Err(format!("{other:?}")),
    };
    world.fixture.wait(CLAIM, owned).await;

    spec["spec"]["storage"]["retain"] = json!(true);
    world.apply(&spec).await;
    world.fixture.wait(RECORD, unowned::<ConfigMap>).await;
    world.fixture.wait(CLAIM, unowned::<PersistentVolumeClaim>).await;
    assert_eq!(world.record().await.0, identity);
}

fn unowned<K: ResourceExt>(object: &K) -> Result<(), String> {
    let owners = object.owner_references();
    if owners.is_empty() {
        Ok(())
    } else {
        Err(format!("{owners:?}"))
    }
}

#[tokio::test]
async fn volumes_without_their_record_are_not_touched_until_it_is_restored() {
    let world = World::new("ec-missing").await;
    world.claim(0).await;
    world.apply(&munich(1)).await;
    let message = world.condition("Stalled", "True", "IdentityMissing").await;
    for part in [CLAIM, RECORD, "Restore it from a backup"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    world.several_passes().await;
    assert!(world.absent::<StatefulSet>(SET).await && world.absent::<ConfigMap>(RECORD).await);

    let identity = Identity::draw(1);
    world.restore(&identity).await;
    world.set().await;
    world.condition("Reconciling", "True", "Starting").await;
    assert_eq!(world.record().await.0, identity);
}

#[tokio::test]
async fn a_record_that_does_not_match_is_neither_used_nor_replaced() {
    for (what, text, told) in [
        (
            "ec-three",
            Identity::draw(3).to_yaml().unwrap(),
            "brokers [0, 1, 2]",
        ),
        ("ec-garbage", "who knows".to_owned(), "restore it from a backup"),
    ] {
        let world = World::new(what).await;
        world.restore_text(&text).await;
        world.apply(&munich(1)).await;
        let message = world.condition("Stalled", "True", "IdentityMismatch").await;
        assert!(message.contains(told) && message.contains(RECORD), "{message}");
        world.several_passes().await;
        assert!(world.absent::<StatefulSet>(SET).await, "{what}");
        let record = world.fixture.api::<ConfigMap>().get(RECORD).await.unwrap();
        assert_eq!(record.data.unwrap()["identity.yaml"], text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_with_another_cluster_id_than_the_record_is_not_believed_and_not_changed() {
    let kafka = shared().await;
    let world = World::new("ec-stranger").await;
    world.reach(kafka);
    let topic = unique("stranger");
    let mut spec = munich(1);
    spec["spec"]["topics"] = json!([{"name": topic, "partitions": 1, "replicas": 1}]);
    world.apply(&spec).await;
    let (drawn, _) = world.record().await;
    let message = world
        .condition("QuorumHealthy", "Unknown", "IdentityMismatch")
        .await;
    for id in [kafka.id(), drawn.cluster_id.as_str()] {
        assert!(message.contains(id), "{id}: {message}");
    }
    world.condition("TopicsSynced", "Unknown", "KafkaUnknown").await;
    world.several_passes().await;
    // It is live, but it is not ours that is live.
    assert_eq!(world.permissions().await, [FormatPermission::Permitted]);

    world.run_broker(0).await;
    world.condition("Ready", "Unknown", "IdentityMismatch").await;
    world.several_passes().await;
    let metadata = kafka
        .admin()
        .metadata(Topics::Named(vec![topic.clone()]))
        .await
        .unwrap();
    assert!(metadata.topics[&topic].is_err());
    assert_eq!(world.record().await.0.cluster_id, drawn.cluster_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_permission_to_format_goes_once_kafka_says_that_the_broker_lives() {
    let kafka = shared().await;
    let world = World::new("ec-permission").await;
    world.restore_record_of(kafka, 1).await;
    world.apply(&munich(1)).await;
    world
        .told("QuorumHealthy", "Unknown", "KafkaUnreachable", "")
        .await;
    world.several_passes().await;
    assert_eq!(world.permissions().await, [FormatPermission::Permitted]);
    let (before, _) = world.record().await;

    world.reach(kafka);
    let withdrawn = async || world.permissions().await == [FormatPermission::Withdrawn];
    until("the permission's withdrawal", PATIENCE, withdrawn).await;
    let (after, record) = world.record().await;
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(after.brokers[0].directory_id, before.brokers[0].directory_id);
    assert_eq!(record.owner_references(), []);

    // An answer that fails to come is no reason to give it back.
    world.lose_kafka();
    world
        .condition("QuorumHealthy", "Unknown", "KafkaUnreachable")
        .await;
    world.several_passes().await;
    assert_eq!(world.permissions().await, [FormatPermission::Withdrawn]);
}

#[tokio::test]
async fn the_permission_to_format_goes_also_while_the_cluster_is_paused_or_its_spec_invalid() {
    for (what, reason, key, value) in [
        ("ec-paused-ran", "Paused", "paused", json!(true)),
        (
            "ec-invalid-ran",
            "InvalidSpec",
            "config",
            json!({"min.insync.replicas": "2"}),
        ),
    ] {
        let world = World::new(what).await;
        world.apply(&munich(1)).await;
        world.set().await;
        assert_eq!(world.permissions().await, [FormatPermission::Permitted]);
        let (before, _) = world.record().await;
        let mut spec = munich(1);
        spec["spec"][key] = value;
        world.apply(&spec).await;
        world.condition("Ready", "False", reason).await;
        world.several_passes().await;
        assert_eq!(world.permissions().await, [FormatPermission::Permitted]);

        world.run_broker(0).await;
        let withdrawn = async || world.permissions().await == [FormatPermission::Withdrawn];
        until("the permission's withdrawal", PATIENCE, withdrawn).await;
        let (after, record) = world.record().await;
        assert_eq!(after.cluster_id, before.cluster_id);
        assert_eq!(record.owner_references(), []);
    }
}
