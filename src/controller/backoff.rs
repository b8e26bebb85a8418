//! How long an object that failed waits before it is tried again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::ObjectKey;

/// First wait after a failure, before jitter.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait, before jitter (which adds up to as much again).
const LONGEST: Duration = Duration::from_secs(60);

/// One exponential back-off with jitter for each object that is failing: 1 s, 2 s, 4 s … 60 s, each lengthened by a
/// random share of up to 1. An object that fails holds back no other. Bounded by the number of objects.
#[derive(Debug, Default)]
pub struct Backoffs(Mutex<HashMap<ObjectKey, ExponentialBackoff>>);

impl Backoffs {
    /// Notes a failure; yields how long to wait.
    pub fn failed(&self, key: &ObjectKey) -> Duration {
        let mut backoffs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let backoff = backoffs.entry(key.clone()).or_insert_with(|| {
            ExponentialBuilder::default()
                .with_min_delay(FIRST)
                .with_max_delay(LONGEST)
                .with_factor(2.0)
                .with_jitter()
                .without_max_times()
                .build()
        });
        backoff.next().unwrap_or(LONGEST)
    }

    /// Notes a success, or that the object is gone: the next failure starts anew.
    pub fn reset(&self, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_anew_after_a_success_for_each_object_alone() {
        let backoffs = Backoffs::default();
        let (a, b) = (ObjectKey::new("K", "ns", "a"), ObjectKey::new("K", "ns", "b"));
        let mut base = FIRST;
        for _ in 0..12 {
            let wait = backoffs.failed(&a);
            assert!(wait >= base && wait <= base * 2, "{wait:?} for {base:?}");
            base = (base * 2).min(LONGEST);
        }
        assert!(backoffs.failed(&b) <= FIRST * 2);
        backoffs.reset(&a);
        assert!(backoffs.failed(&a) <= FIRST * 2);
    }
}
