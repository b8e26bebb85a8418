//! What the engine cannot get past: remembered, told, and kept from being tried again too soon.

use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;

use super::guard::{RefusedRecord, SourceFault};
use super::limits::FoundLimit;
use super::session::Session;
use super::survey::Failure;
use crate::kafka::offsets::TopicPartition;
use crate::replicator::book::Route;
use crate::replicator::engine::{Event, Refusal};
use crate::replicator::tracker::Reached;

impl Session<'_> {
    /// Something that the engine cannot get past.
    pub(super) fn handle(&mut self, event: Event) -> Result<(), Failure> {
        let slots = self.memory.book.slots();
        match event {
            Event::SourceFault { slot, code } => {
                if let Some(partition) = slots.get(&slot) {
                    self.source_failed(slot, partition, code);
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

    /// The source does not give the next record: the next survey judges the position.
    fn source_failed(&mut self, slot: usize, partition: &TopicPartition, code: RDKafkaErrorCode) {
        self.advance();
        let offset = self.memory.book.reached(partition).unwrap_or_default();
        let before = self.memory.source_faults.get(partition);
        let fault = SourceFault::new(code, offset, before, Instant::now());
        if fault.is_first() {
            tracing::warn!(%partition, %code, offset, "the source does not give the next record: checking the position");
        } else {
            tracing::debug!(%partition, %code, offset, "the source still does not give the next record");
        }
        match fault.stops() {
            Some(reason) => self.stop(partition, None, reason, fault.to_string(), None),
            None => self.leave(&[slot], partition, fault.to_string()),
        }
        self.memory.source_faults.insert(partition.clone(), fault);
    }

    /// Whether a position that is good as it stands has to wait, because the source did not give the record there.
    pub(super) fn waits_for_source(
        &mut self,
        partition: &TopicPartition,
        route: &Route,
        start: Reached,
    ) -> bool {
        let now = Instant::now();
        let fault = self.memory.source_faults.get(partition);
        let Some(fault) = fault.filter(|fault| fault.holds(start.next_offset, now)) else {
            return false;
        };
        let (reason, message) = (fault.stops(), fault.to_string());
        match reason {
            Some(reason) => self.stop(partition, Some(route), reason, message, None),
            None => self.memory.book.waiting(partition, route, Some(message)),
        }
        true
    }

    fn refused(&mut self, partition: &TopicPartition, refusal: &Refusal) {
        let target = self
            .memory
            .book
            .route(partition)
            .map(|route| route.target.clone())
            .unwrap_or_default();
        let limits = self.limits.get(&target).cloned().unwrap_or_default();
        let known = self.memory.found_limits.get(&target);
        if let Some(found) = FoundLimit::new(refusal, self.batch_limit, &limits.fingerprint, known) {
            let (records, limit) = (refusal.records, found.bytes);
            tracing::info!(%partition, records, limit, "the target refused a batch for its size: smaller ones are next");
            self.memory.found_limits.insert(target, found);
            return;
        }
        let (offset, bytes, code) = (refusal.offset(), refusal.bytes, refusal.code);
        tracing::warn!(%partition, offset, bytes, %code, "the target refused a record");
        let before = self.memory.refused.get(partition);
        if let Some(refused) = RefusedRecord::new(refusal, &limits, before) {
            self.memory.refused.insert(partition.clone(), refused);
        }
    }
}
