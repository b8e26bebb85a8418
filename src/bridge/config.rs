//! The bridge's YAML file: what the operator renders, and what a gateway without Kubernetes is given by hand.
//!
//! ```yaml
//! mqtt:
//!   servers: ["mqtts://mosquitto.factory.svc:8883"]
//!   protocol: V5
//!   clientId: factory-munich
//!   authentication: {type: Password, username: bridge, passwordFile: /etc/tributary/mqtt/password}
//!   tls: {mode: Verify, caFile: /etc/tributary/mqtt/ca.crt}
//!   sessionExpirySeconds: 604800
//!   subscriptions: [{filter: "factory/+/+/telemetry", qos: 1}]
//! kafka:
//!   bootstrapServers: ["munich-kafka.factory.svc:9092"]
//!   tls: {mode: Disabled}
//!   authentication: {type: None}
//! routes:
//!   - {name: telemetry, match: "factory/{line}/{machine}/telemetry", topic: telemetry, key: "{line}/{machine}", format: Json}
//! deadLetter: {topic: telemetry-dead}
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::validate::ConfigError;
use crate::kafka::endpoint::KafkaEndpointFile;
use crate::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile, Protocol};

/// Bytes of a configuration file, at most.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
/// Session expiry where the file gives none: 7 days, seconds.
pub const DEFAULT_SESSION_EXPIRY_SECONDS: u32 = 7 * 24 * 3600;
/// Receive Maximum where the file gives none: QoS 1 messages that the server may have in flight to us.
pub const DEFAULT_RECEIVE_MAXIMUM: u16 = 4096;
/// Keep alive where the file gives none, seconds.
pub const DEFAULT_KEEP_ALIVE_SECONDS: u16 = 30;
/// Messages taken from MQTT and not yet settled in Kafka, where the file gives no bound.
pub const DEFAULT_MAX_IN_FLIGHT_MESSAGES: u32 = 10_000;
/// Payload bytes of those messages, where the file gives no bound: 8 MiB, held twice (ours, and librdkafka's queue).
pub const DEFAULT_MAX_IN_FLIGHT_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes of one payload that are kept, where the file gives no bound; Kafka's own default limit is 1 MiB.
pub const DEFAULT_MAX_PAYLOAD_BYTES: u32 = 8 * 1024 * 1024;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BridgeConfig {
    /// Generation of the object that this file was rendered from; shown in the progress, else without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Where messages come from.
    pub mqtt: MqttConfig,
    /// Where they go.
    pub kafka: KafkaEndpointFile,
    /// Which message becomes which record. Every matching route produces.
    pub routes: Vec<RouteConfig>,
    /// Where a message goes that no route takes or that a route refuses. Without it such a message stops the bridge
    /// at its place: nothing behind it is acknowledged before it is dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetterConfig>,
    /// Bounds of what is in flight.
    #[serde(default, skip_serializing_if = "LimitsConfig::is_default")]
    pub limits: LimitsConfig,
    /// The port of `/metrics`, `/healthz`, `/readyz`, `/progress`.
    #[serde(default, skip_serializing_if = "TelemetryConfig::is_default")]
    pub telemetry: TelemetryConfig,
}

/// The MQTT side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://host[:port]` or `mqtts://host[:port]`, 1 to 16 addresses of one server or cluster, tried in turn.
    pub servers: Vec<String>,
    /// Version of the protocol.
    pub protocol: Protocol,
    /// The session's name at the server: 1 to 256 bytes, stable for the life of the pipeline, used by nobody else.
    pub client_id: String,
    /// How we prove who we are.
    pub authentication: MqttAuthenticationFile,
    /// Encryption; goes with the servers' scheme.
    pub tls: MqttTlsFile,
    /// How long the server keeps our session while we are away, seconds, 60 to 4294967295 (for ever). V5 only: a
    /// 3.1.1 server decides itself. 7 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expiry_seconds: Option<u32>,
    /// QoS 1 messages the server may send before the first is acknowledged, 1 to 65535 (V5: Receive Maximum). 4096 if
    /// absent. A 3.1.1 server has its own bound (mosquitto: `max_inflight_messages`, 20 by default, which is slow).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_maximum: Option<u16>,
    /// Seconds of silence after which we ask whether the server is there, 5 to 600. 30 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_seconds: Option<u16>,
    /// What is subscribed, 1 to 64 filters that do not overlap.
    pub subscriptions: Vec<SubscriptionConfig>,
    /// Filters that an earlier configuration subscribed: the session outlives the process, so they are unsubscribed
    /// at each connect. What is subscribed above is left out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsubscribe: Vec<String>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionConfig {
    /// Topic filter; no shared subscription.
    pub filter: String,
    /// 0 (at most once: may be lost between publisher and Kafka) or 1 (at least once).
    pub qos: u8,
}

