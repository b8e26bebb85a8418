//! The operator's metrics.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::condition_metrics::ConditionMetrics;
use super::figures::{Figures, FiguresCollector};
use super::{Kind, ObjectKey};
use crate::api::{BridgePipeline, EdgeCluster, ReplicationLink};

/// Buckets of a pass' duration, seconds: from a pass that only looks to one at every deadline.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    kind: &'static str,
    step: &'static str,
    outcome: &'static str,
}

/// Counters and gauges of reconciling; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    durations: Family<KindLabel, Histogram, fn() -> Histogram>,
    errors: Family<KindLabel, Counter>,
    steps: Family<StepLabels, Counter>,
    status_writes: Family<KindLabel, Counter>,
    active: Family<KindLabel, Gauge>,
    queued: Family<KindLabel, Gauge>,
    leader: Gauge,
    conditions: ConditionMetrics,
    figures: Arc<Mutex<BTreeMap<ObjectKey, Figures>>>,
    /// Objects that wait for a pass. Bounded by the number of objects.
    waiting: Mutex<HashSet<ObjectKey>>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Families {
    fn new() -> Self {
        let families = Self {
            durations: Family::new_with_constructor(histogram),
            errors: Family::default(),
            steps: Family::default(),
            status_writes: Family::default(),
            active: Family::default(),
            queued: Family::default(),
            leader: Gauge::default(),
            conditions: ConditionMetrics::default(),
            figures: Arc::default(),
            waiting: Mutex::default(),
        };
        // Nothing begins to exist with its first event: a rate would not see that one.
        for kind in [EdgeCluster::KIND, BridgePipeline::KIND, ReplicationLink::KIND] {
            let label = KindLabel { kind };
            drop(families.durations.get_or_create(&label));
            drop(families.errors.get_or_create(&label));
            drop(families.status_writes.get_or_create(&label));
            drop(families.active.get_or_create(&label));
            drop(families.queued.get_or_create(&label));
        }
        families
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tributary");
        let help = "Duration of one pass over one object";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, self.durations.clone());
        let help = "Passes that failed and were put off";
        registry.register("reconcile_errors", help, self.errors.clone());
        let help = "Steps of passes by what they came to";
        registry.register("reconcile_steps", help, self.steps.clone());
        let help = "Passes that run now";
        registry.register("reconcile_active", help, self.active.clone());
        let help = "Objects that an event asks a pass for which has not begun";
        registry.register("reconcile_queue_length", help, self.queued.clone());
        registry.register("status_writes", "Statuses written", self.status_writes.clone());
        let help = "1 while this process reconciles";
        registry.register("leader", help, self.leader.clone());
        registry.register_collector(Box::new(self.conditions.clone()));
        registry.register_collector(Box::new(FiguresCollector(Arc::clone(&self.figures))));
    }
}

/// A pass that runs; it is counted until this is dropped, also when the pass is.
#[derive(Debug)]
pub(super) struct ActivePass(Gauge);

impl Drop for ActivePass {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers the metrics, all under `tributary_`.
    pub fn register(registry: &mut Registry) -> Self {
        let families = Families::new();
        families.register(registry);
        Self(Arc::new(families))
    }

    /// An object shall have a pass.
    pub(super) fn requested(&self, key: &ObjectKey) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.contains(key) {
            waiting.insert(key.clone());
            self.queued(key).inc();
        }
    }

    /// An object no longer waits for a pass.
    pub(super) fn served(&self, key: &ObjectKey) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.remove(key) {
            self.queued(key).dec();
        }
    }

    /// A pass begins.
    pub(super) fn begun(&self, key: &ObjectKey) -> ActivePass {
        self.served(key);
        let active = self.0.active.get_or_create(&KindLabel { kind: key.kind }).clone();
        active.inc();
        ActivePass(active)
    }

    fn queued(&self, key: &ObjectKey) -> Gauge {
        self.0.queued.get_or_create(&KindLabel { kind: key.kind }).clone()
    }

    /// Counts one pass.
    pub fn reconciled(&self, kind: &'static str, duration: Duration, failed: bool) {
        self.0
            .durations
            .get_or_create(&KindLabel { kind })
            .observe(duration.as_secs_f64());
        if failed {
            self.0.errors.get_or_create(&KindLabel { kind }).inc();
        }
    }

    /// Counts the steps of one pass.
    pub fn steps(&self, kind: &'static str, steps: &super::Steps) {
        for (step, outcome, _) in steps.iter() {
            self.0
                .steps
                .get_or_create(&StepLabels {
                    kind,
                    step,
                    outcome: outcome.as_str(),
                })
                .inc();
        }
    }

    /// Counts a written status.
    pub fn status_written(&self, kind: &'static str) {
        self.0.status_writes.get_or_create(&KindLabel { kind }).inc();
    }

    /// Shows an object's conditions.
    pub fn conditions(&self, key: &ObjectKey, conditions: &[Condition]) {
        self.0.conditions.show(key, conditions);
    }

    /// Shows an object's figures; counts in them are added to what was shown before.
    pub fn figures(&self, key: &ObjectKey, mut figures: Figures) {
        let mut all = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = all.get(key) {
            figures.sessions_lost += before.sessions_lost;
        }
        all.insert(key.clone(), figures);
    }

    /// Drops what is shown of an object that is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.served(key);
        self.0.conditions.forget(key);
        self.0
            .figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    /// Whether this process reconciles; one that no longer does shows no objects.
    pub fn leader(&self, leads: bool) {
        self.0.leader.set(leads.into());
        if leads {
            return;
        }
        self.0.conditions.clear();
        self.0
            .figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let waiting = std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for key in waiting {
            self.queued(&key).dec();
        }
    }
}

#[cfg(test)]
mod tests;
