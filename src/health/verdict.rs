//! A window of observations into a situation.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Situation;

/// A lag of at most this many seconds is in sync: a few sampling intervals.
pub const IN_SYNC_SECONDS: i64 = 30;
/// How far back a trend is looked at.
pub const WINDOW: Duration = Duration::from_secs(120);
/// A whole link, or bridge, that stands still for this long with lag behind it does not move.
pub const STUCK: Duration = Duration::from_secs(60);
/// A single partition that stands still for this long does not move, whatever the others do.
pub const PARTITION_STUCK: Duration = Duration::from_secs(300);
/// An object that is still starting after this time needs help.
pub const STALLED_AFTER: Duration = Duration::from_secs(600);
/// A trend needs observations that lie this far apart.
const TREND: SignedDuration = SignedDuration::from_secs(20);
/// Observations that are kept, whatever the interval between them.
const MAX_OBSERVATIONS: usize = 128;

/// Whether the line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Connected to both sides.
    Up,
    /// Not connected to one of them.
    Down,
    /// Nobody could be asked.
    Unknown,
}

/// One look at a link or bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When.
    pub at: Timestamp,
    /// Whether the line stands.
    pub reach: Reach,
    /// What is not yet carried, in offsets or messages; `None` if it could not be measured.
    pub lag: Option<i64>,
    /// How old the oldest of that is, in seconds; `None` if it is not known.
    pub seconds: Option<i64>,
    /// What has been carried, in the same unit; only differences count.
    pub carried: i64,
    /// How long the partition has stood still that has done so longest, in seconds.
    pub standing_seconds: i64,
}

/// What is known besides the observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// `spec.paused`.
    pub paused: bool,
    /// The spec, what it refers to, or a rule of ours (lost positions) keeps it from working.
    pub cannot_work: bool,
    /// It was connected since this generation of the spec was written.
    pub was_connected: bool,
    /// Since when it has been starting.
    pub starting_since: Timestamp,
}

/// What a history amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The row of the table.
    pub situation: Situation,
    /// When the lag will be gone at the present rate, in seconds; `None` without lag or when it does not shrink.
    pub catch_up_seconds: Option<i64>,
}

/// The observations of the last [`WINDOW`], at most [`MAX_OBSERVATIONS`].
#[derive(Clone, Debug, Default)]
pub struct History {
    observations: VecDeque<Observation>,
}

impl History {
    /// Adds an observation; one that is not newer than the last is ignored.
    pub fn push(&mut self, observation: Observation) {
        if self
            .observations
            .back()
            .is_some_and(|last| last.at >= observation.at)
        {
            return;
        }
        self.observations.push_back(observation);
        let window = SignedDuration::try_from(WINDOW).unwrap_or(SignedDuration::MAX);
        let expired = |o: &Observation| observation.at.duration_since(o.at) > window;
        while self.observations.len() > MAX_OBSERVATIONS || self.observations.front().is_some_and(expired) {
            self.observations.pop_front();
        }
    }

    /// Forgets everything, such as for another generation of the spec.
    pub fn clear(&mut self) {
        self.observations.clear();
    }

    /// The latest observation.
    #[must_use]
    pub fn latest(&self) -> Option<&Observation> {
        self.observations.back()
    }

    /// Judges the window.
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> Judgement {
        let situation = self.situation(facts);
        let catching = matches!(situation, Situation::CatchingUp | Situation::Following);
        Judgement {
            situation,
            catch_up_seconds: if catching { self.catch_up() } else { None },
        }
    }

    fn situation(&self, facts: &Facts) -> Situation {
        if facts.paused {
            return Situation::Paused;
        }
        if facts.cannot_work {
            return Situation::CannotWork;
        }
        let reach = self.latest().map_or(Reach::Unknown, |o| o.reach);
        match (self.latest(), reach) {
            (Some(latest), Reach::Up) => match latest.lag {
                Some(lag) => self.following(latest, lag),
                None => Situation::Unmeasured,
            },
            (_, Reach::Down) if facts.was_connected => Situation::Disconnected,
            (_, Reach::Unknown) if facts.was_connected => Situation::Unmeasured,
            _ => {
                let limit = SignedDuration::try_from(STALLED_AFTER).unwrap_or(SignedDuration::MAX);
                let starting = facts.now.duration_since(facts.starting_since);
                if starting >= limit {
                    Situation::CannotWork
                } else {
                    Situation::Starting
                }
            }
        }
    }

    fn following(&self, latest: &Observation, lag: i64) -> Situation {
        if lag > 0 && self.is_stuck(latest) {
            return Situation::NotMoving;
        }
        if in_sync(latest) {
            // After having been behind or cut off, one good look is not enough: the next must confirm it.
            let before = self.observations.iter().rev().nth(1);
            return match before {
                Some(before) if before.reach == Reach::Up && before.lag.is_some() && !in_sync(before) => {
                    Situation::CatchingUp
                }
                Some(before) if before.reach == Reach::Down => Situation::CatchingUp,
                _ => Situation::Following,
            };
        }
        // Too early to say counts as gaining: nothing is alarming about a link that has only just begun.
        match self.trend(latest) {
            Some((then, _)) if lag > then => Situation::FallingBehind,
            _ => Situation::CatchingUp,
        }
    }

    fn is_stuck(&self, latest: &Observation) -> bool {
        let seconds = |limit: Duration| i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
        if latest.standing_seconds >= seconds(PARTITION_STUCK) {
            return true;
        }
        if latest.standing_seconds < seconds(STUCK) {
            return false;
        }
        // Nothing at all was carried for that long, with the line up all the time.
        let since = SignedDuration::try_from(STUCK).unwrap_or(SignedDuration::MAX);
        let mut reaches_back = false;
        for o in self.observations.iter().rev() {
            if o.reach != Reach::Up || o.carried != latest.carried {
                return reaches_back;
            }
            reaches_back |= latest.at.duration_since(o.at) >= since;
        }
        reaches_back
    }

    /// The lag at the oldest observation since the line last came up, and how long ago that is.
    fn trend(&self, latest: &Observation) -> Option<(i64, SignedDuration)> {
        let connected = self
            .observations
            .iter()
            .rev()
            .take_while(|o| o.reach == Reach::Up && o.lag.is_some());
        let oldest = connected.last()?;
        let age = latest.at.duration_since(oldest.at);
        (age >= TREND).then_some((oldest.lag?, age))
    }

    fn catch_up(&self) -> Option<i64> {
        let latest = self.latest()?;
        let lag = latest.lag.filter(|lag| *lag > 0)?;
        let (then, age) = self.trend(latest)?;
        let gained = then.checked_sub(lag).filter(|gained| *gained > 0)?;
        // Offsets are far below 2^64 / seconds; i128 is beyond doubt.
        let seconds = i128::from(lag) * i128::from(age.as_secs()) / i128::from(gained);
        i64::try_from(seconds).ok()
    }
}

fn in_sync(observation: &Observation) -> bool {
    observation.lag == Some(0)
        || observation
            .seconds
            .is_some_and(|seconds| seconds <= IN_SYNC_SECONDS)
}

#[cfg(test)]
mod tests;
