//! What a configuration must hold to be able to work. Pure: the operator asks the same questions about a spec, before
//! anything runs, and shows the same answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::{BridgeConfig, MqttConfig, SubscriptionConfig};
use crate::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile, Protocol, ServerAddress};
use crate::mqtt::filter::{self, FilterError};

/// Subscriptions, at most.
pub const MAX_SUBSCRIPTIONS: usize = 64;
/// Filters to unsubscribe, at most.
pub const MAX_UNSUBSCRIBE: usize = 256;
/// Routes, at most.
pub const MAX_ROUTES: usize = 64;
/// Headers of one route, at most.
pub const MAX_HEADERS: usize = 32;
/// Servers, at most.
pub const MAX_SERVERS: usize = 16;
/// Bytes of a key's or header's template, at most.
pub const MAX_TEMPLATE_BYTES: usize = 1024;

/// Which kind of thing is wrong; the variant's name is the condition's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConfigProblem {
    /// No server, too many, or an address that is none.
    InvalidServer,
    /// The client ID is empty or too long.
    InvalidClientId,
    /// User name, certificate and TLS do not go together.
    InvalidCredentials,
    /// `tls.mode` contradicts the servers' scheme.
    TlsMismatch,
    /// A session without length, or a length where the protocol has none.
    InvalidSession,
    /// A number outside its bounds.
    OutOfBounds,
    /// A topic filter that is none.
    InvalidFilter,
    /// A `$share` filter.
    SharedSubscription,
    /// The same filter twice.
    DuplicateSubscription,
    /// Two filters that some topic matches both: the server may deliver such a message twice.
    OverlappingSubscriptions,
    /// A QoS other than 0 and 1.
    InvalidQos,
    /// A subscription whose messages no route takes, without a dead-letter topic.
    UnroutedSubscription,
    /// A route's name that is none.
    InvalidName,
    /// Two routes of one name.
    DuplicateRoute,
    /// A route's `match` that is none.
    InvalidMatch,
    /// A route that no subscription feeds.
    UnfedRoute,
    /// A key or header that uses what the route's match does not capture.
    UnknownCapture,
    /// A key or header that is no template.
    InvalidTemplate,
    /// A header's name that is empty, too long or ours.
    InvalidHeader,
    /// A Kafka topic's name that is none.
    InvalidTopic,
    /// The dead-letter topic is a route's topic.
    DeadLetterIsRouteTopic,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One thing that is wrong: where, what, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {value:?} {why}; {remedy}")]
