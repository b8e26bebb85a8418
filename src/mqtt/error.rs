//! What can go wrong between us and an MQTT server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no connection, or no longer. Each message names the peer or the file, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    /// A credential file that cannot be read.
    #[error("cannot read {}: {source}; check that the Secret has this key and is mounted there", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A credential file whose content cannot be used.
    #[error("{} {why}; {remedy}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with the content.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// DNS does not know the server's name.
    #[error("{server}: the name is not known ({source}); check mqtt.servers and the cluster's DNS")]
    NameUnknown {
        /// The address asked for.
        server: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No TCP connection.
    #[error(
        "{server}: no connection ({source}); check that the server runs and that no network policy is in between"
    )]
    Unreachable {
        /// The address asked for.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("{server}: no answer within {} s while {doing}; check that it is an MQTT server", limit.as_secs())]
    Timeout {
        /// The address asked for.
        server: String,
        /// What was waited for.
        doing: &'static str,
        /// How long.
        limit: Duration,
    },
    /// TLS failed.
    #[error("{server}: TLS failed ({reason}); check mqtt.tls.ca, the certificate's names and its dates")]
    Tls {
        /// The address asked for.
        server: String,
        /// What the library says.
        reason: String,
    },
    /// The server refuses user, password or certificate.
    #[error(
        "{server}: the server refuses the credentials ({reason}); check user, password or certificate in the Secret"
    )]
    CredentialsRefused {
        /// The address asked for.
        server: String,
        /// The CONNACK's code in words.
        reason: String,
    },
    /// The server refuses for another cause.
    #[error("{server}: the server refuses the connection ({reason})")]
    Refused {
        /// The address asked for.
        server: String,
        /// The CONNACK's or DISCONNECT's code in words.
        reason: String,
    },
    /// Another client has connected with our client ID.
    #[error(
        "mqtt.clientId {client_id:?}: another client with this ID has taken the session over; give each pipeline its own"
    )]
    TakenOver {
        /// Our client ID.
        client_id: String,
    },
    /// What arrives is not MQTT, or not what MQTT allows there.
    #[error("{server}: not understood as MQTT ({reason}); check the address and mqtt.protocol")]
    Protocol {
        /// The address asked for.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection broke.
    #[error("{server}: the connection broke ({source})")]
    Broken {
        /// The address in use.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server closed the connection.
    #[error("{server}: the server closed the connection ({reason})")]
    Closed {
        /// The address in use.
        server: String,
        /// The DISCONNECT's code in words, or that there was none.
        reason: String,
    },
}
