//! One partition inside the pump: its queue of fetched records, its tracker, and what it may have in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::RDKafkaErrorCode;

use super::batch::{Batch, Batching};
use super::clients::SourceContext;
use super::wake::Wake;
use super::{Event, Follow, Link, SlotState};
use crate::replicator::tracker::{Sent, Tracker};

/// A followed partition.
pub(super) struct Slot {
    pub(super) follow: Follow,
    pub(super) queue: PartitionQueue<SourceContext>,
    pub(super) tracker: Tracker,
    /// What was handed to the producer since nothing was in flight.
    batch: Batch,
    /// Set by librdkafka's threads when the queue becomes non-empty, by the pump when it left something in it.
    ready: Arc<AtomicBool>,
    /// The consumer said in this slot's lifetime that it is at the end: from then on its own position is this slot's.
    pub(super) at_end: bool,
    /// No more records are taken: a fault was reported, and the link decides.
    pub(super) halted: bool,
    /// The target refused a record: what is in flight never gets acknowledged.
    pub(super) refused: bool,
}

impl Slot {
    pub(super) fn new(follow: Follow, mut queue: PartitionQueue<SourceContext>, wake: &Wake) -> Self {
        // What was queued before the callback is in place raises no call.
        let ready = Arc::new(AtomicBool::new(true));
        let (flag, wake) = (Arc::clone(&ready), wake.clone());
        queue.set_nonempty_callback(move || {
            flag.store(true, Ordering::Release);
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

    /// The target will not take the record at `offset`, told once per slot: those behind it fail for the same reason.
    pub(super) fn refused(&mut self, offset: i64, code: RDKafkaErrorCode, link: &Link) {
        self.halted = true;
        if !std::mem::replace(&mut self.refused, true) {
            let bytes = self.tracker.size_of(offset).unwrap_or_default();
            link.tell(Event::TargetFault {
                slot: self.follow.slot,
                offset,
                bytes,
                code,
            });
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
