//! The producer's life: open, drained, replaced. Time is an argument, so that it can be tested without waiting.
//!
//! A record that Kafka does not have, for a cause that may pass, cannot simply be sent again: others of its key may be
//! behind it already. So nothing more is sent, the reports of what is with the producer are awaited (2 s at most), the
//! producer is replaced, and everything that is not settled is sent again in the order of receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::record::Record;
use super::sink::{Batching, OpenSink, Report, Reports, SendError, Sink};
use super::window::RecordId;

/// How long reports are awaited before a producer is replaced.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of a batch at first: what every topic takes by default, with room to spare.
const BATCH_BYTES: usize = 1_000_000;
/// Bytes of a batch at least; smaller ones would cost more than they save.
const MIN_BATCH_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Producer<O: OpenSink> {
    opener: O,
    sink: Option<O::Sink>,
    reports: Arc<Reports>,
    state: State,
    /// How the producer that is there was opened.
    current: Batching,
    /// How the next one will be.
    batching: Batching,
    /// While every record goes by itself: until this message has left the window.
    single_until: Option<u64>,
    failed: Vec<RecordId>,
    backoff: ExponentialBackoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing is sent; at `until` at the latest the producer is replaced, and the next opened `then` later.
    Draining {
        until: Instant,
        then: Duration,
    },
    Closed {
        until: Instant,
    },
}

/// What the caller has to do after [`Producer::tick`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Nothing,
    /// The producer is gone: rewind the window; these records are known to have failed.
    Rewind(Vec<RecordId>),
    /// A new producer is there.
    Opened,
    /// No new producer can be made; it is tried again. With the reason.
    CannotOpen(String),
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(30))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

impl<O: OpenSink> Producer<O> {
    /// A producer that opens at the first tick.
    pub fn new(opener: O, now: Instant) -> Self {
        let batching = Batching {
            single: false,
            bytes: BATCH_BYTES,
        };
        Self {
            opener,
            sink: None,
            reports: Arc::default(),
            state: State::Closed { until: now },
            current: batching,
            batching,
            single_until: None,
            failed: Vec::new(),
            backoff: backoff(),
        }
    }

    /// Where reports arrive, to wait for them. Another one after each replacement.
    pub fn reports(&self) -> Arc<Reports> {
        Arc::clone(&self.reports)
    }

    /// Takes what was reported.
    pub fn take_reports(&self, into: &mut Vec<Report>) {
        self.reports.take(into);
    }

    /// Whether the producer said that it cannot go on, and why.
    pub fn take_fatal(&self) -> Option<String> {
        self.reports.take_fatal()
    }

    /// Whether records may be sent now.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// How the records that are with the producer were put together.
    #[allow(clippy::misnamed_getters)] // there is a batching to come, too: this is the one in use
    pub fn batching(&self) -> Batching {
        self.current
    }

    /// Queues a record.
    ///
    /// # Errors
    /// When it was not queued.
    pub fn send(&mut self, id: RecordId, record: Record<'_>) -> Result<(), SendError> {
        match &mut self.sink {
            Some(sink) if self.state == State::Open => sink.send(id, record),
            _ => Err(SendError::Full),
        }
    }

    /// A record was delivered: what was wrong is over.
    pub fn succeeded(&mut self) {
        if self.state == State::Open {
            self.backoff = backoff();
        }
    }

    /// A record failed for a cause that may pass: the producer is replaced, after a while that grows from time to time.
    pub fn failed(&mut self, id: Option<RecordId>, now: Instant) {
        self.failed.extend(id);
        if self.state == State::Open {
            let then = self.backoff.next().unwrap_or(Duration::from_secs(30));
            self.state = State::Draining {
                until: now + DRAIN_LIMIT,
                then,
            };
        }
    }

    /// A record failed because its batch was too large: until `message` has left the window each goes by itself, and
    /// later batches are half as large.
    pub fn take_apart_and_halve(&mut self, id: RecordId, message: u64, now: Instant) {
        let bytes = (self.batching.bytes / 2).max(MIN_BATCH_BYTES);
        self.send_single(id, message, bytes, now);
    }

    /// A record failed with its batch, and which one of that is at fault is not known: until `message` has left the window
    /// each goes by itself.
    pub fn take_apart(&mut self, id: RecordId, message: u64, now: Instant) {
        self.send_single(id, message, self.batching.bytes, now);
    }

    /// A record that went by itself was refused: others may be, and a batch with one of them would only be taken apart
    /// again.
    pub fn stay_single(&mut self, message: u64) {
        if let Some(until) = &mut self.single_until {
            *until = message.max(*until);
        }
    }

    fn send_single(&mut self, id: RecordId, message: u64, bytes: usize, now: Instant) {
        self.failed.push(id);
        if !self.batching.single {
            tracing::info!("Kafka refused a batch: records go one by one until the backlog is through");
            self.batching = Batching { single: true, bytes };
            self.single_until = Some(message);
        }
        self.renew(now);
    }

