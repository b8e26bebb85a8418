use super::*;
use crate::bridge::config::LimitsConfig;
use crate::bridge::config::tests::example;
use crate::bridge::progress::BridgeProgress;
use crate::bridge::record::{Record, RecordBuilder};
use crate::bridge::routes::RouteTable;
use crate::bridge::sink::{Batching, Reports, SendError, Sink};
use crate::bridge::window::RecordId;
use crate::mqtt::packet::Topic;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use std::sync::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A Kafka that has everything at once, unless it is told to wait.
#[derive(Clone, Debug, Default)]
struct Kafka {
    waits: Arc<Mutex<bool>>,
    reports: Arc<Mutex<Option<Arc<Reports>>>>,
}

impl OpenSink for Kafka {
    type Sink = Kafka;
    fn open(&mut self, _: Batching, reports: Arc<Reports>) -> Result<Kafka, String> {
        *self.reports.lock().unwrap() = Some(reports);
        Ok(self.clone())
    }
}

impl Sink for Kafka {
    fn send(&mut self, id: RecordId, _: Record<'_>) -> Result<(), SendError> {
        if !*self.waits.lock().unwrap() {
            self.reports.lock().unwrap().as_ref().unwrap().push((id, Ok(())));
        }
        Ok(())
    }
}

/// What the session has sent to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    Subscribe(u16, Vec<String>),
    Unsubscribe(u16, Vec<String>),
    Ack(u16),
    Close,
}

/// The client's end of a connection to a server that the test plays.
struct FakeSource {
    incoming: mpsc::UnboundedReceiver<Incoming>,
    sent: mpsc::UnboundedSender<Sent>,
    pkid: u16,
}

impl Source for FakeSource {
    async fn next(&mut self, read: bool) -> Result<Incoming, MqttError> {
        if !read {
            return std::future::pending().await;
        }
        let closed = || MqttError::Closed {
            server: "mqtt://fake:1883".into(),
            reason: "bye".into(),
        };
        self.incoming.recv().await.ok_or_else(closed)
    }

    fn acknowledge(&mut self, pkid: u16) {
        let _ = self.sent.send(Sent::Ack(pkid));
    }

    fn subscribe(&mut self, filters: &[(&str, u8)]) -> Result<u16, MqttError> {
        self.pkid += 1;
        let filters = filters.iter().map(|(filter, _)| (*filter).to_owned()).collect();
        let _ = self.sent.send(Sent::Subscribe(self.pkid, filters));
        Ok(self.pkid)
    }

    fn unsubscribe(&mut self, filters: &[&str]) -> Result<u16, MqttError> {
        self.pkid += 1;
        let filters = filters.iter().map(|f| (*f).to_owned()).collect();
        let _ = self.sent.send(Sent::Unsubscribe(self.pkid, filters));
        Ok(self.pkid)
    }

    async fn close(self) {
        let _ = self.sent.send(Sent::Close);
    }
}

/// Gives out the connections that the test has prepared, and none beyond.
struct FakeDial {
    prepared: mpsc::UnboundedReceiver<Result<(FakeSource, bool), MqttError>>,
    dialled: mpsc::UnboundedSender<Instant>,
}

impl Dial for FakeDial {
    type Source = FakeSource;

    async fn dial(&mut self) -> Result<(FakeSource, ConnAck), MqttError> {
        let _ = self.dialled.send(Instant::now());
        match self.prepared.recv().await {
            None => std::future::pending().await,
            Some(Err(error)) => Err(error),
            Some(Ok((source, session_present))) => {
                let ack = ConnAck {
                    session_present,
                    result: Ok(()),
                    keep_alive: None,
                    session_expiry: None,
                    maximum_qos: None,
                    maximum_packet: None,
                    receive_maximum: None,
                };
                Ok((source, ack))
            }
        }
    }

    fn server(&self) -> String {
        "mqtt://fake:1883".into()
    }
}

/// The server's end of a connection.
struct Server {
    to_client: mpsc::UnboundedSender<Incoming>,
    from_client: mpsc::UnboundedReceiver<Sent>,
}

