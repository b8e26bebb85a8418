//! The watches of one scope, and what their events lead to.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::{Predicate, PredicateConfig};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::runtime::{WatchStreamExt, predicates};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::cache::{Latch, Scope, TRIGGER_QUEUE, Trigger};
use super::super::{Context, KIND_LABEL, Kind, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL, ObjectKey};
use super::{Dependents, pass};
use crate::api::{BridgePipeline, EdgeCluster, ReplicationLink};

type Request<K> = ObjectRef<DeserializeGuard<K>>;

/// The writing ends of one kind's cache and queue.
pub(super) struct KindWatch<K: Kind> {
    pub(super) writer: Writer<DeserializeGuard<K>>,
    pub(super) reader: Store<DeserializeGuard<K>>,
    pub(super) requests: mpsc::Receiver<Request<K>>,
    pub(super) filled: Latch,
}

/// The writing ends of a scope.
pub(super) struct ScopeWatch {
    pub(super) namespace: Option<String>,
    pub(super) edge_clusters: KindWatch<EdgeCluster>,
    pub(super) bridge_pipelines: KindWatch<BridgePipeline>,
    pub(super) replication_links: KindWatch<ReplicationLink>,
    pub(super) owned: OwnedWatch,
}

/// The writing ends of what we created.
pub(super) struct OwnedWatch {
    pods: Writer<Pod>,
    stateful_sets: Writer<PartialObjectMeta<StatefulSet>>,
    config_maps: Writer<PartialObjectMeta<ConfigMap>>,
    services: Writer<PartialObjectMeta<Service>>,
    network_policies: Writer<PartialObjectMeta<NetworkPolicy>>,
    disruption_budgets: Writer<PartialObjectMeta<PodDisruptionBudget>>,
}

fn kind<K: Kind>() -> (Trigger<K>, KindWatch<K>) {
    let (reader, writer) = reflector::store();
    let (sender, requests) = mpsc::channel(TRIGGER_QUEUE);
    (
        Trigger(sender),
        KindWatch {
            writer,
            reader,
            requests,
            filled: Latch::default(),
        },
    )
}

/// A scope's reading and writing ends.
pub(super) fn scope(namespace: Option<String>) -> (Scope, ScopeWatch) {
    let (edge_cluster_trigger, edge_clusters) = kind();
    let (bridge_pipeline_trigger, bridge_pipelines) = kind();
    let (replication_link_trigger, replication_links) = kind();
    let (pods, pods_writer) = reflector::store();
    let (stateful_sets, stateful_sets_writer) = reflector::store();
    let (config_maps, config_maps_writer) = reflector::store();
    let (services, services_writer) = reflector::store();
    let (network_policies, network_policies_writer) = reflector::store();
    let (disruption_budgets, disruption_budgets_writer) = reflector::store();
    let scope = Scope {
        namespace: namespace.clone(),
        edge_clusters: edge_clusters.reader.clone(),
        bridge_pipelines: bridge_pipelines.reader.clone(),
        replication_links: replication_links.reader.clone(),
        pods,
        stateful_sets,
        config_maps,
        services,
        network_policies,
        disruption_budgets,
        edge_cluster_trigger,
        bridge_pipeline_trigger,
        replication_link_trigger,
        kinds_filled: [
            edge_clusters.filled.clone(),
            bridge_pipelines.filled.clone(),
            replication_links.filled.clone(),
        ],
    };
    let owned = OwnedWatch {
        pods: pods_writer,
        stateful_sets: stateful_sets_writer,
        config_maps: config_maps_writer,
        services: services_writer,
        network_policies: network_policies_writer,
        disruption_budgets: disruption_budgets_writer,
    };
    (
        scope,
        ScopeWatch {
            namespace,
            edge_clusters,
            bridge_pipelines,
            replication_links,
            owned,
        },
    )
}

