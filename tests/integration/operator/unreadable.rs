//! An object that the API server stores and this version cannot read: one of a newer version.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tributary::api::BridgePipeline;
use tributary::controller::{Options, SystemClock};

use super::fixture::{Fixture, PATIENCE};
use crate::harness::apiserver::{ApiServer, apply_crd};
use crate::harness::wait::eventually;

/// What only the newer version knows.
const LATER: &str = "V6";

/// The CRD of bridges as a newer version's, with one more MQTT protocol.
fn later() -> CustomResourceDefinition {
    let crds = tributary::api::crds().into_iter().map(|(_, crd)| crd);
    let crd = crds
        .into_iter()
        .find(|crd| crd.spec.names.kind == "BridgePipeline");
    let mut crd = serde_json::to_value(crd.expect("a CRD")).expect("JSON");
    let field =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mqtt/properties/protocol/enum";
    let known = crd.pointer_mut(field).and_then(Value::as_array_mut);
    known.expect("an enum").push(json!(LATER));
    serde_json::from_value(crd).expect("a CRD")
}

async fn speak(fixture: &Fixture, protocol: &str) {
    let edit = json!({"spec": {"mqtt": {"protocol": protocol}}});
    let api = fixture.api::<BridgePipeline>();
    // The server learns a changed schema a moment after it took it.
    eventually("the edit", PATIENCE, async || {
        api.patch_metadata("machines", &PatchParams::default(), &Patch::Merge(&edit))
            .await
    })
    .await;
}

/// Waits until the status, as the server has it, satisfies `check`; yields it.
async fn wait_status(fixture: &Fixture, mut check: impl FnMut(&Value) -> bool) -> Value {
    let resource = ApiResource::erase::<BridgePipeline>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(fixture.client.clone(), &fixture.namespace, &resource);
    eventually("the status", PATIENCE, async || {
        let object = api.get("machines").await.map_err(|e| e.to_string())?;
        let status = object.data["status"].clone();
        if check(&status) {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    })
    .await
}

fn find<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == type_)
}

#[tokio::test]
async fn an_object_that_cannot_be_read_keeps_what_its_status_told_and_recovers() {
    // One of its own: the other tests need the CRD as it is. It ends with the process.
    let server: &'static ApiServer = Box::leak(Box::new(ApiServer::start().await));
    apply_crd(&server.admin(), &later()).await;
    let fixture = Fixture::on(server, "unreadable").await;
    let options = Options {
        status_refresh: Duration::from_secs(1),
        ..fixture.options()
    };
    let _operator = fixture.operator_with(options, "operator-a", Arc::new(SystemClock));
    fixture.bridge("machines").await;
    let before = wait_status(&fixture, |status| find(status, "Reconciling").is_some()).await;

    speak(&fixture, LATER).await;
    let unread = wait_status(&fixture, |status| find(status, "Stalled").is_some()).await;
    let ready = find(&unread, "Ready").unwrap();
    assert_eq!(ready["reason"], "InvalidSpec");
    assert!(ready["message"].as_str().unwrap().contains(LATER), "{ready}");
    for kept in ["subscriptions", "effective"] {
        assert!(!before[kept].is_null(), "{kept}: {before}");
        assert_eq!(unread[kept], before[kept], "{kept}");
    }
    let refreshed = wait_status(&fixture, |status| status["observedAt"] != unread["observedAt"]).await;
    assert_eq!(refreshed["conditions"], unread["conditions"], "no transition");

    speak(&fixture, "V5").await;
    let read = wait_status(&fixture, |status| find(status, "Stalled").is_none()).await;
    assert_eq!(find(&read, "Ready").unwrap()["reason"], "Starting");
    assert_eq!(read["effective"], before["effective"]);
}
