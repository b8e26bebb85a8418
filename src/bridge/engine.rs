//! From messages to records to acknowledgements: everything between the two connections. No I/O of its own, time is an
//! argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::types::RDKafkaErrorCode;

use super::board::Board;
use super::config::LimitsConfig;
use super::metrics::Metrics;
use super::producer::{Producer, Turn};
use super::progress::{Component, HeadOfLine, InFlight, Reason};
use super::record::{RecordBuilder, omits};
use super::sink::{OpenSink, Report, Reports, SendError};
use super::verdict::{Verdict, judge};
use super::watch::KafkaView;
use super::window::{DEAD_LETTER, Plan, Recognised, RecordId, Refusal, Window};
use crate::mqtt::packet::{Message, Receipt};

/// What a topic takes by default, less what headers need: the first cut of a dead letter that is too large.
const USUAL_LIMIT: usize = 1_000_000;
/// How long a head that Kafka refuses waits before it is tried again; what is refused behind it follows at once.
const RETRY_HEAD: Duration = Duration::from_secs(10);
/// A head that waits longer than this is worth naming.
const HEAD_PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub struct Engine<O: OpenSink> {
    builder: RecordBuilder,
    window: Window,
    producer: Producer<O>,
    board: Arc<Board>,
    metrics: Metrics,
    taken: Vec<Report>,
    records: u64,
    dead_lettered: u64,
    /// What the last report of a failure said, until a record arrives again.
    trouble: Option<(Component, Reason, String)>,
    view: KafkaView,
    retry_head: Instant,
    blocked_since: Option<Timestamp>,
}

impl<O: OpenSink> Engine<O> {
    /// An engine with nothing in it.
    pub fn new(
        builder: RecordBuilder,
        limits: LimitsConfig,
        opener: O,
        board: Arc<Board>,
        metrics: Metrics,
        now: Instant,
    ) -> Self {
        Self {
            builder,
            window: Window::new(
                limits.max_in_flight_messages as usize,
                limits.max_in_flight_bytes as usize,
            ),
            producer: Producer::new(opener, now),
            board,
            metrics,
            taken: Vec::new(),
            records: 0,
            dead_lettered: 0,
            trouble: None,
            view: KafkaView::default(),
            retry_head: now,
            blocked_since: None,
        }
    }

    /// Whether the next message may be read.
    pub fn wants_more(&self) -> bool {
        !self.window.full()
    }

    /// Whether everything is settled.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    /// Where delivery reports arrive; ask anew for each wait.
    pub fn reports(&self) -> Arc<Reports> {
        self.producer.reports()
    }

    /// A connection to MQTT stands.
    pub fn connected(&mut self, session_present: bool) {
        self.window.connected(session_present);
    }

    /// The connection to MQTT is gone.
    pub fn disconnected(&mut self) {
        self.window.disconnected();
    }

    /// Another way to Kafka.
    pub fn replace_sink(&mut self, opener: O, now: Instant) {
        self.producer.replace(opener, now);
    }

    /// What the watch has seen of Kafka.
    pub fn kafka_seen(&mut self, view: KafkaView, now: Instant) {
        if view.mends(&self.view) {
            self.producer.hurry(now);
        }
        if view.eras_over > self.view.eras_over {
            tracing::info!("a topic was created anew, or its leaders' epochs fell: the producer is replaced");
            self.producer.renew(now);
            self.producer.hurry(now);
        }
        self.view = view;
    }

    /// Takes a message in.
    pub fn accept(&mut self, message: Message, now: Instant) {
        self.metrics.received.inc();
        let timestamp = Timestamp::now().as_millisecond();
        match self.window.recognise(&message) {
            Recognised::InFlight => {
                self.metrics.recognised.inc();
            }
            Recognised::Settled => {
                self.metrics.recognised.inc();
                self.window.push_settled(message, now, timestamp);
            }
            Recognised::New => {
                if message.dup {
                    self.metrics.redelivered.inc();
                }
                let plan = self.plan(&message);
                let dead_letter = self.builder.dead_letter().is_some();
                self.window.push(message, plan, dead_letter, now, timestamp);
            }
        }
    }

