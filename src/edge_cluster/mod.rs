//! EdgeCluster: a factory's own Kafka cluster.
//!
//! One pass: observe the API server and the latest sample of Kafka; validate; build; apply, what restarts brokers last;
//! report. What takes time is a step of the next pass: nothing waits in here for longer than one call.

mod build;
mod defaults;
mod durability;
mod identity;
mod names;
mod observe;
mod pass;
mod roll;
mod status;
mod topics;
mod validate;
mod volumes;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::EdgeCluster;
use crate::controller::{Context, Error, Kind, ObjectKey, Reconciler, Requeue, Samplers};
use observe::Sample;

/// How an operator that is not in the cluster's network reaches the brokers of namespace and name.
pub type Reach = dyn Fn(&str, &str) -> Option<Vec<String>> + Send + Sync;

/// Reconciles EdgeClusters.
#[derive(Default)]
pub struct EdgeClusters {
    samplers: Samplers<Sample>,
    /// What passes remember. Bounded by the number of objects: an entry goes with its object.
    memories: Mutex<HashMap<ObjectKey, Arc<tokio::sync::Mutex<pass::Memory>>>>,
    reach: Option<Arc<Reach>>,
}

impl fmt::Debug for EdgeClusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeClusters")
    }
}

impl EdgeClusters {
    /// A reconciler that reaches brokers through the Kubernetes cluster's own names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A reconciler that asks `reach` for the bootstrap servers of a cluster before it falls back to those names: for
    /// an operator outside of the cluster's network.
    #[must_use]
    pub fn reaching(reach: Arc<Reach>) -> Self {
        Self {
            reach: Some(reach),
            ..Self::default()
        }
    }

    fn memory(&self, key: &ObjectKey) -> Arc<tokio::sync::Mutex<pass::Memory>> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(memories.entry(key.clone()).or_default())
    }
}

impl Reconciler for EdgeClusters {
    type Kind = EdgeCluster;

    async fn reconcile(&self, ctx: &Context, object: &EdgeCluster) -> Result<Requeue, Error> {
        let memory = self.memory(&ObjectKey::of(object));
        let mut memory = memory.lock().await;
        // Boxed: a pass holds every message it may send.
        Box::pin(pass::run(self, ctx, object, &mut memory)).await
    }

    async fn gone(&self, _ctx: &Context, key: &ObjectKey) {
        if key.kind == EdgeCluster::KIND {
            self.samplers.stop(key);
            self.memories
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(key);
        }
    }
}
