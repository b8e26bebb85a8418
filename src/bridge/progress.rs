//! What the bridge says about itself at `/progress`: one JSON document, written by the bridge, read by the operator.
//!
//! Counters run since the process began. A reader that needs more (an event for each lost session, say) compares two
//! documents; [`BridgeProgress::started_at`] tells it when they start anew.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgeProgress {
    /// When this was true.
    pub observed_at: Timestamp,
    /// When the process began, and with it the counters.
    pub started_at: Timestamp,
    /// SHA-256 of the configuration file's bytes, hex.
    pub config_hash: String,
    /// The configuration's `generation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The MQTT side.
    pub mqtt: MqttProgress,
    /// The Kafka side.
    pub kafka: KafkaProgress,
    /// Totals since the process began.
    pub counters: Counters,
    /// What was taken from MQTT and is not settled in Kafka.
    pub in_flight: InFlight,
    /// The message that nothing passes, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_of_line: Option<HeadOfLine>,
    /// What is wrong now; empty if nothing is. At most one for each [`Component`].
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// The most recent problem, also when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Problem>,
    /// The most recent loss of each kind, since the process began.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

/// The MQTT side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MqttProgress {
    /// The session's name.
    pub client_id: String,
    /// The address in use, or the one tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Since when CONNECT is accepted; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<Timestamp>,
    /// What the last CONNACK said about the session; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_present: Option<bool>,
    /// How long the server keeps the session, in seconds, where it said in CONNACK that this is not what was asked for
    /// (MQTT 5 section 3.2.2.3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expiry_seconds: Option<u32>,
    /// What the first CONNACK of this process said: false, although an earlier process had a session, means that the
    /// session was lost while none ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_session_present: Option<bool>,
    /// Each wanted subscription with what the server granted, in the configuration's order.
    pub subscriptions: Vec<SubscriptionProgress>,
    /// Filters of earlier configurations that the server has confirmed as gone in this connection.
    #[serde(default)]
    pub unsubscribed: Vec<String>,
    /// What the server says it dropped; absent where `$SYS` cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_dropped: Option<BrokerDropped>,
    /// Whether reading pauses because a bound of what is in flight is reached.
    pub paused: bool,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionProgress {
    /// The filter.
    pub filter: String,
    /// The QoS that the configuration asks for.
    pub requested_qos: u8,
    /// The QoS that the server granted in this connection; absent while not subscribed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_qos: Option<u8>,
    /// Why the server refused it (the SUBACK's code in words).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// `$SYS/broker/publish/messages/dropped` of mosquitto: messages the server dropped for any of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerDropped {
    /// The value seen first in this process; 0 once the server has begun anew.
    pub baseline: u64,
    /// The value seen last.
    pub current: u64,
    /// Sum of all growth since the process began; a restart of the server (a smaller value) takes nothing away.
    pub growth: u64,
    /// When `current` was read.
    pub observed_at: Timestamp,
}

/// The Kafka side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaProgress {
    /// Since when the brokers answer; absent while they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<Timestamp>,
    /// Topics of the configuration that do not exist (or that we may not see).
    #[serde(default)]
    pub missing_topics: Vec<String>,
    /// When a record was acknowledged last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_acknowledged_at: Option<Timestamp>,
}

/// Totals since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Messages from MQTT, redelivered ones included.
    pub received: u64,
    /// Messages whose every record Kafka has acknowledged, and which were then acknowledged to MQTT (QoS 1).
    pub acknowledged: u64,
    /// Records that Kafka acknowledged, of all routes and the dead-letter topic.
    pub records: u64,
    /// Messages that went to the dead-letter topic.
    pub dead_lettered: u64,
    /// Messages that the server delivered again (DUP): each may be a duplicate in Kafka.
    pub redelivered: u64,
    /// Payloads cut to fit into Kafka's limit.
    pub truncated: u64,
    /// Connects that found no session although there had been one.
    pub sessions_lost: u64,
    /// Connects accepted by the server.
    pub connects: u64,
}

/// What was taken from MQTT and is not settled in Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Messages.
    pub messages: u64,
    /// Their payloads' bytes.
    pub bytes: u64,
    /// Age of the oldest, seconds; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<f64>,
}

