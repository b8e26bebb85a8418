//! A namespace of a test's own, with an operator that looks after it.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary::api::BridgePipeline;
use tributary::controller::{Clock, ElectionTiming, Metrics, Options, SystemClock};
use tributary::operator::{Operator, OperatorError};
use tributary::telemetry::HttpServer;

use crate::harness::apiserver::{ApiServer, shared};
pub(crate) use crate::harness::wait::PATIENCE;
use crate::harness::wait::eventually;

/// A namespace, an operator that looks after it, and a client that may do everything.
pub(crate) struct Fixture {
    pub(crate) server: &'static ApiServer,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// A running operator. Dropped, it is gone at once, as if killed.
pub(crate) struct Running {
    pub(crate) ready: Arc<AtomicBool>,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<Result<(), OperatorError>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Whether it says of itself that it leads.
    pub(crate) fn leads(&self) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("text");
        text.lines().any(|line| line == "tributary_leader 1")
    }

    /// SIGTERM, and the end awaited.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.expect("no panic").expect("an orderly end");
    }
}

/// Quick periods, so that tests of elections take seconds.
pub(crate) const TIMING: ElectionTiming = ElectionTiming {
    duration: Duration::from_secs(3),
    renew_deadline: Duration::from_secs(2),
    retry: Duration::from_millis(300),
};

impl Fixture {
    pub(crate) async fn new(what: &str) -> Self {
        Self::on(shared().await, what).await
    }

    pub(crate) async fn on(server: &'static ApiServer, what: &str) -> Self {
        Self {
            server,
            client: server.admin(),
            namespace: server.namespace(what).await,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            namespaces: Some([self.namespace.clone()].into()),
            operator_namespace: self.namespace.clone(),
            sample_interval: Duration::from_secs(1),
            ..Options::default()
        }
    }

    /// Starts an operator with the rights of the chart.
    pub(crate) fn operator(&self) -> Running {
        self.operator_as("operator-a")
    }

    /// The same under this name.
    pub(crate) fn operator_as(&self, identity: &str) -> Running {
        self.operator_with(self.options(), identity, Arc::new(SystemClock))
    }

    pub(crate) fn operator_with(&self, options: Options, identity: &str, clock: Arc<dyn Clock>) -> Running {
        let ready = Arc::new(AtomicBool::new(false));
        let mut registry = Registry::default();
        let operator = Operator {
            client: self.server.operator(),
            options,
            clock,
            metrics: Metrics::register(&mut registry),
            identity: identity.to_owned(),
            timing: TIMING,
            ready: Arc::clone(&ready),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(operator.run(stop.clone()));
        Running {
            ready,
            registry,
            stop,
            task,
        }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies an object as a user's tool would.
    pub(crate) async fn apply<K>(&self, name: &str, object: &Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let params = PatchParams::apply("user").force();
        self.api::<K>()
            .patch(name, &params, &Patch::Apply(object))
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) async fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            string_data: Some(
                data.iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            ),
            ..Secret::default()
        };
        self.api::<Secret>()
            .create(&PostParams::default(), &secret)
            .await
            .expect("a secret");
    }

    /// A bridge to an MQTT server and a Kafka that do not exist.
    pub(crate) async fn bridge(&self, name: &str) -> BridgePipeline {
        self.apply(name, &bridge(name)).await
    }

    /// Waits until an object of this name satisfies `check`; yields it.
    pub(crate) async fn wait<K, T>(&self, name: &str, mut check: impl FnMut(&K) -> Result<T, String>) -> T
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api = self.api::<K>();
        let what = format!("{} {name}", K::kind(&()));
        eventually(&what, PATIENCE, async || {
            check(&api.get(name).await.map_err(|e| e.to_string())?)
        })
        .await
    }

    /// Waits until a bridge's condition has this status and reason; yields its message.
    pub(crate) async fn bridge_condition(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> String {
        self.wait(name, |bridge: &BridgePipeline| {
            condition(
                bridge.status.as_ref().map(|s| s.conditions.as_slice()),
                type_,
                status,
                reason,
            )
        })
        .await
    }
}

/// The message of a condition with this status and reason, or what stands there instead.
pub(crate) fn condition(
    conditions: Option<&[Condition]>,
    type_: &str,
    status: &str,
    reason: &str,
) -> Result<String, String> {
    let conditions = conditions.unwrap_or_default();
    let found = conditions
        .iter()
        .find(|c| c.type_ == type_ && c.status == status && c.reason == reason);
    let all = || {
        conditions
            .iter()
            .map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message))
    };
    found
        .map(|c| c.message.clone())
        .ok_or_else(|| all().collect::<Vec<_>>().join("\n"))
}

/// The bridge of [`Fixture::bridge`].
pub(crate) fn bridge(name: &str) -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "BridgePipeline", "metadata": {"name": name},
        "spec": {
            "mqtt": {
                "servers": ["mqtt://mosquitto:1883"], "protocol": "V5",
                "authentication": {"type": "None"}, "tls": {"mode": "Disabled"},
                "subscriptions": [{"filter": "factory/+/telemetry", "qos": 1}],
            },
            "kafka": {"external": {"bootstrapServers": ["127.0.0.1:1"], "tls": {"mode": "Disabled"},
                "authentication": {"type": "None"}}},
            "routes": [{"name": "telemetry", "match": "factory/{line}/telemetry", "topic": "telemetry",
                "format": "Raw"}],
        },
    })
}

/// Serves a progress document where a pod of this address would; yields the address. Ends with the token.
pub(crate) async fn progress_server<T: Serialize>(
    stop: &CancellationToken,
    document: impl Fn() -> T + Send + Sync + 'static,
) -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let ip = format!(
        "127.{}.{}.1",
        64 + std::process::id() % 64,
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let address: SocketAddr = format!("{ip}:{}", tributary::telemetry::DEFAULT_PORT)
        .parse()
        .expect("an address");
    let server = HttpServer::new(Registry::default())
        .progress(document)
        .bind(address)
        .await
        .expect("a free address");
    tokio::spawn(server.serve(stop.clone()));
    ip
}
