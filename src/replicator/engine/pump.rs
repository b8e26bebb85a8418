//! The thread that moves records: from each partition's queue of fetched records into the producer, and from delivery
//! reports into positions.
//!
//! It never blocks for one partition: a partition that has its share in flight is left alone until acknowledgements
//! come, and its own fetch queue fills up behind it.

use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::batch::Batching;
use super::clients::{Delivery, TargetContext, Token, partition_share};
use super::epoch;
use super::meters::{Meters, now};
use super::slot::Slot;
use super::{Command, Event, Follow, Link};
use crate::kafka::quiet::Quiet;
use crate::replicator::tracker::Sent;

/// Records taken from one partition before the next has its turn.
const TURN: usize = 256;
/// How often positions are shown to the link, and markers at the end looked for.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// Longest sleep when nothing is in flight; a filled queue or a command ends it.
const IDLE: Duration = Duration::from_millis(200);
/// How often acknowledgements are looked for while nothing is fetched; bounds what that adds to a record's delay.
const AWAIT_ACKS: Duration = Duration::from_millis(1);
/// The same while the target has been silent for [`SILENT_AFTER`].
const AWAIT_ACKS_LONGEST: Duration = Duration::from_millis(50);
/// Longer than an acknowledgement takes over any line in use.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// How often room in the producer's queue is looked for.
const AWAIT_ROOM: Duration = Duration::from_millis(2);

/// The moving part of a session; lives on its own thread.
pub(super) struct Pump {
    consumer: Arc<BaseConsumer<Quiet>>,
    producer: BaseProducer<TargetContext>,
    link: Link,
    produce_budget: u64,
    batching: Batching,
    meters: Meters,
    /// By slot number; left ones are `None`, numbers are never used again in a session.
    slots: Vec<Option<Slot>>,
    deliveries: Vec<Delivery>,
    draining: bool,
    /// A fault of a whole client was told; it is told once.
    broken: bool,
    shown: Instant,
    acknowledged: Instant,
}

