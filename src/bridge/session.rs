//! The session: connects, subscribes, drives the engine, reconnects, and ends in order. It never gives up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::config::MqttConfig;
use super::dial::{Dial, reason};
use super::engine::Engine;
use super::metrics::Metrics;
use super::progress::{Component, Reason};
use super::sink::OpenSink;
use super::subscribing::{DROPPED_TOPIC, Subscribing};
use super::watch::{KafkaView, Way};
use crate::mqtt::Source;
use crate::mqtt::error::MqttError;
use crate::mqtt::filter;
use crate::mqtt::packet::{ConnAck, Incoming, Message};

/// How long an orderly end waits for what is underway to Kafka. Closing the connection takes 5 s more at most, and a pod
/// has 15 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);
/// A connection that stood for so long was a good one: the next failure is retried soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// A connection that the server closes before it is this old was hardly worth making.
const YOUNG_CONNECTION: Duration = Duration::from_secs(60);
/// So many of those in a row, and another client must be doing the same. A 3.1.1 server cannot say so, and mosquitto does
/// not say so in version 5 either.
const SUSPICIOUS: u32 = 3;
/// How often what takes time is looked at.
const TICK: Duration = Duration::from_millis(100);

/// What the session listens to.
#[derive(Debug)]
pub struct Signals {
    /// The end.
    pub shutdown: CancellationToken,
    /// The MQTT credential files have changed.
    pub mqtt_files: watch::Receiver<u64>,
    /// How to reach Kafka, each time it changes.
    pub way: watch::Receiver<Way>,
    /// What the watch sees of Kafka.
    pub view: watch::Receiver<KafkaView>,
}

/// See the module.
pub struct Session<D: Dial, O: OpenSink> {
    /// How connections are made.
    pub dialer: D,
    /// What is done with messages.
    pub engine: Engine<O>,
    /// How a way to Kafka becomes producers.
    pub sinks: Box<dyn Fn(Way) -> O + Send + Sync>,
    /// Subscriptions and client ID.
    pub config: MqttConfig,
    /// The progress document.
    pub board: Arc<Board>,
    /// The metrics.
    pub metrics: Metrics,
    /// What the session listens to.
    pub signals: Signals,
    /// Whether this process has had a session.
    pub had_session: bool,
    /// Beats while the session runs; for the liveness check.
    pub heart: watch::Sender<Instant>,
    /// How often in a row the server has closed a young connection without a reason.
    pub closed_young: u32,
    /// Why credentials that have changed are not used yet, while the connection stands.
    pub unreadable: Option<(Reason, String)>,
}

/// Why a connection is over.
enum End {
    Shutdown,
    Credentials,
    Lost(MqttError),
}

/// What interrupts a wait.
enum Interrupt {
    Shutdown,
    Credentials,
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

impl<D: Dial, O: OpenSink> Session<D, O> {
    /// Runs until the shutdown signal, and then until what is underway has arrived or [`DRAIN_LIMIT`] has passed.
    pub async fn run(mut self) {
        let mut waits = backoff();
        loop {
            let dialled = {
                let mut attempt = std::pin::pin!(self.dialer.dial());
                Self::drive(
                    &mut self.engine,
                    &mut self.signals,
                    &self.sinks,
                    &self.heart,
                    &mut attempt,
                )
                .await
            };
            let server = self.dialer.server();
            self.board.update(|p| p.mqtt.server = Some(server));
            let began = now();
            let (error, stood) = match dialled {
                Err(Interrupt::Shutdown) => return,
                Err(Interrupt::Credentials) => continue,
                Ok(Err(error)) => (error, None),
                Ok(Ok((source, ack))) => match self.serve(source, &ack).await {
                    End::Shutdown => return,
                    End::Credentials => continue,
                    End::Lost(error) => (error, Some(now().duration_since(began))),
                },
            };
            self.lost(&error, stood);
            if stood.is_some_and(|stood| stood >= GOOD_CONNECTION) {
                waits = backoff();
            }
            let wait = waits.next().unwrap_or(Duration::from_secs(30));
            let mut pause = std::pin::pin!(sleep(wait));
            match Self::drive(
                &mut self.engine,
                &mut self.signals,
                &self.sinks,
                &self.heart,
                &mut pause,
            )
            .await
            {
                Err(Interrupt::Shutdown) => return,
                Err(Interrupt::Credentials) => waits = backoff(),
                Ok(()) => {}
            }
        }
    }

