//! How much of a partition the producer gets at a time: one batch, then nothing until it is acknowledged.
//!
//! librdkafka's idempotent producer has one batch of a partition in flight, and while more of it waits in the producer's
//! own queue its thread runs in circles until the acknowledgement comes: a whole core while a line is slow or just cut.
//! So what comes meanwhile waits in the consumer's queue, and makes the next batch.

use std::time::{Duration, Instant};

/// What a record costs in a batch beside key, value and headers: lengths, offsets, attributes.
const RECORD_OVERHEAD_BYTES: u64 = 64;

/// What a record of so many bytes takes of a batch, before compression.
pub(super) fn record_cost(bytes: u32) -> u64 {
    u64::from(bytes) + RECORD_OVERHEAD_BYTES
}

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batching {
    bytes: u64,
    window: Duration,
}

impl Batching {
    /// `bytes` is the producer's `batch.size`, `linger` its `linger.ms`: when that is over, the batch is on its way, so
    /// what is added must come a little sooner.
    pub(super) fn new(bytes: u64, linger: Duration) -> Self {
        Self {
            bytes,
            window: linger * 4 / 5,
        }
    }

    /// At most `bytes`.
    pub(super) fn within(self, bytes: u64) -> Self {
        Self {
            bytes: self.bytes.min(bytes),
            ..self
        }
    }
}

/// A batch that is being filled, or is on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    bytes: u64,
    records: u64,
    since: Option<Instant>,
}

impl Batch {
    /// Counts a record.
    pub(super) fn add(&mut self, bytes: u32, now: Instant) {
        self.bytes += record_cost(bytes);
        self.records += 1;
        self.since.get_or_insert(now);
    }

    /// Whether another record, if it is like those before, still becomes part of it. The first one always does,
    /// however large.
    pub(super) fn is_open(&self, batching: Batching, now: Instant) -> bool {
        let Some(since) = self.since else {
            return true;
        };
        let mean = self.bytes / self.records.max(1);
        self.bytes + mean <= batching.bytes && now.saturating_duration_since(since) < batching.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(5);

    fn filled(batching: Batching, record: u32, now: Instant) -> u64 {
        let mut batch = Batch::default();
        while batch.is_open(batching, now) {
            batch.add(record, now);
        }
        batch.bytes
    }

    #[test]
    fn a_batch_is_filled_as_far_as_records_of_its_kind_fit_and_no_further() {
        let (now, limit) = (Instant::now(), 900_000);
        let batching = Batching::new(limit, LINGER);
        for record in [0, 1, 256, 1024, 100_000, 450_000] {
            let bytes = filled(batching, record, now);
            let one = u64::from(record) + RECORD_OVERHEAD_BYTES;
            assert!(bytes <= limit && bytes + one > limit, "{record}: {bytes}");
        }
    }

    #[test]
    fn a_record_that_is_larger_than_a_batch_goes_alone() {
        let now = Instant::now();
        let mut batch = Batch::default();
        let batching = Batching::new(1000, LINGER);
        assert!(batch.is_open(batching, now));
        batch.add(5000, now);
        assert!(!batch.is_open(batching, now));
    }

    #[test]
    fn nothing_is_added_to_a_batch_that_the_producer_may_have_sent() {
        let now = Instant::now();
        let mut batch = Batch::default();
        let batching = Batching::new(900_000, LINGER);
        batch.add(100, now);
        assert!(batch.is_open(batching, now + LINGER / 2));
        assert!(!batch.is_open(batching, now + LINGER));
    }

    #[test]
    fn a_partitions_share_of_the_buffer_bounds_it() {
        let now = Instant::now();
        let batching = Batching::new(900_000, LINGER).within(256 << 10);
        assert!(filled(batching, 1024, now) <= 256 << 10);
    }
}