    fn plan(&self, message: &Message) -> Plan {
        let table = self.builder.table();
        let whole = message.oversize.is_none();
        let mut plan = table.plan(message.topic.as_str(), &message.payload, whole);
        if let Some(oversize) = &message.oversize {
            let slots = (0..DEAD_LETTER).filter(|slot| plan.routes & (1 << slot) != 0);
            let refused = slots.map(|slot| Refusal {
                slot: Some(slot),
                reason: Reason::PayloadTooLarge,
                text: format!(
                    "the payload has {} bytes, more than limits.maxPayloadBytes",
                    oversize.size
                ),
            });
            plan.refusals.extend(refused);
            plan.routes = 0;
        }
        plan
    }

    /// Goes on: takes reports, sends what can be sent, and yields what to acknowledge, in order.
    pub fn turn(&mut self, now: Instant, mut acknowledge: impl FnMut(Receipt)) {
        let mut taken = std::mem::take(&mut self.taken);
        self.producer.take_reports(&mut taken);
        for (id, outcome) in taken.drain(..) {
            self.report(id, outcome, now);
        }
        self.taken = taken;
        self.send(now);
        while let Some(released) = self.window.release() {
            self.metrics.acknowledged.inc();
            self.metrics
                .latency
                .observe(now.saturating_duration_since(released.received).as_secs_f64());
            if let Some(receipt) = released.acknowledge {
                acknowledge(receipt);
            }
        }
    }

    fn send(&mut self, now: Instant) {
        while self.producer.is_open() {
            let Some((id, entry)) = self.window.next_to_send() else {
                return;
            };
            let Some(record) = self.builder.build(id, entry) else {
                // Slots come from the same tables; if one is missing the message must not be lost over it.
                let text = format!("slot {} has no record", id.slot);
                self.window.refused(id, Reason::RecordRefused, text, false);
                continue;
            };
            match self.producer.send(id, record) {
                Ok(()) => self.window.sent(id),
                Err(SendError::Full) => return,
                Err(SendError::Failed(code)) => {
                    self.window.sent(id);
                    self.report(id, Err(code), now);
                }
            }
        }
    }

    fn report(&mut self, id: RecordId, outcome: Result<(), RDKafkaErrorCode>, now: Instant) {
        let Err(code) = outcome else {
            return self.delivered(id);
        };
        match judge(code, self.builder.topic(id.slot)) {
            Verdict::TooLarge => self.too_large(id, now),
            // One bad record fails its whole batch with its own code: what came in company is not judged by it.
            Verdict::Refused(reason, text) if self.is_alone(id) => {
                self.producer.stay_single(self.window.last_number());
                self.refused(id, reason, text);
            }
            Verdict::Refused(..) | Verdict::OfBatch => {
                self.producer.take_apart(id, self.window.last_number(), now);
            }
            Verdict::Again(reason, text) => {
                self.trouble = Some((component(reason), reason, text));
                self.producer.failed(Some(id), now);
            }
        }
    }

    fn delivered(&mut self, id: RecordId) {
        if id.slot >= DEAD_LETTER {
            self.buried(id);
        } else {
            self.metrics.record(id.slot);
        }
        if self.window.delivered(id) {
            self.window.resume(|slot| self.builder.topic(slot));
        }
        self.producer.succeeded();
        self.trouble = None;
        self.records += 1;
    }

