//! From samples to lag: which partitions count, from which position, and what their records weigh. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::sampling::{Sample, Source, Target};
use crate::api::{Lag, LinkTopicStatus, Start};
use crate::controller::TopicFigures;
use crate::health::{LagFigures, PartitionLag, Tracker};
use crate::kafka::TopicId;
use crate::replicator::progress::Progress;

/// Topics that a status lists.
const MAX_TOPICS: usize = 20;

/// A position as far as lag needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reached {
    next_offset: i64,
    last_record_ms: Option<i64>,
}

/// The positions as last read.
#[derive(Clone, Debug)]
struct Positions {
    read_at: Timestamp,
    /// `None`: there is one, and it cannot be read.
    by_partition: BTreeMap<(TopicId, i32), Option<Reached>>,
    /// The link has run before.
    any: bool,
}

/// One link's lag over time. Holds the last position of each partition, so that during a cut the source's fresh end is
/// measured against them: an upper bound.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    tracker: Tracker,
    positions: Option<Positions>,
    /// Mean bytes per offset, by topic.
    means: BTreeMap<String, f64>,
    /// Offsets behind, by partition, in the last round.
    partitions: Vec<(String, i32, i64)>,
    /// When the last round was; `None` also when it gave no lag.
    measured: Option<Timestamp>,
    /// Where each partition's log began in the last round that read it.
    starts: BTreeMap<(TopicId, i32), i64>,
    /// What the last comparison of positions and log starts found.
    expired: Vec<Expired>,
}

/// Source offsets that were deleted before a position was stored behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// The stored position.
    pub(super) from: i64,
    /// Where the log begins now.
    pub(super) to: i64,
}

impl Ledger {
    /// Takes a round. `refused` are topics that match and are not replicated; `connected` says that positions could
    /// have moved ever since the last round. `workers` is what is known of the pods, fresh or not.
    pub(super) fn take(
        &mut self,
        sample: &Sample,
        workers: &BTreeMap<String, Progress>,
        refused: &BTreeSet<&str>,
        start: Start,
        connected: bool,
    ) {
        self.means.extend(means(workers.values()));
        match &sample.target {
            Ok(target) => self.positions = Some(Positions::of(target)),
            Err(_) => {
                if let Some(stored) = Positions::stored(workers.values()) {
                    self.positions = Some(match self.positions.take() {
                        Some(read) => read.advanced_by(stored),
                        None => stored,
                    });
                }
            }
        }
        let (Ok(source), Some(positions)) = (&sample.source, &self.positions) else {
            // Positions that are not known make no lag, and neither does a source that does not answer.
            self.measured = None;
            return;
        };
        let readings = readings(source, positions, refused, start);
        self.partitions = readings
            .iter()
            .map(|(topic, partition, lag)| ((*topic).to_owned(), *partition, lag.offsets()))
            .collect();
        self.tracker.observe(sample.at, connected, readings);
        self.measured = Some(sample.at);
        self.expired = expired(source, positions, refused, &self.starts);
        let starts = source.ranges.iter();
        self.starts = starts
            .map(|(key, found)| ((found.topic_id, key.partition), found.range.start))
            .collect();
    }

    /// Partitions of which the source has deleted records that no stored position covers. What was known stays while
    /// a side cannot be read: what is deleted does not come back.
    pub(super) fn expired(&self) -> &[Expired] {
        &self.expired
    }

    /// Whether the last round could compare positions with the source.
    pub(super) const fn is_measured(&self) -> bool {
        self.measured.is_some()
    }

    /// The lag of all partitions; `None` while it cannot be measured.
    pub(super) fn total(&self) -> Option<LagFigures> {
        self.measured.map(|at| self.tracker.total(at))
    }

    /// What has been carried; only differences count.
    pub(super) fn carried(&self) -> i64 {
        self.tracker.progress().1
    }

    /// The partition that has stood still longest with lag behind it.
    pub(super) fn standing(&self) -> Option<(&str, i32)> {
        let (topic, partition, _) = self.tracker.longest_standing(self.measured?)?;
        Some((topic, partition))
    }

