//! The replicator's metrics, made from the same state as `/progress` at each scrape.
//!
//! Labels are bounded: topics and partitions by [`MAX_PARTITIONS`](super::progress::MAX_PARTITIONS) and
//! [`MAX_TOPICS`](super::progress::MAX_TOPICS), reasons by their enums.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::progress::{PartitionState, Progress};
use super::report::Report;

/// Serves a [`Report`] as metrics.
#[derive(Debug)]
pub(super) struct Metrics(pub(super) Arc<Report>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let progress = self.0.progress();
        encode_totals(&mut encoder, &progress)?;
        encode_state(&mut encoder, &progress)?;
        encode_partitions(&mut encoder, &progress)
    }
}

fn encode_totals(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> fmt::Result {
    let totals = progress.totals;
    let counters = [
        ("records", "Records acknowledged by the target", totals.records),
        (
            "bytes",
            "Bytes of keys, values and headers acknowledged by the target",
            totals.bytes,
        ),
        (
            "position_writes",
            "Times that positions were stored on the target",
            totals.position_writes,
        ),
        (
            "sessions",
            "Times that the Kafka clients were built",
            totals.sessions,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("tributary_replicator_{name}");
        ConstCounter::new(value).encode(encoder.encode_descriptor(
            &name,
            help,
            None,
            MetricType::Counter,
        )?)?;
    }
    Ok(())
}

fn encode_state(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> fmt::Result {
    let help = "Whether the cluster on this side answers";
    let mut family =
        encoder.encode_descriptor("tributary_replicator_connected", help, None, MetricType::Gauge)?;
    for (side, cluster) in [("source", &progress.source), ("target", &progress.target)] {
        let value = i64::from(cluster.is_connected());
        ConstGauge::new(value).encode(family.encode_family(&[("side", side)])?)?;
    }
    let help = "Whether the whole link stands still, by reason";
    let mut family =
        encoder.encode_descriptor("tributary_replicator_link_stopped", help, None, MetricType::Gauge)?;
    if let Some(stop) = &progress.stopped {
        ConstGauge::new(1_i64).encode(family.encode_family(&[("reason", stop.reason.as_str())])?)?;
    }
    let help = "Topics that match but are not replicated, by reason";
    let mut family = encoder.encode_descriptor(
        "tributary_replicator_topic_refused",
        help,
        None,
        MetricType::Gauge,
    )?;
    for topic in &progress.refused {
        let labels = [("topic", topic.name.as_str()), ("reason", topic.reason.as_str())];
        ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_partitions(encoder: &mut DescriptorEncoder<'_>, progress: &Progress) -> fmt::Result {
    let help = "Next source offset that the target does not have";
    let mut family =
        encoder.encode_descriptor("tributary_replicator_position", help, None, MetricType::Gauge)?;
    for partition in &progress.partitions {
        let Some(position) = partition.position else {
            continue;
        };
        let number = partition.partition.to_string();
        let labels = [
            ("topic", partition.topic.as_str()),
            ("partition", number.as_str()),
        ];
        ConstGauge::new(position).encode(family.encode_family(&labels)?)?;
    }
    let help = "Whether a partition stands still, by reason";
    let mut family = encoder.encode_descriptor(
        "tributary_replicator_partition_stopped",
        help,
        None,
        MetricType::Gauge,
    )?;
    for partition in progress
        .partitions
        .iter()
        .filter(|partition| partition.state == PartitionState::Stopped)
    {
        let number = partition.partition.to_string();
        let reason = partition.reason.map_or("", |reason| reason.as_str());
        let labels = [
            ("topic", partition.topic.as_str()),
            ("partition", number.as_str()),
            ("reason", reason),
        ];
        ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::replicator::config::ReplicatorConfig;
    use crate::replicator::progress::{LinkStopReason, PartitionProgress, RefusedTopic, Side, StopReason};
    use crate::replicator::report::Round;

    #[test]
    fn what_progress_says_the_metrics_say_too() {
        let text = "name: a\nsource: {bootstrapServers: ['a:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                    target: {bootstrapServers: ['b:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                    topics: {include: ['.*'], naming: {type: Identity}}\ndelivery: AtLeastOnce\nstart: Earliest\n";
        let report = Arc::new(Report::new(
            &ReplicatorConfig::parse(text).unwrap(),
            0,
            String::new(),
        ));
        report.connected(Side::Source, "S");
        report.link_stopped(LinkStopReason::PositionsLost, "gone");
        let partition = PartitionProgress {
            topic: "t".to_owned(),
            topic_id: "id".to_owned(),
            partition: 3,
            state: PartitionState::Stopped,
            reason: Some(StopReason::BelowLogStart),
            message: None,
            position: Some(42),
            stored: None,
            leader_epoch: None,
            last_timestamp: None,
            bytes: 700,
            records: 7,
        };
        let refused = RefusedTopic {
            name: "u".into(),
            reason: "LoopRefused".into(),
            message: "loop".into(),
        };
        report.round(Round {
            partitions: vec![partition],
            refused: vec![refused],
            ..Round::default()
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Metrics(report)));
        let mut out = String::new();
        encode(&mut out, &registry).unwrap();
        for line in [
            "tributary_replicator_records_total 7",
            "tributary_replicator_bytes_total 700",
            "tributary_replicator_connected{side=\"source\"} 1",
            "tributary_replicator_connected{side=\"target\"} 0",
            "tributary_replicator_link_stopped{reason=\"PositionsLost\"} 1",
            "tributary_replicator_topic_refused{topic=\"u\",reason=\"LoopRefused\"} 1",
            "tributary_replicator_position{topic=\"t\",partition=\"3\"} 42",
            "tributary_replicator_partition_stopped{topic=\"t\",partition=\"3\",reason=\"BelowLogStart\"} 1",
        ] {
            assert!(
                out.lines().any(|found| found == line),
                "{line} is missing in\n{out}"
            );
        }
    }
}