/// How the payload is treated. It always goes to Kafka unchanged, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadFormat {
    /// Any bytes.
    Raw,
    /// One JSON text (RFC 8259) in UTF-8; anything else is refused by the route.
    Json,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteConfig {
    /// Unique; 1 to 63 of `a-z0-9-`. Appears in metrics.
    pub name: String,
    /// Topic filter with `{capture}` for single levels, `+`, and `#` at the end.
    #[serde(rename = "match")]
    pub match_: String,
    /// Kafka topic.
    pub topic: String,
    /// Template of the record's key: captures, `{mqtt.topic}`, `{{` and `}}`. The MQTT topic if absent, so that order
    /// is kept for each MQTT topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the payload must be.
    pub format: PayloadFormat,
    /// Headers for each record; values are templates like the key. Names that begin with `mqtt.` or `tributary.` are
    /// ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// The dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetterConfig {
    /// Kafka topic; no route's topic.
    pub topic: String,
}

/// Bounds of what is in flight between MQTT and Kafka. When one is reached, reading from MQTT pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Messages, 1 to 100000. 10000 if absent.
    pub max_in_flight_messages: u32,
    /// Payload bytes, 64 KiB to 1 GiB; one message more than the bound may be held. 8 MiB if absent.
    pub max_in_flight_bytes: u32,
    /// Bytes of one payload, 1 KiB to 256 MiB. Of a larger one only the beginning is kept, and it goes to the
    /// dead-letter topic whatever Kafka would take. 8 MiB if absent.
    pub max_payload_bytes: u32,
}

/// Where the process answers HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Address and port; port 0 lets the system choose. `0.0.0.0:9404` if absent.
    pub listen: SocketAddr,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_in_flight_messages: DEFAULT_MAX_IN_FLIGHT_MESSAGES,
            max_in_flight_bytes: DEFAULT_MAX_IN_FLIGHT_BYTES,
            max_payload_bytes: DEFAULT_MAX_PAYLOAD_BYTES,
        }
    }
}

impl LimitsConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            listen: ([0, 0, 0, 0], crate::telemetry::DEFAULT_PORT).into(),
        }
    }
}

impl TelemetryConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl MqttConfig {
    /// What to unsubscribe at each connect: [`unsubscribe`](Self::unsubscribe) without what is subscribed.
    pub fn stale_filters(&self) -> impl Iterator<Item = &str> {
        let wanted = |filter: &&str| !self.subscriptions.iter().any(|s| s.filter == *filter);
        self.unsubscribe.iter().map(String::as_str).filter(wanted)
    }

    /// Every credential file of the MQTT side: when one changes, the bridge connects anew.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = match &self.authentication {
            MqttAuthenticationFile::None {} => Vec::new(),
            MqttAuthenticationFile::Password { password_file, .. } => vec![password_file.clone()],
            MqttAuthenticationFile::Mtls {
                certificate_file,
                key_file,
            } => {
                vec![certificate_file.clone(), key_file.clone()]
            }
        };
        if let MqttTlsFile::Verify {
            ca_file: Some(ca_file),
        } = &self.tls
        {
            files.push(ca_file.clone());
        }
        files
    }
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Larger than [`MAX_CONFIG_BYTES`].
    #[error("the configuration {} is larger than 1 MiB", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// Not YAML, an unknown or missing field, or a value of the wrong type.
    #[error("the configuration {} is not understood: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, field and cause.
        message: String,
    },
    /// It is well formed and says what cannot work.
    #[error("the configuration {} cannot work: {}", file.display(), join(errors))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Everything that is wrong.
        errors: Vec<ConfigError>,
    },
}