    /// When the positions were read that the lag is measured from.
    pub(super) fn position_read_at(&self) -> Option<Timestamp> {
        self.measured.and(self.positions.as_ref()).map(|p| p.read_at)
    }

    /// Topics that are replicated, in the last round.
    pub(super) fn topic_count(&self) -> Option<usize> {
        self.measured.map(|at| self.tracker.topics(at).len())
    }

    /// Offsets behind, by partition.
    pub(super) fn partitions(&self) -> &[(String, i32, i64)] {
        if self.measured.is_some() {
            &self.partitions
        } else {
            &[]
        }
    }

    /// Seconds and bytes behind, by topic.
    pub(super) fn topic_figures(&self) -> Vec<TopicFigures> {
        let figures = |(name, _, lag): (&str, usize, LagFigures)| TopicFigures {
            name: name.to_owned(),
            seconds: lag.seconds,
            bytes: self.bytes(name, lag.offsets),
        };
        self.topics().into_iter().map(figures).collect()
    }

    fn topics(&self) -> Vec<(&str, usize, LagFigures)> {
        self.measured
            .map(|at| self.tracker.topics(at))
            .unwrap_or_default()
    }

    /// `status.lag`.
    pub(super) fn lag(&self, catch_up_seconds: Option<i64>) -> Option<Lag> {
        let total = self.total()?;
        let weighed = self
            .topics()
            .into_iter()
            .map(|(name, _, lag)| self.bytes(name, lag.offsets));
        Some(Lag {
            offsets: total.offsets,
            estimated_bytes: weighed.sum(),
            seconds: total.seconds,
            catch_up_seconds,
        })
    }

    /// `status.topics`: the furthest behind first.
    pub(super) fn worst(&self) -> Vec<LinkTopicStatus> {
        let mut topics = self.topics();
        // Stable: topics that are equally far behind stay in the order of their names.
        topics.sort_by_key(|(.., lag)| std::cmp::Reverse(lag.offsets));
        let listed = topics.into_iter().take(MAX_TOPICS);
        listed
            .map(|(name, partitions, lag)| LinkTopicStatus {
                name: name.to_owned(),
                partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
                lag: Lag {
                    offsets: lag.offsets,
                    estimated_bytes: self.bytes(name, lag.offsets),
                    seconds: lag.seconds,
                    catch_up_seconds: None,
                },
            })
            .collect()
    }

    /// Offsets by the topic's mean size; by the mean of the others while none of its own records was seen.
    fn bytes(&self, topic: &str, offsets: i64) -> Option<i64> {
        if offsets == 0 {
            return Some(0);
        }
        let mean = self.means.get(topic).copied().or_else(|| {
            #[allow(clippy::cast_precision_loss)] // a number of topics
            let count = self.means.len() as f64;
            (count > 0.0).then(|| self.means.values().sum::<f64>() / count)
        })?;
        // An estimate: what a float cannot hold exactly is not known either. The conversion saturates.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        let bytes = (offsets as f64 * mean).round() as i64;
        Some(bytes)
    }
}

impl Positions {
    fn of(target: &Target) -> Self {
        let reached = |position: &crate::kafka::positions::Position| Reached {
            next_offset: position.next_offset,
            // A producer without timestamps writes -1, which is no time.
            last_record_ms: position.last_record_timestamp_ms.filter(|ms| *ms >= 0),
        };
        let by_partition = target.positions.iter();
        Self {
            read_at: target.at,
            by_partition: by_partition
                .map(|(key, position)| (*key, position.as_ref().ok().map(reached)))
                .collect(),
            any: target.any,
        }
    }

