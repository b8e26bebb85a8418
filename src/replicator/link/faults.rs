//! What the engine cannot get past: remembered and told.

use super::guard::RefusedRecord;
use super::session::Session;
use super::survey::Failure;
use crate::kafka::offsets::TopicPartition;
use crate::replicator::engine::{Event, Refusal};

impl Session<'_> {
    /// Something that the engine cannot get past.
    pub(super) fn handle(&mut self, event: Event) -> Result<(), Failure> {
        let slots = self.memory.book.slots();
        match event {
            Event::SourceFault { slot, code } => {
                if let Some(partition) = slots.get(&slot) {
                    tracing::warn!(%partition, %code, "the source does not give the next record: checking the position");
                    self.leave(&[slot], partition, format!("the source answered {code}"));
                }
                Ok(())
            }
            Event::TargetFault { slot, refusal } => {
                if let Some(partition) = slots.get(&slot) {
                    self.refused(partition, &refusal);
                }
                Err(Failure::Again)
            }
            Event::Broken { message } => {
                tracing::warn!(message, "the clients are built anew");
                Err(Failure::Again)
            }
        }
    }

    pub(super) fn leave(&mut self, slots: &[usize], partition: &TopicPartition, why: String) {
        self.advance();
        if let Some(route) = self.memory.book.route(partition).cloned() {
            self.memory.book.waiting(partition, &route, Some(why));
        }
        if let Some(engine) = &self.engine {
            engine.leave(slots.to_vec());
        }
    }

    fn refused(&mut self, partition: &TopicPartition, refusal: &Refusal) {
        let (offset, bytes, code) = (refusal.offset(), refusal.bytes, refusal.code);
        tracing::warn!(%partition, offset, bytes, %code, "the target refused a record");
        let target = self
            .memory
            .book
            .route(partition)
            .map(|route| route.target.clone())
            .unwrap_or_default();
        let (limit, settings) = self.limits.get(&target).cloned().unwrap_or_default();
        let before = self.memory.refused.get(partition);
        if let Some(refused) = RefusedRecord::new(refusal, limit, &settings, before) {
            self.memory.refused.insert(partition.clone(), refused);
        }
    }
}
