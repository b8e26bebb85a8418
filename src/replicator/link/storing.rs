//! Positions of a running session: written while the target is known to be the one that acknowledged the last.

use tokio::task::JoinHandle;

use super::Memory;
use super::session::Session;
use super::survey::{Failure, Seen};
use crate::kafka::offsets::TopicPartition;
use crate::kafka::positions::{Position, PositionKey};
use crate::replicator::progress::Side;
use crate::replicator::store::StoreError;

pub(super) type Unstored = Vec<(TopicPartition, PositionKey, Position)>;
pub(super) type Storing = JoinHandle<(Unstored, Result<(), StoreError>)>;

/// Whether positions may be stored. A target that was restored from an older copy shows it by its positions only, so they
/// are read before they are overwritten.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// A survey has read them since the session began, the target was last out of reach, and a store last failed.
    confirmed: bool,
    /// The last survey found one lower than it was.
    suspected: bool,
    /// What was read before need not be what the target has now, although its log is as long.
    read_anew: bool,
}

impl Trust {
    pub(super) const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// The target may not be the same when it answers again.
    pub(super) fn withdraw(&mut self) {
        self.read_anew |= self.confirmed;
        self.confirmed = false;
    }

    /// Whether to read all positions from their beginning: once after each time that trust was withdrawn, since over a
    /// slow line that takes several surveys, each of which goes on where the last one ended.
    pub(super) fn reads_anew(&mut self) -> bool {
        std::mem::take(&mut self.read_anew)
    }

    /// What a survey found; whether to go on, or to look again first: a new leader may for a moment show less than its
    /// predecessor acknowledged. `None` when the second look has found the same.
    fn found(&mut self, fell_back: bool) -> Option<bool> {
        let before = std::mem::replace(&mut self.suspected, fell_back);
        self.confirmed = !fell_back;
        match (fell_back, before) {
            (true, true) => None,
            (true, false) => Some(false),
            (false, _) => Some(true),
        }
    }
}

impl Session<'_> {
    /// Holds the positions that a survey has read against those that the target acknowledged; whether to act on it.
    pub(super) fn confirm(&mut self, seen: &Seen) -> Result<bool, Failure> {
        let fell_back = self.memory.book.fell_back(&self.identity, &seen.positions);
        let goes_on = self.trust.found(fell_back.is_some());
        match (goes_on, fell_back) {
            (None, Some(partition)) => Err(Failure::Restored(partition)),
            (goes_on, _) => Ok(goes_on.unwrap_or(true)),
        }
    }

    /// Begins to store what moved, unless the last attempt still runs.
    pub(super) fn begin_store(&mut self) {
        self.advance();
        let Memory {
            book,
            refused,
            source_faults,
            ..
        } = &mut *self.memory;
        refused.retain(|partition, refused| {
            book.reached(partition)
                .is_none_or(|reached| reached <= refused.offset)
        });
        source_faults.retain(|partition, fault| {
            book.reached(partition)
                .is_some_and(|reached| reached <= fault.offset)
        });
        self.context.report.round(self.memory.book.round());
        if self.storing.is_some() || !self.trust.is_confirmed() {
            return;
        }
        let unstored = self.memory.book.unstored(&self.identity, self.generation);
        if unstored.is_empty() {
            return;
        }
        let store = std::sync::Arc::clone(&self.store);
        self.storing = Some(tokio::spawn(async move {
            let written = store.write(&records(&unstored)).await;
            (unstored, written)
        }));
    }

    pub(super) fn stored(&mut self, outcome: (Unstored, Result<(), StoreError>)) -> Result<(), Failure> {
        match outcome {
            (unstored, Ok(())) => {
                for (partition, _, position) in &unstored {
                    self.memory
                        .book
                        .stored(partition, position.next_offset, position.written_at_ms);
                }
                self.context.report.positions_written();
                if std::mem::take(&mut self.store_failed) {
                    self.context.report.over(Side::Target);
                }
                Ok(())
            }
            (_, Err(error)) => {
                self.store_failed = true;
                self.trust.withdraw();
                self.context
                    .report
                    .fault(Side::Target, "PositionsNotStored", &error.to_string());
                match error {
                    StoreError::Broken(_) => Err(Failure::Again),
                    StoreError::NotStored(_) => Ok(()),
                }
            }
        }
    }

    /// Stores what the engine's last word left, when the session ends.
    pub(super) async fn store_last(&mut self) {
        if let Some(storing) = self.storing.take()
            && let Ok(outcome) = storing.await
        {
            // The session ends anyway.
            let _ = self.stored(outcome);
        }
        if !self.trust.is_confirmed() {
            return;
        }
        let unstored = self.memory.book.unstored(&self.identity, self.generation);
        if !unstored.is_empty() {
            let written = self.store.write(&records(&unstored)).await;
            let _ = self.stored((unstored, written));
        }
    }
}

fn records(unstored: &Unstored) -> Vec<(PositionKey, Option<Position>)> {
    unstored
        .iter()
        .map(|(_, key, position)| (key.clone(), Some(position.clone())))
        .collect()
}

/// The outcome of the write that runs. Cancel safe: the handle stays until it is done.
pub(super) async fn next_stored(storing: &mut Option<Storing>) -> (Unstored, Result<(), StoreError>) {
    let Some(handle) = storing else {
        return std::future::pending().await;
    };
    let joined = handle.await;
    *storing = None;
    joined.unwrap_or_else(|_| (Vec::new(), Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_stored_before_a_survey_has_read_the_positions() {
        let mut trust = Trust::default();
        assert!(!trust.is_confirmed());
        assert_eq!(trust.found(false), Some(true));
        assert!(trust.is_confirmed());
        trust.withdraw();
        assert!(!trust.is_confirmed());
        assert_eq!(trust.found(false), Some(true));
        assert!(trust.is_confirmed());
    }

    #[test]
    fn after_an_outage_positions_are_read_from_their_beginning_once_however_many_surveys_that_takes() {
        let mut trust = Trust::default();
        assert!(!trust.reads_anew(), "a new session has read nothing yet");
        trust.found(false);
        trust.withdraw();
        assert!(trust.reads_anew());
        // A survey that did not get to the end.
        trust.withdraw();
        assert!(!trust.reads_anew());
        trust.found(false);
        trust.withdraw();
        assert!(trust.reads_anew());
    }

    #[test]
    fn positions_that_fell_back_stop_storing_at_once_and_end_the_session_at_the_second_look() {
        let mut trust = Trust::default();
        trust.found(false);
        assert_eq!(trust.found(true), Some(false), "a new leader may be behind");
        assert!(!trust.is_confirmed());
        assert_eq!(trust.found(false), Some(true));
        assert_eq!(trust.found(true), Some(false), "it has to be the next look");
        assert_eq!(trust.found(true), None);
        assert!(!trust.is_confirmed());
    }
}
