//! When each side was last heard from by the clients that carry the records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::replicator::progress::Side;

/// Signs of life of both sides; clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Signs {
    begun: Instant,
    source: Arc<AtomicU64>,
    target: Arc<AtomicU64>,
}

/// Nothing was heard yet.
const NEVER: u64 = 0;

impl Signs {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            source: Arc::new(AtomicU64::new(NEVER)),
            target: Arc::new(AtomicU64::new(NEVER)),
        }
    }

    /// The source gave something for a partition that had nothing left. Not: a record was taken, which may have waited
    /// here while the source was long gone.
    pub(super) fn fetched(&self) {
        self.note(&self.source);
    }

    /// The target acknowledged a record.
    pub(super) fn acknowledged(&self) {
        self.note(&self.target);
    }

    /// How long ago that was; `None` if it never was.
    pub(super) fn age(&self, side: Side) -> Option<Duration> {
        let heard = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
            Side::Local => return None,
        };
        match heard.load(Ordering::Relaxed) {
            NEVER => None,
            at => Some(self.begun.elapsed().saturating_sub(Duration::from_millis(at))),
        }
    }

    fn note(&self, side: &AtomicU64) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        side.store(elapsed.max(NEVER + 1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_heard_for_itself_and_never_before_it_said_something() {
        let signs = Signs::new();
        let shared = signs.clone();
        assert_eq!((signs.age(Side::Source), signs.age(Side::Target)), (None, None));
        shared.acknowledged();
        assert!(
            signs
                .age(Side::Target)
                .is_some_and(|age| age < Duration::from_secs(60))
        );
        assert_eq!(signs.age(Side::Source), None);
        shared.fetched();
        assert!(signs.age(Side::Source).is_some());
        assert_eq!(signs.age(Side::Local), None);
    }
}
