//! The instant by which a call must have ended.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// The longest that one call to Kafka may take, everything included.
pub const MAX_CALL: Duration = Duration::from_secs(3);

/// When a call ends, whatever the peer does. Cheap to copy; nested steps share one.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    /// That long from now, and [`MAX_CALL`] at most.
    pub fn after(duration: Duration) -> Self {
        let after = duration.min(MAX_CALL);
        Self {
            at: Instant::now() + after,
            after,
        }
    }

    /// How long the whole call was given.
    pub const fn total(self) -> Duration {
        self.after
    }

    /// What is left.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The future's output, or `None` when the deadline passes first.
    pub async fn bound<T>(self, future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.at, future).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_call_may_ask_for_more_than_three_seconds() {
        let deadline = Deadline::after(Duration::from_secs(60));
        assert_eq!(deadline.total(), Duration::from_secs(3));
        assert!(deadline.bound(std::future::pending::<()>()).await.is_none());
        assert_eq!(deadline.remaining(), Duration::ZERO);
    }
}
