mod refused;

use super::*;
use crate::bridge::config::BridgeConfig;
use crate::bridge::config::tests::example;
use crate::bridge::record::Record;
use crate::bridge::routes::RouteTable;
use crate::bridge::sink::{Batching, Sink};
use crate::mqtt::packet::Topic;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use rdkafka::message::Headers;
use rdkafka::types::RDKafkaErrorCode as Code;
use std::collections::VecDeque;
use std::sync::Mutex;

/// What reached "Kafka", and where the reports for it go.
#[derive(Debug, Default)]
struct Kafka {
    sent: VecDeque<(RecordId, String, Vec<u8>, Vec<String>)>,
    reports: Option<Arc<Reports>>,
    opened: Vec<Batching>,
    capacity: Option<usize>,
    refuse: Option<Code>,
}

#[derive(Clone, Debug, Default)]
struct Opener(Arc<Mutex<Kafka>>);

impl OpenSink for Opener {
    type Sink = Opener;
    fn open(&mut self, batching: Batching, reports: Arc<Reports>) -> Result<Self, String> {
        let mut kafka = self.0.lock().unwrap();
        kafka.opened.push(batching);
        kafka.reports = Some(reports);
        kafka.sent.clear();
        Ok(self.clone())
    }
}

impl Sink for Opener {
    fn send(&mut self, id: RecordId, record: Record<'_>) -> Result<(), SendError> {
        let mut kafka = self.0.lock().unwrap();
        if kafka
            .capacity
            .is_some_and(|capacity| kafka.sent.len() >= capacity)
        {
            return Err(SendError::Full);
        }
        if let Some(code) = kafka.refuse {
            return Err(SendError::Failed(code));
        }
        let headers = record.headers.iter().map(|h| {
            format!(
                "{}={}",
                h.key,
                String::from_utf8_lossy(h.value.unwrap_or_default())
            )
        });
        let headers = headers.collect();
        kafka
            .sent
            .push_back((id, record.topic.to_owned(), record.payload.to_vec(), headers));
        Ok(())
    }
}

struct Bench {
    engine: Engine<Opener>,
    kafka: Opener,
    board: Arc<Board>,
    now: Instant,
    acks: Vec<u16>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut BridgeConfig)) -> Self {
        let mut config = example();
        change(&mut config);
        let table = RouteTable::compile(&config).unwrap();
        let metrics = Metrics::new(&mut Registry::default(), &table);
        let board = Arc::new(Board::new(&config, String::new()));
        let (kafka, now) = (Opener::default(), Instant::now());
        let builder = RecordBuilder::new(table, config.dead_letter.map(|d| d.topic));
        let mut engine = Engine::new(
            builder,
            config.limits,
            kafka.clone(),
            Arc::clone(&board),
            metrics,
            now,
        );
        engine.tick(now);
        Self {
            engine,
            kafka,
            board,
            now,
            acks: Vec::new(),
        }
    }

    fn accept(&mut self, pkid: u16, payload: &str) {
        self.accept_message(message(pkid, payload));
    }

    fn accept_message(&mut self, message: Message) {
        self.engine.accept(message, self.now);
        self.turn();
    }

    fn turn(&mut self) {
        let acks = &mut self.acks;
        self.engine.turn(self.now, |receipt| acks.push(receipt.pkid));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.engine.tick(self.now);
        self.turn();
    }

    /// Reports the oldest record that is with the producer.
    fn report(&mut self, outcome: Result<(), Code>) -> (String, Vec<u8>, Vec<String>) {
        let (id, topic, payload, headers) = {
            let mut kafka = self.kafka.0.lock().unwrap();
            let (id, topic, payload, headers) = kafka.sent.pop_front().expect("a record with the producer");
            kafka.reports.as_ref().unwrap().push((id, outcome));
            (id, topic, payload, headers)
        };
        let _ = id;
        self.turn();
        (topic, payload, headers)
    }

    /// Refuses the batch that is with the producer with these codes, and lets the next one be sent record by record.
    fn refuse_batch(&mut self, codes: &[Code]) {
        for code in codes {
            self.report(Err(*code));
        }
        for _ in 0..2 {
            self.pass(Duration::ZERO);
        }
        assert!(self.kafka.0.lock().unwrap().opened.last().unwrap().single);
    }

    fn with_producer(&self) -> usize {
        self.kafka.0.lock().unwrap().sent.len()
    }

    fn problem(&mut self, component: Component) -> Option<(Reason, String)> {
        self.engine.tick(self.now);
        self.board
            .snapshot()
            .problem(component)
            .map(|p| (p.reason, p.message.clone()))
    }
}

