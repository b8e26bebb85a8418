//! What an API server that answers lets a person see.

use std::os::unix::fs::symlink;
use std::path::Path;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Person, ago, api, condition, factory, notes, write_status};
use crate::harness::apiserver::{ApiServer, OUTSIDER, apply_crd, shared};
use crate::harness::wait::until;

#[tokio::test]
async fn a_factory_is_shown_as_a_tree_with_figures_and_exit_status_0() {
    let server = shared().await;
    let namespace = server.namespace("status-tree").await;
    factory(&server.admin(), &namespace).await;
    let person = Person::new().context("munich", server, server.admin_token(), "default");
    let said = person.asks(&format!("-n {namespace}")).await.expect(0);
    said.shows("cluster munich").shows("1/1 brokers");
    said.shows("├─ bridge machines").shows("7 in flight");
    said.shows("└─ link to-eu")
        .shows("41 offsets, 1 s")
        .shows("Nothing needs a person.");
    assert!(!said.out.contains('\x1b'), "{}", said.out);
    let document = person
        .asks(&format!("-n {namespace} -o json"))
        .await
        .expect(0)
        .json();
    let site = &document["contexts"][0];
    assert_eq!(site["reachable"], true);
    assert_eq!(notes(&document, "munich"), Vec::<String>::new());
    let cluster = &site["namespaces"][0]["clusters"][0];
    assert_eq!(
        (&cluster["name"], &cluster["verdict"]),
        (&json!("munich"), &json!("Ready"))
    );
    assert_eq!(cluster["members"][1]["behind"]["offsets"], 41);
    person
        .asks(&format!("-n {namespace} -o yaml"))
        .await
        .expect(0)
        .shows("needsPerson: false");
}

#[tokio::test]
async fn what_needs_a_person_is_marked_and_the_exit_status_is_1() {
    let server = shared().await;
    let namespace = server.namespace("status-person").await;
    let client = server.admin();
    factory(&client, &namespace).await;
    let stuck = json!({"observedAt": ago(0), "verdict": "NotMoving", "conditions": [
        condition("Ready", "False", "NotMoving"), condition("Stalled", "True", "NotMoving")]});
    write_status(&client, &namespace, "ReplicationLink", "to-eu", stuck).await;
    let person = Person::new().context("munich", server, server.admin_token(), "default");
    let said = person
        .asks(&format!("-n {namespace} --color always"))
        .await
        .expect(1);
    said.shows("NotMoving: the message of")
        .shows("1 object needs a person")
        .shows("\x1b[");
    // A status that nobody refreshes is not believed.
    let old = json!({"observedAt": ago(600), "verdict": "InSync", "conditions": [condition("Ready", "True", "Following")]});
    write_status(&client, &namespace, "ReplicationLink", "to-eu", old).await;
    person
        .asks(&format!("-n {namespace}"))
        .await
        .expect(1)
        .shows("Unknown (stale, 10 min)");
}

#[tokio::test]
async fn under_the_plugins_name_it_is_status() {
    let server = shared().await;
    let namespace = server.namespace("status-plugin").await;
    factory(&server.admin(), &namespace).await;
    let person = Person::new().context("munich", server, server.admin_token(), &namespace);
    let plugin = person.dir.join("kubectl-tributary");
    symlink(env!("CARGO_BIN_EXE_tributary"), &plugin).unwrap();
    person
        .runs(&plugin, &format!("-n {namespace}"))
        .await
        .expect(0)
        .shows("link to-eu");
    person
        .runs(&plugin, "explain lossless")
        .await
        .expect(0)
        .shows("Lossless (condition of");
    let said = person.runs(&plugin, "explain Losless").await.expect(3);
    assert!(said.err.contains("did you mean Lossless"), "{said:?}");
}

#[tokio::test]
async fn without_permission_for_all_namespaces_the_contexts_own_is_shown_and_said() {
    let server = shared().await;
    let namespace = server.namespace("status-own").await;
    let client = server.admin();
    factory(&client, &namespace).await;
    let role: Role = serde_json::from_value(json!({"metadata": {"name": "reader"}, "rules": [{
        "apiGroups": ["tributary.dev"], "resources": ["*"], "verbs": ["list"]}]}))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OUTSIDER}]}))
    .unwrap();
    let params = PostParams::default();
    Api::namespaced(client.clone(), &namespace)
        .create(&params, &role)
        .await
        .unwrap();
    Api::namespaced(client, &namespace)
        .create(&params, &binding)
        .await
        .unwrap();
    let person = Person::new().context("munich", server, server.outsider_token(), &namespace);
    // The rights reach the server's authorizer a moment later.
    until(
        "the role to count",
        std::time::Duration::from_secs(30),
        async || person.asks("").await.status == 0,
    )
    .await;
    let said = person.asks("").await.expect(0);
    said.shows(&format!("only namespace {namespace} is shown"))
        .shows("link to-eu");
    let document = person.asks("-o json").await.expect(0).json();
    assert_eq!(notes(&document, "munich"), ["OneNamespace"]);
}

