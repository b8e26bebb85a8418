//! The messages between MQTT and Kafka, and what each still waits for. Pure: no I/O, no clock of its own.
//!
//! A message has a slot for each record it becomes: 0 to 63 for the routes, 64 to 127 for dead letters. A slot is to do,
//! then sent, then settled. A message leaves the window, and may be acknowledged, when all its slots are settled *and*
//! it is the oldest: MQTT wants acknowledgements in the order of receipt (MQTT 5.0, 4.6.0-2). After a reconnect that is the
//! order in which the server sends again: the original one, if it sets DUP on all that it has sent before.
//!
//! QoS 2, which only the session of an earlier client can hold, is carried as QoS 1 is, at least once. It is acknowledged by
//! PUBREC; what follows (PUBREL, PUBCOMP) needs nothing from here, for a packet ID is free only after it: MQTT 5.0, 4.3.3.
//!
//! A route's record that Kafka refuses, where no dead-letter topic takes it, holds what is behind it until Kafka takes it
//! after all. What was underway behind it by then is sent again after it, so that the last record of each key stays the
//! last.
//!
//! Bounds: the caller stops reading when [`Window::full`]; one read may bring the count and the bytes above the bound
//! by one message. Packet IDs that were settled while the connection was down are at most 65,535.

mod entry;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use super::progress::Reason;
use crate::mqtt::packet::{Message, Receipt};

use entry::{Ack, ROUTES, slots};
pub use entry::{DEAD_LETTER, Entry, Plan, RecordId, Refusal};

/// A message that has left the window.
#[derive(Debug)]
pub struct Released {
    /// Acknowledge it, in the order in which `release` yields.
    pub acknowledge: Option<Receipt>,
    /// When it had arrived.
    pub received: Instant,
    /// The slots that Kafka took.
    pub settled: u128,
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    entries: VecDeque<Entry>,
    base: u64,
    /// Every entry before it has nothing to do, and holds nothing.
    cursor: u64,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    /// Packet IDs of entries that are [`Ack::Again`].
    awaited: HashMap<u16, u64>,
    /// Settled while no connection stood: acknowledged when the server sends it again. Value: hash of the content.
    already: HashMap<u16, u64>,
    /// Entries that are [`Ack::Now`].
    unacknowledged: usize,
    /// Settled before it came, and nothing that came before it waits here: left at once.
    at_once: VecDeque<Released>,
    /// Whether the connection has brought something that the server had not sent before.
    fresh: bool,
    hasher: RandomState,
}

