//! What is watched, cached, and turned into reconciles.
//!
//! For each namespace that is watched (or once for all) there is a [`Scope`]: the custom resources, the pods that carry
//! our label (without what nobody reads), and the metadata of what we created. Secrets are neither watched nor listed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::{SetOnce, mpsc};

use super::{KIND_LABEL, Kind, NAME_LABEL, Owned};
use crate::api::{BridgePipeline, EdgeCluster, ReplicationLink};

/// Reconcile requests that wait to be taken over by a controller's own queue, which keeps each object only once.
pub(super) const TRIGGER_QUEUE: usize = 1024;

/// The metadata of an object as cached.
#[derive(Clone, Debug, PartialEq)]
pub enum Cached {
    /// This type is not watched.
    NotWatched,
    /// No object of this name with our label is known.
    Absent,
    /// The object's metadata.
    Present(Box<ObjectMeta>),
}

/// Asks for reconciles of one kind in one scope.
pub struct Trigger<K: Kind>(pub(super) mpsc::Sender<ObjectRef<DeserializeGuard<K>>>);

impl<K: Kind> Clone for Trigger<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> fmt::Debug for Trigger<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trigger<{}>", K::KIND)
    }
}

impl<K: Kind> Trigger<K> {
    /// Has an object reconciled soon. False when nothing was sent, for a full queue: the object's own requeue comes anyway.
    pub fn send(&self, namespace: &str, name: &str) -> bool {
        // The other end is gone only at shutdown.
        self.0.try_send(ObjectRef::new(name).within(namespace)).is_ok()
    }
}

/// What is cached of one namespace, or of all.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The namespace; `None` is all.
    pub namespace: Option<String>,
    /// EdgeClusters.
    pub edge_clusters: Store<DeserializeGuard<EdgeCluster>>,
    /// BridgePipelines.
    pub bridge_pipelines: Store<DeserializeGuard<BridgePipeline>>,
    /// ReplicationLinks.
    pub replication_links: Store<DeserializeGuard<ReplicationLink>>,
    /// Pods with our label: metadata, container images, status.
    pub pods: Store<Pod>,
    /// Metadata of our StatefulSets.
    pub stateful_sets: Store<PartialObjectMeta<StatefulSet>>,
    /// Metadata of our ConfigMaps.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
    /// Metadata of our Services.
    pub services: Store<PartialObjectMeta<Service>>,
    /// Metadata of our NetworkPolicies.
    pub network_policies: Store<PartialObjectMeta<NetworkPolicy>>,
    /// Metadata of our PodDisruptionBudgets.
    pub disruption_budgets: Store<PartialObjectMeta<PodDisruptionBudget>>,
    /// Asks for reconciles of EdgeClusters.
    pub edge_cluster_trigger: Trigger<EdgeCluster>,
    /// Asks for reconciles of BridgePipelines.
    pub bridge_pipeline_trigger: Trigger<BridgePipeline>,
    /// Asks for reconciles of ReplicationLinks.
    pub replication_link_trigger: Trigger<ReplicationLink>,
    /// One for each of the three kinds: set once its first list is in the cache.
    ///
    /// Their stores' own `wait_until_ready` is for kube's `Controller` alone: of two tasks that wait there, one is never woken
    /// (kube-runtime 5.0, `DelayedInit` keeps one waker).
    pub(super) kinds_filled: [Latch; 3],
}

/// Set once, and waited for by any number.
pub(super) type Latch = Arc<SetOnce<()>>;

macro_rules! watched {
    ($($type:ty => $store:ident;)+) => {
        $(impl Owned for $type {
            fn cached(scope: &Scope, namespace: &str, name: &str) -> Cached {
                match scope.$store.get(&ObjectRef::new(name).within(namespace)) {
                    Some(found) => Cached::Present(Box::new(found.metadata.clone())),
                    None => Cached::Absent,
                }
            }
        })+
    };
}

watched! {
    StatefulSet => stateful_sets;
    ConfigMap => config_maps;
    Service => services;
    NetworkPolicy => network_policies;
    PodDisruptionBudget => disruption_budgets;
}

impl Scope {
    /// Whether an object with our label exists; `None` if its type is not watched.
    pub(super) fn holds(&self, kind: &str, namespace: &str, name: &str) -> Option<bool> {
        let cached = match kind {
            "StatefulSet" => StatefulSet::cached(self, namespace, name),
            "ConfigMap" => ConfigMap::cached(self, namespace, name),
            "Service" => Service::cached(self, namespace, name),
            "NetworkPolicy" => NetworkPolicy::cached(self, namespace, name),
            "PodDisruptionBudget" => PodDisruptionBudget::cached(self, namespace, name),
            _ => return None,
        };
        Some(cached != Cached::Absent)
    }
}

/// All scopes.
#[derive(Clone, Debug)]
pub struct Caches {
    scopes: Arc<BTreeMap<Option<String>, Scope>>,
}

impl Caches {
    pub(crate) fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self {
            scopes: Arc::new(scopes.into_iter().map(|s| (s.namespace.clone(), s)).collect()),
        }
    }

    /// The scope that holds a namespace's objects; `None` if the namespace is not watched.
    #[must_use]
    pub fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.scopes
            .get(&Some(namespace.to_owned()))
            .or_else(|| self.scopes.get(&None))
    }

    /// Waits until every cache has been filled once.
    pub(super) async fn filled(&self) {
        for scope in self.scopes() {
            for kind in &scope.kinds_filled {
                kind.wait().await;
            }
            // A writer that is gone means that everything ends.
            let _ = tokio::join!(
                scope.pods.wait_until_ready(),
                scope.stateful_sets.wait_until_ready(),
                scope.config_maps.wait_until_ready(),
                scope.services.wait_until_ready(),
                scope.network_policies.wait_until_ready(),
                scope.disruption_budgets.wait_until_ready(),
            );
        }
    }

    /// Every scope.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.values()
    }

    /// An EdgeCluster, as cached. `Err` holds why the stored object is none.
    #[must_use]
    pub fn edge_cluster(&self, namespace: &str, name: &str) -> Option<Result<EdgeCluster, String>> {
        let found = self
            .scope(namespace)?
            .edge_clusters
            .get(&ObjectRef::new(name).within(namespace))?;
        Some(found.0.clone().map_err(|invalid| invalid.error))
    }

    /// The pods of one object, in the order of their names.
    #[must_use]
    pub fn pods_of<K: Kind>(&self, namespace: &str, name: &str) -> Vec<Arc<Pod>> {
        let Some(scope) = self.scope(namespace) else {
            return Vec::new();
        };
        let label = |pod: &Pod, key: &str| pod.metadata.labels.as_ref().and_then(|l| l.get(key)).cloned();
        let mut pods = scope.pods.state_filter(|pod| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && label(pod, KIND_LABEL).as_deref() == Some(K::KIND)
                && label(pod, NAME_LABEL).as_deref() == Some(name)
        });
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        pods
    }

    /// Has an object reconciled soon; false when nobody was asked.
    pub(super) fn trigger<K: Kind>(&self, namespace: &str, name: &str) -> bool {
        self.scope(namespace)
            .is_some_and(|scope| K::triggers(scope).send(namespace, name))
    }
}