    /// What the pods stored, while the operator itself cannot read the target: each is a position that the target has
    /// acknowledged, so it is the last that anybody saw there. `None` when no pod has told of any.
    fn stored<'a>(workers: impl Iterator<Item = &'a Progress>) -> Option<Self> {
        let (mut by_partition, mut read_at) = (BTreeMap::new(), None::<Timestamp>);
        for progress in workers {
            let at = progress.target.disconnected_since.unwrap_or(progress.observed_at);
            for partition in &progress.partitions {
                let (Ok(topic_id), Some(next_offset)) = (partition.topic_id.parse(), partition.stored) else {
                    continue;
                };
                let reached = Reached {
                    next_offset,
                    // That of `position`, which may be ahead of what is stored: a bound from the wrong side.
                    last_record_ms: None,
                };
                by_partition.insert((topic_id, partition.partition), Some(reached));
                read_at = Some(read_at.map_or(at, |oldest| oldest.min(at)));
            }
        }
        Some(Self {
            read_at: read_at?,
            by_partition,
            any: true,
        })
    }

    /// Positions that were stored after these were read count; what is not further stays as it was read.
    fn advanced_by(mut self, stored: Self) -> Self {
        if stored.read_at <= self.read_at {
            return self;
        }
        for (key, reached) in stored.by_partition {
            match self.by_partition.get(&key) {
                Some(Some(read)) if reached.is_none_or(|r| r.next_offset <= read.next_offset) => {}
                // It is there and cannot be read: what a pod says of it does not make it readable.
                Some(None) => {}
                Some(Some(_)) | None => {
                    self.by_partition.insert(key, reached);
                }
            }
        }
        self.read_at = stored.read_at;
        self.any = true;
        self
    }
}

fn readings<'a>(
    source: &'a Source,
    positions: &Positions,
    refused: &BTreeSet<&str>,
    start: Start,
) -> Vec<(&'a str, i32, PartitionLag)> {
    let counted = source
        .ranges
        .iter()
        .filter(|(p, _)| !refused.contains(p.topic.as_str()));
    let read = counted.filter_map(|(key, found)| {
        let known = positions.by_partition.get(&(found.topic_id, key.partition));
        let (position, last_record_ms) = match known {
            Some(Some(reached)) => (Some(reached.next_offset), reached.last_record_ms),
            // What it says is not known: no figure is better than a wrong one.
            Some(None) => return None,
            // A link that never ran and starts at the end has nothing behind it.
            None if start == Start::Latest && !positions.any => (Some(found.range.end), None),
            None => (None, None),
        };
        let lag = PartitionLag {
            start: Some(found.range.start),
            end: found.range.end,
            position,
            last_record_ms,
        };
        Some((key.topic.as_str(), key.partition, lag))
    });
    read.collect()
}

/// Partitions whose position lies below the log's start. Positions are read before starts, and are stored once a
/// second: they are held against the start of the round before, so that a link which is a moment behind a source that
/// deletes at once is not called lossy.
fn expired(
    source: &Source,
    positions: &Positions,
    refused: &BTreeSet<&str>,
    before: &BTreeMap<(TopicId, i32), i64>,
) -> Vec<Expired> {
    let counted = source
        .ranges
        .iter()
        .filter(|(p, _)| !refused.contains(p.topic.as_str()));
    let below = counted.filter_map(|(key, found)| {
        let id = (found.topic_id, key.partition);
        let from = positions.by_partition.get(&id)?.as_ref()?.next_offset;
        let to = found.range.start;
        let start = before.get(&id).map_or(to, |before| to.min(*before));
        (from < start).then(|| Expired {
            topic: key.topic.clone(),
            partition: key.partition,
            from,
            to,
        })
    });
    below.collect()
}

/// The mean over the workers that saw records of a topic.
fn means<'a>(workers: impl Iterator<Item = &'a Progress>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for topic in workers.flat_map(|progress| &progress.topics) {
        if let Some(mean) = topic.mean_record_bytes.filter(|mean| mean.is_finite()) {
            let sum = sums.entry(&topic.name).or_default();
            *sum = (sum.0 + mean, sum.1 + 1.0);
        }
    }
    sums.into_iter()
        .map(|(name, (sum, count))| (name.to_owned(), sum / count))
        .collect()
}

#[cfg(test)]
mod tests;
