//! Holds passes back until every cache is filled.

use tokio_util::sync::CancellationToken;

use super::super::cache::Latch;

/// Shut until every cache is filled: before that, what is not cached yet would be taken for absent (law 3).
#[derive(Clone, Debug)]
pub(super) struct Gate {
    filled: Latch,
    pub(super) stop: CancellationToken,
}

impl Gate {
    /// A gate that is shut, for what runs until `stop`.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            filled: Latch::default(),
            stop,
        }
    }

    /// Every cache is filled.
    pub(super) fn open(&self) {
        // Open already: as good.
        let _ = self.filled.set(());
    }

    /// Whether every cache is filled.
    pub(super) fn is_open(&self) -> bool {
        self.filled.initialized()
    }

    /// Waits until it opens, or everything ends. Whether it had to: what a pass was given may be outdated then.
    pub(super) async fn held(&self) -> bool {
        if self.is_open() {
            return false;
        }
        tokio::select! {
            _ = self.filled.wait() => {}
            () = self.stop.cancelled() => {}
        }
        true
    }
}
