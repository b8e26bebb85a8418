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
use prometheus_client::registry::Unit;

use super::ObjectKey;
use crate::api::{PartitionCounts, Verdict};

/// One broker of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerFigures {
    /// Its ID.
    pub id: i32,
    /// It serves.
    pub running: bool,
    /// Used share of its volume, in percent.
    pub disk_used_percent: Option<i32>,
}

/// One topic of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFigures {
    /// Its name on the source.
    pub name: String,
    /// Seconds behind.
    pub seconds: Option<i64>,
    /// Bytes behind, estimated.
    pub bytes: Option<i64>,
}

/// What is measured of one object. Absent is not shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// What the operator makes of it.
    pub verdict: Option<Verdict>,
    /// A cluster's brokers.
    pub brokers: Vec<BrokerFigures>,
    /// Counts over a cluster's partitions.
    pub counts: Option<PartitionCounts>,
    /// A bridge's messages between MQTT and Kafka.
    pub in_flight: Option<i64>,
    /// Times that a bridge lost its session, since the last look.
    pub sessions_lost: u64,
    /// A link's partitions: topic, partition, offsets behind.
    pub partitions: Vec<(String, i32, i64)>,
    /// A link's topics.
    pub topics: Vec<TopicFigures>,
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
        brokers(&mut encoder, &all)?;
        partitions(&mut encoder, &all)?;
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

fn brokers(encoder: &mut DescriptorEncoder<'_>, all: &BTreeMap<ObjectKey, Figures>) -> fmt::Result {
    let each = || {
        all.iter()
            .flat_map(|(key, figures)| figures.brokers.iter().map(move |broker| (key, broker)))
    };
    let help = "1 while a broker serves";
    let mut family = encoder.encode_descriptor("cluster_broker_running", help, None, MetricType::Gauge)?;
    for (key, broker) in each() {
        let id = broker.id.to_string();
        gauge(
            &mut family,
            &named(key, &[("broker", &id)]),
            i64::from(broker.running),
        )?;
    }
    let (help, unit) = ("Used share of a broker's volume", Unit::Other("ratio".to_owned()));
    let mut family = encoder.encode_descriptor("cluster_disk_used", help, Some(&unit), MetricType::Gauge)?;
    for (key, broker) in each() {
        let Some(percent) = broker.disk_used_percent else {
            continue;
        };
        let id = broker.id.to_string();
        let labels = named(key, &[("broker", &id)]);
        ConstGauge::new(f64::from(percent) / 100.0).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn partitions(encoder: &mut DescriptorEncoder<'_>, all: &BTreeMap<ObjectKey, Figures>) -> fmt::Result {
    let count = |of: fn(&PartitionCounts) -> i32| {
        move |figures: &Figures| figures.counts.as_ref().map(|counts| i64::from(of(counts)))
    };
    let help = "Partitions of a cluster";
    each(encoder, "cluster_partitions", help, None, all, count(|c| c.total))?;
    let help = "Partitions with fewer in-sync replicas than replicas";
    let name = "cluster_under_replicated_partitions";
    each(encoder, name, help, None, all, count(|c| c.under_replicated))?;
    let help = "Partitions without a leader";
    each(
        encoder,
        "cluster_offline_partitions",
        help,
        None,
        all,
        count(|c| c.offline),
    )
}

fn bridges(encoder: &mut DescriptorEncoder<'_>, all: &BTreeMap<ObjectKey, Figures>) -> fmt::Result {
    let help = "Messages between MQTT and Kafka, as last told by the bridge";
    each(encoder, "pipeline_in_flight_messages", help, None, all, |f| {
        f.in_flight
    })?;
    let help = "Times that the MQTT broker no longer had a bridge's session";
    let mut family = encoder.encode_descriptor("pipeline_sessions_lost", help, None, MetricType::Counter)?;
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
            let labels = named(key, &[("topic", topic), ("partition", &partition)]);
            gauge(&mut family, &labels, *value)?;
        }
    }
    let help = "Age of the oldest record of a topic that is missing on the target";
    topics(encoder, "link_lag", help, &Unit::Seconds, all, |t| t.seconds)?;
    let help = "Bytes of a topic that are missing on the target: offsets times the mean size seen";
    topics(encoder, "link_lag_estimated", help, &Unit::Bytes, all, |t| {
        t.bytes
    })?;
    let seconds = Some(&Unit::Seconds);
    let help = "Age of the positions that the lag is measured from";
    each(encoder, "link_position_age", help, seconds, all, |f| {
        f.position_age
    })?;
    let help = "Forecast of when the lag is gone";
    each(encoder, "link_catch_up", help, seconds, all, |f| f.catch_up)
}

fn topics(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: &Unit,
    all: &BTreeMap<ObjectKey, Figures>,
    value: impl Fn(&TopicFigures) -> Option<i64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?;
    for (key, figures) in all {
        for topic in &figures.topics {
            if let Some(value) = value(topic) {
                gauge(&mut family, &named(key, &[("topic", &topic.name)]), value)?;
            }
        }
    }
    Ok(())
}

fn each(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    all: &BTreeMap<ObjectKey, Figures>,
    value: impl Fn(&Figures) -> Option<i64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
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
        metrics.forget(&key);
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
            text.contains(r#"tributary_pipeline_sessions_lost_total{namespace="factory",name="machines"} 3"#),
            "{text}"
        );
    }
}