    /// A dead letter has arrived.
    fn buried(&mut self, id: RecordId) {
        let Some(entry) = self.window.get(id.message) else {
            return;
        };
        let Some(refusal) = entry.refusals.get(usize::from(id.slot - DEAD_LETTER)) else {
            return;
        };
        self.metrics.dead_letter(refusal.reason);
        self.dead_lettered += 1;
        let message = &entry.message;
        let (topic, why) = (message.topic.as_str(), &refusal.text);
        let kept = entry.kept();
        if message.oversize.is_some() || kept < message.payload.len() {
            let size = message
                .oversize
                .as_ref()
                .map_or(message.payload.len() as u64, |o| o.size);
            let text = format!("a payload of {size} bytes from {topic:?} was cut to {kept}: {why}");
            self.metrics.truncated.inc();
            self.board.lose(Reason::PayloadTooLarge, 1, text);
        } else if entry.keep.is_some() && omits(message) {
            let text = format!("a message from {topic:?} was stripped of its MQTT properties to fit: {why}");
            self.board.lose(Reason::PayloadTooLarge, 1, text);
        }
    }

    /// Whether what Kafka says of this record's batch can be about no other record.
    fn is_alone(&self, id: RecordId) -> bool {
        self.producer.batching().single || self.window.is_alone_underway(id)
    }

    fn refused(&mut self, id: RecordId, reason: Reason, text: String) {
        let dead_letter = self.builder.dead_letter().is_some();
        let reason = if id.slot >= DEAD_LETTER {
            Reason::DeadLetterFailed
        } else {
            reason
        };
        self.window.refused(id, reason, text, dead_letter);
    }

    fn too_large(&mut self, id: RecordId, now: Instant) {
        let Some(entry) = self.window.get(id.message) else {
            return;
        };
        let kept = entry.kept();
        // What a dead letter can do without goes before any of the payload does.
        let stripped = entry.keep.is_some() || !omits(&entry.message);
        let batching = self.producer.batching();
        let alone = batching.single || kept >= batching.bytes;
        if !alone {
            let last = self.window.last_number();
            return self.producer.take_apart_and_halve(id, last, now);
        }
        let topic = self.builder.topic(id.slot);
        let what = if stripped { "" } else { " with its MQTT properties" };
        let text = format!(
            "topic {topic:?} does not take a payload of {kept} bytes{what}; raise its max.message.bytes"
        );
        if id.slot < DEAD_LETTER {
            return self.refused(id, Reason::PayloadTooLarge, text);
        }
        match kept {
            kept if !stripped && kept <= USUAL_LIMIT => self.window.shorten(id, kept),
            0 => self.refused(id, Reason::DeadLetterFailed, text),
            kept if kept > USUAL_LIMIT => self.window.shorten(id, USUAL_LIMIT),
            kept => self.window.shorten(id, kept / 2),
        }
    }

    /// Goes on with what takes time; call it several times a second.
    pub fn tick(&mut self, now: Instant) {
        if let Some(why) = self.producer.take_fatal() {
            self.trouble = Some((
                Component::Kafka,
                Reason::RecordRefused,
                format!("the producer must begin anew: {why}"),
            ));
            self.producer.failed(None, now);
        }
        let window = &self.window;
        match self
            .producer
            .tick(now, || window.outstanding(), window.first_number())
        {
            Turn::Nothing | Turn::Opened => {}
            Turn::Rewind(failed) => {
                self.metrics.producer_restarts.inc();
                self.window.rewind(&failed, |slot| self.builder.topic(slot));
            }
            Turn::CannotOpen(why) => {
                let text = format!("no producer can be made: {why}; check kafka.* in the configuration");
                self.trouble = Some((Component::Kafka, Reason::CredentialsUnreadable, text));
            }
        }
        if now >= self.retry_head {
            self.retry_head = now + RETRY_HEAD;
            self.window.retry_head();
        }
        self.show(now);
    }

