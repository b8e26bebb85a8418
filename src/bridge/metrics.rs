//! The bridge's Prometheus metrics. Labels are bounded: routes (at most 64), reasons (an enum); never a device.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::progress::Reason;
use super::routes::RouteTable;

/// A route's records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

/// Why a dead letter is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

impl ReasonLabel {
    fn of(reason: Reason) -> Self {
        Self {
            reason: reason.as_str(),
        }
    }
}

/// All metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Messages from MQTT.
    pub received: Counter,
    /// Messages settled in Kafka.
    pub acknowledged: Counter,
    /// Messages that the server sent again and that were produced again.
    pub redelivered: Counter,
    /// Messages that the server sent again and that were recognised: nothing was produced again.
    pub recognised: Counter,
    /// Payloads cut to fit.
    pub truncated: Counter,
    /// Connects that found no session although there had been one.
    pub sessions_lost: Counter,
    /// Connects accepted.
    pub connects: Counter,
    /// Producers replaced after a failure.
    pub producer_restarts: Counter,
    /// Growth of the server's count of dropped messages.
    pub broker_dropped: Counter,
    /// Messages in flight.
    pub in_flight_messages: Gauge,
    /// Their bytes.
    pub in_flight_bytes: Gauge,
    /// Age of the oldest of them.
    pub oldest_seconds: Gauge<f64, AtomicU64>,
    /// 1 while connected to MQTT.
    pub mqtt_connected: Gauge,
    /// 1 while Kafka answers.
    pub kafka_connected: Gauge,
    /// 1 while reading pauses.
    pub paused: Gauge,
    /// From receipt to Kafka's acknowledgement of all records.
    pub latency: Histogram,
    records: Vec<Counter>,
    dead_letters: Family<ReasonLabel, Counter>,
}

impl Metrics {
    /// Registers everything.
    pub fn new(registry: &mut Registry, table: &RouteTable) -> Self {
        let registry = registry.sub_registry_with_prefix("tributary_bridge");
        let routes = Family::<RouteLabel, Counter>::default();
        let label = |name: &str| RouteLabel {
            route: name.to_owned(),
        };
        let metrics = Self {
            received: Counter::default(),
            acknowledged: Counter::default(),
            redelivered: Counter::default(),
            recognised: Counter::default(),
            truncated: Counter::default(),
            sessions_lost: Counter::default(),
            connects: Counter::default(),
            producer_restarts: Counter::default(),
            broker_dropped: Counter::default(),
            in_flight_messages: Gauge::default(),
            in_flight_bytes: Gauge::default(),
            oldest_seconds: Gauge::default(),
            mqtt_connected: Gauge::default(),
            kafka_connected: Gauge::default(),
            paused: Gauge::default(),
            latency: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
                3600.0,
            ]),
            records: table
                .routes()
                .iter()
                .map(|r| routes.get_or_create(&label(&r.name)).clone())
                .collect(),
            dead_letters: Family::default(),
        };
        // Nothing begins to exist with its first event: a rate would not see that one.
        for reason in Reason::OF_DEAD_LETTERS {
            drop(metrics.dead_letters.get_or_create(&ReasonLabel::of(reason)));
        }
        metrics.register_counters(registry, routes);
        metrics.register_gauges(registry);
        metrics
    }

    fn register_counters(&self, registry: &mut Registry, routes: Family<RouteLabel, Counter>) {
        registry.register("records", "Records that Kafka acknowledged, by route", routes);
        registry.register(
            "dead_letters",
            "Dead letters that Kafka acknowledged, by reason",
            self.dead_letters.clone(),
        );
        for (name, help, counter) in [
            ("received", "Messages from MQTT", &self.received),
            (
                "acknowledged",
                "Messages whose every record Kafka has acknowledged",
                &self.acknowledged,
            ),
            (
                "redelivered",
                "Messages that the server sent again and that were produced again",
                &self.redelivered,
            ),
            (
                "recognised",
                "Messages that the server sent again and that needed no new record",
                &self.recognised,
            ),
            (
                "truncated",
                "Payloads cut to fit into Kafka's limit",
                &self.truncated,
            ),
            (
                "sessions_lost",
                "Connects that found no session although there had been one",
                &self.sessions_lost,
            ),
            (
                "mqtt_connects",
                "Connects that the MQTT server accepted",
                &self.connects,
            ),
            (
                "producer_restarts",
                "Producers replaced: after a failure or a refused batch, for other credentials, or for a topic created anew",
                &self.producer_restarts,
            ),
            (
                "broker_dropped",
                "Growth of the MQTT server's count of dropped messages",
                &self.broker_dropped,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
    }

    fn register_gauges(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "in_flight_messages",
                "Messages taken from MQTT and not settled in Kafka",
                &self.in_flight_messages,
            ),
            (
                "mqtt_connected",
                "1 while connected to the MQTT server",
                &self.mqtt_connected,
            ),
            ("kafka_connected", "1 while Kafka answers", &self.kafka_connected),
            (
                "paused",
                "1 while reading from MQTT pauses because a bound is reached",
                &self.paused,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let help = "Bytes of the messages in flight";
        registry.register_with_unit("in_flight", help, Unit::Bytes, self.in_flight_bytes.clone());
        let help = "Age of the oldest message in flight";
        registry.register_with_unit(
            "oldest_in_flight",
            help,
            Unit::Seconds,
            self.oldest_seconds.clone(),
        );
        let help = "From receipt of a message to Kafka's acknowledgement of all its records";
        registry.register_with_unit("latency", help, Unit::Seconds, self.latency.clone());
    }

    /// Kafka has a route's record.
    pub fn record(&self, slot: u8) {
        if let Some(counter) = self.records.get(usize::from(slot)) {
            counter.inc();
        }
    }

    /// Kafka has a dead letter.
    pub fn dead_letter(&self, reason: Reason) {
        self.dead_letters.get_or_create(&ReasonLabel::of(reason)).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::config::tests::example;

    #[test]
    fn what_the_bridge_serves_is_in_the_book() {
        let mut registry = Registry::default();
        Metrics::new(&mut registry, &RouteTable::compile(&example()).unwrap());
        crate::telemetry::documented::assert_documented("Bridge", &registry);
    }

    #[test]
    fn names_follow_prometheus_conventions_and_labels_are_routes_and_reasons() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, &RouteTable::compile(&example()).unwrap());
        metrics.record(0);
        metrics.record(9);
        metrics.dead_letter(Reason::NoRoute);
        metrics.latency.observe(0.003);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "tributary_bridge_records_total{route=\"telemetry\"} 1",
            "tributary_bridge_dead_letters_total{reason=\"NoRoute\"} 1",
            "tributary_bridge_dead_letters_total{reason=\"InvalidPayload\"} 0",
            "tributary_bridge_received_total 0",
            "tributary_bridge_latency_seconds_bucket{le=\"0.005\"} 1",
            "tributary_bridge_in_flight_bytes 0",
            "tributary_bridge_oldest_in_flight_seconds 0.0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
