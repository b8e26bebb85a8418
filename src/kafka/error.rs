//! What can go wrong with a Kafka cluster, told apart so that a condition can say what to do.

use std::fmt;
use std::time::Duration;

use kafka_protocol::error::ResponseError;

/// Why a call to Kafka failed. `Display` is one line for users and shows no secret; [`KafkaError::remedy`] says what
/// to do, [`KafkaError::reason`] is a stable word for conditions and metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// No connection: name unknown, connection refused, network unreachable, or closed by the peer.
    #[error("cannot reach {}: {why}", advertised(.address, .advertised_by))]
    Unreachable {
        /// `host:port` that was tried.
        address: String,
        /// What the system or the peer said.
        why: String,
        /// The broker that advertises this address, when it is not one of the bootstrap servers.
        advertised_by: Option<i32>,
    },
    /// The deadline passed.
    #[error("{address} did not finish {doing} within {:.1} s", .after.as_secs_f32())]
    Timeout {
        /// `host:port`, or the bootstrap servers.
        address: String,
        /// What was being done.
        doing: String,
        /// The deadline.
        after: Duration,
    },
    /// The TLS handshake failed.
    #[error("TLS with {address} failed: {why}")]
    Tls {
        /// `host:port`.
        address: String,
        /// What is wrong.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The broker refuses who we are.
    #[error("{address} refuses the credentials: {why}")]
    Refused {
        /// `host:port`.
        address: String,
        /// What the broker said.
        why: String,
    },
    /// What answers there is not Kafka, or not the listener that the configuration describes.
    #[error("{address} does not answer as a Kafka broker: {seen}")]
    NotKafka {
        /// `host:port`.
        address: String,
        /// What came instead.
        seen: Seen,
    },
    /// The broker lacks an API, or speaks only versions of it that we cannot use.
    #[error("{address} does not support {api} version {needed} or newer")]
    Unsupported {
        /// `host:port`.
        address: String,
        /// The API's name.
        api: String,
        /// The lowest version that would do.
        needed: i16,
    },
    /// Kafka answered with an error code.
    #[error("{what}: {code}{}", message_suffix(.message))]
    Kafka {
        /// What the answer is about: a topic, a partition, a call.
        what: String,
        /// The code.
        code: ErrorCode,
        /// Kafka's own words, where it gives any.
        message: Option<String>,
    },
    /// An answer that breaks the protocol or our bounds.
    #[error("{address} sent an answer that cannot be used: {why}")]
    Protocol {
        /// `host:port`.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection's own settings cannot work (see [`super::endpoint::EndpointError`] for those read from files).
    #[error("the Kafka connection is misconfigured: {why}")]
    Misconfigured {
        /// Which setting, and why.
        why: String,
    },
}

/// What answered instead of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A TLS record where plaintext was spoken.
    Tls,
    /// A line of text, for example of an HTTP server; at most 60 characters.
    Text(String),
    /// Bytes that are neither; the first sixteen in hexadecimal.
    Bytes(String),
    /// Nothing, though the connection stood.
    Silence(Duration),
    /// The connection was closed at our first request.
    Closed,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => f.write_str("it speaks TLS, and the configuration says plaintext"),
            Self::Text(line) => write!(f, "it says \"{line}\""),
            Self::Bytes(hex) => write!(f, "it sends {hex}"),
            Self::Silence(waited) => {
                write!(
                    f,
                    "it accepted the connection and said nothing for {:.1} s",
                    waited.as_secs_f32()
                )
            }
            Self::Closed => f.write_str("it closed the connection at the first request"),
        }
    }
}

fn advertised(address: &str, by: &Option<i32>) -> String {
    match by {
        Some(id) => format!("{address} (advertised by broker {id})"),
        None => address.to_owned(),
    }
}

fn message_suffix(message: &Option<String>) -> String {
    message
        .as_deref()
        .filter(|m| !m.is_empty())
        .map(|m| format!(": {m}"))
        .unwrap_or_default()
}

impl KafkaError {
    /// An error code about `what`; `None` for code 0.
    pub fn from_code(what: impl Into<String>, code: i16, message: Option<&str>) -> Option<Self> {
        let code = ErrorCode::new(code)?;
        Some(Self::Kafka {
            what: what.into(),
            code,
            message: message.map(str::to_owned),
        })
    }