fn message(pkid: u16, payload: &str) -> Message {
    Message {
        topic: Topic::from("factory/l1/m7/telemetry"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: u8::from(pkid > 0),
        retain: false,
        dup: false,
        pkid,
        properties: None,
        oversize: None,
    }
}

#[test]
fn a_message_is_acknowledged_when_kafka_has_it_and_not_before() {
    let mut bench = Bench::new(|_| {});
    bench.accept(1, "{}");
    bench.accept(2, "{}");
    assert_eq!((bench.with_producer(), bench.acks.len()), (2, 0));
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1]);
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1, 2]);
    bench.pass(Duration::ZERO);
    let counters = bench.board.snapshot().counters;
    assert_eq!(
        (counters.received, counters.acknowledged, counters.records),
        (2, 2, 2)
    );
    assert!(bench.engine.is_idle());
}

#[test]
fn a_full_queue_pauses_and_drops_nothing() {
    let mut bench = Bench::new(|c| c.limits.max_in_flight_messages = 3);
    bench.kafka.0.lock().unwrap().capacity = Some(1);
    for pkid in 1..=3 {
        assert!(bench.engine.wants_more());
        bench.accept(pkid, "{}");
    }
    assert!(!bench.engine.wants_more());
    assert_eq!(bench.with_producer(), 1);
    for pkid in 1..=3 {
        bench.report(Ok(()));
        assert_eq!(bench.acks.last(), Some(&pkid));
        assert!(bench.engine.wants_more());
    }
}

#[test]
fn what_is_not_json_goes_to_the_dead_letters_with_its_reason() {
    let mut bench = Bench::new(|_| {});
    bench.accept(1, "not json");
    let (topic, payload, headers) = bench.report(Ok(()));
    assert_eq!(
        (topic.as_str(), &payload[..]),
        ("telemetry-dead", &b"not json"[..])
    );
    assert!(
        headers.contains(&"tributary.reason=InvalidPayload".to_owned()),
        "{headers:?}"
    );
    assert_eq!(bench.acks, [1]);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.board.snapshot().counters.dead_lettered, 1);
    assert!(
        bench.board.snapshot().losses.is_empty(),
        "a whole dead letter is no loss"
    );
}

#[test]
fn a_record_that_fails_for_a_passing_cause_is_sent_again_in_order_by_a_new_producer() {
    let mut bench = Bench::new(|_| {});
    for pkid in 1..=3 {
        bench.accept(pkid, &pkid.to_string());
    }
    bench.report(Ok(()));
    bench.report(Err(Code::UnknownTopicOrPartition));
    assert_eq!(bench.problem(Component::Topic).unwrap().0, Reason::TopicMissing);
    bench.accept(4, "4");
    assert_eq!(
        bench.with_producer(),
        1,
        "nothing more is sent before the producer is replaced"
    );
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1], "message 3 is in Kafka, but message 2 is not");
    bench.pass(Duration::ZERO);
    bench.pass(Duration::from_secs(5));
    let payloads: Vec<_> = (0..3).map(|_| bench.report(Ok(())).1).collect();
    assert_eq!(payloads, [b"2", b"3", b"4"]);
    assert_eq!(bench.acks, [1, 2, 3, 4]);
    assert_eq!(bench.problem(Component::Topic), None);
}

#[test]
fn a_record_that_cannot_even_be_queued_is_sent_again_too() {
    let mut bench = Bench::new(|_| {});
    bench.kafka.0.lock().unwrap().refuse = Some(Code::UnknownTopic);
    bench.accept(1, "1");
    bench.kafka.0.lock().unwrap().refuse = None;
    bench.pass(Duration::ZERO);
    bench.pass(Duration::from_secs(5));
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1]);
}

#[test]
fn a_batch_that_is_too_large_is_taken_apart_before_anything_is_called_too_large() {
    let mut bench = Bench::new(|_| {});
    for pkid in 1..=2 {
        bench.accept(pkid, "{}");
    }
    bench.report(Err(Code::MessageSizeTooLarge));
    bench.report(Err(Code::MessageSizeTooLarge));
    bench.pass(Duration::ZERO);
    bench.pass(Duration::ZERO);
    assert!(bench.kafka.0.lock().unwrap().opened.last().unwrap().single);
    bench.report(Ok(()));
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1, 2]);
    bench.pass(Duration::ZERO);
    bench.pass(Duration::ZERO);
    bench.pass(Duration::ZERO);
    assert_eq!(
        bench.kafka.0.lock().unwrap().opened.last(),
        Some(&Batching {
            single: false,
            bytes: 500_000
        })
    );
    assert_eq!(bench.board.snapshot().counters.dead_lettered, 0);
    assert!(bench.board.snapshot().losses.is_empty());
}