impl Server {
    async fn expect(&mut self) -> Sent {
        self.from_client.recv().await.expect("the client says something")
    }

    fn send(&self, packet: Incoming) {
        self.to_client.send(packet).expect("the client listens");
    }

    /// Answers the subscriptions with this code, and takes the request for the server's own figures.
    async fn grant(&mut self, code: Result<u8, String>) {
        let Sent::Subscribe(pkid, filters) = self.expect().await else {
            panic!()
        };
        assert_eq!(filters, ["factory/+/+/telemetry"]);
        self.send(Incoming::SubAck {
            pkid,
            granted: vec![code],
        });
        let Sent::Subscribe(pkid, filters) = self.expect().await else {
            panic!()
        };
        assert_eq!(filters, [DROPPED_TOPIC]);
        self.send(Incoming::SubAck {
            pkid,
            granted: vec![Err("not for you".into())],
        });
    }

    fn publish(&self, pkid: u16, topic: &'static str, payload: &'static str) {
        self.send(Incoming::Publish(Message {
            topic: Topic::from(topic),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: u8::from(pkid > 0),
            retain: false,
            dup: false,
            pkid,
            properties: None,
            oversize: None,
        }));
    }
}

struct Bench {
    board: Arc<Board>,
    kafka: Kafka,
    prepare: mpsc::UnboundedSender<Result<(FakeSource, bool), MqttError>>,
    dialled: mpsc::UnboundedReceiver<Instant>,
    shutdown: CancellationToken,
    files: watch::Sender<u64>,
    _way: watch::Sender<Way>,
    _view: watch::Sender<KafkaView>,
    session: JoinHandle<()>,
}

const TELEMETRY: &str = "factory/l1/m1/telemetry";

impl Bench {
    fn start(stale: &[&str]) -> Self {
        let mut config = example();
        config.mqtt.unsubscribe = stale.iter().map(|s| (*s).to_owned()).collect();
        let table = RouteTable::compile(&config).unwrap();
        let metrics = Metrics::new(&mut Registry::default(), &table);
        let board = Arc::new(Board::new(&config, String::new()));
        let kafka = Kafka::default();
        let (prepare, prepared) = mpsc::unbounded_channel();
        let (dial_seen, dialled) = mpsc::unbounded_channel();
        let (files, mqtt_files) = watch::channel(0);
        let (way_sender, way) = watch::channel(Err("unused".to_owned()));
        let (view_sender, view) = watch::channel(KafkaView::default());
        let shutdown = CancellationToken::new();
        let builder = RecordBuilder::new(table, config.dead_letter.map(|d| d.topic));
        let engine = Engine::new(
            builder,
            LimitsConfig::default(),
            kafka.clone(),
            Arc::clone(&board),
            metrics.clone(),
            Instant::now(),
        );
        let sinks = kafka.clone();
        let session = Session {
            dialer: FakeDial {
                prepared,
                dialled: dial_seen,
            },
            engine,
            sinks: Box::new(move |_| sinks.clone()),
            config: config.mqtt,
            board: Arc::clone(&board),
            metrics,
            signals: Signals {
                shutdown: shutdown.clone(),
                mqtt_files,
                way,
                view,
            },
            had_session: false,
            closed_young: 0,
            heart: watch::channel(Instant::now()).0,
        };
        let session = tokio::spawn(session.run());
        Self {
            board,
            kafka,
            prepare,
            dialled,
            shutdown,
            files,
            _way: way_sender,
            _view: view_sender,
            session,
        }
    }

    /// The next dial succeeds.
    fn connect(&self, session_present: bool) -> Server {
        let (to_client, incoming) = mpsc::unbounded_channel();
        let (sent, from_client) = mpsc::unbounded_channel();
        let source = FakeSource {
            incoming,
            sent,
            pkid: 0,
        };
        assert!(
            self.prepare.send(Ok((source, session_present))).is_ok(),
            "the session runs"
        );
        Server {
            to_client,
            from_client,
        }
    }

