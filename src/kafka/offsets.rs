//! Lag as a difference of offsets: ends of the source minus positions of the reader. Pure.

use std::collections::BTreeMap;

/// A partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The first offset that a partition still holds and the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// Log start offset.
    pub start: i64,
    /// Log end offset as readers see it: the high watermark, or the last stable offset.
    pub end: i64,
}

/// Where a reader's position lies in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Within the log, this many offsets before its end.
    Behind(u64),
    /// Below the log start: offsets from the position up to the start are gone.
    BelowStart {
        /// The first offset that is left.
        start: i64,
    },
    /// Beyond the log end: the log was truncated or is another one.
    BeyondEnd {
        /// The offset after the last one.
        end: i64,
    },
}

impl LogRange {
    /// Where `position`, the next offset to read, lies.
    pub fn standing(self, position: i64) -> Standing {
        if position < self.start {
            Standing::BelowStart { start: self.start }
        } else if position > self.end {
            Standing::BeyondEnd { end: self.end }
        } else {
            Standing::Behind((self.end - position).unsigned_abs())
        }
    }

    /// Offsets between `position` and the end that can still be read; 0 for a position beyond the end.
    pub fn readable_lag(self, position: i64) -> u64 {
        match self.standing(position) {
            Standing::Behind(lag) => lag,
            Standing::BelowStart { start } => (self.end - start).max(0).unsigned_abs(),
            Standing::BeyondEnd { .. } => 0,
        }
    }
}

/// Lag per topic and in total: a difference of offsets, which is not the number of records where markers or
/// compaction leave holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetLag {
    /// Sum over all partitions.
    pub total: u64,
    /// Sum per topic.
    pub topics: BTreeMap<String, u64>,
    /// Partitions without a position, or whose position lies outside the log; their lag counts what can be read.
    pub outside: Vec<(TopicPartition, Option<Standing>)>,
}

/// Lag of `positions` (the next offset to read) behind `ends`. A partition of `ends` without a position counts in
/// full; a position without an end is not counted, because nothing is known of its log.
pub fn offset_lag(
    ends: &BTreeMap<TopicPartition, LogRange>,
    positions: &BTreeMap<TopicPartition, i64>,
) -> OffsetLag {
    let mut lag = OffsetLag::default();
    for (partition, range) in ends {
        let position = positions.get(partition).copied();
        let standing = position.map(|position| range.standing(position));
        let behind = range.readable_lag(position.unwrap_or(range.start));
        lag.total = lag.total.saturating_add(behind);
        let topic = lag.topics.entry(partition.topic.clone()).or_default();
        *topic = topic.saturating_add(behind);
        if !matches!(standing, Some(Standing::Behind(_))) {
            lag.outside.push((partition.clone(), standing));
        }
    }
    lag
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    #[test]
    fn sums_per_topic_and_in_total() {
        let ends = BTreeMap::from([
            (tp("a", 0), LogRange { start: 0, end: 100 }),
            (tp("a", 1), LogRange { start: 50, end: 60 }),
            (tp("b", 0), LogRange { start: 0, end: 7 }),
        ]);
        let positions = BTreeMap::from([(tp("a", 0), 90), (tp("a", 1), 60), (tp("gone", 0), 5)]);
        let lag = offset_lag(&ends, &positions);
        assert_eq!(lag.total, 17);
        assert_eq!(lag.topics, BTreeMap::from([("a".into(), 10), ("b".into(), 7)]));
        assert_eq!(lag.outside, [(tp("b", 0), None)]);
    }

    #[test]
    fn a_position_outside_the_log_is_told_apart() {
        let range = LogRange { start: 10, end: 20 };
        assert_eq!(range.standing(9), Standing::BelowStart { start: 10 });
        assert_eq!(range.standing(10), Standing::Behind(10));
        assert_eq!(range.standing(20), Standing::Behind(0));
        assert_eq!(range.standing(21), Standing::BeyondEnd { end: 20 });
    }

    proptest! {
        #[test]
        fn lag_never_exceeds_what_the_log_holds(start in 0..1_000_000_i64, len in 0..1_000_000_i64, position in -10..3_000_000_i64) {
            let range = LogRange { start, end: start + len };
            prop_assert!(range.readable_lag(position) <= len.unsigned_abs());
        }

        #[test]
        fn moving_forward_within_the_log_lowers_lag_by_as_much(start in 0..1000_i64, a in 0..1000_i64, b in 0..1000_i64, c in 0..1000_i64) {
            let range = LogRange { start, end: start + a + b + c };
            prop_assert_eq!(range.readable_lag(start + a) - range.readable_lag(start + a + b), b.unsigned_abs());
        }
    }
}
