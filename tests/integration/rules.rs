//! The CEL rules on a real API server: every case of `tests/cel` is refused, and told as the case says.

#[path = "../cel/mod.rs"]
mod cel;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::apiserver::{apply_crd, shared};
use cel::{Case, Kind, On};

#[tokio::test]
async fn every_rule_of_an_edge_cluster_is_enforced_by_the_api_server() {
    check("EdgeCluster").await;
}

#[tokio::test]
async fn every_rule_of_a_bridge_pipeline_is_enforced_by_the_api_server() {
    check("BridgePipeline").await;
}

#[tokio::test]
async fn every_rule_of_a_replication_link_is_enforced_by_the_api_server() {
    check("ReplicationLink").await;
}

async fn check(name: &str) {
    let kind = cel::kinds()
        .into_iter()
        .find(|kind| kind.name == name)
        .expect("a kind");
    let server = shared().await;
    let namespace = server.namespace("rules").await;
    let crd = crd(name);
    let api = Api::namespaced_with(server.admin(), &namespace, &resource(&crd));
    create(&api, &kind.base).await.expect("the base object");
    for (number, case) in kind.cases.iter().enumerate() {
        let what = format!("{name} {}: {}", case.at, case.told);
        match case.on {
            On::Create => refuses_creation(&api, &what, case).await,
            On::Update => refuses_update(&api, &what, case, number).await,
            On::UpdateBeyondEnum => {
                let (beyond, case) = beyond(&kind, case, &crd);
                apply_crd(&server.admin(), &beyond).await;
                let api = Api::namespaced_with(server.admin(), &namespace, &resource(&beyond));
                refuses_update(&api, &what, &case, number).await;
            }
        }
    }
}

/// Refused as a new object by the case's rule alone, and as a change of the old one by that rule too.
async fn refuses_creation(api: &Api<DynamicObject>, what: &str, case: &Case) {
    let causes = causes(what, create(api, &case.new).await);
    assert_eq!(causes.len(), 1, "{what}: {causes:?}");
    assert!(told(&causes, case), "{what}: {causes:?}");
    // A name cannot change.
    if case.old["metadata"]["name"] == case.new["metadata"]["name"] {
        let causes = update(
            api,
            what,
            case,
            &format!("update-{}", uuid::Uuid::new_v4().simple()),
        )
        .await;
        assert!(told(&causes, case), "{what}: as an update: {causes:?}");
    }
}

/// Accepted as a new object, refused as a change of the old one by the case's rule alone.
async fn refuses_update(api: &Api<DynamicObject>, what: &str, case: &Case, number: usize) {
    let fresh = named(&case.new, &format!("fresh-{number}"));
    create(api, &fresh)
        .await
        .unwrap_or_else(|e| panic!("{what}: as a new object: {e}"));
    let causes = update(api, what, case, &format!("update-{number}")).await;
    assert_eq!(causes.len(), 1, "{what}: {causes:?}");
    assert!(told(&causes, case), "{what}: {causes:?}");
}

/// Creates the case's old object under this name and changes it to the new one; yields why that was refused.
async fn update(api: &Api<DynamicObject>, what: &str, case: &Case, name: &str) -> Vec<Cause> {
    let stored = create(api, &named(&case.old, name))
        .await
        .unwrap_or_else(|e| panic!("{what}: what was there before: {e}"));
    let mut new: DynamicObject = parse(&named(&case.new, name));
    new.metadata.resource_version = stored.resource_version();
    causes(what, api.replace(name, &PostParams::default(), &new).await)
}

/// Field and message of a refusal.
type Cause = (String, String);

fn causes(what: &str, result: kube::Result<DynamicObject>) -> Vec<Cause> {
    match result {
        Ok(_) => panic!("{what}: the API server accepted it"),
        Err(kube::Error::Api(status)) => {
            let details = status
                .details
                .unwrap_or_else(|| panic!("{what}: {}", status.message));
            let causes = details.causes.into_iter();
            causes.map(|cause| (cause.field, cause.message)).collect()
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

fn told(causes: &[Cause], case: &Case) -> bool {
    let here = |field: &str| match field {
        "<nil>" => case.at.is_empty(),
        field => cel::place(field) == case.at,
    };
    causes
        .iter()
        .any(|(field, message)| here(field) && message.ends_with(&case.told))
}

async fn create(api: &Api<DynamicObject>, object: &Value) -> kube::Result<DynamicObject> {
    api.create(&PostParams::default(), &parse(object)).await
}

fn parse(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).expect("an object")
}

fn named(object: &Value, name: &str) -> Value {
    cel::with(object, &json!({"/metadata/name": name}))
}

fn crd(kind: &str) -> CustomResourceDefinition {
    let mut crds = tributary::api::crds().into_iter().map(|(_, crd)| crd);
    crds.find(|crd| crd.spec.names.kind == kind).expect("a CRD")
}

fn resource(crd: &CustomResourceDefinition) -> ApiResource {
    let (group, version) = (crd.spec.group.clone(), crd.spec.versions[0].name.clone());
    ApiResource {
        api_version: format!("{group}/{version}"),
        group,
        version,
        kind: crd.spec.names.kind.clone(),
        plural: crd.spec.names.plural.clone(),
    }
}

/// A copy of the kind whose enum knows the value that the case changes to, as that of a later release will, and the
/// case for it.
fn beyond(kind: &Kind, case: &Case, crd: &CustomResourceDefinition) -> (CustomResourceDefinition, Case) {
    let group = "beyond.tributary.dev";
    let field = case.at.replace('.', "/properties/");
    let schema = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{field}/enum");
    let value = case.new.pointer(&format!("/{}", case.at.replace('.', "/")));
    let mut copy = serde_json::to_value(crd).expect("JSON");
    let known = copy.pointer_mut(&schema).and_then(Value::as_array_mut);
    known.expect("an enum").push(value.expect("a value").clone());
    copy["spec"]["group"] = json!(group);
    copy["metadata"]["name"] = json!(format!("{}.{group}", crd.spec.names.plural));
    let moved = |object: &Value| {
        let version = format!("{group}/{}", crd.spec.versions[0].name);
        cel::with(object, &json!({"/apiVersion": version, "/kind": kind.name}))
    };
    let case = Case {
        at: case.at.clone(),
        told: case.told.clone(),
        on: case.on,
        old: moved(&case.old),
        new: moved(&case.new),
    };
    (serde_json::from_value(copy).expect("a CRD"), case)
}