impl Pump {
    pub(super) fn new(
        consumer: BaseConsumer<Quiet>,
        producer: BaseProducer<TargetContext>,
        link: Link,
        produce_budget: u64,
        batching: Batching,
        meters: Meters,
    ) -> Self {
        Self {
            consumer: Arc::new(consumer),
            producer,
            link,
            produce_budget,
            batching,
            meters,
            slots: Vec::new(),
            deliveries: Vec::new(),
            draining: false,
            broken: false,
            shown: Instant::now(),
            acknowledged: Instant::now(),
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        while self.obey() {
            let moved = !self.draining && self.take_turns();
            let acknowledged = self.collect();
            if self.shown.elapsed() >= SHOW_EVERY {
                self.serve_client();
                self.show();
            }
            if self.draining && self.is_idle() {
                self.link.say_drained();
            }
            if !moved && !acknowledged {
                self.rest();
            }
        }
        self.collect();
        self.show();
        // What was not acknowledged is handed over again by the next session.
        self.meters.in_flight(0, 0);
    }

    /// Carries out what the link asks for; false to stop.
    fn obey(&mut self) -> bool {
        loop {
            match self.link.commands.try_recv() {
                Ok(Command::Follow(follow)) => self.follow(follow),
                Ok(Command::Leave(slots)) => self.leave(&slots),
                Ok(Command::Drain) => self.draining = true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn follow(&mut self, follow: Vec<Follow>) {
        let mut assignment = TopicPartitionList::new();
        for follow in follow {
            let number = follow.slot;
            let listed = epoch::add_start(&mut assignment, &follow.topic, follow.partition, follow.start);
            let queue = self
                .consumer
                .split_partition_queue(&follow.topic, follow.partition);
            let (Some(queue), Ok(())) = (queue, listed) else {
                self.link.tell(Event::SourceFault {
                    slot: number,
                    code: RDKafkaErrorCode::UnknownPartition,
                });
                continue;
            };
            if self.slots.len() <= number {
                self.slots.resize_with(number + 1, || None);
            }
            self.slots[number] = Some(Slot::new(follow, queue, &self.link.wake, &self.link.signs));
        }
        if let Err(error) = self.consumer.incremental_assign(&assignment) {
            self.give_up(format!("cannot assign partitions: {error}"));
        }
    }

    fn leave(&mut self, numbers: &[usize]) {
        let mut assignment = TopicPartitionList::new();
        for number in numbers {
            if let Some(slot) = self.slots.get_mut(*number).and_then(Option::take) {
                assignment.add_partition(&slot.follow.topic, slot.follow.partition);
            }
        }
        if let Err(error) = self.consumer.incremental_unassign(&assignment) {
            self.give_up(format!("cannot leave partitions: {error}"));
        }
    }

    /// One turn for every partition that has something; whether anything moved.
    fn take_turns(&mut self) -> bool {
        let followed = self.slots.iter().flatten().count();
        let batching = self
            .batching
            .within(partition_share(self.produce_budget, followed));
        let now = Instant::now();
        let mut moved = false;
        for slot in self.slots.iter_mut().flatten() {
            if slot.halted || !slot.may_send(batching, now) || !slot.claim() {
                continue;
            }
            moved |= turn(slot, &self.producer, &self.link, batching);
        }
        moved
    }

    /// Serves the delivery reports that are there; whether there were any.
    fn collect(&mut self) -> bool {
        let (mut any, mut refused) = (false, false);
        loop {
            // One call serves at least one event when there is one: ask until there is none.
            self.producer.poll(Duration::ZERO);
            self.producer.context().take(&mut self.deliveries);
            if self.deliveries.is_empty() {
                break;
            }
            any = true;
            let now = now();
            for delivery in self.deliveries.drain(..) {
                let Some(Some(slot)) = self.slots.get_mut(delivery.token.slot) else {
                    continue;
                };
                match delivery.failed {
                    None => {
                        self.link.signs.acknowledged();
                        if let Some(sent) = slot.tracker.acknowledged(delivery.token.offset) {
                            self.meters.carried(&sent, now);
                        }
                    }
                    Some(code) => {
                        let offset = delivery.token.offset;
                        slot.refuse(offset, slot.tracker.size_of(offset).unwrap_or_default(), code);
                        refused = true;
                    }
                }
            }
        }
        // All reports of a batch are there now.
        if refused {
            for slot in self.slots.iter_mut().flatten() {
                slot.tell_refusal(&self.link);
            }
        }
        if any {
            self.acknowledged = Instant::now();
        }
        any
    }

    /// Serves the consumer's own events; records never come this way, since each partition has its own queue.
    fn serve_client(&mut self) {
        let fault = match self.consumer.poll(Duration::ZERO) {
            None => None,
            // It counts as passed for librdkafka, and nobody has it: begin again from the positions.
            Some(Ok(message)) => Some(format!("a record of {} came outside its queue", message.topic())),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                Some(format!("the consumer gave up: {code}"))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "consumer event");
                None
            }
        };
        let fatal = || {
            let (code, message) = self.producer.client().fatal_error()?;
            Some(format!("the producer gave up: {code}: {message}"))
        };
        if let Some(message) = fault.or_else(fatal) {
            self.give_up(message);
        }
    }

    fn give_up(&mut self, message: String) {
        if !std::mem::replace(&mut self.broken, true) {
            self.link.tell(Event::Broken { message });
        }
    }

    /// Whether nothing waits for an acknowledgement that can still come.
    fn is_idle(&self) -> bool {
        self.slots
            .iter()
            .flatten()
            .all(|slot| slot.refused || slot.tracker.is_idle())
    }

    /// Waits for acknowledgements, or for work when none are due.
    fn rest(&mut self) {
        if self.is_idle() {
            // Whoever has nothing to acknowledge is not silent.
            self.acknowledged = Instant::now();
            return self.link.wake.wait(IDLE);
        }
        // A target that has been silent for long is asked less often. Not by `producer.poll`, which runs in circles through
        // what is left of a wait below one millisecond: a quarter of a core at 200 records a second.
        let wait = if self.acknowledged.elapsed() < SILENT_AFTER {
            AWAIT_ACKS
        } else {
            AWAIT_ACKS_LONGEST
        };
        self.link.wake.wait(wait);
    }

    /// Shows the link where each partition is.
    fn show(&mut self) {
        self.shown = Instant::now();
        self.pass_markers();
        let states = self
            .slots
            .iter()
            .flatten()
            .map(|slot| (slot.follow.slot, slot.state()));
        self.link.show(states.collect());
        let waiting = self.slots.iter().flatten().map(|slot| &slot.tracker);
        let (records, bytes) = waiting.fold((0, 0), |(records, bytes), tracker| {
            (records + tracker.in_flight(), bytes + tracker.in_flight_bytes())
        });
        self.meters.in_flight(records, bytes);
    }

    /// Takes the consumer's own position where it is at the end: it has passed a transaction's markers and aborted
    /// records, which are no records. Everything it gave us before is in the tracker already, unless the slot halted.
    fn pass_markers(&mut self) {
        if !self.slots.iter().flatten().any(|slot| slot.at_end) {
            return;
        }
        let Ok(positions) = self.consumer.position() else {
            return;
        };
        for slot in self
            .slots
            .iter_mut()
            .flatten()
            .filter(|slot| slot.at_end && !slot.halted)
        {
            slot.at_end = false;
            let found = epoch::position(&positions, &slot.follow.topic, slot.follow.partition);
            if let Some((next, leader_epoch)) = found {
                slot.tracker.passed(next, leader_epoch);
            }
        }
    }
}

/// Moves up to [`TURN`] records of one partition; whether there were any.
fn turn(slot: &mut Slot, producer: &BaseProducer<TargetContext>, link: &Link, batching: Batching) -> bool {
    let now = Instant::now();
    for moved in 0..TURN {
        if !slot.may_send(batching, now) {
            break;
        }
        match slot.queue.poll(Duration::ZERO) {
            None => return moved > 0,
            Some(Ok(message)) if !slot.tracker.wants(message.offset()) => {}
            Some(Ok(message)) => match hand_over(&slot.follow, &message, producer, link) {
                Ok(sent) => slot.sent(sent, now),
                Err(refused) => {
                    // The consumer counts this record as passed and the target will not get it: from here on only
                    // the tracker's position is true.
                    slot.halted = true;
                    if let Refused::ByClient(code) = refused {
                        let (offset, bytes) = (message.offset(), size(&message));
                        slot.refuse(offset, bytes, code);
                        slot.tell_refusal(link);
                    }
                    return true;
                }
            },
            Some(Err(KafkaError::PartitionEOF(_))) => slot.at_end = true,
            Some(Err(error)) => {
                slot.halted = true;
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                link.tell(Event::SourceFault {
                    slot: slot.follow.slot,
                    code,
                });
                return true;
            }
        }
    }
    slot.leave_some();
    true
}

/// Why the producer has not got a record.
enum Refused {
    /// The session ends while the producer's queue is full.
    Ending,
    /// It cannot be queued at all.
    ByClient(RDKafkaErrorCode),
}

/// Queues one record with the producer: key, value (or none), headers, timestamp, and the same partition.
fn hand_over(
    follow: &Follow,
    message: &BorrowedMessage<'_>,
    producer: &BaseProducer<TargetContext>,
    link: &Link,
) -> Result<Sent, Refused> {
    let offset = message.offset();
    let timestamp = message.timestamp().to_millis();
    let mut record = BaseRecord {
        topic: &follow.target_topic,
        partition: Some(follow.partition),
        payload: message.payload(),
        key: message.key(),
        timestamp,
        headers: message.headers().map(BorrowedHeaders::detach),
        delivery_opaque: Box::new(Token {
            slot: follow.slot,
            offset,
        }),
    };
    loop {
        match producer.send(record) {
            Ok(()) => {
                return Ok(Sent {
                    offset,
                    leader_epoch: epoch::leader_epoch(message),
                    timestamp,
                    bytes: size(message),
                });
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                if link.is_ending() {
                    return Err(Refused::Ending);
                }
                record = back;
                // Only polling makes room; see `rest` for why it does not wait as well.
                producer.poll(Duration::ZERO);
                std::thread::sleep(AWAIT_ROOM);
            }
            Err((error, _)) => {
                return Err(Refused::ByClient(
                    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
                ));
            }
        }
    }
}

/// Bytes of key, value and headers.
fn size(message: &BorrowedMessage<'_>) -> u32 {
    let headers = message.headers().map_or(0, |headers| {
        headers
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len))
            .sum()
    });
    u32::try_from(message.key_len() + message.payload_len() + headers).unwrap_or(u32::MAX)
}