/// The message that nothing passes: it cannot go to Kafka, and acknowledgements keep their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadOfLine {
    /// Kafka topic that does not take it; absent if no route takes it and there is no dead-letter topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The message's MQTT topic.
    pub mqtt_topic: String,
    /// Why, as a stable word.
    pub reason: Reason,
    /// Why, in a sentence with the remedy.
    pub message: String,
    /// Since when it stands there.
    pub since: Timestamp,
}

/// Which part of the bridge a problem is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Component {
    /// The connection to the MQTT server.
    Mqtt,
    /// The subscriptions.
    Subscriptions,
    /// The connection to Kafka.
    Kafka,
    /// A topic in Kafka, or what it takes.
    Topic,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// In which part.
    pub component: Component,
    /// What, as a stable word for a condition's reason.
    pub reason: Reason,
    /// What, in a sentence that names field or peer, value, cause and remedy.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// Stable words for conditions, metrics and dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// The server's name is not known to DNS.
    MqttNameUnknown,
    /// No TCP connection, or it broke.
    MqttUnreachable,
    /// TLS failed: certificate, name or protocol.
    MqttTlsFailed,
    /// The server refuses user, password or certificate.
    MqttCredentialsRefused,
    /// The server refuses for another cause (client ID, version, quota, …).
    MqttRefused,
    /// What answers does not speak MQTT.
    MqttProtocolError,
    /// Another client took the session: it uses the same client ID.
    MqttSessionTakenOver,
    /// A credential file cannot be read or used.
    CredentialsUnreadable,
    /// The server refuses a subscription.
    SubscriptionRefused,
    /// The server grants a lower QoS than asked for.
    SubscriptionQosLowered,
    /// No broker answers.
    KafkaUnreachable,
    /// The brokers refuse the credentials.
    KafkaCredentialsRefused,
    /// TLS failed: certificate, name or protocol.
    KafkaTlsFailed,
    /// What answers does not speak Kafka.
    KafkaProtocolError,
    /// A topic does not exist.
    TopicMissing,
    /// We may not write to a topic.
    TopicUnauthorized,
    /// Kafka refuses a record for another cause.
    RecordRefused,
    /// No route takes the message.
    NoRoute,
    /// The payload is not what the route's format asks for.
    InvalidPayload,
    /// The record is larger than the topic takes.
    PayloadTooLarge,
    /// The route's topic does not take the record, and the dead-letter topic neither.
    DeadLetterFailed,
    /// The server had kept no session, or another one: what it held for us is gone.
    SessionLost,
    /// The server's count of dropped messages grew.
    BrokerDropped,
}

impl Reason {
    /// What makes a message a dead letter.
    pub const OF_DEAD_LETTERS: [Self; 4] = [
        Self::NoRoute,
        Self::InvalidPayload,
        Self::PayloadTooLarge,
        Self::RecordRefused,
    ];

    /// The word as it is written in conditions, metrics and headers.
    pub fn as_str(self) -> String {
        format!("{self:?}")
    }
}

/// A loss that the bridge knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// `PayloadTooLarge`, `SessionLost` or `BrokerDropped`.
    pub reason: Reason,
    /// How often since the process began (truncated messages, lost sessions, messages dropped by the server).
    pub count: u64,
    /// What and where, in a sentence.
    pub message: String,
    /// When it was seen last.
    pub last_seen: Timestamp,
}

/// Whether everything that was acknowledged is there: the value of the condition `Lossless`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lossless {
    /// Nothing is known to be lost.
    Yes,
    /// Something is lost.
    No(Loss),
    /// Something may be lost: nobody can know.
    Unknown(Loss),
}

impl BridgeProgress {
    /// Whether the session at the server is this process's: connected, whatever becomes of its subscriptions.
    pub fn holds_session(&self) -> bool {
        self.mqtt.connected_since.is_some() && self.mqtt.first_session_present.is_some()
    }

    /// Whether every subscription is granted with the QoS asked for, in the connection that stands.
    pub fn subscribed(&self) -> bool {
        let granted = |s: &SubscriptionProgress| s.granted_qos.is_some_and(|qos| qos >= s.requested_qos);
        self.mqtt.connected_since.is_some()
            && !self.mqtt.subscriptions.is_empty()
            && self.mqtt.subscriptions.iter().all(granted)
    }

    /// The problem of one part, if it has one now.
    pub fn problem(&self, component: Component) -> Option<&Problem> {
        self.problems.iter().find(|p| p.component == component)
    }

