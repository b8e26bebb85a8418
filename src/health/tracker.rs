//! From ends and positions to lag: in offsets, and in seconds by the operator's own samples.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

/// Samples of one partition's end that are kept; when they are full, older ones are thinned out, so that they reach
/// back over a cut of any length.
const MAX_SAMPLES: usize = 32;

/// One partition as it was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// First offset that the source still holds, if it was read.
    pub start: Option<i64>,
    /// The source's end offset.
    pub end: i64,
    /// The next offset that the target does not have, as last read; `None` if there is no position yet.
    pub position: Option<i64>,
    /// Timestamp of the last record before the position, in milliseconds since 1970.
    pub last_record_ms: Option<i64>,
}

impl PartitionLag {
    /// Offsets between position and end. Without a position, all that the source holds.
    #[must_use]
    pub fn offsets(&self) -> i64 {
        let from = self.position.or(self.start).unwrap_or(0);
        self.end.saturating_sub(from).max(0)
    }
}

/// The lag of some partitions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagFigures {
    /// Sum of offsets.
    pub offsets: i64,
    /// Age of the oldest moment at which a partition's end passed its position, in seconds: how old the oldest record
    /// is that is missing. 0 without lag; `None` when it is not known.
    pub seconds: Option<i64>,
    /// Partitions with lag.
    pub behind: u32,
    /// How long the partition has stood still, in seconds, that has done so longest with lag behind it.
    pub standing_seconds: i64,
}

#[derive(Debug)]
struct Track {
    /// (when, end), oldest first; ends never fall.
    samples: VecDeque<(Timestamp, i64)>,
    position: Option<i64>,
    /// Since when the position has been where it is, while there was lag and a connection.
    standing_since: Timestamp,
    /// The last round in which it was seen, to drop what vanished.
    round: u64,
    now: PartitionLag,
}

/// Follows every partition of a link. Bounded: 32 samples of 16 bytes for each partition that has lag, one for the
/// others.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: BTreeMap<String, BTreeMap<i32, Track>>,
    round: u64,
}

impl Tracker {
    /// Takes a round of readings of all partitions. `connected` says that the position could have moved: time without
    /// a connection is no standing still.
    pub fn observe<'a>(
        &mut self,
        now: Timestamp,
        connected: bool,
        readings: impl IntoIterator<Item = (&'a str, i32, PartitionLag)>,
    ) {
        self.round += 1;
        let round = self.round;
        for (topic, partition, reading) in readings {
            if !self.tracks.contains_key(topic) {
                self.tracks.insert(topic.to_owned(), BTreeMap::new());
            }
            let Some(partitions) = self.tracks.get_mut(topic) else {
                continue;
            };
            partitions
                .entry(partition)
                .or_insert_with(|| Track::new(now, reading))
                .observe(now, connected, reading, round);
        }
        for partitions in self.tracks.values_mut() {
            partitions.retain(|_, track| track.round == round);
        }
        self.tracks.retain(|_, partitions| !partitions.is_empty());
    }

    /// Forgets everything, such as for another source.
    pub fn clear(&mut self) {
        self.tracks.clear();
    }

    /// The lag of each topic with its number of partitions, in the order of names.
    #[must_use]
    pub fn topics(&self, now: Timestamp) -> Vec<(&str, usize, LagFigures)> {
        self.tracks
            .iter()
            .map(|(topic, partitions)| {
                (
                    topic.as_str(),
                    partitions.len(),
                    figures(partitions.values(), now),
                )
            })
            .collect()
    }

    /// The lag of all partitions together.
    #[must_use]
    pub fn total(&self, now: Timestamp) -> LagFigures {
        figures(self.tracks.values().flat_map(BTreeMap::values), now)
    }

