//! What was received, per device: first occurrences, duplicates, disorder. Pure; knows neither MQTT nor Kafka.

use std::collections::BTreeMap;

use super::ranges::RangeSet;
use super::stamp::MAX_DEVICES;

/// Intervals plus (device, partition) pairs over all devices, at most: about 64 MiB. Reached only when a million single
/// messages are missing, or very many devices are spread over very many partitions.
pub const MAX_ENTRIES: usize = 1_000_000;

/// Why the ledger refuses to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerFull {
    /// See [`MAX_ENTRIES`].
    #[error("more than {MAX_ENTRIES} separate gaps and device-partition pairs; audit a shorter run")]
    Entries,
    /// See [`MAX_DEVICES`].
    #[error("more than {MAX_DEVICES} devices")]
    Devices,
}

/// What one record is to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The first record with this device and sequence, in order within its partition.
    First,
    /// The first record with this device and sequence, but one with a higher sequence came before it in its partition.
    OutOfOrder,
    /// A repetition.
    Duplicate,
}

/// One device's account.
#[derive(Debug, Clone, Default)]
pub struct DeviceLedger {
    /// Sequences that arrived, each once.
    pub received: RangeSet,
    /// Records beyond the first for a sequence.
    pub duplicated: u64,
    /// First occurrences that came after a higher sequence in the same partition.
    pub out_of_order: u64,
    /// Partition -> highest sequence whose first occurrence lies there. Kafka orders within a partition only.
    highest: BTreeMap<i32, u64>,
}

impl DeviceLedger {
    fn observe(&mut self, sequence: u64, partition: i32) -> Seen {
        if !self.received.insert(sequence) {
            self.duplicated += 1;
            return Seen::Duplicate;
        }
        let highest = self.highest.entry(partition).or_insert(sequence);
        if sequence < *highest {
            self.out_of_order += 1;
            return Seen::OutOfOrder;
        }
        *highest = sequence;
        Seen::First
    }

    fn entries(&self) -> usize {
        self.received.interval_count() + self.highest.len()
    }

    /// In how many partitions this device's records lie; more than one means that its order is not kept.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.highest.len()
    }
}

/// All devices' accounts for one run. Memory: one interval per run of sequences without a gap, see the bounds above.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    devices: BTreeMap<u32, DeviceLedger>,
    entries: usize,
}

impl Ledger {
    /// Enters one record, in the order of its partition.
    ///
    /// # Errors
    /// When a bound is reached; the record is then not accounted for.
    pub fn observe(&mut self, device: u32, sequence: u64, partition: i32) -> Result<Seen, LedgerFull> {
        if self.entries >= MAX_ENTRIES {
            return Err(LedgerFull::Entries);
        }
        if device >= MAX_DEVICES {
            return Err(LedgerFull::Devices);
        }
        let account = self.devices.entry(device).or_default();
        let before = account.entries();
        let seen = account.observe(sequence, partition);
        self.entries = self.entries + account.entries() - before;
        Ok(seen)
    }

    /// One device's account, if anything of it arrived.
    #[must_use]
    pub fn device(&self, device: u32) -> Option<&DeviceLedger> {
        self.devices.get(&device)
    }

    /// All devices of which something arrived, ascending.
    pub fn devices(&self) -> impl Iterator<Item = (u32, &DeviceLedger)> {
        self.devices.iter().map(|(device, account)| (*device, account))
    }

    /// Distinct messages received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.devices.values().map(|d| d.received.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// The same account kept in the most obvious way: every record is remembered.
    #[derive(Default)]
    struct Naive(Vec<(u32, u64, i32)>);

    impl Naive {
        fn observe(&mut self, device: u32, sequence: u64, partition: i32) -> Seen {
            let of_device: Vec<_> = self.0.iter().filter(|r| r.0 == device).collect();
            let seen = if of_device.iter().any(|r| r.1 == sequence) {
                Seen::Duplicate
            } else {
                let mut firsts = BTreeMap::new();
                for r in &of_device {
                    firsts.entry(r.1).or_insert(r.2);
                }
                let higher = firsts.iter().any(|(s, p)| *p == partition && *s > sequence);
                if higher { Seen::OutOfOrder } else { Seen::First }
            };
            self.0.push((device, sequence, partition));
            seen
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_account(records in prop::collection::vec((0u32..3, 0u64..25, 0i32..3), 0..120)) {
            let (mut ledger, mut naive) = (Ledger::default(), Naive::default());
            let mut tallies: BTreeMap<(u32, bool), u64> = BTreeMap::new();
            for (device, sequence, partition) in records {
                let seen = ledger.observe(device, sequence, partition).unwrap();
                prop_assert_eq!(seen, naive.observe(device, sequence, partition));
                if seen != Seen::First {
                    *tallies.entry((device, seen == Seen::Duplicate)).or_default() += 1;
                }
            }
            for (device, account) in ledger.devices() {
                let expected: BTreeSet<u64> = naive.0.iter().filter(|r| r.0 == device).map(|r| r.1).collect();
                prop_assert_eq!(account.received.iter().flatten().collect::<BTreeSet<_>>(), expected);
                prop_assert_eq!(account.duplicated, *tallies.get(&(device, true)).unwrap_or(&0));
                prop_assert_eq!(account.out_of_order, *tallies.get(&(device, false)).unwrap_or(&0));
            }
            prop_assert_eq!(ledger.entries, ledger.devices().map(|(_, d)| d.entries()).sum::<usize>());
        }
    }

    #[test]
    fn a_late_repetition_is_a_duplicate_and_not_disorder() {
        let mut ledger = Ledger::default();
        for sequence in [0, 1, 2] {
            assert_eq!(ledger.observe(7, sequence, 0), Ok(Seen::First));
        }
        assert_eq!(ledger.observe(7, 0, 0), Ok(Seen::Duplicate));
        assert_eq!(ledger.device(7).unwrap().out_of_order, 0);
    }

    #[test]
    fn partitions_are_ordered_each_on_its_own_and_the_spread_is_told() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.observe(0, 5, 0), Ok(Seen::First));
        assert_eq!(ledger.observe(0, 4, 1), Ok(Seen::First));
        assert_eq!(ledger.observe(0, 3, 1), Ok(Seen::OutOfOrder));
        assert_eq!(ledger.device(0).unwrap().partitions(), 2);
    }

    #[test]
    fn the_bounds_hold() {
        let mut ledger = Ledger {
            entries: MAX_ENTRIES,
            ..Ledger::default()
        };
        assert_eq!(ledger.observe(0, 0, 0), Err(LedgerFull::Entries));
        let mut ledger = Ledger::default();
        assert_eq!(ledger.observe(MAX_DEVICES, 0, 0), Err(LedgerFull::Devices));
    }
}