    /// What the condition `Lossless` should say: a sure loss wins over a possible one.
    pub fn lossless(&self) -> Lossless {
        self.lossless_after(None)
    }

    /// The same of losses after `since` (absent = of all).
    pub fn lossless_after(&self, since: Option<Timestamp>) -> Lossless {
        let seen = |reason| {
            self.losses
                .iter()
                .find(|l| l.reason == reason && l.count > 0 && since.is_none_or(|since| l.last_seen > since))
                .cloned()
        };
        seen(Reason::PayloadTooLarge)
            .or_else(|| seen(Reason::BrokerDropped))
            .map(Lossless::No)
            .or_else(|| seen(Reason::SessionLost).map(Lossless::Unknown))
            .unwrap_or(Lossless::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::words::{DEAD_LETTER, words_of};

    #[test]
    fn every_word_of_a_dead_letter_is_explained() {
        let known: Vec<&str> = words_of(DEAD_LETTER).map(|word| word.name).collect();
        assert_eq!(known, Reason::OF_DEAD_LETTERS.map(Reason::as_str));
    }

    fn progress() -> BridgeProgress {
        let now: Timestamp = "2025-11-21T09:00:00Z".parse().unwrap();
        BridgeProgress {
            observed_at: now,
            started_at: now,
            config_hash: "00".into(),
            generation: Some(3),
            mqtt: MqttProgress::default(),
            kafka: KafkaProgress::default(),
            counters: Counters::default(),
            in_flight: InFlight::default(),
            head_of_line: None,
            problems: Vec::new(),
            last_error: None,
            losses: Vec::new(),
        }
    }

    fn loss(reason: Reason) -> Loss {
        Loss {
            reason,
            count: 1,
            message: String::new(),
            last_seen: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut progress = progress();
        progress.head_of_line = Some(HeadOfLine {
            topic: Some("telemetry".into()),
            mqtt_topic: "factory/l1/m1/telemetry".into(),
            reason: Reason::TopicMissing,
            message: "create it".into(),
            since: progress.observed_at,
        });
        progress.losses = vec![loss(Reason::SessionLost)];
        let text = serde_json::to_string(&progress).unwrap();
        assert!(text.contains(r#""observedAt":"2025-11-21T09:00:00Z""#), "{text}");
        assert!(text.contains(r#""reason":"TopicMissing""#), "{text}");
        assert_eq!(serde_json::from_str::<BridgeProgress>(&text).unwrap(), progress);
    }

    #[test]
    fn ready_means_connected_and_every_subscription_granted_as_asked() {
        let mut progress = progress();
        let subscription = SubscriptionProgress {
            filter: "a/#".into(),
            requested_qos: 1,
            granted_qos: Some(1),
            refused: None,
        };
        progress.mqtt.subscriptions = vec![subscription];
        assert!(!progress.subscribed());
        progress.mqtt.connected_since = Some(progress.observed_at);
        assert!(progress.subscribed());
        progress.mqtt.subscriptions[0].granted_qos = Some(0);
        assert!(!progress.subscribed());
        progress.mqtt.subscriptions[0].granted_qos = None;
        assert!(!progress.subscribed());
        progress.mqtt.subscriptions.clear();
        assert!(!progress.subscribed());
    }

    #[test]
    fn a_session_is_held_from_the_first_connect_on_while_the_connection_stands() {
        let mut progress = progress();
        assert!(!progress.holds_session());
        progress.mqtt.connected_since = Some(progress.observed_at);
        progress.mqtt.first_session_present = Some(false);
        assert!(progress.holds_session() && !progress.subscribed());
        progress.mqtt.connected_since = None;
        assert!(!progress.holds_session());
    }

    #[test]
    fn a_sure_loss_wins_over_a_possible_one() {
        let mut progress = progress();
        assert_eq!(progress.lossless(), Lossless::Yes);
        progress.losses.push(loss(Reason::SessionLost));
        assert!(matches!(progress.lossless(), Lossless::Unknown(l) if l.reason == Reason::SessionLost));
        progress.losses.push(loss(Reason::BrokerDropped));
        assert!(matches!(progress.lossless(), Lossless::No(l) if l.reason == Reason::BrokerDropped));
        progress.losses.push(loss(Reason::PayloadTooLarge));
        assert!(matches!(progress.lossless(), Lossless::No(l) if l.reason == Reason::PayloadTooLarge));
    }
}
