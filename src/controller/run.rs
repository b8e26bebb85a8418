//! Drives the reconcilers: watches, queues, bounded concurrency, back-off.

mod gate;
mod pass;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::StreamExt;
use kube::runtime::Controller;
use kube::runtime::controller::{Config as ControllerConfig, Error as ControllerError};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::cache::Caches;
use super::{Clock, Context, Kind, Metrics, ObjectKey, Options, Reconciler};
use crate::api::{BridgePipeline, EdgeCluster, ReplicationLink};
use gate::Gate;
use watch::{KindWatch, ScopeWatch};

/// How often objects are looked for that vanished while no watch was open.
const SWEEP: Duration = Duration::from_secs(30);
/// Deletions that wait to be handled; when it is full, the sweep finds the rest.
const GONE_QUEUE: usize = 1024;
/// How long the first lists may take. After that the process ends, and begins again with new watches.
const FILL: Duration = Duration::from_secs(60);
/// How long running passes may take to finish at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// What one process of the operator is made of, besides the three reconcilers.
pub struct Runtime {
    /// The client of the API server.
    pub client: Client,
    /// The operator's settings.
    pub options: Options,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The operator's metrics.
    pub metrics: Metrics,
    /// This process' name in events: its pod's.
    pub instance: String,
    /// Set once all caches are filled.
    pub ready: Arc<AtomicBool>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Why reconciling ended without having been told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Not every first list came in time.
    #[error(
        "not every first list was answered within {} s; if this repeats: are the CRDs installed, and may the operator \
         list and watch what it looks after?",
        FILL.as_secs()
    )]
    NotFilled,
    /// A task ended by itself.
    #[error("a controller ended unexpectedly, which is a bug; the log says which")]
    Died,
}

/// Reconciles all three kinds until `stop` is cancelled; passes that run get [`DRAIN`] to finish. Dropping the future
/// ends everything at once.
///
/// # Errors
/// When it ends by itself: the caller should end the process, and begin again with new watches.
pub async fn run<E, B, L>(
    runtime: Runtime,
    edge_clusters: E,
    bridge_pipelines: B,
    replication_links: L,
    stop: CancellationToken,
) -> Result<(), RunError>
where
    E: Reconciler<Kind = EdgeCluster>,
    B: Reconciler<Kind = BridgePipeline>,
    L: Reconciler<Kind = ReplicationLink>,
{
    let ready = Arc::clone(&runtime.ready);
    let (ctx, watches) = context(runtime);
    let (edge_clusters, bridge_pipelines, replication_links) = (
        Arc::new(Driver::new(edge_clusters)),
        Arc::new(Driver::new(bridge_pipelines)),
        Arc::new(Driver::new(replication_links)),
    );
    let dependents: Dependents = {
        let (ctx, bridges, links) = (
            ctx.clone(),
            Arc::clone(&bridge_pipelines),
            Arc::clone(&replication_links),
        );
        Arc::new(move |namespace: &str, cluster: &str| {
            bridges.trigger_dependents(&ctx, namespace, cluster);
            links.trigger_dependents(&ctx, namespace, cluster);
        })
    };
    let gate = Gate::new(stop.clone());
    let mut tasks = JoinSet::new();
    for watch in watches {
        let ScopeWatch {
            namespace,
            edge_clusters: e,
            bridge_pipelines: b,
            replication_links: l,
            owned,
        } = watch;
        let scope = namespace.as_deref();
        edge_clusters.start(&mut tasks, &ctx, scope, e, Some(Arc::clone(&dependents)), &gate);
        bridge_pipelines.start(&mut tasks, &ctx, scope, b, None, &gate);
        replication_links.start(&mut tasks, &ctx, scope, l, None, &gate);
        owned.start(&mut tasks, &ctx, scope, &stop);
    }
    tokio::select! {
        Some(ended) = tasks.join_next() => if !stop.is_cancelled() {
            tracing::error!(?ended, "a controller's task ended unexpectedly");
            return Err(RunError::Died);
        },
        error = fill(ctx.caches(), &gate, &ready) => return Err(error),
        () = stop.cancelled() => {}
    }
    // A pass has a deadline of its own; what is still running then is dropped, as a kill would. Before the gate opened
    // there is none, and kube's controllers would wait for their first list.
    if gate.is_open() {
        let _ = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    }
    Ok(())
}

/// The context of one term, and the writing ends of its caches.
fn context(runtime: Runtime) -> (Context, Vec<ScopeWatch>) {
    let Runtime {
        client,
        options,
        clock,
        metrics,
        instance,
        ready: _,
    } = runtime;
    let namespaces: Vec<Option<String>> = match &options.namespaces {
        None => vec![None],
        Some(list) => list.iter().cloned().map(Some).collect(),
    };
    let (scopes, watches): (Vec<_>, Vec<_>) = namespaces.into_iter().map(watch::scope).unzip();
    let caches = Caches::new(scopes);
    (
        Context::new(client, options, clock, caches, metrics, &instance),
        watches,
    )
}