fn api<T>(client: &Client, namespace: Option<&str>) -> Api<T>
where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A queue's receiving end as a stream.
pub(super) fn requests<K: Kind>(
    mut receiver: mpsc::Receiver<Request<K>>,
) -> impl Stream<Item = Request<K>> + Send {
    stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// The objects of one kind that need a pass: new ones, changed specs, deletions in progress. Our own status writes do
/// not count. Fills the cache and says so; tells `gone` of deletions, and `dependents` of every change.
pub(super) fn objects<K: Kind>(
    ctx: &Context,
    namespace: Option<&str>,
    writer: Writer<DeserializeGuard<K>>,
    filled: Latch,
    gone: mpsc::Sender<ObjectKey>,
    dependents: Option<Dependents>,
) -> impl Stream<Item = watcher::Result<DeserializeGuard<K>>> + Send + 'static {
    let api = api::<DeserializeGuard<K>>(ctx.client(), namespace);
    let metrics = ctx.metrics().clone();
    watcher(api, Config::default())
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .reflect(writer)
        .inspect_ok(move |event| {
            if let Event::InitDone = event {
                // Later lists find it set.
                let _ = filled.set(());
            }
            if let Event::Delete(object) = event {
                // When the queue is full, the sweep finds it.
                let _ = gone.try_send(pass::key_of(object));
            }
            if let (
                Some(dependents),
                Event::Apply(object) | Event::InitApply(object) | Event::Delete(object),
            ) = (&dependents, event)
            {
                let key = pass::key_of(object);
                dependents(&key.namespace, &key.name);
            }
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(deletion),
            PredicateConfig::default(),
        )
        .inspect_ok(move |object| metrics.requested(&pass::key_of(object)))
}

fn deletion<K: Resource>(object: &K) -> Option<u64> {
    Some(object.meta().deletion_timestamp.is_some().into())
}

impl OwnedWatch {
    /// Starts a watch for each type of what we create.
    pub(super) fn start(
        self,
        tasks: &mut JoinSet<()>,
        ctx: &Context,
        namespace: Option<&str>,
        stop: &CancellationToken,
    ) {
        let pods = watcher(api::<Pod>(ctx.client(), namespace), ours())
            .default_backoff()
            .modify(trim_pod)
            .reflect(self.pods)
            .touched_objects();
        spawn(tasks, ctx, "Pod", pods, stop);
        metadata(tasks, ctx, namespace, self.stateful_sets, stop);
        metadata(tasks, ctx, namespace, self.config_maps, stop);
        metadata(tasks, ctx, namespace, self.services, stop);
        metadata(tasks, ctx, namespace, self.network_policies, stop);
        metadata(tasks, ctx, namespace, self.disruption_budgets, stop);
    }
}

fn ours() -> Config {
    Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"))
}

fn metadata<T>(
    tasks: &mut JoinSet<()>,
    ctx: &Context,
    namespace: Option<&str>,
    writer: Writer<PartialObjectMeta<T>>,
    stop: &CancellationToken,
) where
    T: super::super::Owned,
{
    let stream = watcher(api::<PartialObjectMeta<T>>(ctx.client(), namespace), ours())
        .default_backoff()
        .modify(|object| object.metadata.managed_fields = None)
        .reflect(writer)
        .touched_objects()
        .predicate_filter(any_change, PredicateConfig::default());
    spawn(tasks, ctx, T::KIND, stream, stop);
}

fn any_change<K: Resource>(object: &K) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    (
        &object.meta().resource_version,
        object.meta().deletion_timestamp.is_some(),
    )
        .hash(&mut hasher);
    Some(hasher.finish())
}

/// Reads a watch for as long as the operator runs; every event has the object reconciled that its subject was made for.
fn spawn<T>(
    tasks: &mut JoinSet<()>,
    ctx: &Context,
    kind: &'static str,
    stream: impl Stream<Item = watcher::Result<T>> + Send + 'static,
    stop: &CancellationToken,
) where
    T: Resource + Send + 'static,
{
    let (ctx, stop) = (ctx.clone(), stop.clone());
    tasks.spawn(async move {
        let reading = stream.for_each(|event| {
            match event {
                Ok(object) => request_owner(&ctx, object.meta()),
                Err(error) => tracing::warn!(kind, %error, "watch failed; it is tried again"),
            }
            std::future::ready(())
        });
        tokio::select! {
            () = reading => {}
            () = stop.cancelled() => {}
        }
    });
}

fn request_owner(ctx: &Context, meta: &ObjectMeta) {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    for (kind, name) in owners(meta) {
        request(ctx, kind, namespace, name);
    }
}

/// Whose it is, by its labels and by its owner: somebody may have edited the labels.
fn owners(meta: &ObjectMeta) -> BTreeSet<(&str, &str)> {
    let label = |key: &str| meta.labels.as_ref()?.get(key).map(String::as_str);
    let labelled = label(KIND_LABEL).zip(label(NAME_LABEL));
    let references = meta.owner_references.iter().flatten();
    let owners = references.filter(|owner| owner.controller == Some(true));
    let owners = owners.filter(|owner| owner.api_version.split('/').next() == Some(crate::api::GROUP));
    labelled
        .into_iter()
        .chain(owners.map(|owner| (&*owner.kind, &*owner.name)))
        .collect()
}

fn request(ctx: &Context, kind: &str, namespace: &str, name: &str) {
    match kind {
        EdgeCluster::KIND => ctx.trigger::<EdgeCluster>(namespace, name),
        BridgePipeline::KIND => ctx.trigger::<BridgePipeline>(namespace, name),
        ReplicationLink::KIND => ctx.trigger::<ReplicationLink>(namespace, name),
        _ => {}
    }
}

/// Drops what nobody reads: most of a pod is its spec.
fn trim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(spec) = &mut pod.spec {
        for container in spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
        {
            let (name, image) = (std::mem::take(&mut container.name), container.image.take());
            *container = k8s_openapi::api::core::v1::Container {
                name,
                image,
                ..Default::default()
            };
        }
        *spec = PodSpec {
            containers: std::mem::take(&mut spec.containers),
            init_containers: spec.init_containers.take(),
            node_name: spec.node_name.take(),
            ..PodSpec::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn an_object_whose_labels_were_edited_still_leads_to_its_owner() {
        let owner = |group: &str, kind: &str, controller: bool| OwnerReference {
            api_version: format!("{group}/v1alpha1"),
            kind: kind.to_owned(),
            name: "munich".to_owned(),
            controller: Some(controller),
            ..OwnerReference::default()
        };
        let labels = [(KIND_LABEL, EdgeCluster::KIND), (NAME_LABEL, "x")];
        let meta = ObjectMeta {
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            owner_references: Some(vec![
                owner("tributary.dev", EdgeCluster::KIND, true),
                owner("tributary.dev", BridgePipeline::KIND, false),
                owner("apps", ReplicationLink::KIND, true),
            ]),
            ..ObjectMeta::default()
        };
        let both = BTreeSet::from([(EdgeCluster::KIND, "munich"), (EdgeCluster::KIND, "x")]);
        assert_eq!(owners(&meta), both);
        assert_eq!(owners(&ObjectMeta::default()), BTreeSet::new());
    }
}
