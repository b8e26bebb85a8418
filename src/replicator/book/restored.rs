//! Whether the target still has what it acknowledged: one that was restored from an older copy shows older positions.

use super::{Book, Entry, State, key};
use crate::kafka::offsets::TopicPartition;
use crate::kafka::positions::Position;
use crate::replicator::plan::{Identity, Positions};

impl Book {
    /// The first partition whose position on the target is lower than the one that it acknowledged last, and was written
    /// before it. A lower one that was written later is somebody's decision: it counts when the partition is next begun.
    ///
    /// What was acknowledged while `found` was read is not known here yet, so it cannot be missed.
    pub(in crate::replicator) fn fell_back(
        &self,
        identity: &Identity,
        found: &Positions,
    ) -> Option<TopicPartition> {
        let fell = |entry: &Entry, position: &Position| {
            let lower = entry.stored.is_some_and(|stored| position.next_offset < stored);
            lower && position.written_at_ms < entry.written_at_ms
        };
        let mut copied = self
            .entries
            .iter()
            .filter(|(_, entry)| !matches!(entry.state, State::Stopped(_)) && entry.reached.is_some());
        copied
            .find(|(partition, entry)| {
                found
                    .get(&key(identity, partition, entry))
                    .is_some_and(|position| fell(entry, position))
            })
            .map(|(partition, _)| partition.clone())
    }

    /// Remembers when the newest positions were written.
    pub(in crate::replicator) fn date(&mut self, identity: &Identity, found: &Positions) {
        for (partition, entry) in &mut self.entries {
            if let Some(position) = found.get(&key(identity, partition, entry)) {
                entry.written_at_ms = entry.written_at_ms.max(position.written_at_ms);
            }
        }
    }
}
