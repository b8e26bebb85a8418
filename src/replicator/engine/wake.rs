//! Wakes the pump when a queue fills or a command arrives.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that one thread waits for and any thread raises.
#[derive(Clone, Debug, Default)]
pub(super) struct Wake(Arc<(Mutex<bool>, Condvar)>);

impl Wake {
    /// Raises the flag.
    pub(super) fn wake(&self) {
        let (flag, condition) = &*self.0;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        condition.notify_one();
    }

    /// Waits until the flag is raised, at most `limit`, and lowers it.
    pub(super) fn wait(&self, limit: Duration) {
        let (flag, condition) = &*self.0;
        let raised = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = condition.wait_timeout_while(raised, limit, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_raised_before_the_wait_is_not_lost_and_is_lowered_by_it() {
        let wake = Wake::default();
        wake.wake();
        wake.wait(Duration::from_secs(3600));
        assert!(!*wake.0.0.lock().unwrap());
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let wake = Wake::default();
        let other = wake.clone();
        let thread = std::thread::spawn(move || other.wake());
        wake.wait(Duration::from_secs(3600));
        thread.join().unwrap();
    }
}
