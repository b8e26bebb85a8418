//! The operator's metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::ObjectKey;
use super::figures::{Figures, FiguresCollector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    kind: &'static str,
    namespace: String,
    name: String,
    condition: String,
    status: &'static str,
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
    conditions: Family<ConditionLabels, Gauge>,
    leader: Gauge,
    figures: Arc<Mutex<BTreeMap<ObjectKey, Figures>>>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

impl Metrics {
    /// Registers the metrics, all under `tributary_`.
    pub fn register(registry: &mut Registry) -> Self {
        let families = Families {
            durations: Family::new_with_constructor(histogram),
            errors: Family::default(),
            steps: Family::default(),
            status_writes: Family::default(),
            conditions: Family::default(),
            leader: Gauge::default(),
            figures: Arc::default(),
        };
        let registry = registry.sub_registry_with_prefix("tributary");
        registry.register(
            "reconcile_duration_seconds",
            "Duration of one pass over one object",
            families.durations.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Passes that failed and were put off",
            families.errors.clone(),
        );
        registry.register(
            "reconcile_steps",
            "Steps of passes by what they came to",
            families.steps.clone(),
        );
        registry.register(
            "status_writes",
            "Statuses written",
            families.status_writes.clone(),
        );
        registry.register(
            "condition",
            "1 for the status that an object's condition has, 0 for the others",
            families.conditions.clone(),
        );
        registry.register(
            "leader",
            "1 while this process reconciles",
            families.leader.clone(),
        );
        registry.register_collector(Box::new(FiguresCollector(Arc::clone(&families.figures))));
        Self(Arc::new(families))
    }

    /// Counts one pass.
    pub fn reconciled(&self, kind: &'static str, duration: Duration, failed: bool) {
        self.0
            .durations
            .get_or_create(&KindLabel { kind })
            .observe(duration.as_secs_f64());
        let errors = self.0.errors.get_or_create(&KindLabel { kind });
        if failed {
            errors.inc();
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

    /// Counts a written status and shows its conditions.
    pub fn status_written(&self, key: &ObjectKey, old: &[Condition], new: &[Condition]) {
        self.0
            .status_writes
            .get_or_create(&KindLabel { kind: key.kind })
            .inc();
        for gone in old.iter().filter(|o| !new.iter().any(|n| n.type_ == o.type_)) {
            self.drop_condition(key, &gone.type_);
        }
        for condition in new {
            for status in STATUSES {
                let labels = condition_labels(key, &condition.type_, status);
                self.0
                    .conditions
                    .get_or_create(&labels)
                    .set((condition.status == status).into());
            }
        }
    }

    /// Drops what is shown of an object that is gone.
    pub fn forget(&self, key: &ObjectKey, conditions: &[Condition]) {
        for condition in conditions {
            self.drop_condition(key, &condition.type_);
        }
    }

    /// Shows an object's figures; counts in them are added to what was shown before.
    pub fn figures(&self, key: &ObjectKey, mut figures: Figures) {
        let mut all = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = all.get(key) {
            figures.sessions_lost += before.sessions_lost;
        }
        all.insert(key.clone(), figures);
    }

    /// Drops the figures of an object that is gone.
    pub fn forget_figures(&self, key: &ObjectKey) {
        self.0
            .figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    /// Whether this process reconciles; one that no longer does shows no objects.
    pub fn leader(&self, leads: bool) {
        self.0.leader.set(leads.into());
        if !leads {
            self.0
                .figures
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            self.0.conditions.clear();
        }
    }

    fn drop_condition(&self, key: &ObjectKey, type_: &str) {
        for status in STATUSES {
            self.0.conditions.remove(&condition_labels(key, type_, status));
        }
    }
}

fn condition_labels(key: &ObjectKey, type_: &str, status: &'static str) -> ConditionLabels {
    ConditionLabels {
        kind: key.kind,
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        condition: type_.to_owned(),
        status,
    }
}
