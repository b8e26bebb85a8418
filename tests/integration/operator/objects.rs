//! Objects that are created, drift, are deleted, paused, invalid, half configured.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tributary::api::BridgePipeline;

use super::fixture::{Fixture, bridge};

#[tokio::test]
async fn a_bridge_becomes_its_objects_and_says_what_it_waits_for() {
    let fixture = Fixture::new("create").await;
    let _operator = fixture.operator();
    fixture.bridge("machines").await;
    let set = fixture
        .wait("machines-bridge", |set: &StatefulSet| Ok(set.clone()))
        .await;
    assert_eq!(set.spec.unwrap().replicas, Some(1));
    fixture.wait("machines-bridge", |_: &ConfigMap| Ok(())).await;
    fixture.wait("machines-bridge", |_: &NetworkPolicy| Ok(())).await;
    let message = fixture
        .bridge_condition("machines", "Ready", "False", "Starting")
        .await;
    assert!(message.contains("waiting for the pod"), "{message}");
    let status = fixture
        .api::<BridgePipeline>()
        .get("machines")
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(
        status.effective.unwrap().client_id,
        format!("tributary.{}.machines", fixture.namespace)
    );
    assert_eq!(status.observed_generation, Some(1));
}

#[tokio::test]
async fn what_somebody_changes_or_deletes_comes_back() {
    let fixture = Fixture::new("drift").await;
    let _operator = fixture.operator();
    fixture.bridge("machines").await;
    fixture.wait("machines-bridge", |_: &StatefulSet| Ok(())).await;
    let sets = fixture.api::<StatefulSet>();
    let edit = json!({"spec": {"replicas": 5}});
    sets.patch("machines-bridge", &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .unwrap();
    fixture
        .wait("machines-bridge", |set: &StatefulSet| {
            match set.spec.as_ref().unwrap().replicas {
                Some(1) => Ok(()),
                other => Err(format!("replicas {other:?}")),
            }
        })
        .await;
    let maps = fixture.api::<ConfigMap>();
    let edit = json!({"data": {"bridge.yaml": "broken"}, "metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}});
    maps.patch("machines-bridge", &PatchParams::default(), &Patch::Merge(&edit))
        .await
        .unwrap();
    fixture
        .wait("machines-bridge", |map: &ConfigMap| {
            let text = &map.data.as_ref().unwrap()["bridge.yaml"];
            if text.contains("clientId") {
                Ok(())
            } else {
                Err(text.clone())
            }
        })
        .await;
    let policies = fixture.api::<NetworkPolicy>();
    let uid = policies.get("machines-bridge").await.unwrap().metadata.uid;
    policies
        .delete("machines-bridge", &DeleteParams::default())
        .await
        .unwrap();
    fixture
        .wait("machines-bridge", |policy: &NetworkPolicy| {
            if policy.metadata.uid == uid {
                Err("still the old one".to_owned())
            } else {
                Ok(())
            }
        })
        .await;
}

#[tokio::test]
async fn an_invalid_spec_is_told_with_field_value_and_remedy_and_recovers_when_corrected() {
    let fixture = Fixture::new("invalid").await;
    let _operator = fixture.operator();
    let mut object = bridge("machines");
    object["spec"]["routes"][0]["key"] = json!("{plant}");
    fixture.apply::<BridgePipeline>("machines", &object).await;
    let message = fixture
        .bridge_condition("machines", "Stalled", "True", "InvalidSpec")
        .await;
    for part in ["spec.routes[telemetry].key", "{plant}", "{line}"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(
        fixture
            .api::<StatefulSet>()
            .get_opt("machines-bridge")
            .await
            .unwrap()
            .is_none()
    );
    object["spec"]["routes"][0]["key"] = json!("{line}");
    fixture.apply::<BridgePipeline>("machines", &object).await;
    fixture.wait("machines-bridge", |_: &StatefulSet| Ok(())).await;
    fixture
        .bridge_condition("machines", "Reconciling", "True", "Starting")
        .await;
}

#[tokio::test]
async fn a_missing_secret_and_a_missing_key_are_told_and_recover_when_they_come() {
    let fixture = Fixture::new("secret").await;
    let _operator = fixture.operator();
    let mut object = bridge("machines");
    object["spec"]["mqtt"]["authentication"] = json!({"type": "Password", "username": "bridge",
        "passwordSecretRef": {"name": "mqtt", "key": "password"}});
    fixture.apply::<BridgePipeline>("machines", &object).await;
    let message = fixture
        .bridge_condition("machines", "Ready", "False", "SecretNotFound")
        .await;
    assert!(
        message.contains("spec.mqtt.authentication.passwordSecretRef.name \"mqtt\""),
        "{message}"
    );
    fixture
        .secret("mqtt", &[("password", "hunter2-of-the-test")])
        .await;
    fixture.wait("machines-bridge", |_: &StatefulSet| Ok(())).await;
    fixture
        .bridge_condition("machines", "Reconciling", "True", "Starting")
        .await;
    let map = fixture.api::<ConfigMap>().get("machines-bridge").await.unwrap();
    assert!(
        !serde_json::to_string(&map)
            .unwrap()
            .contains("hunter2-of-the-test")
    );
}