    /// Keeps the engine going while there is no connection and `wait` is awaited.
    async fn drive<T>(
        engine: &mut Engine<O>,
        signals: &mut Signals,
        sinks: &(dyn Fn(Way) -> O + Send + Sync),
        heart: &watch::Sender<Instant>,
        wait: &mut (impl Future<Output = T> + Unpin),
    ) -> Result<T, Interrupt> {
        let mut tick = ticks();
        loop {
            let reports = engine.reports();
            let Signals {
                shutdown,
                mqtt_files,
                way,
                view,
            } = signals;
            tokio::select! {
                done = &mut *wait => return Ok(done),
                () = shutdown.cancelled() => return Err(Interrupt::Shutdown),
                Ok(()) = mqtt_files.changed() => return Err(Interrupt::Credentials),
                () = reports.wait() => {}
                _ = tick.tick() => look_around(engine, way, view, sinks, heart),
            }
            // Nothing can be acknowledged without a connection.
            engine.turn(now(), |_| {});
        }
    }

    /// Uses a connection until it ends.
    async fn serve(&mut self, mut source: D::Source, ack: &ConnAck) -> End {
        let end = match self.begin(&mut source, ack) {
            Ok(subscribing) => self.serve_subscribed(&mut source, subscribing).await,
            Err(error) => End::Lost(error),
        };
        self.engine.disconnected();
        self.metrics.mqtt_connected.set(0);
        self.board.update(|p| {
            p.mqtt.connected_since = None;
            for subscription in &mut p.mqtt.subscriptions {
                subscription.granted_qos = None;
            }
        });
        if !matches!(end, End::Lost(_)) {
            source.close().await;
        }
        end
    }

    fn begin(&mut self, source: &mut D::Source, ack: &ConnAck) -> Result<Subscribing, MqttError> {
        let (present, expiry) = (ack.session_present, ack.session_expiry);
        self.unreadable = None;
        self.engine.connected(present);
        self.metrics.connects.inc();
        self.metrics.mqtt_connected.set(1);
        let connects = self.metrics.connects.get();
        self.board.update(|p| {
            p.mqtt.connected_since = Some(Timestamp::now());
            p.mqtt.session_present = Some(present);
            p.mqtt.session_expiry_seconds = expiry;
            p.mqtt.first_session_present.get_or_insert(present);
            p.counters.connects = connects;
        });
        if self.had_session && !present {
            self.metrics.sessions_lost.inc();
            self.board.update(|p| p.counters.sessions_lost += 1);
            let text = format!(
                "the server has no session for client ID {:?} any more: what it held for us is gone; \
                 let it keep sessions longer, and on disk",
                self.config.client_id
            );
            self.board.lose(Reason::SessionLost, 1, text);
        }
        self.had_session = true;
        tracing::info!(
            server = self.dialer.server(),
            session_present = present,
            "connected to MQTT"
        );
        Subscribing::begin(&self.config, source, now())
    }

    async fn serve_subscribed(&mut self, source: &mut D::Source, mut subscribing: Subscribing) -> End {
        let mut tick = ticks();
        let mut leaving: Option<(Instant, End)> = None;
        loop {
            let reading = leaving.is_none() && self.engine.wants_more();
            let reports = self.engine.reports();
            let Signals {
                shutdown,
                mqtt_files,
                way,
                view,
            } = &mut self.signals;
            tokio::select! {
                packet = source.next(reading) => match packet {
                    Ok(packet) => self.packet(packet, &mut subscribing),
                    Err(error) => return leaving.map_or(End::Lost(error), |(_, end)| end),
                },
                () = reports.wait() => {}
                _ = tick.tick() => {
                    look_around(&mut self.engine, way, view, &self.sinks, &self.heart);
                    if let Err(error) = subscribing.tick(source, reading, now()) {
                        return End::Lost(error);
                    }
                }
                () = shutdown.cancelled(), if !matches!(leaving, Some((_, End::Shutdown))) => {
                    leaving = Some((now() + DRAIN_LIMIT, End::Shutdown));
                }
                Ok(()) = mqtt_files.changed(), if leaving.is_none() => match self.dialer.check().await {
                    // Nothing to wait for: what is underway is recognised when the server sends it again.
                    Ok(true) => leaving = Some((now(), End::Credentials)),
                    // The connection was made with them already.
                    Ok(false) => self.stay(None),
                    Err(error) => self.stay(Some(&error)),
                },
            }
            let now = now();
            self.engine.turn(now, |receipt| source.acknowledge(receipt));
            if let Some((until, end)) = leaving.take() {
                if self.engine.is_idle() || now >= until {
                    return end;
                }
                leaving = Some((until, end));
            }
        }
    }

