//! `tributary status` as people run it: the program, a kubeconfig, real API servers.

mod away;
mod krew;
mod shown;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::harness::apiserver::ApiServer;
use crate::harness::process::data_dir;
use crate::harness::said::Said;

impl Said {
    #[track_caller]
    fn shows(&self, what: &str) -> &Self {
        assert!(
            self.out.contains(what),
            "{what:?} is not in: {}\n{}",
            self.out,
            self.err
        );
        self
    }
}

/// A person at a terminal: a kubeconfig and a cache of their own.
struct Person {
    dir: PathBuf,
    clusters: Vec<Value>,
    users: Vec<Value>,
    contexts: Vec<Value>,
}

impl Person {
    fn new() -> Self {
        Self {
            dir: data_dir("person"),
            clusters: Vec::new(),
            users: Vec::new(),
            contexts: Vec::new(),
        }
    }

    /// Adds a context that leads to a real API server.
    fn context(self, name: &str, server: &ApiServer, token: &str, namespace: &str) -> Self {
        let (url, ca) = server.address();
        self.entry(
            name,
            &json!({"server": url, "certificate-authority": ca}),
            &json!({"token": token}),
            namespace,
        )
    }

    /// Adds a context that leads anywhere.
    fn entry(mut self, name: &str, cluster: &Value, user: &Value, namespace: &str) -> Self {
        self.clusters.push(json!({"name": name, "cluster": cluster}));
        self.users.push(json!({"name": name, "user": user}));
        self.contexts
            .push(json!({"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}));
        self
    }

    fn kubeconfig(&self) -> PathBuf {
        let path = self.dir.join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "clusters": self.clusters, "users": self.users,
            "contexts": self.contexts, "current-context": self.contexts[0]["name"],
        });
        fs::write(&path, text.to_string()).expect("write");
        path
    }

    /// The program, under any of its names.
    fn program(&self, binary: &Path, arguments: &str) -> Command {
        let mut command = Command::new(binary);
        command
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", self.kubeconfig())
            .env("XDG_CACHE_HOME", self.dir.join("cache"))
            .env("LC_ALL", "C.UTF-8")
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .env_remove("NO_COLOR")
            .env_remove("RUST_LOG");
        command
    }

    async fn runs(&self, binary: &Path, arguments: &str) -> Said {
        output_of(self.program(binary, arguments)).await
    }

    /// `tributary status …`
    async fn asks(&self, arguments: &str) -> Said {
        let binary = Path::new(env!("CARGO_BIN_EXE_tributary"));
        self.runs(binary, &format!("status {arguments}")).await
    }
}

async fn output_of(mut command: Command) -> Said {
    let run = move || command.output().expect("the program starts");
    tokio::task::spawn_blocking(run).await.expect("no panic").into()
}

fn ago(seconds: i64) -> String {
    (Timestamp::now() - SignedDuration::from_secs(seconds)).to_string()
}

fn api(client: &Client, namespace: &str, kind: &str, version: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("tributary.dev", version, kind);
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&gvk))
}

/// The factory of the samples, every object in order, in a namespace.
async fn factory(client: &Client, namespace: &str) {
    for (file, kind) in [
        ("20-edgecluster.yaml", "EdgeCluster"),
        ("30-bridgepipeline.yaml", "BridgePipeline"),
        ("40-replicationlink.yaml", "ReplicationLink"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("manifests/samples/factory")
            .join(file);
        let text = fs::read_to_string(path).expect("the sample");
        let mut object: Value = serde_yaml::from_str(&text).expect("YAML");
        object["metadata"]["namespace"] = json!(namespace);
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let created = api(client, namespace, kind, "v1alpha1")
            .create(&PostParams::default(), &object)
            .await;
        created.unwrap_or_else(|e| panic!("{file}: {e}"));
    }
    let ready = [
        condition("Ready", "True", "AsDesired"),
        condition("Lossless", "True", "NothingLost"),
    ];
    let cluster = json!({"observedAt": ago(0), "readyBrokers": "1/1", "conditions": [ready[0]]});
    write_status(client, namespace, "EdgeCluster", "munich", cluster).await;
    let bridge =
        json!({"observedAt": ago(0), "verdict": "InSync", "lag": {"inFlight": 7}, "conditions": ready});
    write_status(client, namespace, "BridgePipeline", "machines", bridge).await;
    let link = json!({"observedAt": ago(0), "verdict": "InSync", "lag": {"offsets": 41, "seconds": 1},
        "conditions": ready});
    write_status(client, namespace, "ReplicationLink", "to-eu", link).await;
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": format!("the message of {type_}"),
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// Plays the operator.
async fn write_status(client: &Client, namespace: &str, kind: &str, name: &str, status: Value) {
    let patch = json!({ "status": status });
    api(client, namespace, kind, "v1alpha1")
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap_or_else(|e| panic!("{kind} {name}: {e}"));
}

/// The kinds of the notes of a context.
fn notes(document: &Value, context: &str) -> Vec<String> {
    let contexts = document["contexts"].as_array().expect("contexts");
    let found = contexts.iter().find(|c| c["context"] == context);
    let notes = found.unwrap_or_else(|| panic!("{context}: {document:#}"))["notes"].as_array();
    let kind = |note: &Value| note["kind"].as_str().unwrap_or_default().to_owned();
    notes.expect("notes").iter().map(kind).collect()
}
