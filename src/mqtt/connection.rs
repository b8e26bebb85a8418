//! A connection to an MQTT server, as a subscriber and publisher.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::io::poll_read_buf;

use super::codec::{Codec, CodecError};
use super::credentials::Credentials;
use super::endpoint::{Protocol, ServerAddress};
use super::error::MqttError;
use super::framing::Framing;
use super::packet::{ConnAck, Connect, Incoming, Publish, Receipt, Subscription};
use super::transport::{self, Stream};
use super::{Sink, Source};

/// Bound of TCP, TLS, CONNECT and CONNACK together.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Bound of the last bytes at an orderly end, until the server has closed too.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How long the server's word on why it closed is waited for; it is on this machine already, if there is one.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);

/// What a session is, apart from addresses and secrets.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Version of the protocol.
    pub protocol: Protocol,
    /// The session's name.
    pub client_id: String,
    /// Keep alive, seconds.
    pub keep_alive: u16,
    /// How long the session outlives the connection, seconds (5 only).
    pub session_expiry: u32,
    /// QoS 1 messages that may be unacknowledged (5 only).
    pub receive_maximum: u16,
    /// Payload bytes that are kept; of a larger payload only the beginning.
    pub max_payload: usize,
    /// Throw the old session away. For the end of a session only.
    pub clean: bool,
}

/// A connection. See [`Source`].
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    framing: Framing,
    out: BytesMut,
    unflushed: bool,
    /// Why nothing can be sent any more, and until when the server's own word is waited for.
    failed: Option<(io::Error, Pin<Box<Sleep>>)>,
    codec: Codec,
    server: String,
    client_id: String,
    next_pkid: u16,
    pulse: Pulse,
}

/// When to ask whether the server is there, and when to give it up.
#[derive(Debug)]
struct Pulse {
    /// Silence after which we ask; `None` if the server wants no keep alive.
    interval: Option<Duration>,
    received: Instant,
    sent: Instant,
    asked: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Pulse {
    fn new(keep_alive: u16) -> Self {
        let now = Instant::now();
        // Three quarters: the server counts from when it hears us, not from when we send.
        let interval = (keep_alive > 0).then(|| Duration::from_secs(keep_alive.into()) * 3 / 4);
        let timer = Box::pin(sleep_until(now + interval.unwrap_or(Duration::from_secs(3600))));
        Self {
            interval,
            received: now,
            sent: now,
            asked: None,
            timer,
        }
    }

    fn heard(&mut self) {
        self.received = Instant::now();
        self.asked = None;
    }

    /// Ready(true): ask now. Ready(false): the server did not answer.
    fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<bool> {
        let Some(interval) = self.interval else {
            return Poll::Pending;
        };
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if !reading {
                // An answer may stand unread: ask on, so that the server knows of us, and judge later.
                self.heard();
            }
            if self.asked.is_some_and(|asked| now >= asked + interval) {
                return Poll::Ready(false);
            }
            let quiet = if self.asked.is_some() { now } else { self.received };
            let due = quiet.min(self.sent) + interval;
            if now >= due && self.asked.is_none() {
                self.asked = Some(now);
                self.timer.as_mut().reset(now + interval);
                return Poll::Ready(true);
            }
            let next = if now >= due { now + interval } else { due };
            self.timer.as_mut().reset(next);
        }
    }
}

impl Connection {
    /// Connects and says CONNECT.
    ///
    /// # Errors
    /// When there is no connection or the server refuses us.
    pub async fn open(
        server: &ServerAddress,
        options: &SessionOptions,
        credentials: &Credentials,
    ) -> Result<(Self, ConnAck), MqttError> {
        let stalled = |_| MqttError::Timeout {
            server: server.to_string(),
            doing: "connecting",
            limit: CONNECT_LIMIT,
        };
        timeout(CONNECT_LIMIT, Self::handshake(server, options, credentials))
            .await
            .map_err(stalled)?
    }

    async fn handshake(
        server: &ServerAddress,
        options: &SessionOptions,
        credentials: &Credentials,
    ) -> Result<(Self, ConnAck), MqttError> {
        let codec = Codec(options.protocol);
        let mut connection = Self {
            stream: Stream::connect(server, credentials.tls.clone()).await?,
            framing: Framing::new(codec, options.max_payload),
            out: BytesMut::new(),
            unflushed: false,
            failed: None,
            codec,
            server: server.to_string(),
            client_id: options.client_id.clone(),
            next_pkid: 1,
            pulse: Pulse::new(0),
        };
        let connect = Connect {
            client_id: options.client_id.clone(),
            keep_alive: options.keep_alive,
            clean: options.clean,
            session_expiry: options.session_expiry,
            receive_maximum: options.receive_maximum,
            login: credentials.login.clone(),
        };
        codec
            .connect(&connect, &mut connection.out)
            .map_err(|e| connection.protocol(e))?;
        let ack = match connection.next(true).await? {
            Incoming::ConnAck(ack) => ack,
            other => return Err(connection.protocol(CodecError(format!("{other:?} before CONNACK")))),
        };
        if let Err(refusal) = ack.result {
            let (server, reason) = (connection.server, refusal.reason);
            return Err(match refusal.credentials {
                true => MqttError::CredentialsRefused { server, reason },
                false => MqttError::Refused { server, reason },
            });
        }
        connection.pulse = Pulse::new(ack.keep_alive.unwrap_or(options.keep_alive));
        Ok((connection, ack))
    }

    /// The address in use.
    pub fn server(&self) -> &str {
        &self.server
    }

    fn protocol(&self, error: CodecError) -> MqttError {
        MqttError::Protocol {
            server: self.server.clone(),
            reason: error.0,
        }
    }

