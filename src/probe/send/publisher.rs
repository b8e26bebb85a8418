//! One MQTT connection that publishes its share and survives the server's restarts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::SendError;
use super::account::{Account, now_ns};
use super::pacer::Pacer;
use super::plan::{Share, TopicTemplate};
use super::window::{Flight, Window, ranges_of};
use crate::mqtt::connection::{Connection, SessionOptions};
use crate::mqtt::credentials::Credentials;
use crate::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile, ServerAddress};
use crate::mqtt::error::MqttError;
use crate::mqtt::packet::{ConnAck, Incoming, Publish};
use crate::mqtt::{Sink, Source};
use crate::probe::stamp::Stamper;

/// Bytes that may wait for the network in one connection before it stops producing more.
const MAX_QUEUED_BYTES: usize = 1024 * 1024;
/// How long a publisher sleeps at most; the least is what timers resolve.
const LONGEST_NAP: Duration = Duration::from_millis(50);
const SHORTEST_NAP: Duration = Duration::from_millis(4);
/// Between attempts to connect: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// What a PUBLISH has beside topic and payload, at most.
const PACKET_OVERHEAD: usize = 16;

/// What all publishers of a run share.
#[derive(Debug)]
pub struct Common {
    /// Tried in turn.
    pub servers: Vec<ServerAddress>,
    /// Files are read again at each connect.
    pub authentication: MqttAuthenticationFile,
    /// Encryption.
    pub tls: MqttTlsFile,
    /// The session; the client ID gets the connection's number behind it.
    pub session: SessionOptions,
    /// Makes payloads.
    pub stamper: Stamper,
    /// Payload size, bytes.
    pub payload_bytes: usize,
    /// Makes topics.
    pub template: TopicTemplate,
    /// 0 or 1.
    pub qos: u8,
    /// Messages in flight in one connection; the server's Receive Maximum may lower it.
    pub window: u16,
    /// How long the first connection may take.
    pub connect_limit: Duration,
    /// How long a lost connection may stay away.
    pub give_up: Duration,
    /// How long the last acknowledgements may take.
    pub drain: Duration,
    /// Where everything is reported.
    pub account: Account,
    /// Cancelled: send nothing new, wait for what is in flight.
    pub stop: CancellationToken,
}

/// One connection's state.
#[derive(Debug)]
pub struct Publisher {
    common: Arc<Common>,
    id: u32,
    share: Share,
    /// Messages of the share that were taken up.
    position: u64,
    pacer: Pacer,
    started: Instant,
    window: Window,
    /// To be sent once more, before anything new.
    again: VecDeque<Flight>,
    /// QoS 0: queued, not known to be written.
    unwritten: Vec<Flight>,
    /// When the last message was taken up, or the run was stopped.
    ended: Option<Instant>,
    topic: String,
}

/// How a connection ended.
enum Ended {
    /// Everything is settled, or the drain limit has passed.
    Done,
    /// It broke.
    Lost(MqttError),
}

impl Publisher {
    /// A publisher of `share`, at `rate` messages per second (`None`: as fast as the window allows).
    #[must_use]
    pub fn new(common: Arc<Common>, id: u32, share: Share, rate: Option<f64>) -> Self {
        Self {
            window: Window::new(common.window),
            common,
            id,
            share,
            position: 0,
            pacer: Pacer::new(rate),
            started: Instant::now(),
            again: VecDeque::new(),
            unwritten: Vec::new(),
            ended: None,
            topic: String::new(),
        }
    }

    /// Sends the share, reconnecting as needed, until all is settled or nothing more can be.
    ///
    /// # Errors
    /// When no connection comes about, or not again. What is open by then is reported as unknown in any case.
    pub async fn run(mut self) -> Result<(), SendError> {
        let result = self.sessions().await;
        let common = Arc::clone(&self.common);
        common.account.unknown(self.unsettled());
        result
    }

    async fn sessions(&mut self) -> Result<(), SendError> {
        let mut known = false;
        while let Some((mut connection, ack)) = self.connect(known).await? {
            self.check(&connection, &ack)?;
            self.common.account.connected(self.id, known);
            known = true;
            let limit = ack.receive_maximum.unwrap_or(u16::MAX).min(self.common.window);
            let open = self.window.restart(limit);
            // What waits since an earlier break is younger than what was sent since.
            for flight in open.into_iter().rev() {
                self.again.push_front(flight);
            }
            match self.publish(&mut connection).await {
                Ended::Done => {
                    connection.close().await;
                    self.common.account.closed();
                    return Ok(());
                }
                Ended::Lost(error) => {
                    self.common.account.lost(self.id, error.to_string());
                    // QoS 0 is never repeated.
                    self.common.account.unknown(self.unwritten.drain(..));
                }
            }
        }
        Ok(())
    }

    /// Connects, trying until the limit; `None` when the run ended meanwhile and nothing is left to settle, or its time
    /// is over.
    async fn connect(&mut self, known: bool) -> Result<Option<(Connection, ConnAck)>, SendError> {
        let since = Instant::now();
        let limit = if known {
            self.common.give_up
        } else {
            self.common.connect_limit
        };
        let mut pause = FIRST_RETRY;
        for attempt in 0.. {
            if self.over() {
                return Ok(None);
            }
            let server = &self.common.servers[attempt % self.common.servers.len()];
            let error = match self.open(server).await {
                Ok(connected) => return Ok(Some(connected)),
                Err(error) => error,
            };
            let hopeless = !known && is_final(&error);
            if hopeless || since.elapsed() + pause > limit {
                return Err(SendError::Connect {
                    known,
                    after: since.elapsed(),
                    source: error,
                });
            }
            tracing::debug!(connection = self.id, %error, "not connected, trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.common.stop.cancelled(), if self.ended.is_none() => {}
            }
            pause = (pause * 2).min(LAST_RETRY);
        }
        Ok(None)
    }

