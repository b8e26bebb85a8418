//! The replicator's metrics, made from the same state as `/progress` at each scrape.
//!
//! Labels are bounded: topics and partitions by [`MAX_PARTITIONS`](super::progress::MAX_PARTITIONS) and
//! [`MAX_TOPICS`](super::progress::MAX_TOPICS), reasons by their enums.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::engine::Meters;
use super::progress::{LinkStopReason, PartitionState, Progress, StopReason};
use super::report::Report;

/// Serves a [`Report`] as metrics.
#[derive(Debug)]
pub(super) struct Metrics(pub(super) Arc<Report>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let progress = self.0.progress();
        encode_totals(&mut encoder, &progress)?;
        encode_meters(&mut encoder, &self.0.meters())?;
        encode_state(&mut encoder, &progress)?;
        encode_partitions(&mut encoder, &progress)
    }
}

fn encode_totals(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> fmt::Result {
    let totals = progress.totals;
    let counters = [
        (
            "tributary_replicator_records",
            "Records acknowledged by the target",
            None,
            totals.records,
        ),
        (
            "tributary_replicator",
            "Keys, values and headers acknowledged by the target",
            Some(&Unit::Bytes),
            totals.bytes,
        ),
        (
            "tributary_replicator_position_writes",
            "Times that positions were stored on the target",
            None,
            totals.position_writes,
        ),
        (
            "tributary_replicator_sessions",
            "Times that the Kafka clients were built",
            None,
            totals.sessions,
        ),
    ];
    for (name, help, unit, value) in counters {
        ConstCounter::new(value).encode(encoder.encode_descriptor(
            name,
            help,
            unit,
            MetricType::Counter,
        )?)?;
    }
    Ok(())
}

fn encode_meters(encoder: &mut DescriptorEncoder<'_>, meters: &Meters) -> fmt::Result {
    let (name, help) = (
        "tributary_replicator_latency",
        "From the time that a record carries to the target's acknowledgement",
    );
    let seconds = Some(&Unit::Seconds);
    let descriptor = encoder.encode_descriptor(name, help, seconds, MetricType::Histogram)?;
    meters.latency.encode(descriptor)?;
    let (name, help) = (
        "tributary_replicator_in_flight_records",
        "Records handed over that the target has not acknowledged",
    );
    let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    meters.in_flight_records.encode(descriptor)?;
    let (name, help) = ("tributary_replicator_in_flight", "Bytes of the records in flight");
    let descriptor = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
    meters.in_flight_bytes.encode(descriptor)
}

fn encode_state(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> fmt::Result {
    let help = "Whether the cluster on this side answers";
    let mut family = family(encoder, "tributary_replicator_connected", help)?;
    for (side, cluster) in [("source", &progress.source), ("target", &progress.target)] {
        flag(&mut family, &[("side", side)], cluster.is_connected())?;
    }
    let help = "1 for the reason for which the whole link stands still, 0 for the others";
    let mut family = self::family(encoder, "tributary_replicator_link_stopped", help)?;
    for reason in LinkStopReason::ALL {
        let stopped = progress
            .stopped
            .as_ref()
            .is_some_and(|stop| stop.reason == reason);
        flag(&mut family, &[("reason", reason.as_str())], stopped)?;
    }
    let help =
        "1 with the reason for a topic that matches but is not replicated, 0 without one for the others";
    let mut family = self::family(encoder, "tributary_replicator_topic_refused", help)?;
    let refused = |topic: &str| progress.refused.iter().any(|refused| refused.name == topic);
    for topic in progress.topics.iter().filter(|topic| !refused(&topic.name)) {
        flag(&mut family, &[("topic", &topic.name), ("reason", "")], false)?;
    }
    for topic in &progress.refused {
        flag(
            &mut family,
            &[("topic", &topic.name), ("reason", &topic.reason)],
            true,
        )?;
    }
    Ok(())
}

fn encode_partitions(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> fmt::Result {
    let help = "Next source offset that the target does not have";
    let mut family = family(encoder, "tributary_replicator_position", help)?;
    for partition in &progress.partitions {
        if let Some(position) = partition.position {
            let number = partition.partition.to_string();
            let labels = [
                ("topic", partition.topic.as_str()),
                ("partition", number.as_str()),
            ];
            ConstGauge::new(position).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "1 with the reason while a partition stands still, 0 without one while it does not";
    let mut family = self::family(encoder, "tributary_replicator_partition_stopped", help)?;
    for partition in &progress.partitions {
        let stopped = partition.state == PartitionState::Stopped;
        let number = partition.partition.to_string();
        let labels = [
            ("topic", partition.topic.as_str()),
            ("partition", number.as_str()),
            ("reason", partition.reason.map_or("", StopReason::as_str)),
        ];
        flag(&mut family, &labels, stopped)?;
    }
    Ok(())
}

fn family<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn flag(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: bool) -> fmt::Result {
    ConstGauge::new(i64::from(value)).encode(family.encode_family(&labels)?)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::replicator::config::ReplicatorConfig;
    use crate::replicator::progress::{PartitionProgress, RefusedTopic, Side, TopicProgress};
    use crate::replicator::report::Round;
    use crate::telemetry::documented::assert_documented;

    fn report() -> Arc<Report> {
        let text = "name: a\nsource: {bootstrapServers: ['a:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                    target: {bootstrapServers: ['b:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                    topics: {include: ['.*'], naming: {type: Identity}}\ndelivery: AtLeastOnce\nstart: Earliest\n";
        let config = ReplicatorConfig::parse(text).unwrap();
        Arc::new(Report::new(&config, 0, String::new()))
    }

    fn partition(number: i32, reason: Option<StopReason>) -> PartitionProgress {
        PartitionProgress {
            topic: "t".to_owned(),
            topic_id: "id".to_owned(),
            partition: number,
            state: match reason {
                Some(_) => PartitionState::Stopped,
                None => PartitionState::Following,
            },
            reason,
            message: None,
            position: Some(42),
            stored: None,
            leader_epoch: None,
            last_timestamp: None,
            bytes: 700,
            records: 7,
        }
    }

    fn topic(name: &str) -> TopicProgress {
        TopicProgress {
            name: name.to_owned(),
            target_name: name.to_owned(),
            partitions: 4,
            mean_record_bytes: None,
        }
    }

    fn scraped(report: Arc<Report>) -> (Registry, String) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Metrics(report)));
        let mut out = String::new();
        encode(&mut out, &registry).unwrap();
        (registry, out)
    }

    #[test]
    fn what_progress_says_the_metrics_say_too() {
        let report = report();
        report.connected(Side::Source, "S");
        report.link_stopped(LinkStopReason::PositionsLost, "gone");
        let refused = RefusedTopic {
            name: "u".into(),
            reason: "LoopRefused".into(),
            message: "loop".into(),
        };
        report.round(Round {
            partitions: vec![partition(3, Some(StopReason::BelowLogStart)), partition(4, None)],
            refused: vec![refused],
            topics: vec![topic("t"), topic("u")],
            left: (1, 10),
            ..Round::default()
        });
        report.meters().in_flight(5, 500);
        let (registry, out) = scraped(report);
        for line in [
            "tributary_replicator_records_total 15",
            "tributary_replicator_bytes_total 1410",
            "tributary_replicator_in_flight_records 5",
            "tributary_replicator_in_flight_bytes 500",
            "tributary_replicator_connected{side=\"source\"} 1",
            "tributary_replicator_connected{side=\"target\"} 0",
            "tributary_replicator_link_stopped{reason=\"PositionsLost\"} 1",
            "tributary_replicator_link_stopped{reason=\"LoopRefused\"} 0",
            "tributary_replicator_topic_refused{topic=\"u\",reason=\"LoopRefused\"} 1",
            "tributary_replicator_topic_refused{topic=\"t\",reason=\"\"} 0",
            "tributary_replicator_position{topic=\"t\",partition=\"3\"} 42",
            "tributary_replicator_partition_stopped{topic=\"t\",partition=\"3\",reason=\"BelowLogStart\"} 1",
            "tributary_replicator_partition_stopped{topic=\"t\",partition=\"4\",reason=\"\"} 0",
        ] {
            assert!(
                out.lines().any(|found| found == line),
                "{line} is missing in\n{out}"
            );
        }
        assert!(
            !out.contains("topic=\"u\",reason=\"\""),
            "a refused topic is told once\n{out}"
        );
        assert_documented("Replicator", &registry);
    }
}
