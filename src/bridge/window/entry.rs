//! A message in the window: what it becomes, what refuses it, what it still waits for.

use std::time::Instant;

use bytes::Bytes;

use crate::bridge::progress::Reason;
use crate::mqtt::packet::{Message, Properties};

/// The first slot of dead letters; the number of slots for routes.
pub const DEAD_LETTER: u8 = 64;
/// The slots of routes, as bits. Only their records have an order to keep.
pub(super) const ROUTES: u128 = u64::MAX as u128;
/// What an entry costs beside its topic, payload and properties, bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();
/// What a user property costs beside its text, bytes.
const PAIR_BYTES: usize = size_of::<(String, String)>();

/// A record: a message and one of its slots. Their order is that of receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Payload bytes that a dead letter may carry, then without what it can do without; `None` is all.
    pub keep: Option<usize>,
    pub(super) ack: Ack,
    pub(super) todo: u128,
    pub(super) sent: u128,
    pub(super) settled: u128,
    /// With the producer, and to do again once it has arrived: something older of its topic came after it.
    pub(super) again: u128,
    /// Refused by Kafka, which may change its mind, and not taken since: blocked, or tried again.
    pub(super) held: u128,
    pub(super) blocked: Vec<Refusal>,
}

impl Entry {
    pub(super) fn bytes(&self) -> usize {
        let properties = self.message.properties.as_deref().map_or(0, property_bytes);
        self.message.payload.len() + self.message.topic.as_str().len() + ENTRY_BYTES + properties
    }

    /// Payload bytes that a dead letter carries.
    pub fn kept(&self) -> usize {
        let size = self.message.payload.len();
        self.keep.unwrap_or(size).min(size)
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

    /// Whether no record of a later message may be sent, so that the order in the topics stays that of receipt.
    pub(super) fn holds(&self) -> bool {
        (self.held | self.again) & ROUTES != 0
    }

    /// Takes note of a refusal that keeps the message where it is.
    pub(super) fn block(&mut self, refusal: Refusal) {
        if let Some(slot) = refusal.slot
            && self.may_change(slot, refusal.reason)
        {
            self.held |= 1 << slot;
        }
        self.blocked.push(refusal);
    }

    /// Whether the same record may be taken later. Routes and payloads do not change while the process runs.
    fn may_change(&self, slot: u8, reason: Reason) -> bool {
        // Of an oversize payload only the beginning is here: in a route's topic it would pass for the whole.
        let cut = slot < DEAD_LETTER && self.message.oversize.is_some();
        !cut && !matches!(reason, Reason::NoRoute | Reason::InvalidPayload)
    }

    /// What Kafka refused, and may take by now, is to do again.
    pub(super) fn unblock(&mut self) {
        let held = self.held;
        self.todo |= held & !self.sent & !self.settled;
        self.blocked
            .retain(|refusal| refusal.slot.is_none_or(|slot| held & (1 << slot) == 0));
    }

    /// Takes note of a refusal: with `dead_letter` it becomes one, else it blocks the message.
    pub(super) fn refuse(&mut self, refusal: Refusal, dead_letter: bool) {
        if !dead_letter {
            self.block(refusal);
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

/// The slots in a set, in ascending order.
pub(super) fn slots(mut set: u128) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        // A set that is not empty has fewer than 128 trailing zeros.
        #[allow(clippy::cast_possible_truncation)]
        let slot = (set != 0).then(|| set.trailing_zeros() as u8)?;
        set &= set - 1;
        Some(slot)
    })
}

/// What properties hold. Text counts twice: the payload keeps the packet that it came in, and so their first copy.
fn property_bytes(properties: &Properties) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let pairs = properties.user.iter();
    let user: usize = pairs
        .map(|(name, value)| 2 * (name.len() + value.len()) + PAIR_BYTES)
        .sum();
    let correlation = properties.correlation_data.as_ref().map_or(0, Bytes::len);
    user + 2 * (text(&properties.content_type) + text(&properties.response_topic)) + correlation
}