    /// Another way to Kafka, with other credentials for example: used as soon as what is underway has arrived.
    pub fn replace(&mut self, opener: O, now: Instant) {
        self.opener = opener;
        self.state = match self.state {
            State::Open => State::Draining {
                until: now + DRAIN_LIMIT,
                then: Duration::ZERO,
            },
            State::Draining { until, .. } => State::Draining {
                until,
                then: Duration::ZERO,
            },
            State::Closed { .. } => State::Closed { until: now },
        };
    }

    /// What the producer has learnt of Kafka may be wrong: another one takes its place as soon as what is underway has
    /// arrived.
    pub fn renew(&mut self, now: Instant) {
        if self.state == State::Open {
            self.state = State::Draining {
                until: now + DRAIN_LIMIT,
                then: Duration::ZERO,
            };
        }
    }

    /// What records may have failed for is over: the next producer is not waited for any longer.
    pub fn hurry(&mut self, now: Instant) {
        self.backoff = backoff();
        match &mut self.state {
            State::Open => {}
            State::Draining { then, .. } => *then = Duration::ZERO,
            State::Closed { until } => *until = now.min(*until),
        }
    }

    /// Goes on with what takes time. `outstanding` counts the records that are with the producer, the failed ones
    /// included; `oldest` is the number of the window's first message.
    pub fn tick(&mut self, now: Instant, outstanding: impl FnOnce() -> usize, oldest: u64) -> Turn {
        match self.state {
            State::Open => {
                if self.single_until.is_some_and(|message| oldest > message) {
                    self.single_until = None;
                    self.batching.single = false;
                    self.renew(now);
                }
                Turn::Nothing
            }
            State::Draining { until, then } => {
                if now < until && outstanding() > self.failed.len() {
                    return Turn::Nothing;
                }
                self.sink = None;
                // What the old one still reports is of no interest: it will be sent again.
                self.reports = Arc::default();
                self.state = State::Closed { until: now + then };
                Turn::Rewind(std::mem::take(&mut self.failed))
            }
            State::Closed { until } if now < until => Turn::Nothing,
            State::Closed { .. } => match self.opener.open(self.batching, Arc::clone(&self.reports)) {
                Ok(sink) => {
                    self.sink = Some(sink);
                    self.current = self.batching;
                    self.state = State::Open;
                    Turn::Opened
                }
                Err(why) => {
                    let wait = self.backoff.next().unwrap_or(Duration::from_secs(30));
                    self.state = State::Closed { until: now + wait };
                    Turn::CannotOpen(why)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Opener {
        opened: Vec<Batching>,
        broken: bool,
    }

    #[derive(Debug)]
    struct NoSink;

    impl Sink for NoSink {
        fn send(&mut self, _: RecordId, _: Record<'_>) -> Result<(), SendError> {
            Ok(())
        }
    }

    impl OpenSink for Opener {
        type Sink = NoSink;
        fn open(&mut self, batching: Batching, _: Arc<Reports>) -> Result<NoSink, String> {
            self.opened.push(batching);
            if self.broken {
                Err("broken".into())
            } else {
                Ok(NoSink)
            }
        }
    }

    const ID: RecordId = RecordId { message: 3, slot: 0 };

    fn open(now: Instant) -> Producer<Opener> {
        let mut producer = Producer::new(Opener::default(), now);
        assert!(!producer.is_open());
        assert_eq!(producer.tick(now, || 0, 0), Turn::Opened);
        assert!(producer.is_open());
        producer
    }

    #[test]
    fn a_failure_waits_for_the_other_reports_then_rewinds_then_opens_after_a_while() {
        let now = Instant::now();
        let mut producer = open(now);
        producer.failed(Some(ID), now);
        assert!(!producer.is_open());
        assert_eq!(
            producer.tick(now, || 2, 0),
            Turn::Nothing,
            "one report is still to come"
        );
        assert_eq!(producer.tick(now, || 1, 0), Turn::Rewind(vec![ID]));
        assert_eq!(producer.tick(now, || 0, 0), Turn::Nothing);
        assert_eq!(
            producer.tick(now + Duration::from_secs(60), || 0, 0),
            Turn::Opened
        );
    }

    #[test]
    fn reports_that_do_not_come_are_not_awaited_for_ever() {
        let now = Instant::now();
        let mut producer = open(now);
        producer.failed(None, now);
        assert_eq!(
            producer.tick(now + DRAIN_LIMIT - Duration::from_millis(1), || 1, 0),
            Turn::Nothing
        );
        assert_eq!(producer.tick(now + DRAIN_LIMIT, || 1, 0), Turn::Rewind(vec![]));
    }

    #[test]
    fn the_reports_of_a_producer_that_was_replaced_are_not_heard() {
        let now = Instant::now();
        let mut producer = open(now);
        let old = producer.reports();
        producer.failed(Some(ID), now);
        producer.tick(now, || 1, 0);
        old.push((ID, Ok(())));
        let mut taken = Vec::new();
        producer.take_reports(&mut taken);
        assert!(taken.is_empty());
    }

    #[test]
    fn failures_in_a_row_wait_longer_up_to_a_bound_and_a_success_begins_anew() {
        let mut now = Instant::now();
        let mut producer = open(now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            producer.failed(None, now);
            producer.tick(now, || 0, 0);
            let State::Closed { until } = producer.state else {
                panic!()
            };
            waits.push(until - now);
            now = until;
            assert_eq!(producer.tick(now, || 0, 0), Turn::Opened);
        }
        assert!(waits[0] <= Duration::from_secs(1), "{waits:?}");
        assert!(
            waits[11] >= Duration::from_secs(30) && waits[11] <= Duration::from_secs(60),
            "{waits:?}"
        );
        producer.succeeded();
        producer.failed(None, now);
        producer.tick(now, || 0, 0);
        let State::Closed { until } = producer.state else {
            panic!()
        };
        assert!(until - now <= Duration::from_secs(1));
    }

    #[test]
    fn after_a_batch_that_was_too_large_each_record_goes_alone_until_the_backlog_is_through() {
        let now = Instant::now();
        let mut producer = open(now);
        producer.take_apart_and_halve(ID, 5, now);
        assert_eq!(producer.tick(now, || 1, 0), Turn::Rewind(vec![ID]));
        assert_eq!(producer.tick(now, || 0, 0), Turn::Opened);
        assert_eq!(
            producer.batching(),
            Batching {
                single: true,
                bytes: 500_000
            }
        );
        assert_eq!(producer.tick(now, || 0, 5), Turn::Nothing);
        assert!(producer.is_open());
        assert_eq!(producer.tick(now, || 0, 6), Turn::Nothing);
        assert!(!producer.is_open(), "it drains to be replaced");
        assert_eq!(producer.tick(now, || 0, 6), Turn::Rewind(vec![]));
        assert_eq!(producer.tick(now, || 0, 6), Turn::Opened);
        assert_eq!(
            producer.batching(),
            Batching {
                single: false,
                bytes: 500_000
            }
        );
        for _ in 0..10 {
            producer.batching.single = false;
            producer.take_apart_and_halve(ID, 0, now);
        }
        assert_eq!(producer.batching.bytes, MIN_BATCH_BYTES);
    }

    #[test]
    fn a_batch_that_was_refused_is_taken_apart_and_later_ones_stay_as_large() {
        let now = Instant::now();
        let mut producer = open(now);
        producer.take_apart(ID, 5, now);
        producer.tick(now, || 1, 0);
        producer.tick(now, || 0, 0);
        let single = |single| Batching {
            single,
            bytes: BATCH_BYTES,
        };
        assert_eq!(producer.batching(), single(true));
        producer.stay_single(8);
        producer.stay_single(7);
        producer.tick(now, || 0, 8);
        assert!(producer.is_open(), "refusals go on");
        for _ in 0..3 {
            producer.tick(now, || 0, 9);
        }
        assert_eq!(producer.batching(), single(false));
    }

    #[test]
    fn another_way_to_kafka_is_used_when_what_is_underway_has_arrived() {
        let now = Instant::now();
        let mut producer = open(now);
        producer.replace(Opener::default(), now);
        assert_eq!(producer.tick(now, || 1, 0), Turn::Nothing);
        assert_eq!(producer.tick(now, || 0, 0), Turn::Rewind(vec![]));
        assert_eq!(producer.tick(now, || 0, 0), Turn::Opened);
    }

    #[test]
    fn when_the_cause_is_over_the_next_producer_opens_at_once() {
        let now = Instant::now();
        for drained in [false, true] {
            let mut producer = open(now);
            for _ in 0..8 {
                producer.backoff.next();
            }
            producer.failed(Some(ID), now);
            if drained {
                assert_eq!(producer.tick(now, || 1, 0), Turn::Rewind(vec![ID]));
                assert_eq!(producer.tick(now, || 0, 0), Turn::Nothing, "it waits");
            }
            producer.hurry(now);
            if !drained {
                assert_eq!(
                    producer.tick(now, || 2, 0),
                    Turn::Nothing,
                    "reports are still to come"
                );
                assert_eq!(producer.tick(now, || 1, 0), Turn::Rewind(vec![ID]));
            }
            assert_eq!(producer.tick(now, || 0, 0), Turn::Opened);
            producer.hurry(now);
            assert!(producer.is_open(), "one that works is left alone");
            producer.failed(None, now);
            producer.tick(now, || 0, 0);
            assert_eq!(
                producer.tick(now + Duration::from_secs(1), || 0, 0),
                Turn::Opened,
                "another cause begins with a short pause"
            );
        }
    }

    #[test]
    fn what_cannot_be_opened_is_tried_again() {
        let now = Instant::now();
        let mut producer = Producer::new(
            Opener {
                broken: true,
                ..Opener::default()
            },
            now,
        );
        assert_eq!(producer.tick(now, || 0, 0), Turn::CannotOpen("broken".into()));
        assert_eq!(producer.tick(now, || 0, 0), Turn::Nothing);
        producer.opener.broken = false;
        assert_eq!(producer.tick(now + Duration::from_secs(2), || 0, 0), Turn::Opened);
    }
}
