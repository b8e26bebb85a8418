//! An even rate, without bursts that make up for a standstill. Pure: the caller brings the time.

use std::time::Duration;

/// Allowance that may pile up, as time: a scheduler's hiccup is made good, an outage is not.
const BURST: Duration = Duration::from_secs(1);

/// Messages are granted in batches of this much time, where the rate is that high: one system call for several.
const BATCH: Duration = Duration::from_millis(4);

/// Grants messages at a rate.
#[derive(Debug, Clone)]
pub struct Pacer {
    /// Messages per second; `None` = no bound.
    rate: Option<f64>,
    credit: f64,
    last: Duration,
}

impl Pacer {
    /// Grants the first message at once.
    #[must_use]
    pub fn new(rate: Option<f64>) -> Self {
        Self {
            rate,
            credit: 1.0,
            last: Duration::ZERO,
        }
    }

    /// Brings the time, as time since the start; going backwards does nothing.
    pub fn advance(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        if let Some(rate) = self.rate {
            // The part of a message that was left over does not count as piled up.
            let most = rate * BURST.as_secs_f64() + 1.0;
            self.credit = (self.credit + elapsed.as_secs_f64() * rate).min(most);
        }
    }

    /// Takes one message's allowance, if it is there.
    pub fn take(&mut self) -> bool {
        if self.rate.is_none() {
            return true;
        }
        let granted = self.credit >= 1.0;
        if granted {
            self.credit -= 1.0;
        }
        granted
    }

    /// How long until the next batch is due; zero when it is.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let batch = (rate * BATCH.as_secs_f64()).max(1.0);
        if self.credit >= batch {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((batch - self.credit) / rate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take_all(pacer: &mut Pacer) -> u64 {
        std::iter::from_fn(|| pacer.take().then_some(())).count() as u64
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_no_less_while_the_caller_comes_in_time(
            rate in 1.0f64..50_000.0, steps in prop::collection::vec(1u64..900, 1..200),
        ) {
            let mut pacer = Pacer::new(Some(rate));
            let (mut now, mut sent) = (Duration::ZERO, 0);
            for step in steps {
                now += Duration::from_millis(step);
                pacer.advance(now);
                sent += take_all(&mut pacer);
                #[allow(clippy::cast_precision_loss)]
                let (sent, due) = (sent as f64, now.as_secs_f64() * rate);
                prop_assert!(sent <= due + 1.001, "{} of {}", sent, due);
                prop_assert!(sent >= due - 1.001, "{} of {}", sent, due);
            }
        }
    }

    #[test]
    fn an_outage_is_not_made_up_for_by_a_burst() {
        let mut pacer = Pacer::new(Some(100.0));
        pacer.advance(Duration::from_secs(3600));
        assert_eq!(take_all(&mut pacer), 101);
    }

    #[test]
    fn the_wait_ends_when_the_next_message_is_due() {
        let mut pacer = Pacer::new(Some(4.0));
        assert!(pacer.take() && !pacer.take());
        assert_eq!(pacer.wait(), Duration::from_millis(250));
        pacer.advance(Duration::from_millis(250));
        assert_eq!(pacer.wait(), Duration::ZERO);
        assert!(pacer.take());
    }

    #[test]
    fn a_high_rate_is_due_in_batches_and_a_low_one_message_by_message() {
        let mut pacer = Pacer::new(Some(10_000.0));
        pacer.advance(Duration::from_millis(1));
        assert!(pacer.wait() > Duration::from_millis(2), "{:?}", pacer.wait());
        pacer.advance(Duration::from_millis(4));
        assert_eq!((pacer.wait(), take_all(&mut pacer)), (Duration::ZERO, 41));
    }

    #[test]
    fn without_a_rate_everything_is_granted() {
        let mut pacer = Pacer::new(None);
        assert!((0..1000).all(|_| pacer.take()));
        assert_eq!(pacer.wait(), Duration::ZERO);
    }
}