impl Window {
    /// An empty window with its bounds.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            base: 0,
            cursor: 0,
            bytes: 0,
            max_messages,
            max_bytes,
            awaited: HashMap::new(),
            already: HashMap::new(),
            unacknowledged: 0,
            at_once: VecDeque::new(),
            fresh: false,
            hasher: RandomState::new(),
        }
    }

    /// Messages in the window.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no message is in the window.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that they hold, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing more should be read.
    pub fn full(&self) -> bool {
        self.entries.len() >= self.max_messages || self.bytes >= self.max_bytes
    }

    /// The oldest message.
    pub fn head(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// A message by number.
    pub fn get(&self, message: u64) -> Option<&Entry> {
        self.entries.get(self.index(message)?)
    }

    /// The number of the oldest message, or of the next one if there is none.
    pub fn first_number(&self) -> u64 {
        self.base
    }

    /// The number of the newest message, or of the one that left last.
    pub fn last_number(&self) -> u64 {
        (self.base + self.entries.len() as u64).saturating_sub(1)
    }

    fn index(&self, message: u64) -> Option<usize> {
        usize::try_from(message.checked_sub(self.base)?).ok()
    }

    fn get_mut(&mut self, message: u64) -> Option<&mut Entry> {
        let index = self.index(message)?;
        self.entries.get_mut(index)
    }

    /// Takes a message in. With `dead_letter` what refuses it becomes dead letters, else it blocks.
    pub fn push(
        &mut self,
        message: Message,
        plan: Plan,
        dead_letter: bool,
        received: Instant,
        timestamp: i64,
    ) {
        let ack = match message.receipt() {
            None => Ack::None,
            Some(receipt) => {
                self.unacknowledged += 1;
                Ack::Now(receipt.pkid)
            }
        };
        let mut entry = Entry {
            message,
            received,
            timestamp,
            refusals: Vec::new(),
            keep: None,
            ack,
            todo: u128::from(plan.routes),
            sent: 0,
            settled: 0,
            again: 0,
            held: 0,
            blocked: Vec::new(),
        };
        for refusal in plan.refusals {
            entry.refuse(refusal, dead_letter);
        }
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Takes in a message that is [`Recognised::Settled`]: it only has to be acknowledged, after what came before it in
    /// this connection.
    pub fn push_settled(&mut self, message: Message, received: Instant, timestamp: i64) {
        if self.unacknowledged > 0 {
            return self.push(message, Plan::default(), false, received, timestamp);
        }
        self.at_once.push_back(Released {
            acknowledge: message.receipt(),
            received,
            settled: 0,
        });
    }

    /// The next record to send, in the order of receipt; also yields its message. Nothing while a record before it is
    /// refused, or must be sent again first.
    pub fn next_to_send(&mut self) -> Option<(RecordId, &Entry)> {
        let mut index = self.index(self.cursor)?;
        let entry = loop {
            let entry = self.entries.get(index)?;
            if entry.todo != 0 {
                break entry;
            }
            if entry.holds() {
                return None;
            }
            index += 1;
            self.cursor += 1;
        };
        // A todo that is not 0 has fewer than 128 trailing zeros.
        #[allow(clippy::cast_possible_truncation)]
        let slot = entry.todo.trailing_zeros() as u8;
        Some((
            RecordId {
                message: self.cursor,
                slot,
            },
            entry,
        ))
    }

    /// A record is with the producer.
    pub fn sent(&mut self, id: RecordId) {
        if let Some(entry) = self.get_mut(id.message) {
            entry.todo &= !(1 << id.slot);
            entry.sent |= 1 << id.slot;
        }
    }

    /// Kafka has the record. True if it had refused it before: then [`resume`](Self::resume).
    pub fn delivered(&mut self, id: RecordId) -> bool {
        let Some(entry) = self.get_mut(id.message) else {
            return false;
        };
        let bit = 1 << id.slot;
        entry.sent &= !bit;
        if entry.again & bit != 0 {
            entry.again &= !bit;
            entry.todo |= bit;
            self.cursor = self.cursor.min(id.message);
            return false;
        }
        entry.settled |= bit;
        entry.held & bit != 0
    }

    /// Kafka does not take the record. A route's becomes a dead letter if there is a topic for those; a dead letter
    /// blocks the message.
    pub fn refused(&mut self, id: RecordId, reason: Reason, text: String, dead_letter: bool) {
        let Some(entry) = self.get_mut(id.message) else {
            return;
        };
        let others = !(1 << id.slot);
        entry.todo &= others;
        entry.sent &= others;
        entry.again &= others;
        entry.held &= others;
        let refusal = Refusal {
            slot: Some(id.slot),
            reason,
            text,
        };
        entry.refuse(refusal, dead_letter && id.slot < DEAD_LETTER);
        self.cursor = self.cursor.min(id.message);
    }

    /// A dead letter was too large: it is sent again with at most `keep` bytes of the payload.
    pub fn shorten(&mut self, id: RecordId, keep: usize) {
        if let Some(entry) = self.get_mut(id.message) {
            entry.keep = Some(keep);
            entry.sent &= !(1 << id.slot);
            entry.todo |= 1 << id.slot;
        }
        self.cursor = self.cursor.min(id.message);
    }

    /// What blocks the head is tried again, where Kafka may have changed its mind. One message is enough to learn it.
    pub fn retry_head(&mut self) {
        if let Some(entry) = self.entries.front_mut() {
            entry.unblock();
            self.cursor = self.base;
        }
    }

    /// Kafka has taken what it had refused: everything else that it has refused is tried again too, and what went to
    /// the same topics before its turn is sent again behind it. `topic_of` tells the topics apart by slot.
    pub fn resume<T: PartialEq>(&mut self, topic_of: impl Fn(u8) -> T) {
        let mut first = Vec::new();
        for (entry, message) in self.entries.iter_mut().zip(self.base..) {
            entry.unblock();
            for slot in slots(entry.held & ROUTES) {
                earliest(&mut first, topic_of(slot), RecordId { message, slot });
            }
        }
        self.send_again_behind(&first, topic_of);
        for entry in &mut self.entries {
            entry.held = 0;
        }
    }

    /// The producer is gone: what was sent is to do again, in the order of receipt.
    ///
    /// `failed` are records of which it is known that Kafka does not have them. What went to the same topic after such
    /// a record is sent again too, so that the last record of each key stays the last. `topic_of` tells the topics
    /// apart by slot.
    pub fn rewind<T: PartialEq>(&mut self, failed: &[RecordId], topic_of: impl Fn(u8) -> T) {
        let mut first = Vec::new();
        for id in failed {
            earliest(&mut first, topic_of(id.slot), *id);
            if let Some(entry) = self.get_mut(id.message) {
                entry.sent |= 1 << id.slot;
            }
        }
        for entry in &mut self.entries {
            entry.todo |= std::mem::take(&mut entry.sent);
            entry.again = 0;
        }
        self.send_again_behind(&first, topic_of);
    }

    /// What went to these topics behind these records is to do again, or will be when it has arrived. Dead letters have
    /// no order to keep.
    fn send_again_behind<T: PartialEq>(&mut self, first: &[(T, RecordId)], topic_of: impl Fn(u8) -> T) {
        for (entry, message) in self.entries.iter_mut().zip(self.base..) {
            // What is held and underway has just been tried again, in its turn.
            let underway = entry.sent & !entry.held;
            for slot in slots((entry.settled | underway) & ROUTES) {
                let id = RecordId { message, slot };
                if !first.iter().any(|(t, f)| id > *f && *t == topic_of(slot)) {
                    continue;
                }
                let bit = 1 << slot;
                entry.again |= underway & bit;
                entry.todo |= entry.settled & bit;
                entry.settled &= !bit;
            }
        }
        self.cursor = self.base;
    }

    /// The records that are with the producer.
    pub fn outstanding(&self) -> usize {
        self.entries.iter().map(|e| e.sent.count_ones() as usize).sum()
    }

    /// Whether no other record is with the producer.
    pub fn is_alone_underway(&self, id: RecordId) -> bool {
        self.entries.iter().zip(self.base..).all(|(entry, message)| {
            let own = if message == id.message { 1 << id.slot } else { 0 };
            entry.sent & !own == 0
        })
    }

    /// Takes the oldest message out, if it is complete.
    pub fn release(&mut self) -> Option<Released> {
        if let Some(released) = self.at_once.pop_front() {
            return Some(released);
        }
        if !self.entries.front()?.complete() {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        self.base += 1;
        self.cursor = self.cursor.max(self.base);
        let acknowledge = match entry.ack {
            Ack::Now(_) => {
                self.unacknowledged -= 1;
                entry.message.receipt()
            }
            Ack::None => None,
            Ack::Again(pkid) => {
                self.awaited.remove(&pkid);
                self.already.insert(pkid, self.content(&entry.message));
                None
            }
        };
        Some(Released {
            acknowledge,
            received: entry.received,
            settled: entry.settled,
        })
    }

    /// The connection is gone: what it brought can be acknowledged only when it comes again.
    pub fn disconnected(&mut self) {
        // What a server has to send again it sends first: what this connection did not bring will not come, and its
        // packet IDs may be in use for something else.
        if std::mem::take(&mut self.fresh) {
            self.forget();
        }
        self.at_once.clear();
        self.unacknowledged = 0;
        for (entry, number) in self.entries.iter_mut().zip(self.base..) {
            if let Ack::Now(pkid) = entry.ack {
                entry.ack = Ack::Again(pkid);
                self.awaited.insert(pkid, number);
            }
        }
    }

    /// A connection stands. Without the old session its packet IDs mean nothing any more.
    pub fn connected(&mut self, session_present: bool) {
        if !session_present {
            self.forget();
        }
    }

    /// Nothing of earlier connections is recognised any more.
    fn forget(&mut self) {
        self.already.clear();
        for message in std::mem::take(&mut self.awaited).into_values() {
            if let Some(entry) = self.get_mut(message) {
                entry.ack = Ack::None;
            }
        }
    }

    /// What to do with a message that may have come before: in the same session a packet ID is not used again before
    /// we acknowledge it or the server gives the message up, and a server sets DUP on what it sends again (MQTT 5.0,
    /// 3.3.1-1). So DUP, the same ID and the same content are the same message; without DUP it is a new one.
    pub fn recognise(&mut self, message: &Message) -> Recognised {
        if message.qos == 0 {
            return Recognised::New;
        }
        self.fresh |= !message.dup;
        if self.awaited.is_empty() && self.already.is_empty() {
            return Recognised::New;
        }
        let already = self.already.remove(&message.pkid);
        let awaited = self.awaited.remove(&message.pkid);
        if message.dup && already.is_none() && awaited.is_none() {
            // We have acknowledged it and the server has not seen that. Taken in anew it stands behind those that came
            // after it; so they are taken in anew too, in their order.
            self.forget();
            return Recognised::New;
        }
        let Some(entry) = awaited.and_then(|number| self.get_mut(number)) else {
            let same = message.dup && already.is_some_and(|content| content == self.content(message));
            return if same {
                Recognised::Settled
            } else {
                Recognised::New
            };
        };
        let same = message.dup
            && entry.message.qos == message.qos
            && entry.message.topic == message.topic
            && entry.message.payload == message.payload
            && entry.message.oversize == message.oversize;
        if !same {
            entry.ack = Ack::None;
            return Recognised::New;
        }
        entry.ack = Ack::Now(message.pkid);
        self.unacknowledged += 1;
        Recognised::InFlight
    }

    fn content(&self, message: &Message) -> u64 {
        let hash = message.oversize.as_ref().map(|o| o.sha256);
        self.hasher
            .hash_one((message.qos, &message.topic, &message.payload, hash))
    }
}

/// What [`Window::recognise`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// Take it in.
    New,
    /// It is in the window already and will be acknowledged from there.
    InFlight,
    /// Kafka has it already: see [`Window::push_settled`].
    Settled,
}

/// Keeps the earliest record of each topic.
fn earliest<T: PartialEq>(first: &mut Vec<(T, RecordId)>, topic: T, id: RecordId) {
    match first.iter_mut().find(|(t, _)| *t == topic) {
        Some((_, earliest)) => *earliest = (*earliest).min(id),
        None => first.push((topic, id)),
    }
}

#[cfg(test)]
mod tests;