/// Opens the gate once every cache is filled; ends only when that takes too long.
async fn fill(caches: &Caches, gate: &Gate, ready: &AtomicBool) -> RunError {
    // A list without an answer has no deadline of its own.
    if timeout(FILL, caches.filled()).await.is_err() {
        return RunError::NotFilled;
    }
    gate.open();
    ready.store(true, Ordering::Relaxed);
    std::future::pending().await
}

/// Called with namespace and name of an EdgeCluster that changed.
type Dependents = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// One kind's reconciler with what is known of its objects.
struct Driver<R> {
    reconciler: R,
    /// Objects that were reconciled and are not yet known to be gone. Bounded by the number of objects.
    seen: Mutex<HashSet<ObjectKey>>,
}

impl<R: Reconciler> Driver<R> {
    fn new(reconciler: R) -> Self {
        Self {
            reconciler,
            seen: Mutex::new(HashSet::new()),
        }
    }

    /// Has every cached object reconciled that refers to an EdgeCluster.
    fn trigger_dependents(&self, ctx: &Context, namespace: &str, cluster: &str) {
        let Some(scope) = ctx.caches().scope(namespace) else {
            return;
        };
        let refers = |object: &kube::core::DeserializeGuard<R::Kind>| {
            object.0.as_ref().is_ok_and(|o| {
                o.meta().namespace.as_deref() == Some(namespace) && self.reconciler.refers_to(o, cluster)
            })
        };
        for object in R::Kind::store(scope).state_filter(refers) {
            if let Some(name) = object.0.as_ref().ok().and_then(|o| o.meta().name.as_deref()) {
                ctx.trigger::<R::Kind>(namespace, name);
            }
        }
    }

    fn start(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        ctx: &Context,
        namespace: Option<&str>,
        watch: KindWatch<R::Kind>,
        dependents: Option<Dependents>,
        gate: &Gate,
    ) {
        let (gone_tx, gone_rx) = mpsc::channel(GONE_QUEUE);
        let KindWatch {
            writer,
            reader,
            requests,
            filled,
        } = watch;
        let stream = watch::objects(ctx, namespace, writer, filled, gone_tx, dependents);
        let controller = Controller::for_stream(stream, reader)
            .with_config(ControllerConfig::default().concurrency(ctx.options().concurrency))
            .reconcile_on(watch::requests(requests))
            .graceful_shutdown_on(gate.stop.clone().cancelled_owned());
        let (driver, held_by) = (Arc::clone(self), gate.clone());
        let policy_ctx = ctx.clone();
        let results = controller.run(
            move |object, ctx: Arc<Context>| {
                let (driver, gate) = (Arc::clone(&driver), held_by.clone());
                async move { driver.pass_through(&gate, &ctx, &object).await }
            },
            move |object, _, _| pass::after_failure::<R::Kind>(&policy_ctx, &object),
            Arc::new(ctx.clone()),
        );
        let metrics = ctx.metrics().clone();
        tasks.spawn(results.for_each(move |result| {
            match result {
                Ok(_) => {}
                // Told where it happened, with its span.
                Err(ControllerError::ReconcilerFailed(..)) => {}
                // Deleted between the request and the pass.
                Err(ControllerError::ObjectNotFound(object)) => {
                    let namespace = object.namespace.unwrap_or_default();
                    metrics.served(&ObjectKey::new(R::Kind::KIND, namespace, object.name));
                }
                Err(error) => tracing::warn!(kind = R::Kind::KIND, %error, "watch failed; it is tried again"),
            }
            std::future::ready(())
        }));
        let (driver, ctx, stop) = (Arc::clone(self), ctx.clone(), gate.stop.clone());
        let namespace = namespace.map(str::to_owned);
        tasks.spawn(async move {
            let burying = driver.bury(&ctx, namespace.as_deref(), gone_rx);
            stop.run_until_cancelled(burying).await;
        });
    }

    /// Handles deletions: those that the watch tells, and those that a sweep finds.
    async fn bury(&self, ctx: &Context, namespace: Option<&str>, mut gone: mpsc::Receiver<ObjectKey>) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let keys = tokio::select! {
                key = gone.recv() => match key {
                    Some(key) => vec![key],
                    None => return std::future::pending().await,
                },
                _ = sweep.tick() => self.vanished(ctx, namespace),
            };
            for key in keys {
                if self
                    .seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&key)
                {
                    tracing::info!(object = %key, "gone");
                }
                self.reconciler.gone(ctx, &key).await;
                ctx.backoffs().reset(&key);
                ctx.statuses().forget(ctx.metrics(), &key);
            }
            ctx.forget_applied();
        }
    }

    fn vanished(&self, ctx: &Context, namespace: Option<&str>) -> Vec<ObjectKey> {
        let Some(scope) = ctx
            .caches()
            .scopes()
            .find(|s| s.namespace.as_deref() == namespace)
        else {
            return Vec::new();
        };
        let live: BTreeSet<ObjectKey> = R::Kind::store(scope)
            .state()
            .iter()
            .map(|o| pass::key_of::<R::Kind>(o))
            .collect();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let here = |key: &&ObjectKey| namespace.is_none_or(|n| n == key.namespace);
        seen.iter()
            .filter(here)
            .filter(|key| !live.contains(key))
            .cloned()
            .collect()
    }
}
