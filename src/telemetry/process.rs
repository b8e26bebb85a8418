//! The standard `process_*` metrics, read from `/proc/self` at each scrape.
//!
//! Names and meaning follow the Prometheus client libraries' conventions ("Standard and runtime collectors").

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Clock ticks per second in `/proc` files (USER_HZ): kernel ABI, 100 on x86-64 and arm64 whatever CONFIG_HZ says.
const USER_HZ: f64 = 100.0;

/// What one process uses, in the units of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessUsage {
    /// User and system time since the start, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Highest resident memory so far, bytes.
    pub peak_resident_bytes: u64,
    /// Threads that exist.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}

impl ProcessUsage {
    /// Reads this process's figures; what cannot be read is `None` as a whole, rather than a false zero.
    #[must_use]
    pub fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Self::parse(&stat, &status, open_fds)
    }

    fn parse(stat: &str, status: &str, open_fds: u64) -> Option<Self> {
        // The command's name may hold spaces and brackets: fields count from the last ')'. See proc_pid_stat(5).
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
        let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u32>().ok()).map(f64::from);
        let kib = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / USER_HZ,
            resident_bytes: kib("VmRSS")? * 1024,
            peak_resident_bytes: kib("VmHWM")? * 1024,
            threads: kib("Threads")?,
            open_fds,
        })
    }
}

/// A collector for a [`Registry`](prometheus_client::registry::Registry); [`super::HttpServer`] registers it itself.
#[derive(Debug, Default)]
pub struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(usage) = ProcessUsage::read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(usage.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "User and system CPU time spent",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?)?;
        let gauges: [(&str, &str, Option<&Unit>, u64); 4] = [
            (
                "process_resident_memory",
                "Resident memory",
                Some(&Unit::Bytes),
                usage.resident_bytes,
            ),
            (
                "process_peak_resident_memory",
                "Highest resident memory since the start",
                Some(&Unit::Bytes),
                usage.peak_resident_bytes,
            ),
            ("process_threads", "Threads", None, usage.threads),
            ("process_open_fds", "Open file descriptors", None, usage.open_fds),
        ];
        for (name, help, unit, value) in gauges {
            // Below 2^53 bytes the conversion is exact.
            #[allow(clippy::cast_precision_loss)]
            let gauge = ConstGauge::new(value as f64);
            gauge.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nVmHWM:\t   20000 kB\nVmRSS:\t   10000 kB\nThreads:\t4\n";

    #[test]
    fn a_command_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 1 1 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 4 0 100 0 0";
        let usage = ProcessUsage::parse(stat, STATUS, 7).unwrap();
        assert_eq!(
            usage,
            ProcessUsage {
                cpu_seconds: 4.0,
                resident_bytes: 10_240_000,
                peak_resident_bytes: 20_480_000,
                threads: 4,
                open_fds: 7
            }
        );
    }

    #[test]
    fn files_that_do_not_parse_give_no_figures_rather_than_zeros() {
        assert_eq!(ProcessUsage::parse("garbage", STATUS, 1), None);
        assert_eq!(ProcessUsage::parse("1 (x) S 1", STATUS, 1), None);
        assert_eq!(
            ProcessUsage::parse("1 (x) S 1 1 1 0 -1 1 1 0 0 0 1 1 0", "Name:\tx\n", 1),
            None
        );
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let usage = ProcessUsage::read().unwrap();
        assert!(usage.resident_bytes > 100_000 && usage.peak_resident_bytes >= usage.resident_bytes);
        assert!(usage.threads >= 1 && usage.open_fds >= 3);
    }
}