#[serde(rename_all = "camelCase")]
pub struct ConfigError {
    /// Which kind of thing.
    pub problem: ConfigProblem,
    /// Path of the field, list entries by their name: `routes[telemetry].key`.
    pub field: String,
    /// The value, as the file has it. Never a secret: secrets are in files.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl ConfigError {
    fn new(
        problem: ConfigProblem,
        field: impl Into<String>,
        value: impl ToString,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            problem,
            field: field.into(),
            value: value.to_string(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl BridgeConfig {
    /// Everything that is wrong, in the order of the file; empty if the configuration can work. The Kafka endpoint's
    /// own fields and the credential files' contents are judged when they are loaded, since files change.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        check_connection(&self.mqtt, &mut errors);
        check_subscriptions(&self.mqtt, &mut errors);
        routes::check(self, &mut errors);
        check_dead_letter(self, &mut errors);
        check_bounds(self, &mut errors);
        errors
    }
}

fn check_connection(mqtt: &MqttConfig, errors: &mut Vec<ConfigError>) {
    use ConfigProblem as P;
    if mqtt.servers.is_empty() || mqtt.servers.len() > MAX_SERVERS {
        let count = mqtt.servers.len();
        errors.push(ConfigError::new(
            P::InvalidServer,
            "mqtt.servers",
            count,
            "entries",
            "give 1 to 16 addresses",
        ));
    }
    let tls = matches!(mqtt.tls, MqttTlsFile::Verify { .. });
    for server in &mqtt.servers {
        match server.parse::<ServerAddress>() {
            Err(error) => errors.push(ConfigError::new(
                P::InvalidServer,
                "mqtt.servers",
                server,
                error.to_string(),
                "write mqtt://host:1883 or mqtts://host:8883",
            )),
            Ok(address) if address.tls != tls => errors.push(ConfigError::new(
                P::TlsMismatch,
                "mqtt.servers",
                server,
                if tls {
                    "is not encrypted, but mqtt.tls.mode is Verify"
                } else {
                    "needs mqtt.tls.mode Verify"
                },
                "use mqtts:// with mode Verify, mqtt:// with mode Disabled",
            )),
            Ok(_) => {}
        }
    }
    if mqtt.client_id.is_empty() || mqtt.client_id.len() > 256 || mqtt.client_id.chars().any(char::is_control)
    {
        errors.push(ConfigError::new(
            P::InvalidClientId,
            "mqtt.clientId",
            &mqtt.client_id,
            "is no client ID of 1 to 256 bytes",
            "give a name that stays the same for the pipeline's life and that no other client uses",
        ));
    }
    check_credentials(mqtt, tls, errors);
    check_session(mqtt, errors);
}

fn check_credentials(mqtt: &MqttConfig, tls: bool, errors: &mut Vec<ConfigError>) {
    match &mqtt.authentication {
        MqttAuthenticationFile::Password { username, .. }
            if username.is_empty() || username.contains('\0') =>
        {
            errors.push(ConfigError::new(
                ConfigProblem::InvalidCredentials,
                "mqtt.authentication.username",
                username,
                "is empty or has a NUL",
                "give the user's name",
            ));
        }
        MqttAuthenticationFile::Mtls { .. } if !tls => errors.push(ConfigError::new(
            ConfigProblem::InvalidCredentials,
            "mqtt.authentication.type",
            "Mtls",
            "needs an encrypted connection",
            "set mqtt.tls.mode to Verify and use mqtts:// servers",
        )),
        _ => {}
    }
}

fn check_session(mqtt: &MqttConfig, errors: &mut Vec<ConfigError>) {
    let field = "mqtt.sessionExpirySeconds";
    match (mqtt.protocol, mqtt.session_expiry_seconds) {
        (Protocol::V311, Some(seconds)) => errors.push(ConfigError::new(
            ConfigProblem::InvalidSession,
            field,
            seconds,
            "has no meaning in MQTT 3.1.1: the server alone decides how long it keeps a session",
            "remove it (mosquitto: persistent_client_expiration), or set mqtt.protocol to V5",
        )),
        (Protocol::V5, Some(seconds)) if seconds < 60 => errors.push(ConfigError::new(
            ConfigProblem::InvalidSession,
            field,
            seconds,
            "is shorter than a restart takes: what arrives meanwhile would be lost",
            "give 60 or more; 604800 is a week",
        )),
        _ => {}
    }
}

fn check_subscriptions(mqtt: &MqttConfig, errors: &mut Vec<ConfigError>) {
    use ConfigProblem as P;
    let subscriptions = &mqtt.subscriptions;
    if subscriptions.is_empty() || subscriptions.len() > MAX_SUBSCRIPTIONS {
        let count = subscriptions.len();
        errors.push(ConfigError::new(
            P::OutOfBounds,
            "mqtt.subscriptions",
            count,
            "entries",
            "give 1 to 64",
        ));
    }
    let mut good: Vec<&SubscriptionConfig> = Vec::new();
    for subscription in subscriptions.iter().take(MAX_SUBSCRIPTIONS) {
        let SubscriptionConfig { filter, qos } = subscription;
        let field = format!("mqtt.subscriptions[{filter}]");
        if *qos > 1 {
            let why = "is no QoS that Kafka can honour end to end";
            errors.push(ConfigError::new(
                P::InvalidQos,
                format!("{field}.qos"),
                qos,
                why,
                "use 0 or 1",
            ));
        }
        if let Err(error) = filter::check_filter(filter) {
            errors.push(filter_error(format!("{field}.filter"), filter, error));
            continue;
        }
        if let Some(other) = good.iter().find(|o| filter::overlap(&o.filter, filter)) {
            errors.push(overlap_error(field, filter, &other.filter));
        }
        good.push(subscription);
    }
    if mqtt.unsubscribe.len() > MAX_UNSUBSCRIBE {
        let count = mqtt.unsubscribe.len();
        errors.push(ConfigError::new(
            P::OutOfBounds,
            "mqtt.unsubscribe",
            count,
            "entries",
            "give at most 256",
        ));
    }
    for stale in mqtt.unsubscribe.iter().take(MAX_UNSUBSCRIBE) {
        if let Err(error) = filter::check_filter(stale) {
            errors.push(filter_error("mqtt.unsubscribe".to_owned(), stale, error));
        }
    }
}

fn filter_error(field: String, filter: &str, error: FilterError) -> ConfigError {
    if error == FilterError::Shared {
        let remedy = "subscribe without $share: one session keeps the order and loses nothing while the bridge is away";
        return ConfigError::new(
            ConfigProblem::SharedSubscription,
            field,
            filter,
            error.to_string(),
            remedy,
        );
    }
    let remedy = "use + for one whole level, # only as the whole last level";
    ConfigError::new(
        ConfigProblem::InvalidFilter,
        field,
        filter,
        error.to_string(),
        remedy,
    )
}

fn overlap_error(field: String, filter: &str, other: &str) -> ConfigError {
    if filter == other {
        let problem = ConfigProblem::DuplicateSubscription;
        return ConfigError::new(
            problem,
            field,
            filter,
            "is subscribed twice",
            "remove one of the two",
        );
    }
    ConfigError::new(
        ConfigProblem::OverlappingSubscriptions,
        field,
        filter,
        format!("overlaps with {other:?}: the server may deliver a message that matches both twice"),
        "narrow one of the two, or keep the wider one and tell the messages apart by routes",
    )
}

fn check_dead_letter(config: &BridgeConfig, errors: &mut Vec<ConfigError>) {
    let Some(dead_letter) = &config.dead_letter else {
        return;
    };
    check_topic("deadLetter.topic", &dead_letter.topic, errors);
    if let Some(route) = config.routes.iter().find(|r| r.topic == dead_letter.topic) {
        errors.push(ConfigError::new(
            ConfigProblem::DeadLetterIsRouteTopic,
            "deadLetter.topic",
            &dead_letter.topic,
            format!(
                "is the topic of route {:?}: refused payloads would reach its readers",
                route.name
            ),
            "give the dead letters a topic of their own",
        ));
    }
}

fn check_bounds(config: &BridgeConfig, errors: &mut Vec<ConfigError>) {
    let mut bound = |field: &str, value: u64, low: u64, high: u64| {
        if !(low..=high).contains(&value) {
            let (why, remedy) = ("is out of bounds", format!("give {low} to {high}"));
            errors.push(ConfigError::new(
                ConfigProblem::OutOfBounds,
                field,
                value,
                why,
                remedy,
            ));
        }
    };
    let MqttConfig {
        receive_maximum,
        keep_alive_seconds,
        ..
    } = &config.mqtt;
    bound(
        "mqtt.receiveMaximum",
        receive_maximum.unwrap_or(1).into(),
        1,
        65_535,
    );
    bound(
        "mqtt.keepAliveSeconds",
        keep_alive_seconds.unwrap_or(5).into(),
        5,
        600,
    );
    bound(
        "limits.maxInFlightMessages",
        config.limits.max_in_flight_messages.into(),
        1,
        100_000,
    );
    bound(
        "limits.maxInFlightBytes",
        config.limits.max_in_flight_bytes.into(),
        64 * 1024,
        1024 * 1024 * 1024,
    );
    bound(
        "limits.maxPayloadBytes",
        config.limits.max_payload_bytes.into(),
        1024,
        256 * 1024 * 1024,
    );
}

fn check_topic(field: &str, topic: &str, errors: &mut Vec<ConfigError>) {
    let good = (1..=249).contains(&topic.len())
        && topic != "."
        && topic != ".."
        && topic
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !good {
        let remedy = "use 1 to 249 of letters, digits, '.', '_' and '-'";
        errors.push(ConfigError::new(
            ConfigProblem::InvalidTopic,
            field,
            topic,
            "is no Kafka topic",
            remedy,
        ));
    }
}

mod routes;

#[cfg(test)]
mod tests;
