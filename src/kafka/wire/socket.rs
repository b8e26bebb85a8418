//! One connection to one broker: TCP, TLS, the first exchange, SASL; then calls, one at a time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::deadline::Deadline;
use super::hello::{self, Hello, Versions};
use super::race::first_ok;
use super::{MAX_FRAME_BYTES, frame, sasl, tls};
use crate::kafka::connection::{BrokerAddress, Sasl};
use crate::kafka::error::{KafkaError, Seen};

/// An idle connection older than this is not used again: brokers and firewalls may have forgotten it.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// How long more bytes are awaited from a peer that is not Kafka, to describe it.
const DESCRIBE: Duration = Duration::from_millis(100);

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// What every connection of a pool shares.
pub(super) struct Settings {
    pub(super) tls: Option<TlsConnector>,
    pub(super) sasl: Option<Sasl>,
    pub(super) client_id: StrBytes,
}

/// A connection that is ready for calls. After an error it must be dropped.
pub(super) struct Socket {
    stream: Box<dyn Transport>,
    address: BrokerAddress,
    client_id: StrBytes,
    versions: Versions,
    correlation: i32,
    idle_since: Instant,
    /// When the broker ends the SASL session (KIP-368), less a margin.
    expires: Option<Instant>,
}

/// Why a call on a connection failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The peer closed the connection before the first byte of an answer: it may never have seen the request.
    Closed(String),
    /// Everything else.
    Failed(KafkaError),
}

impl Socket {
    /// Connects. `known` says that this address has spoken Kafka before, so that silence is load and not a wrong port.
    pub(super) async fn open(
        address: &BrokerAddress,
        settings: &Settings,
        known: bool,
        deadline: Deadline,
    ) -> Result<Self, KafkaError> {
        let tcp = connect(address, deadline).await?;
        let stream: Box<dyn Transport> = match &settings.tls {
            None => Box::new(tcp),
            Some(connector) => secure(address, connector, tcp, deadline).await?,
        };
        let mut socket = Self {
            stream,
            address: address.clone(),
            client_id: settings.client_id.clone(),
            versions: Versions::default(),
            correlation: 0,
            idle_since: Instant::now(),
            expires: None,
        };
        socket.versions = socket.greet(known, deadline).await?;
        if let Some(credentials) = &settings.sasl {
            socket.expires = sasl::authenticate(&mut socket, credentials, deadline).await?;
        }
        Ok(socket)
    }

    /// The version to use for a call.
    pub(super) fn choose<R: Request>(&self, lowest: i16, highest: i16) -> Result<i16, KafkaError> {
        self.versions
            .choose::<R>(lowest, highest)
            .ok_or_else(|| KafkaError::Unsupported {
                address: self.address.to_string(),
                api: hello::api_name::<R>(),
                needed: lowest.max(R::VERSIONS.min),
            })
    }

    /// One call. Not to be cancelled and then used again.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Deadline,
    ) -> Result<R::Response, CallError> {
        self.correlation = self.correlation.wrapping_add(1);
        let correlation = self.correlation;
        let protocol = |why| KafkaError::Protocol {
            address: self.address.to_string(),
            why,
        };
        let request = frame::encode(request, version, correlation, &self.client_id)
            .map_err(|why| CallError::Failed(protocol(format!("the request cannot be encoded: {why}"))))?;
        let doing = || format!("the {} call", hello::api_name::<R>());
        let answer = match deadline.bound(exchange(&mut self.stream, &request)).await {
            None => return Err(CallError::Failed(timeout(&self.address, doing(), deadline))),
            Some(Err(error)) => return Err(self.failed(error)),
            Some(Ok(answer)) => answer,
        };
        self.idle_since = Instant::now();
        frame::decode::<R>(answer, version, correlation)
            .map_err(|why| CallError::Failed(protocol(format!("{}: {why}", hello::api_name::<R>()))))
    }

    /// Whether an idle connection can serve another call: young enough, not closed, nothing unexpected in it.
    pub(super) fn is_usable(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.idle_since) > MAX_IDLE || self.expires.is_some_and(|at| now >= at) {
            return false;
        }
        // Pending means open and quiet; a byte, an end or an error all mean that it is of no more use.
        self.stream.read(&mut [0_u8; 1]).now_or_never().is_none()
    }

    pub(super) fn address(&self) -> &BrokerAddress {
        &self.address
    }

    fn failed(&self, error: ExchangeError) -> CallError {
        match error {
            ExchangeError::BeforeAnswer(error) => match tls::explain(&self.address, &error) {
                Some(error) => CallError::Failed(error),
                None => CallError::Closed(closed(&error)),
            },
            ExchangeError::WithinAnswer(error) => {
                CallError::Failed(unreachable(&self.address, closed(&error)))
            }
            ExchangeError::Length(length) => CallError::Failed(KafkaError::Protocol {
                address: self.address.to_string(),
                why: format!("an answer of {length} bytes; {MAX_FRAME_BYTES} are accepted"),
            }),
        }
    }

    async fn greet(&mut self, known: bool, deadline: Deadline) -> Result<Versions, KafkaError> {
        let mut version = hello::first_version();
        loop {
            self.correlation += 1;
            match self.ask_versions(version, known, deadline).await? {
                Hello::Kafka(versions) => return Ok(versions),
                Hello::AskOldest => version = 0,
                Hello::Code(code) => {
                    let what = format!("{}: ApiVersions", self.address);
                    let unknown = || KafkaError::Protocol {
                        address: self.address.to_string(),
                        why: what.clone(),
                    };
                    return Err(KafkaError::from_code(what.clone(), code, None).unwrap_or_else(unknown));
                }
            }
        }
    }

    async fn ask_versions(
        &mut self,
        version: i16,
        known: bool,
        deadline: Deadline,
    ) -> Result<Hello, KafkaError> {
        let request = hello::request(version, self.correlation, &self.client_id).map_err(|why| {
            KafkaError::Protocol {
                address: self.address.to_string(),
                why,
            }
        })?;
        let mut prefix = [0_u8; 4];
        let first = async {
            self.stream.write_all(&request).await?;
            self.stream.flush().await?;
            self.stream.read_exact(&mut prefix).await
        };
        match deadline.bound(first).await {
            None if known => return Err(timeout(&self.address, "the ApiVersions call".into(), deadline)),
            None => return Err(self.not_kafka(Seen::Silence(deadline.total()))),
            Some(Err(error)) => {
                return Err(match tls::explain(&self.address, &error) {
                    Some(error) => error,
                    None if known => unreachable(&self.address, closed(&error)),
                    None => self.not_kafka(Seen::Closed),
                });
            }
            Some(Ok(_)) => {}
        }
        let Some(length) = hello::plausible_length(prefix) else {
            return Err(self.describe(prefix.to_vec(), deadline).await);
        };
        let Some(Ok(body)) = deadline.bound(frame::read_body(&mut self.stream, length)).await else {
            return Err(self.not_kafka(hello::classify(&prefix)));
        };
        match hello::parse(body.clone(), version, self.correlation) {
            Some(answer) => Ok(answer),
            None => Err(self.not_kafka(hello::classify(&[&prefix, body.as_ref()].concat()))),
        }
    }

    /// Reads a little more from a peer that is not Kafka, to say what it is.
    async fn describe(&mut self, mut seen: Vec<u8>, deadline: Deadline) -> KafkaError {
        let mut more = (&mut self.stream).take(64);
        let wait = DESCRIBE.min(deadline.remaining());
        // The outcome does not matter: whatever came within the time is in `seen`.
        let _ = tokio::time::timeout(wait, more.read_to_end(&mut seen)).await;
        self.not_kafka(hello::classify(&seen))
    }

    fn not_kafka(&self, seen: Seen) -> KafkaError {
        KafkaError::NotKafka {
            address: self.address.to_string(),
            seen,
        }
    }
}