#[test]
fn a_redelivered_message_is_produced_once_if_it_is_still_in_flight() {
    let mut bench = Bench::new(|_| {});
    bench.accept(1, "{}");
    bench.engine.disconnected();
    bench.engine.connected(true);
    bench.accept_message(Message {
        dup: true,
        ..message(1, "{}")
    });
    assert_eq!(bench.with_producer(), 1);
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1]);
    bench.engine.disconnected();
    bench.engine.connected(true);
    // Our acknowledgement did not arrive: this time there is nothing to recognise it by.
    bench.accept_message(Message {
        dup: true,
        ..message(1, "{}")
    });
    bench.report(Ok(()));
    bench.pass(Duration::ZERO);
    assert_eq!(bench.board.snapshot().counters.redelivered, 1);
}

#[test]
fn a_missing_topic_is_named_at_the_head_of_the_line() {
    let mut bench = Bench::new(|_| {});
    let view = KafkaView {
        missing_topics: vec!["telemetry".into()],
        ..KafkaView::default()
    };
    bench.engine.kafka_seen(view, bench.now);
    assert_eq!(bench.problem(Component::Topic).unwrap().0, Reason::TopicMissing);
    bench.accept(1, "{}");
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        bench.board.snapshot().head_of_line,
        None,
        "a message that has just come is no news"
    );
    bench.pass(Duration::from_secs(5));
    let head = bench.board.snapshot().head_of_line.unwrap();
    assert_eq!(
        (head.reason, head.topic.as_deref()),
        (Reason::TopicMissing, Some("telemetry"))
    );
}

#[test]
fn a_topic_that_comes_is_written_to_at_once_however_long_it_was_missing() {
    let mut bench = Bench::new(|_| {});
    let missing = KafkaView {
        missing_topics: vec!["telemetry".into()],
        ..KafkaView::default()
    };
    bench.engine.kafka_seen(missing, bench.now);
    bench.accept(1, "{}");
    for _ in 0..8 {
        bench.report(Err(Code::UnknownTopic));
        bench.pass(Duration::ZERO);
        bench.pass(Duration::from_secs(60));
    }
    bench.report(Err(Code::UnknownTopic));
    bench.pass(Duration::ZERO);
    bench.pass(Duration::from_secs(5));
    assert_eq!(
        bench.with_producer(),
        0,
        "the next producer is half a minute away"
    );
    bench.engine.kafka_seen(KafkaView::default(), bench.now);
    bench.pass(Duration::ZERO);
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1]);
}

#[test]
fn a_producer_that_may_believe_former_leaders_is_replaced_although_it_reports_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.accept(1, "{}");
    let opened = |bench: &Bench| bench.kafka.0.lock().unwrap().opened.len();
    let before = opened(&bench);
    let over = KafkaView {
        eras_over: 1,
        ..KafkaView::default()
    };
    bench.engine.kafka_seen(over.clone(), bench.now);
    bench.pass(Duration::ZERO);
    assert_eq!(opened(&bench), before, "reports may still come");
    bench.pass(Duration::from_secs(2));
    bench.pass(Duration::ZERO);
    assert_eq!(opened(&bench), before + 1);
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1]);
    bench.engine.kafka_seen(over, bench.now);
    bench.pass(Duration::from_secs(5));
    bench.pass(Duration::from_secs(5));
    assert_eq!(opened(&bench), before + 1, "once");
}

#[test]
fn a_producer_that_cannot_go_on_is_replaced_and_nothing_is_lost() {
    let mut bench = Bench::new(|_| {});
    bench.accept(1, "{}");
    bench.engine.replace_sink(bench.kafka.clone(), bench.now);
    bench.pass(Duration::from_secs(3));
    bench.pass(Duration::from_secs(3));
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1]);
}

#[test]
fn qos_0_is_settled_without_an_acknowledgement() {
    let mut bench = Bench::new(|_| {});
    bench.accept(0, "{}");
    bench.report(Ok(()));
    assert!(bench.acks.is_empty());
    assert!(bench.engine.is_idle());
}
