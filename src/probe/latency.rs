//! Latencies in a histogram of bounded size, and what is told of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart, microseconds: one day. Longer ones count as this.
const LONGEST_US: u64 = 24 * 3600 * 1_000_000;

/// Counts latencies with three significant digits; about 250 KiB whatever the number of samples.
#[derive(Debug, Clone)]
pub struct Latencies {
    histogram: Option<Histogram<u64>>,
    negative: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        // The constructor fails only for bounds out of order or more than five digits; these are neither.
        Self {
            histogram: Histogram::new_with_bounds(1, LONGEST_US, 3).ok(),
            negative: 0,
        }
    }
}

impl Latencies {
    /// Counts the time from `from_ns` to `to_ns` (both nanoseconds since 1970). A negative one, which means that two
    /// clocks differ, counts as zero and is told.
    pub fn record(&mut self, from_ns: u64, to_ns: u64) {
        if to_ns < from_ns {
            self.negative += 1;
        }
        let micros = to_ns.saturating_sub(from_ns) / 1000;
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(micros.max(1));
        }
    }

    /// The figures so far; `None` without a sample.
    #[must_use]
    pub fn summary(&self) -> Option<Percentiles> {
        let histogram = self.histogram.as_ref().filter(|h| !h.is_empty())?;
        let ms = |quantile: f64| {
            // At most one day in microseconds: exact as f64.
            #[allow(clippy::cast_precision_loss)]
            let micros = histogram.value_at_quantile(quantile).min(histogram.max()) as f64;
            micros / 1000.0
        };
        Some(Percentiles {
            count: histogram.len(),
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            max: ms(1.0),
            negative: self.negative,
        })
    }
}

/// Percentiles in milliseconds, to three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Samples.
    pub count: u64,
    /// Half of the samples are at most this.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// Samples that came out below zero, because two clocks differ; they count as zero.
    pub negative: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut latencies = Latencies::default();
        for ms in 1..=1000u64 {
            latencies.record(5_000_000, 5_000_000 + ms * 1_000_000);
        }
        let got = latencies.summary().unwrap();
        for (value, expected) in [
            (got.p50, 500.0),
            (got.p90, 900.0),
            (got.p99, 990.0),
            (got.max, 1000.0),
        ] {
            assert!((value - expected).abs() <= expected / 1000.0, "{got:?}");
        }
        assert_eq!((got.count, got.negative), (1000, 0));
    }

    #[test]
    fn clocks_that_differ_are_told_and_do_not_wrap_around() {
        let mut latencies = Latencies::default();
        latencies.record(2_000_000, 1_000_000);
        let got = latencies.summary().unwrap();
        assert_eq!((got.count, got.negative), (1, 1));
        assert!(got.max < 0.01);
    }

    #[test]
    fn without_a_sample_there_is_no_figure_and_a_huge_one_counts_as_a_day() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), None);
        latencies.record(0, u64::MAX);
        let max = latencies.summary().unwrap().max;
        assert!((86_300_000.0..86_500_000.0).contains(&max), "{max}");
    }
}
