//! One partition's progress: from records in flight to a position that never passes an unacknowledged one. Pure.

use std::collections::VecDeque;

/// A position, and what is known of what lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Next source offset that the target does not have.
    pub next_offset: i64,
    /// Leader epoch of what is right before it (KIP-320), a record or a transaction's marker, when known. One of
    /// anything earlier would make an intact log look cut back.
    pub leader_epoch: Option<i32>,
    /// Timestamp of the last record before it in milliseconds since 1970, when known.
    pub timestamp: Option<i64>,
}

/// A record's place and size, as it was handed to the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Source offset.
    pub offset: i64,
    /// Leader epoch of its batch.
    pub leader_epoch: Option<i32>,
    /// Its timestamp in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Bytes of key, value and headers.
    pub bytes: u32,
}

#[derive(Debug)]
struct InFlight {
    sent: Sent,
    acknowledged: bool,
}

/// A position of the consumer's own.
#[derive(Clone, Copy, Debug)]
struct Passed {
    next_offset: i64,
    leader_epoch: Option<i32>,
}

/// Turns acknowledgements, in whatever order, into a contiguous position.
///
/// Its memory is bounded by the producer's queue: one entry per record that waits for its acknowledgement.
#[derive(Debug)]
pub struct Tracker {
    /// Below this, everything was handed to the producer or is known to be no record.
    seen: i64,
    /// Everything before it is on the target.
    reached: Reached,
    /// Counts as soon as everything before it is acknowledged.
    passed: Option<Passed>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: u64,
    records: u64,
    bytes: u64,
}

impl Tracker {
    /// Starts at a position that the target has everything before.
    #[must_use]
    pub fn new(start: Reached) -> Self {
        Self {
            seen: start.next_offset,
            reached: start,
            passed: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            records: 0,
            bytes: 0,
        }
    }

    /// A record was handed to the producer. Only one that it [`wants`](Self::wants): any other is ignored, so that
    /// the order of offsets holds.
    pub fn sent(&mut self, sent: Sent) {
        if !self.wants(sent.offset) {
            return;
        }
        self.seen = sent.offset + 1;
        self.in_flight_bytes += u64::from(sent.bytes);
        self.in_flight.push_back(InFlight {
            sent,
            acknowledged: false,
        });
    }

    /// Whether the record at `offset` is still to be handed to the producer: a consumer that was rewound must not have it
    /// produced twice within one session.
    #[must_use]
    pub fn wants(&self, offset: i64) -> bool {
        offset >= self.seen
    }

    /// The target has the record at `offset`, which is returned. Unknown offsets are ignored: they were acknowledged
    /// before.
    pub fn acknowledged(&mut self, offset: i64) -> Option<Sent> {
        let index = self
            .in_flight
            .binary_search_by_key(&offset, |entry| entry.sent.offset)
            .ok()?;
        let entry = self.in_flight.get_mut(index)?;
        let sent = entry.sent;
        let first = !std::mem::replace(&mut entry.acknowledged, true);
        while let Some(entry) = self.in_flight.pop_front_if(|entry| entry.acknowledged) {
            self.in_flight_bytes -= u64::from(entry.sent.bytes);
            self.records += 1;
            self.bytes += u64::from(entry.sent.bytes);
            self.reached = Reached {
                next_offset: entry.sent.offset + 1,
                leader_epoch: entry.sent.leader_epoch,
                timestamp: entry.sent.timestamp,
            };
        }
        self.settle();
        first.then_some(sent)
    }

    /// The consumer's own position is `next`: what lies below it is handed over, or is no record (a transaction's
    /// marker, an aborted record, a hole left by compaction). `leader_epoch` is that of what is right before it.
    pub fn passed(&mut self, next: i64, leader_epoch: Option<i32>) {
        self.seen = self.seen.max(next);
        self.passed = Some(Passed {
            next_offset: next,
            leader_epoch,
        });
        self.settle();
    }

    /// Takes over what was passed, once no record before it is in flight.
    fn settle(&mut self) {
        let Some(passed) = self.passed else { return };
        let waits = |entry: &InFlight| entry.sent.offset < passed.next_offset;
        if self.in_flight.front().is_some_and(waits) {
            return;
        }
        self.passed = None;
        if passed.next_offset > self.reached.next_offset {
            self.reached.next_offset = passed.next_offset;
            self.reached.leader_epoch = passed.leader_epoch;
        }
    }

    /// The position that may be stored: everything before it is on the target.
    ///
    /// While records are in flight it is right behind the last acknowledged one and not before the next: what lies
    /// between may be of a newer leader epoch than is known.
    #[must_use]
    pub fn position(&self) -> Reached {
        self.reached
    }

    /// Records that wait for their acknowledgement, or for that of one before them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Bytes of records that wait for their acknowledgement.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Whether nothing waits for its acknowledgement.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Records acknowledged since the start.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the records acknowledged since the start.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size of the record at `offset` while it waits for its acknowledgement.
    #[must_use]
    pub fn size_of(&self, offset: i64) -> Option<u32> {
        let index = self
            .in_flight
            .binary_search_by_key(&offset, |entry| entry.sent.offset)
            .ok()?;
        self.in_flight.get(index).map(|entry| entry.sent.bytes)
    }
}

#[cfg(test)]
mod tests;