enum ExchangeError {
    BeforeAnswer(io::Error),
    WithinAnswer(io::Error),
    Length(i32),
}

async fn exchange(stream: &mut Box<dyn Transport>, request: &BytesMut) -> Result<Bytes, ExchangeError> {
    let mut prefix = [0_u8; 4];
    let first = async {
        stream.write_all(request).await?;
        stream.flush().await?;
        stream.read_exact(&mut prefix).await
    };
    first.await.map_err(ExchangeError::BeforeAnswer)?;
    let announced = i32::from_be_bytes(prefix);
    let length = usize::try_from(announced)
        .ok()
        .filter(|length| (4..=MAX_FRAME_BYTES).contains(length));
    let length = length.ok_or(ExchangeError::Length(announced))?;
    frame::read_body(stream, length)
        .await
        .map_err(ExchangeError::WithinAnswer)
}

async fn connect(address: &BrokerAddress, deadline: Deadline) -> Result<TcpStream, KafkaError> {
    let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
    let addresses: Vec<SocketAddr> = match deadline.bound(lookup).await {
        None => return Err(timeout(address, "the name look-up".into(), deadline)),
        Some(Err(error)) => {
            return Err(unreachable(
                address,
                format!("the name cannot be resolved: {error}"),
            ));
        }
        Some(Ok(addresses)) => addresses.collect(),
    };
    let attempts = addresses
        .into_iter()
        .map(|address| async move { TcpStream::connect(address).await });
    match deadline.bound(first_ok(attempts)).await {
        None => {
            let why = format!(
                "no answer to the connection request within {:.1} s",
                deadline.total().as_secs_f32()
            );
            Err(unreachable(address, why))
        }
        Some(Err(errors)) => {
            let why = errors
                .first()
                .map_or("the name has no address".to_owned(), closed);
            Err(unreachable(address, why))
        }
        Some(Ok(stream)) => {
            // Small requests must not wait for Nagle's algorithm; without it they are only slower.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
    }
}

async fn secure(
    address: &BrokerAddress,
    connector: &TlsConnector,
    tcp: TcpStream,
    deadline: Deadline,
) -> Result<Box<dyn Transport>, KafkaError> {
    let name = tls::server_name(address)?;
    let failed = |why: String| KafkaError::Tls {
        address: address.to_string(),
        why,
        remedy: "check that this is the TLS listener's port; a plaintext listener needs tls.mode: Disabled",
    };
    match deadline.bound(connector.connect(name, tcp)).await {
        Some(Ok(stream)) => Ok(Box::new(stream)),
        Some(Err(error)) => Err(match tls::explain(address, &error) {
            Some(error) => error,
            None => failed(format!("the peer ended the handshake: {}", closed(&error))),
        }),
        None => Err(failed(format!(
            "no answer to the handshake within {:.1} s",
            deadline.total().as_secs_f32()
        ))),
    }
}

pub(super) fn timeout(address: &BrokerAddress, doing: String, deadline: Deadline) -> KafkaError {
    KafkaError::Timeout {
        address: address.to_string(),
        doing,
        after: deadline.total(),
    }
}

pub(super) fn unreachable(address: &BrokerAddress, why: impl Into<String>) -> KafkaError {
    KafkaError::Unreachable {
        address: address.to_string(),
        why: why.into(),
        advertised_by: None,
    }
}

/// A closed connection in words; other errors as the system says them.
fn closed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => "the connection was closed by the peer".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}
