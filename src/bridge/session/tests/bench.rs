//! What the session is tested with: a Kafka and an MQTT server that the test plays.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bridge::board::Board;
use crate::bridge::config::LimitsConfig;
use crate::bridge::config::tests::example;
use crate::bridge::dial::Dial;
use crate::bridge::engine::Engine;
use crate::bridge::metrics::Metrics;
use crate::bridge::progress::BridgeProgress;
use crate::bridge::record::{Record, RecordBuilder};
use crate::bridge::routes::RouteTable;
use crate::bridge::session::{Session, Signals};
use crate::bridge::sink::{Batching, OpenSink, Reports, SendError, Sink};
use crate::bridge::subscribing::DROPPED_TOPIC;
use crate::bridge::watch::{KafkaView, Way};
use crate::bridge::window::RecordId;
use crate::mqtt::Source;
use crate::mqtt::error::MqttError;
use crate::mqtt::packet::{ConnAck, Incoming, Message, Receipt, Subscription, Topic};

/// A Kafka that has everything at once, unless it is told to wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Kafka {
    pub(super) waits: Arc<Mutex<bool>>,
    pub(super) reports: Arc<Mutex<Option<Arc<Reports>>>>,
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
pub(super) enum Sent {
    Subscribe(u16, Vec<String>),
    Unsubscribe(u16, Vec<String>),
    Ack(u16),
    Close,
}

/// The client's end of a connection to a server that the test plays.
pub(super) struct FakeSource {
    incoming: mpsc::UnboundedReceiver<Result<Incoming, MqttError>>,
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
        self.incoming.recv().await.unwrap_or_else(|| Err(closed()))
    }

    fn acknowledge(&mut self, receipt: Receipt) {
        let _ = self.sent.send(Sent::Ack(receipt.pkid));
    }

    fn subscribe(&mut self, filters: &[Subscription<'_>]) -> Result<u16, MqttError> {
        self.pkid += 1;
        // The server's count is wanted each time, a machine's old value is not.
        assert!(
            filters
                .iter()
                .all(|s| s.stored_again == (s.filter == DROPPED_TOPIC))
        );
        let filters = filters.iter().map(|s| s.filter.to_owned()).collect();
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
    /// The file that cannot be used.
    broken: Arc<Mutex<Option<PathBuf>>>,
    /// Whether the files hold what the connection was made with.
    same: Arc<AtomicBool>,
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

    async fn check(&self) -> Result<bool, MqttError> {
        let other = !self.same.load(Ordering::Relaxed);
        self.broken.lock().unwrap().clone().map_or(Ok(other), |file| {
            Err(MqttError::Unreadable {
                file,
                source: std::io::ErrorKind::NotFound.into(),
            })
        })
    }

    fn server(&self) -> String {
        "mqtt://fake:1883".into()
    }
}

/// The server's end of a connection.
pub(super) struct Server {
    to_client: mpsc::UnboundedSender<Result<Incoming, MqttError>>,
    from_client: mpsc::UnboundedReceiver<Sent>,
}

impl Server {
    pub(super) async fn expect(&mut self) -> Sent {
        self.from_client.recv().await.expect("the client says something")
    }

    pub(super) fn send(&self, packet: Incoming) {
        self.to_client.send(Ok(packet)).expect("the client listens");
    }

    /// The connection ends with this error.
    pub(super) fn end(self, error: MqttError) {
        self.to_client.send(Err(error)).expect("the client listens");
    }

    /// Answers the subscriptions with this code, and takes the request for the server's own figures.
    pub(super) async fn grant(&mut self, code: Result<u8, String>) {
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

    pub(super) fn publish(&self, pkid: u16, topic: &'static str, payload: &'static str) {
        self.publish_dup(pkid, topic, payload, false);
    }

    pub(super) fn publish_dup(&self, pkid: u16, topic: &'static str, payload: &'static str, dup: bool) {
        self.send(Incoming::Publish(Message {
            topic: Topic::from(topic),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: u8::from(pkid > 0),
            retain: false,
            dup,
            pkid,
            properties: None,
            oversize: None,
        }));
    }
}

/// A session between them.
pub(super) struct Bench {
    pub(super) board: Arc<Board>,
    pub(super) kafka: Kafka,
    prepare: mpsc::UnboundedSender<Result<(FakeSource, bool), MqttError>>,
    pub(super) dialled: mpsc::UnboundedReceiver<Instant>,
    pub(super) shutdown: CancellationToken,
    pub(super) files: watch::Sender<u64>,
    pub(super) broken: Arc<Mutex<Option<PathBuf>>>,
    pub(super) same: Arc<AtomicBool>,
    _way: watch::Sender<Way>,
    _view: watch::Sender<KafkaView>,
    pub(super) session: JoinHandle<()>,
}

pub(super) const TELEMETRY: &str = "factory/l1/m1/telemetry";

impl Bench {
    pub(super) fn start(stale: &[&str]) -> Self {
        let mut config = example();
        config.mqtt.unsubscribe = stale.iter().map(|s| (*s).to_owned()).collect();
        let table = RouteTable::compile(&config).unwrap();
        let metrics = Metrics::new(&mut Registry::default(), &table);
        let board = Arc::new(Board::new(&config, String::new()));
        let kafka = Kafka::default();
        let (prepare, prepared) = mpsc::unbounded_channel();
        let (dial_seen, dialled) = mpsc::unbounded_channel();
        let (files, mqtt_files) = watch::channel(0);
        let broken = Arc::<Mutex<Option<PathBuf>>>::default();
        let same = Arc::<AtomicBool>::default();
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
                broken: Arc::clone(&broken),
                same: Arc::clone(&same),
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
            unreadable: None,
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
            broken,
            same,
            _way: way_sender,
            _view: view_sender,
            session,
        }
    }

    /// The next dial succeeds.
    pub(super) fn connect(&self, session_present: bool) -> Server {
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

    pub(super) fn fail(&self, error: MqttError) {
        assert!(self.prepare.send(Err(error)).is_ok(), "the session runs");
    }

    /// Waits until the progress fulfils a condition; the clock moves by itself.
    pub(super) async fn wait(&self, condition: impl Fn(&BridgeProgress) -> bool) -> BridgeProgress {
        loop {
            let progress = self.board.snapshot();
            if condition(&progress) {
                return progress;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}