fn join(errors: &[ConfigError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl BridgeConfig {
    /// Reads, parses and validates a file; also yields the SHA-256 of its bytes in hex, which the progress shows.
    ///
    /// # Errors
    /// When the file cannot be read, is not understood, or says what cannot work.
    pub fn load(file: &Path) -> Result<(Self, String), LoadError> {
        let unreadable = |source| LoadError::Unreadable {
            file: file.to_owned(),
            source,
        };
        if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_CONFIG_BYTES {
            return Err(LoadError::TooLarge {
                file: file.to_owned(),
            });
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let config: Self = serde_yaml::from_str(&text).map_err(|e| LoadError::Syntax {
            file: file.to_owned(),
            message: e.to_string(),
        })?;
        let errors = config.validate();
        if errors.is_empty() {
            Ok((config, hash(text.as_bytes())))
        } else {
            Err(LoadError::Invalid {
                file: file.to_owned(),
                errors,
            })
        }
    }
}

/// SHA-256 in lower-case hex.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration that is valid; tests change what they are about.
    pub(crate) const EXAMPLE: &str = r#"
mqtt:
  servers: ["mqtts://mosquitto.factory.svc:8883"]
  protocol: V5
  clientId: factory-munich
  authentication: {type: Password, username: bridge, passwordFile: /etc/tributary/mqtt/password}
  tls: {mode: Verify, caFile: /etc/tributary/mqtt/ca.crt}
  sessionExpirySeconds: 604800
  subscriptions: [{filter: "factory/+/+/telemetry", qos: 1}]
kafka:
  bootstrapServers: ["munich-kafka.factory.svc:9092"]
  tls: {mode: Disabled}
  authentication: {type: None}
routes:
  - name: telemetry
    match: "factory/{line}/{machine}/telemetry"
    topic: telemetry
    key: "{line}/{machine}"
    format: Json
    headers: {site: munich}
deadLetter: {topic: telemetry-dead}
"#;

    pub(crate) fn example() -> BridgeConfig {
        serde_yaml::from_str(EXAMPLE).unwrap()
    }

    #[test]
    fn the_example_is_read_and_written_back_without_change() {
        let config = example();
        assert_eq!(config.validate(), []);
        assert_eq!(config.limits, LimitsConfig::default());
        assert_eq!(config.telemetry.listen.to_string(), "0.0.0.0:9404");
        let text = serde_yaml::to_string(&config).unwrap();
        assert_eq!(
            serde_yaml::from_str::<BridgeConfig>(&text).unwrap(),
            config,
            "{text}"
        );
    }

    #[test]
    fn an_unknown_field_is_refused_wherever_it_stands() {
        for (from, to) in [
            ("protocol: V5", "protocol: V5\n  protocl: V5"),
            ("qos: 1", "qos: 1, noLocal: true"),
            ("username: bridge", "username: bridge, password: secret"),
            ("{mode: Verify, ", "{mode: Verify, insecure: true, "),
            ("topic: telemetry-dead", "topic: telemetry-dead, retries: 3"),
            ("format: Json", "format: Json\n    filter: x"),
            ("{type: None}", "{type: None, user: x}"),
        ] {
            assert!(EXAMPLE.contains(from));
            let error = serde_yaml::from_str::<BridgeConfig>(&EXAMPLE.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains("unknown field"), "{to}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_says_which_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bridge.yaml");
        let load = || BridgeConfig::load(&file).unwrap_err().to_string();
        assert!(load().contains("cannot read the configuration"));
        std::fs::write(&file, "mqtt: [").unwrap();
        assert!(load().contains("is not understood"));
        std::fs::write(&file, EXAMPLE.replace("qos: 1", "qos: 2")).unwrap();
        assert!(
            load().contains("cannot work: mqtt.subscriptions[factory/+/+/telemetry].qos"),
            "{}",
            load()
        );
        std::fs::write(&file, EXAMPLE).unwrap();
        let (_, hash) = BridgeConfig::load(&file).unwrap();
        assert_eq!(hash, super::hash(EXAMPLE.as_bytes()));
        assert_eq!(hash.len(), 64);
    }

    #[test]
    fn what_is_subscribed_is_never_unsubscribed() {
        let mut config = example();
        config.mqtt.unsubscribe = vec!["old/#".into(), "factory/+/+/telemetry".into()];
        assert_eq!(config.mqtt.stale_filters().collect::<Vec<_>>(), ["old/#"]);
        assert_eq!(config.validate(), []);
    }

    #[test]
    fn every_credential_file_is_watched() {
        let files = example().mqtt.files();
        assert_eq!(
            files,
            ["/etc/tributary/mqtt/password", "/etc/tributary/mqtt/ca.crt"].map(PathBuf::from)
        );
    }
}
