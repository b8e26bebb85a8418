//! How the session gets its connections.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::config::{
    BridgeConfig, DEFAULT_KEEP_ALIVE_SECONDS, DEFAULT_RECEIVE_MAXIMUM, DEFAULT_SESSION_EXPIRY_SECONDS,
};
use super::files::{Fingerprint, fingerprint};
use super::progress::Reason;
use crate::mqtt::Source;
use crate::mqtt::connection::{Connection, SessionOptions};
use crate::mqtt::credentials::Credentials;
use crate::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile, ServerAddress, ServerAddressError};
use crate::mqtt::error::MqttError;
use crate::mqtt::packet::ConnAck;

/// Connects to the MQTT server.
pub trait Dial: Send {
    /// What a connection is.
    type Source: Source;

    /// Connects, with credentials read anew, to the next address in turn.
    ///
    /// # Errors
    /// When there is no connection.
    fn dial(&mut self) -> impl Future<Output = Result<(Self::Source, ConnAck), MqttError>> + Send;

    /// Whether the credentials are other ones by now than those of the connection that stands.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    fn check(&self) -> impl Future<Output = Result<bool, MqttError>> + Send;

    /// The address in use or tried last.
    fn server(&self) -> String;
}

/// Connects as the configuration says.
#[derive(Clone, Debug)]
pub struct Dialer {
    servers: Vec<ServerAddress>,
    turn: usize,
    options: SessionOptions,
    authentication: MqttAuthenticationFile,
    tls: MqttTlsFile,
    files: Vec<PathBuf>,
    /// The files' contents at the last connect.
    used: Option<Fingerprint>,
}

impl Dialer {
    /// For a validated configuration.
    ///
    /// # Errors
    /// When it was not validated.
    pub fn new(config: &BridgeConfig) -> Result<Self, ServerAddressError> {
        let mqtt = &config.mqtt;
        Ok(Self {
            servers: mqtt.servers.iter().map(|s| s.parse()).collect::<Result<_, _>>()?,
            turn: 0,
            options: SessionOptions {
                protocol: mqtt.protocol,
                client_id: mqtt.client_id.clone(),
                keep_alive: mqtt.keep_alive_seconds.unwrap_or(DEFAULT_KEEP_ALIVE_SECONDS),
                session_expiry: mqtt
                    .session_expiry_seconds
                    .unwrap_or(DEFAULT_SESSION_EXPIRY_SECONDS),
                receive_maximum: mqtt.receive_maximum.unwrap_or(DEFAULT_RECEIVE_MAXIMUM),
                max_payload: config.limits.max_payload_bytes as usize,
                clean: false,
            },
            authentication: mqtt.authentication.clone(),
            tls: mqtt.tls.clone(),
            files: mqtt.files(),
            used: None,
        })
    }

    /// The same, to end the session: what the server holds is thrown away, and nothing outlives the connection.
    fn ending(mut self) -> Self {
        self.options.clean = true;
        self.options.session_expiry = 0;
        self
    }
}

impl Dial for Dialer {
    type Source = Connection;

    async fn dial(&mut self) -> Result<(Connection, ConnAck), MqttError> {
        // Before they are read: what changes in between counts as another content.
        self.used = Some(fingerprint(&self.files).await);
        let connected = async {
            let credentials = Credentials::load(&self.authentication, &self.tls)?;
            Connection::open(&self.servers[self.turn], &self.options, &credentials).await
        }
        .await;
        if connected.is_err() {
            self.turn = (self.turn + 1) % self.servers.len();
        }
        connected
    }

    async fn check(&self) -> Result<bool, MqttError> {
        let now = fingerprint(&self.files).await;
        Credentials::load(&self.authentication, &self.tls)?;
        Ok(self.used != Some(now))
    }

    fn server(&self) -> String {
        self.servers[self.turn].to_string()
    }
}

/// Ends the session at the server, with everything that it still holds for us: for a pipeline that is deleted, after
/// its bridge has stopped. Best effort: tried until `limit` has passed.
///
/// # Errors
/// With what the last attempt said.
pub async fn end_session(config: &BridgeConfig, limit: Duration) -> Result<(), EndSessionError> {
    let mut dialer = Dialer::new(config)?.ending();
    let deadline = Instant::now() + limit;
    let mut last = None;
    loop {
        match timeout_at(deadline, dialer.dial()).await {
            Ok(Ok((connection, _))) => {
                // The server has ended it by now; a close that it does not answer changes nothing.
                let _ = timeout_at(deadline, connection.close()).await;
                return Ok(());
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => break,
        }
        if timeout_at(deadline, sleep(Duration::from_millis(500)))
            .await
            .is_err()
        {
            break;
        }
    }
    Err(EndSessionError::Failed { limit, last })
}

/// Why a session could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum EndSessionError {
    /// The configuration was not validated.
    #[error("mqtt.servers {0}")]
    Config(#[from] ServerAddressError),
    /// No server could be told.
    #[error("the session could not be ended within {} s{}; the server keeps it until it expires", limit.as_secs(),
        last.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    Failed {
        /// How long it was tried.
        limit: Duration,
        /// What the last attempt said.
        last: Option<MqttError>,
    },
}

/// The stable word for an error.
pub fn reason(error: &MqttError) -> Reason {
    match error {
        MqttError::Unreadable { .. } | MqttError::Content { .. } => Reason::CredentialsUnreadable,
        MqttError::NameUnknown { .. } => Reason::MqttNameUnknown,
        MqttError::Unreachable { .. }
        | MqttError::Timeout { .. }
        | MqttError::Broken { .. }
        | MqttError::Closed { .. } => Reason::MqttUnreachable,
        MqttError::Tls { .. } => Reason::MqttTlsFailed,
        MqttError::CredentialsRefused { .. } => Reason::MqttCredentialsRefused,
        MqttError::Refused { .. } => Reason::MqttRefused,
        MqttError::TakenOver { .. } => Reason::MqttSessionTakenOver,
        MqttError::Protocol { .. } => Reason::MqttProtocolError,
    }
}