    /// A connection that works is not ended for credentials that cannot be used, nor for those that it was made with.
    fn stay(&mut self, unusable: Option<&MqttError>) {
        if unusable.is_none() && self.unreadable.is_none() {
            return;
        }
        let text = |error| format!("{error}; the connection that stands is kept");
        self.unreadable = unusable.map(|error| (reason(error), text(error)));
        self.board.set(Component::Mqtt, self.unreadable.clone());
    }

    fn packet(&mut self, packet: Incoming, subscribing: &mut Subscribing) {
        match packet {
            Incoming::Publish(message) => self.message(message),
            Incoming::SubAck { pkid, granted } => {
                subscribing.granted(pkid, &granted, now());
                self.board
                    .update(|p| p.mqtt.subscriptions = subscribing.progress());
                if subscribing.answered() {
                    self.board.set(Component::Mqtt, self.unreadable.clone());
                    self.board.set(Component::Subscriptions, subscribing.problem());
                }
            }
            Incoming::UnsubAck { pkid, done } => {
                subscribing.removed(pkid, &done);
                self.board
                    .update(|p| p.mqtt.unsubscribed = subscribing.gone().to_vec());
            }
            other => tracing::debug!(?other, "a packet that nobody asked for"),
        }
    }

    fn message(&mut self, message: Message) {
        let topic = message.topic.as_str();
        if topic == DROPPED_TOPIC {
            self.dropped(&message.payload);
            if !self
                .config
                .subscriptions
                .iter()
                .any(|s| filter::matches(&s.filter, topic))
            {
                return;
            }
        }
        self.engine.accept(message, now());
    }

    /// The server says how many messages it has dropped.
    fn dropped(&mut self, payload: &[u8]) {
        let Some(count) = std::str::from_utf8(payload)
            .ok()
            .and_then(|t| t.trim().parse().ok())
        else {
            return;
        };
        let growth = self.board.broker_dropped(count);
        if growth > 0 {
            self.metrics.broker_dropped.inc_by(growth);
            let text = format!(
                "the MQTT server has dropped {growth} messages ({count} since its start), for us or another client; \
                 raise its queues (mosquitto: max_queued_messages, max_queued_bytes)"
            );
            self.board.lose(Reason::BrokerDropped, growth, text);
        }
    }

    /// A connection that had `stood` is over, or none could be made.
    fn lost(&mut self, error: &MqttError, stood: Option<Duration>) {
        let closed = matches!(error, MqttError::Closed { .. } | MqttError::Broken { .. });
        let young = closed && stood.is_some_and(|stood| stood < YOUNG_CONNECTION);
        self.closed_young = if young { self.closed_young + 1 } else { 0 };
        let client_id = &self.config.client_id;
        let (reason, text) = if self.closed_young >= SUSPICIOUS {
            let n = self.closed_young;
            let text = format!(
                "mqtt.clientId {client_id:?}: most likely another client with this ID takes the session over; give each \
                 pipeline its own ({error}, {n} times in a row soon after it had let us in)"
            );
            (Reason::MqttSessionTakenOver, text)
        } else {
            (reason(error), error.to_string())
        };
        self.board.set(Component::Mqtt, Some((reason, text)));
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What is done several times a second, with a connection or without.
fn look_around<O: OpenSink>(
    engine: &mut Engine<O>,
    way: &mut watch::Receiver<Way>,
    view: &mut watch::Receiver<KafkaView>,
    sinks: &(dyn Fn(Way) -> O + Send + Sync),
    heart: &watch::Sender<Instant>,
) {
    let now = now();
    heart.send_replace(now);
    if way.has_changed().unwrap_or(false) {
        engine.replace_sink(sinks(way.borrow_and_update().clone()), now);
    }
    if view.has_changed().unwrap_or(false) {
        engine.kafka_seen(view.borrow_and_update().clone(), now);
    }
    engine.tick(now);
}

/// The time, as tokio has it: tests stop and move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
