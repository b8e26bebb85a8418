//! Objects that are created, drift, rest, are paused, invalid.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tributary::api::EdgeCluster;
use tributary::broker::config::FormatPermission;

use super::world::{NAME, RECORD, SET, World, munich};
use crate::harness::kafka::KafkaCluster;
use crate::harness::wait::eventually;
use crate::operator::PATIENCE;

#[tokio::test]
async fn a_cluster_becomes_its_objects_which_it_owns_and_a_record_that_nobody_owns() {
    let world = World::new("ec-create").await;
    let mut spec = munich(1);
    let outside = json!({"name": "plant", "type": "NodePort", "port": 9094, "tls": {"mode": "Disabled"},
        "authentication": {"type": "None"},
        "nodePort": {"bootstrap": 31092, "brokers": [{"id": 0, "port": 31093}]}});
    spec["spec"]["listeners"].as_array_mut().unwrap().push(outside);
    let cluster = world.apply(&spec).await;
    let owner = cluster.uid().unwrap();
    let owned = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        owners
            .iter()
            .any(|o| o.uid == owner && o.controller == Some(true))
    };
    let set = world.set().await;
    assert!(owned(set.owner_references()));
    let config =
        &set.spec.unwrap().template.metadata.unwrap().annotations.unwrap()["tributary.dev/broker-config"];
    let config = world
        .fixture
        .wait(config, |map: &ConfigMap| Ok(map.clone()))
        .await;
    assert!(owned(config.owner_references()) && config.immutable == Some(true));
    for name in [
        "munich-kafka",
        "munich-kafka-brokers",
        "munich-kafka-plant",
        "munich-kafka-plant-0",
    ] {
        let service = world.fixture.wait(name, |s: &Service| Ok(s.clone())).await;
        assert!(owned(service.owner_references()), "{name}");
    }
    let policy = world.fixture.wait(SET, |p: &NetworkPolicy| Ok(p.clone())).await;
    assert!(owned(policy.owner_references()));

    let (identity, record) = world.record().await;
    assert_eq!(record.owner_references(), []);
    let id = identity.cluster_id.clone();
    world
        .status(|status| {
            let told = status.cluster_id.as_ref() == Some(&id) && status.observed_generation == Some(1);
            told.then_some(()).ok_or_else(|| format!("{status:?}"))
        })
        .await;
    // Nobody saw the broker running: it may still be formatted.
    world.condition("Reconciling", "True", "Starting").await;
    world.several_passes().await;
    assert_eq!(world.permissions().await, [FormatPermission::Permitted]);
}