    async fn open(&self, server: &ServerAddress) -> Result<(Connection, ConnAck), MqttError> {
        let credentials = Credentials::load(&self.common.authentication, &self.common.tls)?;
        let mut session = self.common.session.clone();
        session.client_id = format!("{}-{}", session.client_id, self.id);
        Connection::open(server, &session, &credentials).await
    }

    /// What the server says it cannot do.
    fn check(&mut self, connection: &Connection, ack: &ConnAck) -> Result<(), SendError> {
        let server = connection.server().to_owned();
        if ack.maximum_qos.is_some_and(|most| most < self.common.qos) {
            return Err(SendError::QosNotSupported { server });
        }
        self.common.template.write(u32::MAX, &mut self.topic);
        let packet = self.common.payload_bytes + self.topic.len() + PACKET_OVERHEAD;
        match ack.maximum_packet {
            Some(most) if packet > most as usize => Err(SendError::PacketTooLarge { server, packet, most }),
            _ => Ok(()),
        }
    }

    async fn publish(&mut self, connection: &mut Connection) -> Ended {
        loop {
            if let Err(error) = self.fill(connection) {
                return Ended::Lost(error);
            }
            if connection.queued() == 0 && !self.unwritten.is_empty() {
                self.common.account.written(self.unwritten.drain(..));
            }
            if self.over() {
                return Ended::Done;
            }
            let nap = self.pacer.wait().clamp(SHORTEST_NAP, LONGEST_NAP);
            tokio::select! {
                packet = connection.next(true) => if let Err(error) = self.take(packet, connection) {
                    return Ended::Lost(error);
                },
                () = sleep_until(Instant::now() + nap) => {}
                () = self.common.stop.cancelled(), if self.ended.is_none() => {}
            }
        }
    }

    /// Takes a packet and those which arrived with it, so that the answer to all of them is one write.
    fn take(
        &mut self,
        mut packet: Result<Incoming, MqttError>,
        connection: &mut Connection,
    ) -> Result<(), MqttError> {
        let mut more = self.common.window;
        loop {
            // Nothing is subscribed; whatever else a server sends is no business of ours.
            if let Incoming::PubAck { pkid, result } = packet?
                && let Some(flight) = self.window.acknowledge(pkid)
            {
                match result {
                    Ok(accepted) => self.common.account.acked(flight, accepted),
                    Err(reason) => self.common.account.refused(flight, reason),
                }
            }
            if more == 0 {
                return Ok(());
            }
            more -= 1;
            match connection.next(true).now_or_never() {
                Some(next) => packet = next,
                None => return Ok(()),
            }
        }
    }

    /// Queues what rate, window and queue allow: first what must be repeated.
    fn fill(&mut self, connection: &mut Connection) -> Result<(), MqttError> {
        let mut repeated = Vec::new();
        while self.may_queue(connection)
            && let Some(flight) = self.again.pop_front()
        {
            if let Err(error) = self.queue(connection, flight) {
                self.again.push_front(flight);
                return Err(error);
            }
            repeated.push(flight);
        }
        if !repeated.is_empty() {
            self.common.account.resent(ranges_of(repeated));
        }
        self.pacer.advance(self.started.elapsed());
        if self.ended.is_some() || !self.pacer.wait().is_zero() {
            return Ok(());
        }
        let before = self.position;
        while self.may_queue(connection) {
            let Some((device, sequence)) = self.share.nth(self.position) else {
                self.ended = Some(Instant::now());
                break;
            };
            if !self.pacer.take() {
                break;
            }
            let flight = Flight {
                device,
                sequence,
                sent_ns: now_ns(),
            };
            self.queue(connection, flight)?;
            self.position += 1;
        }
        self.common.account.sent(self.position - before);
        Ok(())
    }

    fn may_queue(&self, connection: &Connection) -> bool {
        connection.queued() < MAX_QUEUED_BYTES && self.window.has_room()
    }

    fn queue(&mut self, connection: &mut Connection, flight: Flight) -> Result<(), MqttError> {
        let common = &self.common;
        common.template.write(flight.device, &mut self.topic);
        let payload = common
            .stamper
            .payload(flight.device, flight.sequence, flight.sent_ns);
        let publish = Publish {
            topic: &self.topic,
            payload: Bytes::from(payload),
            qos: common.qos,
        };
        let packet = connection.publish(publish)?;
        if common.qos == 0 {
            self.unwritten.push(flight);
        } else {
            self.window.push(packet, flight);
        }
        Ok(())
    }

    fn unsettled(&mut self) -> Vec<Flight> {
        let mut all: Vec<Flight> = self.window.unacknowledged().collect();
        all.extend(self.again.drain(..));
        all.append(&mut self.unwritten);
        all
    }

    /// Whether nothing new is to be sent and all is settled, or has had its time.
    fn over(&mut self) -> bool {
        if self.ended.is_none() && self.common.stop.is_cancelled() {
            self.ended = Some(Instant::now());
        }
        let settled = self.window.is_empty() && self.again.is_empty() && self.unwritten.is_empty();
        self.ended
            .is_some_and(|ended| settled || ended.elapsed() > self.common.drain)
    }
}

/// Whether trying again at the start cannot help.
fn is_final(error: &MqttError) -> bool {
    matches!(
        error,
        MqttError::Unreadable { .. }
            | MqttError::Content { .. }
            | MqttError::Tls { .. }
            | MqttError::CredentialsRefused { .. }
            | MqttError::Protocol { .. }
    )
}
