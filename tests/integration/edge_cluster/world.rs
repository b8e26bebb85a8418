//! A namespace with an operator that is told where Kafka is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tributary::api::{EdgeCluster, EdgeClusterStatus};
use tributary::bridge_pipeline::BridgePipelines;
use tributary::broker::config::{FormatPermission, Identity};
use tributary::controller::{Metrics, Options, RunError, Runtime, SystemClock};
use tributary::edge_cluster::EdgeClusters;
use tributary::replication_link::ReplicationLinks;

use crate::harness::apiserver::run_pod;
use crate::harness::kafka::{KafkaCluster, Listener};
use crate::harness::wait::until;
use crate::operator::{Fixture, PATIENCE, condition};

pub(super) const NAME: &str = "munich";
pub(super) const SET: &str = "munich-kafka";
pub(super) const RECORD: &str = "munich-kafka-identity";
/// Passes after which whatever could be done would have been done.
const SEVERAL: u64 = 5;

/// A namespace, and an operator that looks after it until this is dropped.
pub(super) struct World {
    pub(super) fixture: Fixture,
    kafka: Arc<Mutex<Vec<String>>>,
    registry: Registry,
    task: tokio::task::JoinHandle<Result<(), RunError>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// With a Kafka that nobody reaches.
    pub(super) async fn new(what: &str) -> Self {
        let fixture = Fixture::new(what).await;
        let kafka = Arc::new(Mutex::new(vec!["127.0.0.1:1".to_owned()]));
        let servers = Arc::clone(&kafka);
        let reach = Arc::new(move |_: &str, _: &str| Some(servers.lock().unwrap().clone()));
        let mut registry = Registry::default();
        let runtime = Runtime {
            client: fixture.server.operator(),
            options: Options {
                // So that every write has a reason.
                status_refresh: Duration::from_secs(3600),
                ..fixture.options()
            },
            clock: Arc::new(SystemClock),
            metrics: Metrics::register(&mut registry),
            instance: "operator-a".into(),
            ready: Arc::default(),
        };
        let task = tokio::spawn(Box::pin(tributary::controller::run(
            runtime,
            EdgeClusters::reaching(reach),
            BridgePipelines::default(),
            ReplicationLinks::default(),
            CancellationToken::new(),
        )));
        Self {
            fixture,
            kafka,
            registry,
            task,
        }
    }

    /// From now on this is the Kafka that the operator reaches.
    pub(super) fn reach(&self, kafka: &KafkaCluster) {
        *self.kafka.lock().unwrap() = kafka.bootstrap(Listener::Plain);
    }

    /// From now on the operator reaches no Kafka.
    pub(super) fn lose_kafka(&self) {
        *self.kafka.lock().unwrap() = vec!["127.0.0.1:1".to_owned()];
    }

