//! How to reach one Kafka cluster: addresses, trust and credentials, all in memory.
//!
//! The same value configures librdkafka ([`KafkaConnection::client_config`]) and our own client (`kafka::wire`), so
//! that both see one cluster. No file path is in it: whoever builds it has read the files already, and a rotated
//! credential is a new `KafkaConnection` that compares unequal to the old one.

use std::fmt;
use std::str::FromStr;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::telemetry::Redacted;

/// What a client needs to talk to one Kafka cluster. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConnection {
    /// `host:port` of some brokers, at least one; the others are learnt from their answers.
    pub bootstrap_servers: Vec<String>,
    /// TLS towards the brokers; `None` is plaintext.
    pub tls: Option<TlsMaterial>,
    /// SASL credentials; `None` is no SASL (anonymous, or a client certificate).
    pub sasl: Option<Sasl>,
    /// How the brokers' logs and quotas name us.
    pub client_id: String,
}

/// What TLS verifies and presents. Certificates are always verified, host names included.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TlsMaterial {
    /// One or more CA certificates as PEM; `None` trusts the system's roots.
    pub ca_pem: Option<String>,
    /// Our own certificate, for brokers that ask for one.
    pub client: Option<ClientCertificate>,
}

/// A client certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and its intermediates, leaf first, as PEM.
    pub certificate_pem: String,
    /// The unencrypted private key as PEM (PKCS#8, PKCS#1 or SEC1).
    pub key_pem: Redacted,
}

/// SASL credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Redacted,
}

/// The SASL mechanisms we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// RFC 4616: the password goes over the wire, so use it over TLS.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802 with SHA-512, as KIP-84 has it.
    ScramSha512,
}

impl SaslMechanism {
    /// The mechanism's name in Kafka's protocol and in librdkafka's configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl KafkaConnection {
    /// A plaintext connection without credentials.
    pub fn plaintext(bootstrap_servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into_iter().map(Into::into).collect(),
            tls: None,
            sasl: None,
            client_id: DEFAULT_CLIENT_ID.to_owned(),
        }
    }

    /// The same connection under another client ID.
    #[must_use]
    pub fn with_client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Kafka's name for the combination of TLS and SASL.
    pub const fn security_protocol(&self) -> &'static str {
        match (self.tls.is_some(), self.sasl.is_some()) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        }
    }

    /// librdkafka's configuration for this connection: addresses, security and what every client of ours shares.
    ///
    /// Callers add their role's settings (group, acks, queue bounds). Never print the result: `ClientConfig`'s own
    /// `Debug` hides the password but shows `ssl.key.pem`.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap_servers.join(","))
            .set("client.id", &self.client_id)
            .set("security.protocol", self.security_protocol())
            // Every address of a name is tried in turn: a dual-stack name with one dead family still connects.
            .set("broker.address.family", "any")
            .set("socket.keepalive.enable", "true")
            .set("socket.connection.setup.timeout.ms", "10000")
            // A mended line is used again within seconds (librdkafka's own bound is 10 s).
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "3000")
            // Idle connections are closed by brokers every ten minutes: not worth a line.
            .set("log.connection.close", "false")
            // KIP-714: no metrics of ours are pushed into a customer's brokers.
            .set("enable.metrics.push", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        if let Some(tls) = &self.tls {
            tls.apply(&mut config);
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.as_str())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.expose());
        }
        config
    }
}

/// The client ID where none is given.
pub const DEFAULT_CLIENT_ID: &str = "tributary";

impl TlsMaterial {
    fn apply(&self, config: &mut ClientConfig) {
        config
            .set("enable.ssl.certificate.verification", "true")
            .set("ssl.endpoint.identification.algorithm", "https");
        match &self.ca_pem {
            Some(pem) => config.set("ssl.ca.pem", pem),
            // librdkafka is linked statically: it must look for the system's roots, OpenSSL's built-in path is ours.
            None => config.set("ssl.ca.location", "probe"),
        };
        if let Some(client) = &self.client {
            config
                .set("ssl.certificate.pem", &client.certificate_pem)
                .set("ssl.key.pem", client.key_pem.expose());
        }
    }
}

/// `host:port` of a broker, taken apart. An IPv6 address stands in brackets when written with its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

/// Why a text is no `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{value}\" is not host:port ({why}); write for example kafka.eu.example:9094 or [2001:db8::1]:9094"
)]
pub struct AddressError {
    /// What was given.
    pub value: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for BrokerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| AddressError {
            value: text.to_owned(),
            why,
        };
        if text.contains("://") {
            return Err(error("it has a scheme"));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| error("the port is missing"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .ok_or_else(|| error("a bracket is not closed"))?,
            None if host.contains(':') => return Err(error("an IPv6 address needs brackets")),
            None => host,
        };
        if host.is_empty() {
            return Err(error("the host is missing"));
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || ",/@[]".contains(c)) {
            return Err(error("the host has a character that no host name has"));
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(error("the port is not a number from 1 to 65535")),
        }
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests;
