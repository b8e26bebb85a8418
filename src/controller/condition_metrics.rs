//! The conditions of all objects as metrics, written at each scrape: one that is gone leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::ObjectKey;

const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// What is shown of one condition.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    condition: String,
    status: String,
    reason: String,
    /// Seconds since 1970.
    since: i64,
}

impl Shown {
    fn of(condition: &Condition) -> Self {
        Self {
            condition: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            since: condition.last_transition_time.0.as_second(),
        }
    }
}

/// The conditions of each object; clones share them. Bounded by the number of objects and of condition types.
#[derive(Clone, Debug, Default)]
pub(super) struct ConditionMetrics(Arc<Mutex<BTreeMap<ObjectKey, Arc<[Shown]>>>>);

impl ConditionMetrics {
    /// Shows these conditions of an object, and no others.
    pub(super) fn show(&self, key: &ObjectKey, conditions: &[Condition]) {
        let shown = conditions.iter().map(Shown::of).collect();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), shown);
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Collector for ConditionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A copy: a slow reader must not hold up the reconciles.
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let each = || {
            all.iter()
                .flat_map(|(key, shown)| shown.iter().map(move |s| (key, s)))
        };
        let help = "1 for the status that an object's condition has, 0 for the others";
        let mut family = encoder.encode_descriptor("condition", help, None, MetricType::Gauge)?;
        for (key, shown) in each() {
            for status in STATUSES {
                let value = i64::from(shown.status == status);
                let labels = labels(key, shown, &[("status", status)]);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "The reason that an object's condition has, always 1";
        let mut family = encoder.encode_descriptor("condition_reason", help, None, MetricType::Gauge)?;
        for (key, shown) in each() {
            let labels = labels(key, shown, &[("reason", &shown.reason)]);
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        let (name, help) = (
            "condition_last_transition_timestamp",
            "When an object's condition got its status",
        );
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (key, shown) in each() {
            ConstGauge::new(shown.since).encode(family.encode_family(&labels(key, shown, &[]))?)?;
        }
        Ok(())
    }
}

fn labels<'a>(key: &'a ObjectKey, shown: &'a Shown, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut labels = vec![
        ("kind", key.kind),
        ("namespace", key.namespace.as_str()),
        ("name", key.name.as_str()),
        ("condition", shown.condition.as_str()),
    ];
    labels.extend(more);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use prometheus_client::registry::Registry;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: Time(Timestamp::from_second(1_700_000_000).unwrap()),
            observed_generation: None,
        }
    }

    #[test]
    fn a_condition_shows_its_status_its_reason_and_since_when_and_what_is_gone_is_not_shown() {
        let conditions = ConditionMetrics::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(conditions.clone()));
        let key = ObjectKey::new("ReplicationLink", "factory", "to-eu");
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let both = [
            condition("Ready", "False", "NotMoving"),
            condition("Stalled", "True", "NotMoving"),
        ];
        conditions.show(&key, &both);
        let labels = r#"kind="ReplicationLink",namespace="factory",name="to-eu",condition="Ready""#;
        for line in [
            format!(r#"condition{{{labels},status="False"}} 1"#),
            format!(r#"condition{{{labels},status="True"}} 0"#),
            format!(r#"condition_reason{{{labels},reason="NotMoving"}} 1"#),
            format!("condition_last_transition_timestamp_seconds{{{labels}}} 1700000000"),
        ] {
            assert!(text().lines().any(|l| l == line), "{line}\n{}", text());
        }
        conditions.show(&key, &[condition("Ready", "True", "Following")]);
        assert!(
            !text().contains("NotMoving") && !text().contains("Stalled"),
            "{}",
            text()
        );
        conditions.forget(&key);
        assert!(!text().contains("to-eu"), "{}", text());
    }
}
