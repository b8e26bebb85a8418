//! What is measured of each object, written into metrics at each scrape: an object, topic or partition that is gone
//! leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::ObjectKey;
use crate::api::Verdict;

/// What is measured of one object. Absent is not shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// What the operator makes of it.
    pub verdict: Option<Verdict>,
    /// A bridge's messages between MQTT and Kafka.
    pub in_flight: Option<i64>,
    /// Times that a bridge lost its session, since the last look.
    pub sessions_lost: u64,
    /// A link's partitions: topic, partition, offsets behind.
    pub partitions: Vec<(String, i32, i64)>,
    /// A link's topics: topic, seconds behind.
    pub topics: Vec<(String, i64)>,
    /// How old the position is that a link's lag is measured from, in seconds.
    pub position_age: Option<i64>,
    /// A link's forecast, in seconds.
    pub catch_up: Option<i64>,
}

/// Writes the figures of all objects.
#[derive(Debug)]
pub(super) struct FiguresCollector(pub(super) Arc<Mutex<BTreeMap<ObjectKey, Figures>>>);

type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Collector for FiguresCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A copy: a slow reader must not hold up the reconciles.
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        verdicts(&mut encoder, &all)?;
        bridges(&mut encoder, &all)?;
        links(&mut encoder, &all)
    }
}

fn named<'a>(key: &'a ObjectKey, more: &[(&'a str, &'a str)]) -> Labels<'a> {
    let mut labels = vec![("namespace", key.namespace.as_str()), ("name", key.name.as_str())];
    labels.extend(more);
    labels
}

fn verdicts(encoder: &mut DescriptorEncoder<'_>, all: &BTreeMap<ObjectKey, Figures>) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "verdict",
        "1 for the verdict on an object, 0 for the others",
        None,
        MetricType::Gauge,
    )?;
    for (key, figures) in all {
        let Some(verdict) = figures.verdict else { continue };
        for each in Verdict::ALL {
            let labels = named(key, &[("kind", key.kind), ("verdict", each.as_str())]);
            gauge(&mut family, &labels, i64::from(each == verdict))?;
        }
    }
    Ok(())
}

fn bridges(encoder: &mut DescriptorEncoder<'_>, all: &BTreeMap<ObjectKey, Figures>) -> fmt::Result {
    let help = "Messages between MQTT and Kafka";
    let mut family = encoder.encode_descriptor("bridge_in_flight_messages", help, None, MetricType::Gauge)?;
    for (key, figures) in all {
        if let Some(value) = figures.in_flight {
            gauge(&mut family, &named(key, &[]), value)?;
        }
    }
    let help = "Times that the MQTT broker no longer had a bridge's session";
    let mut family = encoder.encode_descriptor("bridge_sessions_lost", help, None, MetricType::Counter)?;
    for (key, figures) in all
        .iter()
        .filter(|(_, f)| f.in_flight.is_some() || f.sessions_lost > 0)
    {
        ConstCounter::new(figures.sessions_lost).encode(family.encode_family(&named(key, &[]))?)?;
    }
    Ok(())
}

fn links(encoder: &mut DescriptorEncoder<'_>, all: &BTreeMap<ObjectKey, Figures>) -> fmt::Result {
    let help = "Source end offset minus position";
    let mut family = encoder.encode_descriptor("link_lag_offsets", help, None, MetricType::Gauge)?;
    for (key, figures) in all {
        for (topic, partition, value) in &figures.partitions {
            let partition = partition.to_string();
            gauge(
                &mut family,
                &named(key, &[("topic", topic), ("partition", &partition)]),
                *value,
            )?;
        }
    }
    let help = "Age of the oldest record of a topic that is missing on the target";
    let mut family = encoder.encode_descriptor("link_lag_seconds", help, None, MetricType::Gauge)?;
    for (key, figures) in all {
        for (topic, value) in &figures.topics {
            gauge(&mut family, &named(key, &[("topic", topic)]), *value)?;
        }
    }
    let ages = |f: &Figures| f.position_age;
    each(
        encoder,
        "link_position_age_seconds",
        "Age of the positions that the lag is measured from",
        all,
        ages,
    )?;
    each(
        encoder,
        "link_catch_up_seconds",
        "Forecast of when the lag is gone",
        all,
        |f| f.catch_up,
    )
}

fn each(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: &BTreeMap<ObjectKey, Figures>,
    value: impl Fn(&Figures) -> Option<i64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, figures) in all {
        if let Some(value) = value(figures) {
            gauge(&mut family, &named(key, &[]), value)?;
        }
    }
    Ok(())
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: i64) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;
    use prometheus_client::registry::Registry;

    #[test]
    fn an_object_that_is_gone_leaves_nothing_behind() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let key = ObjectKey::new("ReplicationLink", "factory", "to-eu");
        let figures = Figures {
            verdict: Some(Verdict::CatchingUp),
            partitions: vec![("telemetry".into(), 3, 42)],
            ..Figures::default()
        };
        metrics.figures(&key, figures);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let labels = r#"namespace="factory",name="to-eu""#;
        let lag = format!(r#"tributary_link_lag_offsets{{{labels},topic="telemetry",partition="3"}} 42"#);
        let verdict =
            format!(r#"tributary_verdict{{{labels},kind="ReplicationLink",verdict="CatchingUp"}} 1"#);
        assert!(text().contains(&lag) && text().contains(&verdict), "{}", text());
        metrics.forget_figures(&key);
        assert!(!text().contains("to-eu"), "{}", text());
    }

    #[test]
    fn lost_sessions_add_up() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let key = ObjectKey::new("BridgePipeline", "factory", "machines");
        for lost in [0, 2, 1] {
            metrics.figures(
                &key,
                Figures {
                    in_flight: Some(0),
                    sessions_lost: lost,
                    ..Figures::default()
                },
            );
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains(r#"bridge_sessions_lost_total{namespace="factory",name="machines"} 3"#),
            "{text}"
        );
    }
}