#[tokio::test]
async fn what_somebody_changes_or_deletes_comes_back() {
    let world = World::new("ec-drift").await;
    world.apply(&munich(1)).await;
    let set = world.set().await;
    let edit = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let sets = world.fixture.api::<StatefulSet>();
    sets.patch(SET, &PatchParams::default(), &edit).await.unwrap();
    let replicas = |set: &StatefulSet| match set.spec.as_ref().unwrap().replicas {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    world.fixture.wait(SET, replicas).await;

    let headless = "munich-kafka-brokers";
    world.fixture.wait(headless, |_: &Service| Ok(())).await;
    let edit = Patch::Merge(json!({"spec": {"publishNotReadyAddresses": false}}));
    let services = world.fixture.api::<Service>();
    services
        .patch(headless, &PatchParams::default(), &edit)
        .await
        .unwrap();
    let published = |service: &Service| match service.spec.as_ref().unwrap().publish_not_ready_addresses {
        Some(true) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    world.fixture.wait(headless, published).await;

    let config =
        set.spec.unwrap().template.metadata.unwrap().annotations.unwrap()["tributary.dev/broker-config"]
            .clone();
    let maps = world.fixture.api::<ConfigMap>();
    let before = maps.get(&config).await.unwrap();
    maps.delete(&config, &DeleteParams::default()).await.unwrap();
    let back = |map: &ConfigMap| {
        let new = map.metadata.uid != before.metadata.uid;
        new.then(|| map.data.clone())
            .ok_or("still the old one".to_owned())
    };
    assert_eq!(world.fixture.wait(&config, back).await, before.data);

    let policies = world.fixture.api::<NetworkPolicy>();
    let before = world.fixture.wait(SET, |p: &NetworkPolicy| Ok(p.uid())).await;
    policies.delete(SET, &DeleteParams::default()).await.unwrap();
    let back = |policy: &NetworkPolicy| {
        let new = policy.uid() != before;
        new.then_some(()).ok_or("still the old one".to_owned())
    };
    world.fixture.wait(SET, back).await;
}

#[tokio::test]
async fn a_paused_cluster_is_left_as_it_is_until_it_goes_on() {
    let world = World::new("ec-pause").await;
    let mut paused = munich(1);
    paused["spec"]["paused"] = json!(true);
    world.apply(&paused).await;
    let message = world.condition("Ready", "False", "Paused").await;
    assert!(message.contains("spec.paused is true"), "{message}");
    world.several_passes().await;
    assert!(world.absent::<StatefulSet>(SET).await && world.absent::<ConfigMap>(RECORD).await);

    world.apply(&munich(1)).await;
    world.set().await;
    world.fixture.wait(SET, |_: &NetworkPolicy| Ok(())).await;
    world.condition("Ready", "False", "Starting").await;

    world.apply(&paused).await;
    world.condition("Ready", "False", "Paused").await;
    let policies = world.fixture.api::<NetworkPolicy>();
    policies.delete(SET, &DeleteParams::default()).await.unwrap();
    world.several_passes().await;
    assert!(world.absent::<NetworkPolicy>(SET).await);
    assert!(!world.absent::<StatefulSet>(SET).await);
}

#[tokio::test]
async fn an_invalid_spec_changes_nothing_that_runs_and_recovers_when_corrected() {
    let world = World::new("ec-invalid").await;
    world.apply(&munich(1)).await;
    world.set().await;
    world.condition("Ready", "False", "Starting").await;
    let before = world.set().await.metadata.generation;
    let mut spec = munich(1);
    spec["spec"]["config"] = json!({"log.retention.hours": "24", "min.insync.replicas": "2"});
    world.apply(&spec).await;
    let message = world.condition("Stalled", "True", "InvalidSpec").await;
    for part in [
        "spec.config.min.insync.replicas \"2\"",
        "1 brokers",
        "lower it",
        "what runs stays as it is",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    world.several_passes().await;
    assert_eq!(world.set().await.metadata.generation, before);

    spec["spec"]["config"] = json!({"log.retention.hours": "24"});
    world.apply(&spec).await;
    let changed = |set: &StatefulSet| {
        let new = set.metadata.generation > before;
        new.then_some(()).ok_or("still the old one".to_owned())
    };
    world.fixture.wait(SET, changed).await;
    world.condition("Ready", "False", "Starting").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_neither_objects_nor_status_are_written() {
    // Of its own: what others do in a shared one would be news.
    let kafka = KafkaCluster::start(1, &[]).await;
    let world = World::new("ec-rest").await;
    world.restore_record_of(&kafka, 1).await;
    world.reach(&kafka);
    let mut spec = munich(1);
    spec["spec"]["topics"] = json!([{"name": "telemetry", "partitions": 2, "replicas": 1}]);
    world.apply(&spec).await;
    world.claim(0).await;
    world.run_broker(0).await;
    world.see(&world.set().await).await;
    let message = world
        .told("Ready", "True", "AsDesired", "partitions in sync")
        .await;
    assert!(message.contains("1 broker runs"), "{message}");
    world.told("TopicsSynced", "True", "AsDesired", "1 topics").await;
    world.condition("UpToDate", "True", "AsDesired").await;
    world.several_passes().await;

    // What was under way may end first.
    let rest = eventually("rest", PATIENCE, async || {
        let before = world.versions().await;
        world.several_passes().await;
        world.several_passes().await;
        let after = world.versions().await;
        if after == before {
            Ok(after)
        } else {
            Err(format!("{before:?}\n{after:?}"))
        }
    })
    .await;
    assert!(rest.len() > 7, "{rest:?}");

    // The comparison notices a write.
    let edit = Patch::Merge(json!({"metadata": {"labels": {"site": "munich"}}}));
    let clusters = world.fixture.api::<EdgeCluster>();
    clusters
        .patch(NAME, &PatchParams::default(), &edit)
        .await
        .unwrap();
    assert_ne!(world.versions().await, rest);
}
