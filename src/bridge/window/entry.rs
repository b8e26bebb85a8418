//! A message in the window: what it becomes, what refuses it, what it still waits for.

use std::time::Instant;

use crate::bridge::progress::Reason;
use crate::mqtt::packet::Message;

/// The first slot of dead letters; the number of slots for routes.
pub const DEAD_LETTER: u8 = 64;
/// What an entry costs beside its topic and payload, bytes, roughly.
const ENTRY_BYTES: usize = 256;

/// A record: a message and one of its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordId {
    /// Number of the message.
    pub message: u64,
    /// Slot of the record.
    pub slot: u8,
}

impl RecordId {
    /// As one number, which travels through librdkafka and back with the delivery report.
    pub fn pack(self) -> usize {
        // 2^57 messages on a 64-bit machine: a million each second for 4,500 years.
        #[allow(clippy::cast_possible_truncation)]
        let packed = ((self.message << 7) | u64::from(self.slot)) as usize;
        packed
    }

    /// The inverse of [`pack`](Self::pack).
    pub fn unpack(packed: usize) -> Self {
        #[allow(clippy::cast_possible_truncation)]
        let slot = (packed & 0x7F) as u8;
        Self {
            message: packed as u64 >> 7,
            slot,
        }
    }
}

/// Why a route, or the dead-letter topic, does not take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The route's slot; `None` if no route takes it.
    pub slot: Option<u8>,
    /// Why, as a stable word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub text: String,
}

impl Refusal {
    /// Whether the same message may be taken later. Routes and payloads do not change while the process runs.
    pub(super) fn may_change(&self) -> bool {
        !matches!(self.reason, Reason::NoRoute | Reason::InvalidPayload)
    }
}

/// What a message becomes when it arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Slots of the routes that take it.
    pub routes: u64,
    /// What refuses it already, without Kafka's opinion.
    pub refusals: Vec<Refusal>,
}

/// How the message is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// Not at all: QoS 0, or its session is gone.
    None,
    /// With this packet ID in the connection that stands.
    Now(u16),
    /// It came in an earlier connection of the same session: only if the server sends it again.
    Again(u16),
}

/// A message in the window.
#[derive(Debug)]
pub struct Entry {
    /// The message.
    pub message: Message,
    /// When it arrived.
    pub received: Instant,
    /// When it arrived, milliseconds since 1970: the records' timestamp.
    pub timestamp: i64,
    /// What refused it so far; the n-th has the dead-letter slot 64 + n.
    pub refusals: Vec<Refusal>,
    /// Payload bytes that a dead letter may carry; `None` is all.
    pub keep: Option<usize>,
    pub(super) ack: Ack,
    pub(super) todo: u128,
    pub(super) sent: u128,
    pub(super) settled: u128,
    pub(super) blocked: Vec<Refusal>,
}

impl Entry {
    pub(super) fn bytes(&self) -> usize {
        self.message.payload.len() + self.message.topic.as_str().len() + ENTRY_BYTES
    }

    pub(super) fn complete(&self) -> bool {
        self.todo | self.sent == 0 && self.blocked.is_empty()
    }

    /// The first slot that is not settled, if there is one.
    pub fn waits_for(&self) -> Option<u8> {
        let waiting = self.todo | self.sent;
        // Fewer than 128 trailing zeros.
        #[allow(clippy::cast_possible_truncation)]
        (waiting != 0).then(|| waiting.trailing_zeros() as u8)
    }

    /// What keeps the message where it is, if neither a route nor the dead-letter topic takes it.
    pub fn blocked(&self) -> Option<&Refusal> {
        self.blocked.first()
    }

    /// Takes note of a refusal: with `dead_letter` it becomes one, else it blocks the message.
    pub(super) fn refuse(&mut self, refusal: Refusal, dead_letter: bool) {
        if !dead_letter {
            self.blocked.push(refusal);
            return;
        }
        // A message has at most 64 routes and each refuses at most once between two rewinds.
        let n = self
            .refusals
            .iter()
            .position(|r| r.slot == refusal.slot)
            .unwrap_or(self.refusals.len());
        if n < self.refusals.len() {
            self.refusals[n] = refusal;
        } else {
            self.refusals.push(refusal);
        }
        self.todo |= 1_u128 << (usize::from(DEAD_LETTER) + n);
    }
}