    fn fail(&self, error: MqttError) {
        assert!(self.prepare.send(Err(error)).is_ok(), "the session runs");
    }

    /// Waits until the progress fulfils a condition; the clock moves by itself.
    async fn wait(&self, condition: impl Fn(&BridgeProgress) -> bool) -> BridgeProgress {
        loop {
            let progress = self.board.snapshot();
            if condition(&progress) {
                return progress;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_subscribes_unsubscribes_carries_and_acknowledges() {
    let bench = Bench::start(&["old/#"]);
    let mut server = bench.connect(false);
    assert_eq!(server.expect().await, Sent::Unsubscribe(1, vec!["old/#".into()]));
    server.send(Incoming::UnsubAck {
        pkid: 1,
        done: vec![Ok(())],
    });
    server.grant(Ok(1)).await;
    server.publish(5, TELEMETRY, "{}");
    server.publish(6, TELEMETRY, "{}");
    assert_eq!(
        [server.expect().await, server.expect().await],
        [Sent::Ack(5), Sent::Ack(6)]
    );
    let progress = bench
        .wait(|p| p.subscribed() && p.counters.acknowledged == 2)
        .await;
    assert_eq!(progress.mqtt.unsubscribed, ["old/#"]);
    assert_eq!(progress.mqtt.first_session_present, Some(false));
    assert_eq!(progress.problems, []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_reported_and_asked_for_again() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(true);
    server.grant(Err("NotAuthorized".into())).await;
    let progress = bench
        .wait(|p| p.problem(Component::Subscriptions).is_some())
        .await;
    let problem = progress.problem(Component::Subscriptions).unwrap();
    assert_eq!(problem.reason, Reason::SubscriptionRefused);
    assert!(problem.message.contains("factory/+/+/telemetry") && problem.message.contains("NotAuthorized"));
    assert!(!progress.subscribed());
    assert_eq!(
        progress.mqtt.subscriptions[0].refused.as_deref(),
        Some("NotAuthorized")
    );
    let Sent::Subscribe(pkid, filters) = server.expect().await else {
        panic!()
    };
    assert_eq!(filters, ["factory/+/+/telemetry"]);
    server.send(Incoming::SubAck {
        pkid,
        granted: vec![Ok(1)],
    });
    let progress = bench.wait(BridgeProgress::subscribed).await;
    assert_eq!(progress.problem(Component::Subscriptions), None);
}

#[tokio::test(start_paused = true)]
async fn a_lower_qos_than_asked_for_is_not_ready() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(true);
    server.grant(Ok(0)).await;
    let progress = bench
        .wait(|p| p.problem(Component::Subscriptions).is_some())
        .await;
    assert_eq!(
        progress.problem(Component::Subscriptions).unwrap().reason,
        Reason::SubscriptionQosLowered
    );
    assert!(!progress.subscribed());
    assert_eq!(progress.mqtt.subscriptions[0].granted_qos, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_a_subscription_is_left() {
    let mut bench = Bench::start(&[]);
    let _silent = bench.connect(true);
    let progress = bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    assert!(
        progress
            .problem(Component::Mqtt)
            .unwrap()
            .message
            .contains("subscribing")
    );
    bench.dialled.recv().await.unwrap();
    bench.dialled.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_less_and_less_often_and_a_changed_file_at_once() {
    let mut bench = Bench::start(&[]);
    let refused = || MqttError::CredentialsRefused {
        server: "s".into(),
        reason: "no".into(),
    };
    let mut times = Vec::new();
    for _ in 0..10 {
        bench.fail(refused());
        bench.dialled.recv().await.unwrap();
        times.push(tokio::time::Instant::now());
    }
    let gaps: Vec<Duration> = times.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps[0] <= Duration::from_secs(2), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(61)), "{gaps:?}");
    assert!(*gaps.last().unwrap() >= Duration::from_secs(30), "{gaps:?}");
    let progress = bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    assert_eq!(
        progress.problem(Component::Mqtt).unwrap().reason,
        Reason::MqttCredentialsRefused
    );
    bench.wait(|_| bench.dialled.is_empty()).await;
    let before = tokio::time::Instant::now();
    bench.files.send_modify(|n| *n += 1);
    bench.dialled.recv().await.unwrap();
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnect_what_is_in_flight_is_not_produced_twice() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    *bench.kafka.waits.lock().unwrap() = true;
    server.publish(5, TELEMETRY, "{}");
    bench.wait(|p| p.in_flight.messages == 1).await;
    bench.files.send_modify(|n| *n += 1);
    assert_eq!(server.expect().await, Sent::Close);
    let mut server = bench.connect(true);
    server.grant(Ok(1)).await;
    server.publish(5, TELEMETRY, "{}");
    bench.wait(|p| p.counters.received == 2).await;
    let reports = bench.kafka.reports.lock().unwrap().clone().unwrap();
    reports.push((RecordId { message: 0, slot: 0 }, Ok(())));
    assert_eq!(server.expect().await, Sent::Ack(5));
    let progress = bench.wait(|p| p.in_flight.messages == 0).await;
    assert_eq!(
        (progress.counters.records, progress.counters.sessions_lost),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_after_a_reconnect_is_a_possible_loss() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    bench.wait(BridgeProgress::subscribed).await;
    drop(server);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    let progress = bench.wait(|p| p.counters.sessions_lost == 1).await;
    assert_eq!(progress.losses[0].reason, Reason::SessionLost);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_again_and_again_lets_another_client_with_our_name_be_suspected() {
    let bench = Bench::start(&[]);
    for _ in 0..3 {
        let mut server = bench.connect(true);
        server.grant(Ok(1)).await;
        bench.wait(BridgeProgress::subscribed).await;
        drop(server);
        bench.wait(|p| p.problem(Component::Mqtt).is_some()).await;
    }
    let progress = bench.board.snapshot();
    let problem = progress.problem(Component::Mqtt).unwrap();
    assert_eq!(problem.reason, Reason::MqttSessionTakenOver);
    assert!(
        problem.message.contains("\"factory-munich\""),
        "{}",
        problem.message
    );
}

#[tokio::test(start_paused = true)]
async fn the_servers_count_of_dropped_messages_is_read_and_goes_nowhere() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    server.publish(0, DROPPED_TOPIC, "7");
    server.publish(0, DROPPED_TOPIC, "9");
    server.publish(0, DROPPED_TOPIC, "nonsense");
    let progress = bench
        .wait(|p| p.mqtt.broker_dropped.is_some_and(|d| d.growth == 2))
        .await;
    assert_eq!(progress.losses[0].reason, Reason::BrokerDropped);
    assert_eq!(progress.counters.received, 0);
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_waits_for_kafka_acknowledges_and_says_goodbye() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    *bench.kafka.waits.lock().unwrap() = true;
    server.publish(5, TELEMETRY, "{}");
    bench.wait(|p| p.in_flight.messages == 1).await;
    bench.shutdown.cancel();
    sleep(Duration::from_secs(5)).await;
    assert!(!bench.session.is_finished());
    let reports = bench.kafka.reports.lock().unwrap().clone().unwrap();
    reports.push((RecordId { message: 0, slot: 0 }, Ok(())));
    assert_eq!(
        [server.expect().await, server.expect().await],
        [Sent::Ack(5), Sent::Close]
    );
    bench.session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_does_not_wait_for_ever() {
    let bench = Bench::start(&[]);
    let mut server = bench.connect(false);
    server.grant(Ok(1)).await;
    *bench.kafka.waits.lock().unwrap() = true;
    server.publish(5, TELEMETRY, "{}");
    bench.wait(|p| p.in_flight.messages == 1).await;
    bench.shutdown.cancel();
    assert_eq!(server.expect().await, Sent::Close, "and no acknowledgement");
    bench.session.await.unwrap();
    // Without a connection there is nothing to wait for.
    let mut bench = Bench::start(&[]);
    bench.dialled.recv().await.unwrap();
    bench.shutdown.cancel();
    bench.session.await.unwrap();
}
