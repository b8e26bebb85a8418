//! A set of sequence numbers as closed intervals: one entry for a run without gaps, however long it is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Disjoint, non-adjacent closed intervals of `u64`; not all 2^64 numbers at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    /// First member -> last member of each interval.
    intervals: BTreeMap<u64, u64>,
    count: u64,
}

impl RangeSet {
    /// Adds one member; `false` when it was there already.
    pub fn insert(&mut self, value: u64) -> bool {
        // By far the most frequent case: the successor of what came last.
        if let Some(mut entry) = self.intervals.last_entry()
            && entry.get().checked_add(1) == Some(value)
        {
            *entry.get_mut() = value;
            self.count += 1;
            return true;
        }
        if self.contains(value) {
            return false;
        }
        self.insert_range(value..=value);
        true
    }

    /// Adds all members of `range`; an empty range adds nothing.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        let (mut first, mut last) = range.into_inner();
        if first > last {
            return;
        }
        // Whatever overlaps or touches [first, last] becomes part of it, from the right to the left.
        while let Some((&f, &l)) = self.intervals.range(..=last.saturating_add(1)).next_back() {
            if l < first.saturating_sub(1) {
                break;
            }
            self.intervals.remove(&f);
            self.count -= l - f + 1;
            first = first.min(f);
            last = last.max(l);
        }
        self.intervals.insert(first, last);
        self.count += last - first + 1;
    }

    /// Whether `value` is a member.
    #[must_use]
    pub fn contains(&self, value: u64) -> bool {
        self.intervals
            .range(..=value)
            .next_back()
            .is_some_and(|(_, last)| *last >= value)
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Number of intervals, which is what memory depends on.
    #[must_use]
    pub fn interval_count(&self) -> usize {
        self.intervals.len()
    }

    /// The largest member.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.intervals.last_key_value().map(|(_, last)| *last)
    }

    /// The intervals in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.intervals.iter().map(|(first, last)| *first..=*last)
    }

    /// The members that `other` lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (&first, &last) in &self.intervals {
            let mut at = Some(first);
            let begin = other
                .intervals
                .range(..=first)
                .next_back()
                .map_or(first, |(f, _)| *f);
            for (&f, &l) in other.intervals.range(begin..=last) {
                let Some(from) = at.filter(|from| l >= *from) else {
                    continue;
                };
                if f > from {
                    rest.insert_range(from..=f - 1);
                }
                at = l.checked_add(1).filter(|next| *next <= last);
                if at.is_none() {
                    break;
                }
            }
            if let Some(from) = at {
                rest.insert_range(from..=last);
            }
        }
        rest
    }
}

impl FromIterator<RangeInclusive<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert_range(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn naive(set: &RangeSet) -> BTreeSet<u64> {
        set.iter().flatten().collect()
    }

    fn small_ranges() -> impl Strategy<Value = Vec<RangeInclusive<u64>>> {
        prop::collection::vec((0u64..60, 0u64..8).prop_map(|(f, n)| f..=f + n), 0..20)
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_single_numbers(ranges in small_ranges(), singles in prop::collection::vec(0u64..80, 0..40)) {
            let mut set: RangeSet = ranges.iter().cloned().collect();
            let mut model: BTreeSet<u64> = ranges.iter().cloned().flatten().collect();
            for value in singles {
                prop_assert_eq!(set.insert(value), model.insert(value));
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.last(), model.last().copied());
            for value in 0..90 {
                prop_assert_eq!(set.contains(value), model.contains(&value));
            }
            // Intervals neither overlap nor touch, so that memory is the least possible.
            let intervals: Vec<_> = set.iter().collect();
            prop_assert!(intervals.windows(2).all(|w| *w[0].end() + 1 < *w[1].start()));
            prop_assert_eq!(naive(&set), model);
        }

        #[test]
        fn difference_agrees_with_the_model(a in small_ranges(), b in small_ranges()) {
            let (a, b): (RangeSet, RangeSet) = (a.into_iter().collect(), b.into_iter().collect());
            let expected: BTreeSet<u64> = naive(&a).difference(&naive(&b)).copied().collect();
            prop_assert_eq!(a.difference(&b).len(), expected.len() as u64);
            prop_assert_eq!(naive(&a.difference(&b)), expected);
        }
    }

    #[test]
    fn the_ends_of_the_number_range_do_not_overflow() {
        let mut set = RangeSet::default();
        assert!(set.insert(u64::MAX) && set.insert(0) && !set.insert(u64::MAX));
        set.insert_range(u64::MAX - 1..=u64::MAX);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0..=0, u64::MAX - 1..=u64::MAX]);
        let mut other = RangeSet::default();
        other.insert(u64::MAX);
        assert_eq!(
            set.difference(&other).iter().collect::<Vec<_>>(),
            [0..=0, u64::MAX - 1..=u64::MAX - 1]
        );
    }

    #[test]
    fn a_run_without_gaps_is_one_interval() {
        let mut set = RangeSet::default();
        for value in 0..100_000 {
            set.insert(value);
        }
        assert_eq!((set.interval_count(), set.len()), (1, 100_000));
    }
}
