//! One partition inside the pump: its queue of fetched records, its tracker, and what it may have in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::RDKafkaErrorCode;

use super::batch::{Batch, Batching};
use super::refusal::Refusal;
use super::signs::Signs;
use super::wake::Wake;
use super::{Event, Follow, Link, SlotState};
use crate::kafka::quiet::Quiet;
use crate::replicator::tracker::{Sent, Tracker};

/// A followed partition.
pub(super) struct Slot {
    pub(super) follow: Follow,
    pub(super) queue: PartitionQueue<Quiet>,
    pub(super) tracker: Tracker,
    /// What was handed to the producer since nothing was in flight.
    batch: Batch,
    /// Set by librdkafka's threads when the queue becomes non-empty, by the pump when it left something in it.
    ready: Arc<AtomicBool>,
    /// The consumer said in this slot's lifetime that it is at the end: from then on its own position is this slot's.
    pub(super) at_end: bool,
    /// No more records are taken: a fault was reported, and the link decides.
    pub(super) halted: bool,
    /// What the target said against its records in this turn.
    refusal: Option<Refusal>,
    /// The target refused a record, and the link was told: what is in flight never gets acknowledged.
    pub(super) refused: bool,
}

impl Slot {
    pub(super) fn new(follow: Follow, mut queue: PartitionQueue<Quiet>, wake: &Wake, signs: &Signs) -> Self {
        // What was queued before the callback is in place raises no call.
        let ready = Arc::new(AtomicBool::new(true));
        let (flag, wake, signs) = (Arc::clone(&ready), wake.clone(), signs.clone());
        queue.set_nonempty_callback(move || {
            flag.store(true, Ordering::Release);
            signs.fetched();
            wake.wake();
        });
        let tracker = Tracker::new(follow.start);
        Self {
            follow,
            queue,
            tracker,
            batch: Batch::default(),
            ready,
            at_end: false,
            halted: false,
            refusal: None,
            refused: false,
        }
    }

    /// Whether there may be records to take; the caller takes until the queue is empty or says [`Self::leave_some`].
    pub(super) fn claim(&self) -> bool {
        self.ready.swap(false, Ordering::AcqRel)
    }

    /// Whether the producer may have another record now: see [`Batch`].
    pub(super) fn may_send(&self, batching: Batching, now: Instant) -> bool {
        self.tracker.is_idle() || self.batch.is_open(batching, now)
    }

    /// The producer has the record.
    pub(super) fn sent(&mut self, sent: Sent, now: Instant) {
        if self.tracker.is_idle() {
            self.batch = Batch::default();
        }
        self.batch.add(sent.bytes, now);
        self.tracker.sent(sent);
    }

    /// The target will not take the record at `offset`: see [`Self::tell_refusal`].
    pub(super) fn refuse(&mut self, offset: i64, bytes: u32, code: RDKafkaErrorCode) {
        self.halted = true;
        match &mut self.refusal {
            Some(refusal) => refusal.add(offset, bytes, code),
            None => self.refusal = Some(Refusal::new(offset, bytes, code)),
        }
    }

    /// Tells the link of a refusal, at the end of the turn that brought it and once per slot: those behind it fail for
    /// the same reason.
    pub(super) fn tell_refusal(&mut self, link: &Link) {
        if let Some(refusal) = self.refusal.take()
            && !std::mem::replace(&mut self.refused, true)
        {
            let slot = self.follow.slot;
            link.tell(Event::TargetFault { slot, refusal });
        }
    }

    /// What the link sees of it.
    pub(super) fn state(&self) -> SlotState {
        SlotState {
            reached: self.tracker.position(),
            records: self.tracker.records(),
            bytes: self.tracker.bytes(),
            idle: self.tracker.is_idle(),
        }
    }

    /// There may be more to take.
    pub(super) fn leave_some(&self) {
        self.ready.store(true, Ordering::Release);
    }
}