#[tokio::test]
async fn without_any_permission_a_plain_line_says_so() {
    let server = shared().await;
    let person = Person::new()
        .context("munich", server, server.outsider_token(), "kube-system")
        .context("nobody", server, "no-such-token", "default");
    let said = person.asks("--context munich,nobody").await.expect(1);
    said.shows(
        "no permission to list edgeclusters, bridgepipelines, replicationlinks in namespace kube-system",
    );
    said.shows("does not accept the credentials (401)");
    let document = person.asks("-o json").await.expect(1).json();
    assert_eq!(notes(&document, "munich"), ["Forbidden"]);
}

#[tokio::test]
async fn a_namespace_that_is_going_or_gone_is_told() {
    let server = shared().await;
    let namespace = server.namespace("status-going").await;
    let client = server.admin();
    factory(&client, &namespace).await;
    // Nobody empties it here, so that it stays in deletion.
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces
        .delete(&namespace, &DeleteParams::default())
        .await
        .unwrap();
    let person = Person::new().context("munich", server, server.admin_token(), "default");
    let said = person.asks(&format!("-n {namespace}")).await.expect(0);
    said.shows("is being deleted: what is in it goes")
        .shows(&format!("{namespace} (being deleted)"));
    person
        .asks("-n no-such-namespace")
        .await
        .expect(1)
        .shows("there is no namespace no-such-namespace");
    person.asks("-n ../secrets").await.expect(64);
}

#[tokio::test]
async fn without_crds_or_with_those_of_another_version_it_says_so_and_shows_what_both_know() {
    let server = ApiServer::start().await;
    let client = server.admin();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let person = Person::new().context("munich", &server, server.admin_token(), "default");
    let gone = |what: &str| {
        let (crds, what) = (crds.clone(), what.to_owned());
        async move {
            crds.delete(&what, &DeleteParams::default()).await.unwrap();
            until(
                "the CRD to be gone",
                std::time::Duration::from_secs(60),
                async || crds.get_opt(&what).await.unwrap().is_none(),
            )
            .await;
        }
    };
    gone("bridgepipelines.tributary.dev").await;
    until(
        "the list to be gone",
        std::time::Duration::from_secs(60),
        async || {
            person
                .asks("")
                .await
                .out
                .contains("bridgepipelines.tributary.dev: this CRD is not installed")
        },
    )
    .await;
    gone("edgeclusters.tributary.dev").await;
    gone("replicationlinks.tributary.dev").await;
    until(
        "the group to be gone",
        std::time::Duration::from_secs(60),
        async || person.asks("").await.out.contains("CRDs are not installed"),
    )
    .await;
    let document = person.asks("-o json").await.expect(1).json();
    assert_eq!(notes(&document, "munich"), ["NotInstalled"]);

    let mut crd = tributary::api::crds().remove(0).1;
    crd.spec.versions[0].name = "v1alpha0".into();
    apply_crd(&client, &crd).await;
    let object = serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha0", "kind": "EdgeCluster", "metadata": {"name": "old"},
        "spec": {"kafkaVersion": "4.3.1", "brokers": 1, "storage": {"size": "1Gi", "retain": true},
            "listeners": [{"name": "internal", "type": "Internal", "port": 9092, "tls": {"mode": "Disabled"},
                "authentication": {"type": "None"}}]},
    }))
    .unwrap();
    let created = api(&client, "default", "EdgeCluster", "v1alpha0")
        .create(&PostParams::default(), &object)
        .await;
    assert_eq!(created.unwrap().name_any(), "old");
    until(
        "the older version to be listed",
        std::time::Duration::from_secs(60),
        async || person.asks("").await.out.contains("cluster old"),
    )
    .await;
    person
        .asks("")
        .await
        .shows("as tributary.dev/v1alpha0, this program was made for v1alpha1");
}

#[tokio::test]
async fn objects_from_a_file_need_no_cluster() {
    let server = shared().await;
    let namespace = server.namespace("status-file").await;
    factory(&server.admin(), &namespace).await;
    let person = Person::new().context("munich", server, server.admin_token(), "default");
    let items = api(&server.admin(), &namespace, "ReplicationLink", "v1alpha1")
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let file = person.dir.join("list.json");
    std::fs::write(&file, serde_json::to_string(&items).unwrap()).unwrap();
    let said = person.asks(&format!("--from {}", file.display())).await.expect(0);
    said.shows("link to-eu").shows("as of its newest status");
    let missing = Path::new("/no/such/file");
    let said = person
        .asks(&format!("--from {}", missing.display()))
        .await
        .expect(3);
    assert!(said.err.contains("/no/such/file"), "{said:?}");
}