    /// A stable CamelCase word for conditions, events and metrics.
    pub fn reason(&self) -> String {
        match self {
            Self::Unreachable { .. } => "KafkaUnreachable".into(),
            Self::Timeout { .. } => "KafkaTimeout".into(),
            Self::Tls { .. } => "TlsFailed".into(),
            Self::Refused { .. } => "AuthenticationFailed".into(),
            Self::NotKafka { .. } => "NotKafka".into(),
            Self::Unsupported { .. } => "KafkaTooOld".into(),
            Self::Kafka { code, .. } => code.reason(),
            Self::Protocol { .. } => "KafkaProtocolError".into(),
            Self::Misconfigured { .. } => "InvalidEndpoint".into(),
        }
    }

    /// What to do, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable {
                advertised_by: Some(_),
                ..
            } => "make the broker advertise an address that can be reached from here (advertised.listeners)",
            Self::Unreachable { .. } => "check the address, the network path and that the broker runs",
            Self::Timeout { .. } => "check the broker's load and the line to it",
            Self::Tls { remedy, .. } => remedy,
            Self::Refused { .. } => "check the authentication settings and the Secret behind them",
            Self::NotKafka { seen: Seen::Tls, .. } => {
                "set tls.mode to Verify, or use the plaintext listener's port"
            }
            Self::NotKafka {
                seen: Seen::Closed, ..
            } => "check the port, and whether the listener expects TLS (tls.mode: Verify)",
            Self::NotKafka { .. } => "check host and port of the bootstrap servers",
            Self::Unsupported { .. } => "run a newer Kafka (3.3 or later has all that is used here)",
            Self::Kafka { code, .. } => code.remedy(),
            Self::Protocol { .. } => {
                "check that no proxy changes the traffic; else report this with the broker's version"
            }
            Self::Misconfigured { .. } => "correct the endpoint's settings",
        }
    }

    /// The message with its remedy.
    pub fn explain(&self) -> String {
        format!("{self}; {}", self.remedy())
    }

    /// The Kafka error code, if Kafka answered with one.
    pub const fn code(&self) -> Option<ResponseError> {
        match self {
            Self::Kafka { code, .. } => Some(code.kind()),
            _ => None,
        }
    }

    /// Whether Kafka answered with this code.
    pub fn is(&self, kind: ResponseError) -> bool {
        self.code() == Some(kind)
    }

    /// Whether another look at who leads the partition may help.
    pub fn leader_may_have_moved(&self) -> bool {
        use ResponseError as E;
        self.code().is_some_and(|code| {
            matches!(
                code,
                E::NotLeaderOrFollower
                    | E::FencedLeaderEpoch
                    | E::UnknownLeaderEpoch
                    | E::LeaderNotAvailable
                    | E::ReplicaNotAvailable
                    | E::OffsetNotAvailable
                    | E::KafkaStorageError
            )
        })
    }

    /// Whether nobody could be asked: the state of things is unknown, not wrong.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }
}

/// A Kafka error code; prints as Kafka names it (`NOT_LEADER_OR_FOLLOWER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(ResponseError);

impl ErrorCode {
    /// The error behind a code; `None` for 0, which is success.
    pub const fn new(code: i16) -> Option<Self> {
        match ResponseError::try_from_code(code) {
            Some(kind) => Some(Self(kind)),
            None => None,
        }
    }

    /// The code to match on.
    pub const fn kind(self) -> ResponseError {
        self.0
    }

    /// The CamelCase name, as conditions have it.
    fn reason(self) -> String {
        match self.0 {
            ResponseError::Unknown(code) => format!("KafkaError{code}"),
            known => known.to_string(),
        }
    }

    fn remedy(self) -> &'static str {
        use ResponseError as E;
        match self.0 {
            E::InvalidReplicationFactor => "lower the replication factor, or add brokers",
            E::InvalidPartitions => "give a number of partitions that is larger than the present one",
            E::InvalidConfig => "correct the topic's setting",
            E::InvalidTopicException => {
                "use 1 to 249 characters of letters, digits, dot, underscore and hyphen"
            }
            E::PolicyViolation => "follow the cluster's create or alter policy",
            E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed | E::GroupAuthorizationFailed => {
                "grant this user the operation by an ACL"
            }
            E::UnknownTopicOrPartition | E::UnknownTopicId => "create the topic, or correct its name",
            E::TopicAlreadyExists => "use another name, or adopt the existing topic",
            E::ThrottlingQuotaExceeded => "raise the controller mutation quota, or wait",
            kind if kind.is_retriable() => "none needed: it is tried again",
            _ => "see the broker's log",
        }
    }
}