    /// Writes what is known to the board.
    fn show(&mut self, now: Instant) {
        let age = self
            .window
            .head()
            .map(|head| now.saturating_duration_since(head.received));
        let head = self.head_of_line(age);
        self.blocked_since = head.as_ref().map(|h| h.since);
        let blocked = head
            .as_ref()
            .map(|h| (h.reason, format!("{} (MQTT topic {:?})", h.message, h.mqtt_topic)));
        let trouble = |c| {
            self.trouble
                .clone()
                .filter(|t| t.0 == c)
                .map(|(_, reason, text)| (reason, text))
        };
        self.board.set(
            Component::Kafka,
            self.view.problem().or_else(|| trouble(Component::Kafka)),
        );
        let topic = blocked
            .or_else(|| trouble(Component::Topic))
            .or_else(|| self.view.topic_problem());
        self.board.set(Component::Topic, topic);

        let age = age.map(|age| age.as_secs_f64());
        let (messages, bytes) = (self.window.len(), self.window.bytes());
        let m = &self.metrics;
        m.in_flight_messages
            .set(i64::try_from(messages).unwrap_or(i64::MAX));
        m.in_flight_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        m.oldest_seconds.set(age.unwrap_or_default());
        m.kafka_connected
            .set(i64::from(self.view.connected_since.is_some()));
        m.paused.set(i64::from(self.window.full()));
        let (view, paused) = (&self.view, self.window.full());
        let (records, dead_lettered) = (self.records, self.dead_lettered);
        self.board.update(|p| {
            p.observed_at = Timestamp::now();
            if records > p.counters.records {
                p.kafka.last_acknowledged_at = Some(p.observed_at);
            }
            p.counters.records = records;
            p.counters.dead_lettered = dead_lettered;
            p.head_of_line = head;
            p.in_flight = InFlight {
                messages: messages as u64,
                bytes: bytes as u64,
                oldest_age_seconds: age,
            };
            p.kafka.connected_since = view.connected_since;
            p.kafka.missing_topics.clone_from(&view.missing_topics);
            p.mqtt.paused = paused;
            p.counters.received = m.received.get();
            p.counters.acknowledged = m.acknowledged.get();
            p.counters.redelivered = m.redelivered.get();
            p.counters.truncated = m.truncated.get();
        });
    }

    /// The message that nothing passes: refused for good, or waiting for a topic that does not take it.
    fn head_of_line(&self, age: Option<Duration>) -> Option<HeadOfLine> {
        let head = self.window.head()?;
        let since = self.blocked_since.unwrap_or_else(Timestamp::now);
        let mqtt_topic = head.message.topic.as_str().to_owned();
        if let Some(refusal) = head.blocked() {
            let topic = refusal.slot.map(|slot| self.builder.topic(slot).to_owned());
            let advice = match (self.builder.dead_letter(), refusal.reason) {
                (None, _) => "; set deadLetter.topic, nothing behind this message is acknowledged",
                (Some(_), _) => "; mend the dead-letter topic, nothing behind this message is acknowledged",
            };
            let message = format!("{}{advice}", refusal.text);
            return Some(HeadOfLine {
                topic,
                mqtt_topic,
                reason: refusal.reason,
                message,
                since,
            });
        }
        let slot = head.waits_for()?;
        let topic = self.builder.topic(slot);
        if age? < HEAD_PATIENCE {
            return None;
        }
        let waits = |reason, message: &str| HeadOfLine {
            topic: Some(topic.to_owned()),
            mqtt_topic: mqtt_topic.clone(),
            reason,
            message: message.to_owned(),
            since,
        };
        if self.view.missing_topics.iter().any(|t| t == topic) {
            return Some(waits(
                Reason::TopicMissing,
                &format!("topic {topic:?} does not exist; create it"),
            ));
        }
        self.trouble
            .as_ref()
            .map(|(_, reason, message)| waits(*reason, message))
    }
}

fn component(reason: Reason) -> Component {
    match reason {
        Reason::KafkaUnreachable
        | Reason::KafkaCredentialsRefused
        | Reason::KafkaTlsFailed
        | Reason::KafkaProtocolError => Component::Kafka,
        _ => Component::Topic,
    }
}

#[cfg(test)]
mod tests;