    fn broken(&self, source: io::Error) -> MqttError {
        if transport::is_tls(&source) {
            return MqttError::Tls {
                server: self.server.clone(),
                reason: source.to_string(),
            };
        }
        MqttError::Broken {
            server: self.server.clone(),
            source,
        }
    }

    fn pkid(&mut self) -> u16 {
        let pkid = self.next_pkid;
        self.next_pkid = self.next_pkid.checked_add(1).unwrap_or(1);
        pkid
    }

    /// Sends what is queued.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(n);
            self.unflushed = true;
            self.pulse.sent = Instant::now();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// What the buffer holds already.
    fn buffered(&mut self) -> Option<Result<Incoming, MqttError>> {
        loop {
            return match self.framing.next() {
                Ok(Some(Incoming::PingResp)) => continue,
                Ok(Some(Incoming::PubRel { pkid })) => {
                    // Also of a message that an earlier process took: without an answer its packet ID is never free again,
                    // and counts against our Receive Maximum. A server waits for it, so these are 65,535 at most.
                    Codec::pubcomp(pkid, &mut self.out);
                    continue;
                }
                Ok(Some(Incoming::Disconnect { taken_over: true, .. })) => Some(Err(MqttError::TakenOver {
                    client_id: self.client_id.clone(),
                })),
                Ok(Some(Incoming::Disconnect { reason, .. })) => Some(Err(self.closed(reason))),
                Ok(packet) => packet.map(Ok),
                Err(error) => Some(Err(self.protocol(error))),
            };
        }
    }

    /// Nothing can be sent any more; the server may have said why before it closed. Messages that stand unread before
    /// that are passed over: nobody has acknowledged them.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, MqttError>> {
        loop {
            while let Some(packet) = self.buffered() {
                if packet.is_err() {
                    return Poll::Ready(packet);
                }
            }
            let read = poll_read_buf(Pin::new(&mut self.stream), cx, self.framing.space());
            match (read, &mut self.failed) {
                (Poll::Ready(Ok(1..)), _) => continue,
                (Poll::Pending, Some((_, until))) => ready!(until.as_mut().poll(cx)),
                _ => {}
            }
            return Poll::Ready(Err(match self.failed.take() {
                Some((source, _)) => self.broken(source),
                None => self.closed("without a reason".to_owned()),
            }));
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Result<Incoming, MqttError>> {
        if self.failed.is_some() {
            return self.poll_last_words(cx);
        }
        loop {
            if read && let Some(packet) = self.buffered() {
                return Poll::Ready(packet);
            }
            if let Poll::Ready(Err(source)) = self.poll_send(cx) {
                let until = Box::pin(sleep_until(Instant::now() + LAST_WORDS_LIMIT));
                self.failed = Some((source, until));
                return self.poll_last_words(cx);
            }
            let silent = match self.pulse.poll(cx, read) {
                Poll::Ready(true) => {
                    Codec::ping(&mut self.out);
                    continue;
                }
                Poll::Ready(false) => true,
                Poll::Pending => false,
            };
            if !read {
                return Poll::Pending;
            }
            match poll_read_buf(Pin::new(&mut self.stream), cx, self.framing.space()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed("without a reason".to_owned()))),
                Poll::Ready(Ok(_)) => self.pulse.heard(),
                Poll::Ready(Err(source)) => return Poll::Ready(Err(self.broken(source))),
                // Judged last: an answer may have stood unread while reading was paused.
                Poll::Pending if silent => return Poll::Ready(Err(self.silent())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn closed(&self, reason: String) -> MqttError {
        MqttError::Closed {
            server: self.server.clone(),
            reason,
        }
    }

    fn silent(&self) -> MqttError {
        let limit = self.pulse.interval.unwrap_or_default();
        MqttError::Timeout {
            server: self.server.clone(),
            doing: "pinging",
            limit,
        }
    }
}

impl Source for Connection {
    async fn next(&mut self, read: bool) -> Result<Incoming, MqttError> {
        poll_fn(|cx| self.poll_next(cx, read)).await
    }

    fn acknowledge(&mut self, receipt: Receipt) {
        Codec::acknowledge(receipt, &mut self.out);
    }

    fn subscribe(&mut self, filters: &[Subscription<'_>]) -> Result<u16, MqttError> {
        let pkid = self.pkid();
        self.codec
            .subscribe(pkid, filters, &mut self.out)
            .map_err(|e| self.protocol(e))?;
        Ok(pkid)
    }

    fn unsubscribe(&mut self, filters: &[&str]) -> Result<u16, MqttError> {
        let pkid = self.pkid();
        self.codec
            .unsubscribe(pkid, filters, &mut self.out)
            .map_err(|e| self.protocol(e))?;
        Ok(pkid)
    }

    async fn close(mut self) {
        Codec::disconnect(&mut self.out);
        // The session is safe whatever happens here: what the server did not get, it sends again. But a socket that is
        // closed with unread data resets the connection, and the server may then lose our last acknowledgements: so
        // what still comes is read until the server closes.
        let _ = timeout(CLOSE_LIMIT, async {
            poll_fn(|cx| self.poll_send(cx)).await?;
            self.stream.shutdown().await?;
            tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await
        })
        .await;
    }
}

impl Sink for Connection {
    fn publish(&mut self, publish: Publish<'_>) -> Result<u16, MqttError> {
        let pkid = if publish.qos == 0 { 0 } else { self.pkid() };
        self.codec
            .publish(publish, pkid, &mut self.out)
            .map_err(|e| self.protocol(e))?;
        Ok(pkid)
    }

    fn queued(&self) -> usize {
        self.out.len()
    }
}

#[cfg(test)]
mod tests;
