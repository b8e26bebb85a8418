//! An MQTT server as the data plane's YAML file has it: addresses in the file, secrets in files beside it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The protocol's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// MQTT 3.1.1 (OASIS, 2014).
    V311,
    /// MQTT 5.0 (OASIS, 2019).
    V5,
}

/// How the client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum MqttAuthenticationFile {
    /// Anonymous.
    None {},
    /// User name and password in CONNECT.
    #[serde(rename_all = "camelCase")]
    Password {
        /// The user.
        username: String,
        /// File of the password; one trailing line end is not part of it.
        password_file: PathBuf,
    },
    /// The client certificate of the TLS connection.
    #[serde(rename_all = "camelCase")]
    Mtls {
        /// PEM file of our certificate, leaf first.
        certificate_file: PathBuf,
        /// PEM file of our unencrypted private key.
        key_file: PathBuf,
    },
}

/// TLS towards the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", deny_unknown_fields)]
pub enum MqttTlsFile {
    /// Plain TCP, `mqtt://`.
    Disabled {},
    /// TLS, `mqtts://`; the server's certificate and host name are verified.
    #[serde(rename_all = "camelCase")]
    Verify {
        /// PEM file of the CAs to trust; the system's roots without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<PathBuf>,
    },
}

/// One of the addresses of an MQTT server: `mqtt://host[:1883]` or `mqtts://host[:8883]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// Whether the scheme asks for TLS.
    pub tls: bool,
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

/// Why a text is no server address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no MQTT address ({why})")]
pub struct ServerAddressError {
    /// What is wrong.
    pub why: &'static str,
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| ServerAddressError { why };
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            Some(_) => return Err(error("the scheme is neither mqtt nor mqtts")),
            None => return Err(error("the scheme is missing")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(error("it has credentials in it"));
        }
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, behind) = bracketed
                .split_once(']')
                .ok_or_else(|| error("a bracket is not closed"))?;
            let port = match behind {
                "" => None,
                behind => Some(
                    behind
                        .strip_prefix(':')
                        .ok_or_else(|| error("something follows the bracket"))?,
                ),
            };
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| error("the brackets hold no IPv6 address"))?;
            (host, port)
        } else {
            match rest.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(error("an IPv6 address needs brackets")),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        if host.is_empty() {
            return Err(error("the host is missing"));
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || ",/?#[]".contains(c)) {
            return Err(error("the host has a character that no host name has"));
        }
        let port = match port {
            None => Self::default_port(tls),
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err(error("the port is not a number from 1 to 65535")),
            },
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl ServerAddress {
    const fn default_port(tls: bool) -> u16 {
        if tls { 8883 } else { 1883 }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_schemes_port() {
        for (text, shown) in [
            ("mqtt://broker", "mqtt://broker:1883"),
            ("mqtts://broker.factory.svc", "mqtts://broker.factory.svc:8883"),
            ("mqtt://10.0.0.1:1884/", "mqtt://10.0.0.1:1884"),
            ("mqtts://[2001:db8::1]", "mqtts://[2001:db8::1]:8883"),
            ("mqtt://[::1]:1883", "mqtt://[::1]:1883"),
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_cause() {
        for (text, why) in [
            ("broker:1883", "the scheme is missing"),
            ("tcp://broker", "the scheme is neither mqtt nor mqtts"),
            ("mqtt://", "the host is missing"),
            ("mqtt://broker:0", "the port is not a number from 1 to 65535"),
            ("mqtt://broker:", "the port is not a number from 1 to 65535"),
            ("mqtt://2001:db8::1", "an IPv6 address needs brackets"),
            ("mqtt://[::1", "a bracket is not closed"),
            ("mqtt://[broker]", "the brackets hold no IPv6 address"),
            ("mqtt://user:secret@broker", "it has credentials in it"),
            (
                "mqtt://broker/path",
                "the host has a character that no host name has",
            ),
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap_err().why, why, "{text}");
        }
    }
}