impl From<ResponseError> for ErrorCode {
    fn from(kind: ResponseError) -> Self {
        Self(kind)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ResponseError::Unknown(code) = self.0 {
            return write!(f, "error code {code}");
        }
        // The crate has CamelCase names only; Kafka's own are the same words in capitals.
        for (index, character) in self.0.to_string().char_indices() {
            if index > 0 && character.is_ascii_uppercase() {
                f.write_str("_")?;
            }
            write!(f, "{}", character.to_ascii_uppercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<KafkaError> {
        let address = || "kafka:9092".to_owned();
        vec![
            KafkaError::Unreachable {
                address: address(),
                why: "refused".into(),
                advertised_by: None,
            },
            KafkaError::Unreachable {
                address: address(),
                why: "refused".into(),
                advertised_by: Some(2),
            },
            KafkaError::Timeout {
                address: address(),
                doing: "Metadata".into(),
                after: Duration::from_secs(3),
            },
            KafkaError::Tls {
                address: address(),
                why: "expired".into(),
                remedy: "renew it",
            },
            KafkaError::Refused {
                address: address(),
                why: "SASL_AUTHENTICATION_FAILED".into(),
            },
            KafkaError::NotKafka {
                address: address(),
                seen: Seen::Text("HTTP/1.1 400 Bad Request".into()),
            },
            KafkaError::NotKafka {
                address: address(),
                seen: Seen::Tls,
            },
            KafkaError::NotKafka {
                address: address(),
                seen: Seen::Closed,
            },
            KafkaError::NotKafka {
                address: address(),
                seen: Seen::Silence(Duration::from_secs(3)),
            },
            KafkaError::Unsupported {
                address: address(),
                api: "DescribeQuorum".into(),
                needed: 0,
            },
            KafkaError::from_code("topic a", 38, Some("too many")).expect("an error"),
            KafkaError::Protocol {
                address: address(),
                why: "short".into(),
            },
            KafkaError::Misconfigured {
                why: "no bootstrap server".into(),
            },
        ]
    }

    #[test]
    fn every_error_has_one_line_a_remedy_and_a_camel_case_reason() {
        for error in every_kind() {
            let (text, reason) = (error.explain(), error.reason());
            assert!(!text.contains('\n') && !error.remedy().is_empty(), "{text}");
            assert!(reason.chars().all(|c| c.is_ascii_alphanumeric()), "{reason}");
            assert!(reason.starts_with(|c: char| c.is_ascii_uppercase()), "{reason}");
        }
    }

    #[test]
    fn codes_print_as_kafka_names_them() {
        for (code, name, reason) in [
            (3, "UNKNOWN_TOPIC_OR_PARTITION", "UnknownTopicOrPartition"),
            (6, "NOT_LEADER_OR_FOLLOWER", "NotLeaderOrFollower"),
            (38, "INVALID_REPLICATION_FACTOR", "InvalidReplicationFactor"),
            (100, "UNKNOWN_TOPIC_ID", "UnknownTopicId"),
            (9999, "error code 9999", "KafkaError9999"),
        ] {
            let error = ErrorCode::new(code).expect("an error");
            assert_eq!(
                (error.to_string().as_str(), error.reason().as_str()),
                (name, reason)
            );
        }
        assert_eq!(ErrorCode::new(0), None);
    }

    #[test]
    fn kafkas_own_words_follow_the_code() {
        let error = KafkaError::from_code("topic a", 38, Some("3 larger than 1")).expect("an error");
        assert_eq!(
            error.to_string(),
            "topic a: INVALID_REPLICATION_FACTOR: 3 larger than 1"
        );
        assert!(error.is(ResponseError::InvalidReplicationFactor));
        assert_eq!(KafkaError::from_code("topic a", 0, None), None);
    }

    #[test]
    fn an_advertised_address_is_named_as_such() {
        let error = KafkaError::Unreachable {
            address: "kafka-1.internal:9092".into(),
            why: "name not known".into(),
            advertised_by: Some(1),
        };
        let text = error.explain();
        assert!(
            text.contains("advertised by broker 1") && text.contains("advertised.listeners"),
            "{text}"
        );
    }
}
