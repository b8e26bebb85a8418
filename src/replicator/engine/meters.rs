//! What the engine measures beside positions.

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::replicator::tracker::Sent;

/// Buckets of a record's age at its acknowledgement, seconds: from a line at its best to a cut of days.
const BUCKETS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
    43_200.0, 259_200.0,
];

/// One worker's meters, across its sessions; clones share their values.
#[derive(Clone, Debug)]
pub struct Meters {
    /// From the time that a record carries to the target's acknowledgement, seconds.
    pub latency: Histogram,
    /// Records that wait for the target's acknowledgement.
    pub in_flight_records: Gauge,
    /// Their bytes: keys, values and headers.
    pub in_flight_bytes: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            latency: Histogram::new(BUCKETS),
            in_flight_records: Gauge::default(),
            in_flight_bytes: Gauge::default(),
        }
    }
}

impl Meters {
    /// The target has a record at `now`, in milliseconds since 1970. One without a time says nothing, one from the
    /// future (clocks differ) counts as fresh.
    pub fn carried(&self, sent: &Sent, now: i64) {
        let Some(at) = sent.timestamp.filter(|at| *at >= 0) else {
            return;
        };
        #[allow(clippy::cast_precision_loss)] // milliseconds of an age, far below 2^53
        let seconds = now.saturating_sub(at).max(0) as f64 / 1000.0;
        self.latency.observe(seconds);
    }

    /// What waits for the target now.
    pub fn in_flight(&self, records: usize, bytes: u64) {
        self.in_flight_records
            .set(i64::try_from(records).unwrap_or(i64::MAX));
        self.in_flight_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// The wall clock, as records have it.
pub(super) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn sent(timestamp: Option<i64>) -> Sent {
        Sent {
            offset: 0,
            leader_epoch: None,
            timestamp,
            bytes: 1,
        }
    }

    #[test]
    fn a_record_counts_by_its_own_time_and_one_without_does_not() {
        let meters = Meters::default();
        let mut registry = Registry::default();
        registry.register("latency", "", meters.latency.clone());
        for timestamp in [Some(1_000), Some(9_900), Some(60_000), Some(-1), None] {
            meters.carried(&sent(timestamp), 10_000);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "latency_bucket{le=\"0.005\"} 1",
            "latency_bucket{le=\"0.1\"} 2",
            "latency_bucket{le=\"10.0\"} 3",
            "latency_count 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