    fn passes(&self) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics");
        let line = "tributary_reconcile_duration_seconds_count{kind=\"EdgeCluster\"} ";
        let count = text.lines().find_map(|l| l.strip_prefix(line));
        count.map_or(0, |count| count.parse().expect("a number"))
    }

    /// Waits until the operator has looked at the cluster several times more.
    pub(super) async fn several_passes(&self) {
        let enough = self.passes() + SEVERAL;
        until("several passes", PATIENCE, async || self.passes() >= enough).await;
    }

    pub(super) async fn apply(&self, spec: &Value) -> EdgeCluster {
        self.fixture.apply(NAME, spec).await
    }

    /// Waits until the cluster's condition has this status and reason; yields its message.
    pub(super) async fn condition(&self, type_: &str, status: &str, reason: &str) -> String {
        self.told(type_, status, reason, "").await
    }

    /// As [`condition`](Self::condition), with a message that contains `part`.
    pub(super) async fn told(&self, type_: &str, status: &str, reason: &str, part: &str) -> String {
        self.status(|found| {
            let message = condition(Some(&found.conditions), type_, status, reason)?;
            if message.contains(part) {
                Ok(message)
            } else {
                Err(format!("{part:?} is not in {message:?}"))
            }
        })
        .await
    }

    /// Waits until the cluster has the condition with another status.
    pub(super) async fn condition_is_not(&self, type_: &str, status: &str) {
        self.status(|found| {
            let condition = found.conditions.iter().find(|c| c.type_ == type_);
            match condition {
                Some(c) if c.status != status => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    pub(super) async fn status<T>(
        &self,
        mut check: impl FnMut(&EdgeClusterStatus) -> Result<T, String>,
    ) -> T {
        self.fixture
            .wait(NAME, |cluster: &EdgeCluster| {
                check(&cluster.status.clone().unwrap_or_default())
            })
            .await
    }

    pub(super) async fn set(&self) -> StatefulSet {
        self.fixture.wait(SET, |set: &StatefulSet| Ok(set.clone())).await
    }

    pub(super) async fn absent<K>(&self, name: &str) -> bool
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let found = self.fixture.api::<K>().get_opt(name).await;
        found.expect("an answer").is_none()
    }

    /// The identity record, with its ConfigMap.
    pub(super) async fn record(&self) -> (Identity, ConfigMap) {
        self.fixture
            .wait(RECORD, |map: &ConfigMap| {
                let text = &map.data.as_ref().ok_or("no data")?["identity.yaml"];
                let identity = Identity::parse(text).map_err(|e| e.to_string())?;
                Ok((identity, map.clone()))
            })
            .await
    }

    /// Puts a record in place, as from a backup.
    pub(super) async fn restore(&self, identity: &Identity) {
        let text = identity.to_yaml().expect("YAML");
        self.restore_text(&text).await;
    }

    pub(super) async fn restore_text(&self, text: &str) {
        let map: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": RECORD}, "data": {"identity.yaml": text}}))
                .expect("a ConfigMap");
        self.fixture
            .api()
            .create(&PostParams::default(), &map)
            .await
            .expect("a record");
    }

    /// A record of this Kafka, whose brokers were never seen running.
    pub(super) async fn restore_record_of(&self, kafka: &KafkaCluster, brokers: i32) {
        let drawn = Identity::draw(brokers);
        self.restore(&Identity {
            cluster_id: kafka.id().to_owned(),
            ..drawn
        })
        .await;
    }

    pub(super) async fn permissions(&self) -> Vec<FormatPermission> {
        let (identity, _) = self.record().await;
        identity.brokers.iter().map(|broker| broker.format).collect()
    }

    /// Plays the StatefulSet's controller: its volume claim.
    pub(super) async fn claim(&self, id: u32) {
        use k8s_openapi::api::core::v1::PersistentVolumeClaim;
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": format!("data-{SET}-{id}")},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}},
        }))
        .expect("a claim");
        self.fixture
            .api()
            .create(&PostParams::default(), &claim)
            .await
            .expect("a claim");
    }

    /// Plays scheduler and kubelet: the broker's pod runs and its listener is open.
    pub(super) async fn run_broker(&self, id: u32) -> Pod {
        self.set().await;
        run_pod(
            &self.fixture.client,
            &self.fixture.namespace,
            SET,
            id,
            "127.0.0.1",
        )
        .await
    }

    pub(super) async fn pod(&self, id: u32) -> Pod {
        self.fixture
            .api::<Pod>()
            .get(&format!("{SET}-{id}"))
            .await
            .expect("the pod")
    }

    /// Ends a pod that is being deleted, as the kubelet does.
    pub(super) async fn end(&self, pod: &Pod) {
        let (api, name) = (self.fixture.api::<Pod>(), pod.name_any());
        api.delete(&name, &DeleteParams::default().grace_period(0))
            .await
            .expect("the pod's end");
        until("the pod's end", PATIENCE, async || {
            self.absent::<Pod>(&name).await
        })
        .await;
    }

    /// Plays the StatefulSet's controller: it has seen this generation of the set.
    pub(super) async fn see(&self, set: &StatefulSet) {
        let status = json!({"status": {"replicas": 1, "observedGeneration": set.metadata.generation}});
        self.fixture
            .api::<StatefulSet>()
            .patch_status(SET, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .expect("the set's status");
    }

    /// Every object that the operator makes in the namespace, and the cluster itself, by kind and name with what a
    /// write changes.
    pub(super) async fn versions(&self) -> Vec<(String, String)> {
        let mut all = self.list::<EdgeCluster>().await;
        all.extend(self.list::<StatefulSet>().await);
        all.extend(self.list::<Service>().await);
        all.extend(self.list::<ConfigMap>().await);
        all.extend(self.list::<NetworkPolicy>().await);
        all.extend(self.list::<PodDisruptionBudget>().await);
        all.extend(self.list::<Pod>().await);
        all
    }

    async fn list<K>(&self) -> Vec<(String, String)>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let list = self.fixture.api::<K>().list(&ListParams::default()).await;
        let versions = list.expect("a list").items.into_iter().map(|object| {
            let version = object.resource_version().expect("a version");
            (format!("{} {}", K::kind(&()), object.name_any()), version)
        });
        versions.collect()
    }

    /// Plays the garbage collector: deletes everything that belongs to this object.
    pub(super) async fn collect_garbage(&self, owner: &EdgeCluster) {
        let uid = owner.uid().expect("a UID");
        self.collect::<StatefulSet>(&uid).await;
        self.collect::<Service>(&uid).await;
        self.collect::<ConfigMap>(&uid).await;
        self.collect::<NetworkPolicy>(&uid).await;
        self.collect::<PodDisruptionBudget>(&uid).await;
    }

    async fn collect<K>(&self, uid: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api = self.fixture.api::<K>();
        let list = api.list(&ListParams::default()).await.expect("a list");
        for object in list.items {
            if object.owner_references().iter().any(|owner| owner.uid == uid) {
                let params = DeleteParams::background();
                api.delete(&object.name_any(), &params).await.expect("deleted");
            }
        }
    }
}

/// A cluster with an Internal listener and no topics.
pub(super) fn munich(brokers: i32) -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "EdgeCluster", "metadata": {"name": NAME},
        "spec": {
            "kafkaVersion": "4.3.1", "brokers": brokers, "storage": {"size": "20Gi"},
            "listeners": [{"name": "internal", "type": "Internal", "port": 9092, "tls": {"mode": "Disabled"},
                "authentication": {"type": "None"}}],
        },
    })
}