    /// The sum of ends and of positions: both only grow while partitions stay.
    #[must_use]
    pub fn progress(&self) -> (i64, i64) {
        self.tracks
            .values()
            .flat_map(BTreeMap::values)
            .fold((0, 0), |(ends, positions), track| {
                (
                    ends.saturating_add(track.now.end),
                    positions.saturating_add(track.now.position.unwrap_or(0)),
                )
            })
    }

    /// The partition that has stood still longest with lag behind it: topic, partition, seconds.
    #[must_use]
    pub fn longest_standing(&self, now: Timestamp) -> Option<(&str, i32, i64)> {
        let all = self.tracks.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(move |(partition, track)| (topic.as_str(), *partition, track.standing(now)))
        });
        all.filter(|(.., seconds)| *seconds > 0)
            .max_by_key(|(.., seconds)| *seconds)
    }
}

fn figures<'a>(tracks: impl Iterator<Item = &'a Track>, now: Timestamp) -> LagFigures {
    let mut sum = LagFigures {
        seconds: Some(0),
        ..LagFigures::default()
    };
    for track in tracks {
        let offsets = track.now.offsets();
        if offsets == 0 {
            continue;
        }
        sum.offsets = sum.offsets.saturating_add(offsets);
        sum.behind += 1;
        // One unknown age makes the oldest age unknown.
        sum.seconds = match (sum.seconds, track.age(now)) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => None,
        };
        sum.standing_seconds = sum.standing_seconds.max(track.standing(now));
    }
    sum
}

impl Track {
    fn new(now: Timestamp, reading: PartitionLag) -> Self {
        Self {
            samples: VecDeque::new(),
            position: reading.position,
            standing_since: now,
            round: 0,
            now: reading,
        }
    }

    fn observe(&mut self, now: Timestamp, connected: bool, reading: PartitionLag, round: u64) {
        self.round = round;
        let fell = self.samples.back().is_some_and(|(_, end)| *end > reading.end);
        if fell {
            // Another log under the same name, or a truncated one: what was sampled says nothing about it.
            self.samples.clear();
        }
        let had_lag = self.now.offsets() > 0;
        if reading.position != self.position || !had_lag || !connected || fell {
            self.position = reading.position;
            self.standing_since = now;
        }
        self.now = reading;
        if self.samples.back().is_none_or(|(_, end)| *end != reading.end) {
            self.samples.push_back((now, reading.end));
        }
        self.forget_passed();
        if self.samples.len() > MAX_SAMPLES {
            self.thin();
        }
    }

    /// Drops samples whose end the position has passed, but for the newest of them: it shows when the end was last
    /// known not to be ahead.
    fn forget_passed(&mut self) {
        let Some(position) = self.position else { return };
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(|(_, end)| *end <= position) {
            self.samples.pop_front();
        }
    }

    /// Drops every second sample of the older half, but for the two oldest: a position that stands has its exact age.
    fn thin(&mut self) {
        let half = self.samples.len() / 2;
        let mut index = 0;
        self.samples.retain(|_| {
            let keep = index <= 1 || index >= half || index % 2 == 0;
            index += 1;
            keep
        });
    }

    /// Seconds since the end passed the position: at latest at the first sample beyond it, if there is one before that
    /// which was not beyond; else since the last record that was carried.
    fn age(&self, now: Timestamp) -> Option<i64> {
        let position = self.position.unwrap_or(i64::MIN);
        let first_beyond = self.samples.iter().position(|(_, end)| *end > position)?;
        if first_beyond > 0 {
            return self
                .samples
                .get(first_beyond)
                .map(|(at, _)| seconds_between(*at, now));
        }
        let record = Timestamp::from_millisecond(self.now.last_record_ms?).ok()?;
        Some(seconds_between(record, now))
    }

    fn standing(&self, now: Timestamp) -> i64 {
        if self.now.offsets() == 0 {
            0
        } else {
            seconds_between(self.standing_since, now)
        }
    }
}

fn seconds_between(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).max(SignedDuration::ZERO).as_secs()
}

#[cfg(test)]
mod tests;
