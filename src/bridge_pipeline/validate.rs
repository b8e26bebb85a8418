//! From the spec, and what was found for its references, to the bridge's configuration. Pure.

use std::collections::BTreeSet;

use kube::ResourceExt;

use crate::api::{
    BridgePipeline, MqttAuthenticationType, MqttProtocol, Reason, RouteFormat, SubscriptionStatus,
};
use crate::bridge::config::{
    BridgeConfig, DeadLetterConfig, LimitsConfig, MqttConfig, PayloadFormat, RouteConfig, SubscriptionConfig,
    TelemetryConfig,
};
use crate::controller::{PodEndpoint, Problem, SecretMounts};
use crate::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile, Protocol};

/// Session expiry where the spec gives none.
pub(super) const DEFAULT_EXPIRY: &str = "168h";
/// Life of a session, seconds: below the least nothing would survive a restart.
const LEAST_EXPIRY_SECONDS: u64 = 60;

/// A spec that can work, with what it refers to.
#[derive(Clone, Debug)]
pub(super) struct ValidatedBridge {
    /// What the pod reads.
    pub(super) config: BridgeConfig,
    /// Files of the MQTT side.
    pub(super) mqtt_mounts: SecretMounts,
    /// Files of the Kafka side.
    pub(super) kafka_mounts: SecretMounts,
    /// Whether no pod may run.
    pub(super) paused: bool,
    /// The session's life as the spec has it, or the default.
    pub(super) session_expiry: Option<String>,
}

/// The MQTT credentials as the pod will see them.
#[derive(Clone, Debug)]
pub(super) struct MqttFiles {
    pub(super) authentication: MqttAuthenticationFile,
    pub(super) tls: MqttTlsFile,
    pub(super) mounts: SecretMounts,
}

/// The session's name: the spec's, or one that follows from namespace and name. A namespace has no dot, so that no two
/// objects get the same.
pub(super) fn client_id(object: &BridgePipeline) -> String {
    match object.spec.mqtt.client_id.as_deref() {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!(
            "tributary.{}.{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        ),
    }
}

/// Filters that the session still holds although the spec no longer asks for them.
pub(super) fn stale_filters(object: &BridgePipeline, held: &[SubscriptionStatus]) -> Vec<String> {
    let wanted: BTreeSet<_> = object
        .spec
        .mqtt
        .subscriptions
        .iter()
        .map(|s| s.filter.as_str())
        .collect();
    held.iter()
        .map(|s| s.filter.clone())
        .filter(|filter| !wanted.contains(filter.as_str()))
        .collect()
}

/// Builds the configuration and asks the bridge's own questions about it.
///
/// # Errors
/// Everything that cannot work, each with field, value, cause and remedy.
pub(super) fn validate(
    object: &BridgePipeline,
    mqtt: &MqttFiles,
    kafka: &PodEndpoint,
    held: &[SubscriptionStatus],
) -> Result<ValidatedBridge, Vec<Problem>> {
    let spec = &object.spec;
    let mut problems = Vec::new();
    let (session_expiry, session_expiry_seconds) = match session(object) {
        Ok(session) => session,
        Err(problem) => {
            problems.push(problem);
            (None, None)
        }
    };
    let config = BridgeConfig {
        // Not in the file: a generation that changes nothing else must not start the pod anew.
        generation: None,
        mqtt: MqttConfig {
            servers: spec.mqtt.servers.clone(),
            protocol: match spec.mqtt.protocol {
                MqttProtocol::V311 => Protocol::V311,
                MqttProtocol::V5 => Protocol::V5,
            },
            client_id: client_id(object),
            authentication: mqtt.authentication.clone(),
            tls: mqtt.tls.clone(),
            session_expiry_seconds,
            receive_maximum: None,
            keep_alive_seconds: None,
            subscriptions: spec
                .mqtt
                .subscriptions
                .iter()
                .map(|s| SubscriptionConfig {
                    filter: s.filter.clone(),
                    qos: u8::try_from(s.qos).unwrap_or(u8::MAX),
                })
                .collect(),
            unsubscribe: stale_filters(object, held),
        },
        kafka: kafka.file.clone(),
        routes: spec.routes.iter().map(route).collect(),
        dead_letter: spec.dead_letter.as_ref().map(|d| DeadLetterConfig {
            topic: d.topic.clone(),
        }),
        limits: LimitsConfig::default(),
        telemetry: TelemetryConfig::default(),
    };
    problems.extend(config.validate().into_iter().map(|error| {
        let field = error
            .field
            .replace("mqtt.sessionExpirySeconds", "mqtt.session.expiry");
        Problem::new(
            Reason::InvalidSpec,
            format!("spec.{field}"),
            error.value,
            error.why,
            error.remedy,
        )
    }));
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(ValidatedBridge {
        config,
        mqtt_mounts: mqtt.mounts.clone(),
        kafka_mounts: kafka.mounts.clone(),
        paused: spec.paused == Some(true),
        session_expiry,
    })
}

fn route(route: &crate::api::Route) -> RouteConfig {
    RouteConfig {
        name: route.name.clone(),
        match_: route.match_.clone(),
        topic: route.topic.clone(),
        key: route.key.clone(),
        format: match route.format {
            RouteFormat::Raw => PayloadFormat::Raw,
            RouteFormat::Json => PayloadFormat::Json,
        },
        headers: route.headers.clone(),
    }
}

/// The session's life as text and in seconds; nothing for MQTT 3.1.1, where the server decides.
fn session(object: &BridgePipeline) -> Result<(Option<String>, Option<u32>), Problem> {
    let mqtt = &object.spec.mqtt;
    if mqtt.protocol == MqttProtocol::V311 {
        return Ok((None, None));
    }
    let text = mqtt
        .session
        .as_ref()
        .map_or(DEFAULT_EXPIRY, |s| s.expiry.0.as_str());
    let problem = |why: &str, remedy: &str| {
        Problem::new(Reason::InvalidSpec, "spec.mqtt.session.expiry", text, why, remedy)
    };
    let Some(expiry) = crate::api::Duration(text.to_owned()).to_std() else {
        return Err(problem("is no duration", "write for example 168h"));
    };
    if expiry.as_secs() < LEAST_EXPIRY_SECONDS {
        return Err(problem(
            "is so short that what the broker queues is lost while the bridge restarts",
            "give at least 60s; 168h unless there is a reason",
        ));
    }
    // 4294967295 means for ever (MQTT 5 section 3.1.2.11.2), which is longer than what is beyond it.
    Ok((
        Some(text.to_owned()),
        Some(u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX)),
    ))
}

/// What of the credentials the spec asks for, as files; what is missing in the spec itself.
pub(super) fn mqtt_files(object: &BridgePipeline) -> Result<MqttFiles, Problem> {
    let mqtt = &object.spec.mqtt;
    let mut mounts = SecretMounts::new("mqtt");
    let missing = |fields: &str| {
        Problem::new(
            Reason::InvalidSpec,
            "spec.mqtt.authentication",
            format!("{:?}", mqtt.authentication.type_),
            format!("{fields} are needed"),
            "set both",
        )
    };
    let authentication = match mqtt.authentication.type_ {
        MqttAuthenticationType::None => MqttAuthenticationFile::None {},
        MqttAuthenticationType::Password => {
            let (Some(username), Some(secret)) = (
                &mqtt.authentication.username,
                &mqtt.authentication.password_secret_ref,
            ) else {
                return Err(missing("username and passwordSecretRef"));
            };
            MqttAuthenticationFile::Password {
                username: username.clone(),
                password_file: mounts.secret(secret, "password").into(),
            }
        }
        MqttAuthenticationType::Mtls => {
            let (Some(certificate), Some(key)) = (
                &mqtt.authentication.certificate_secret_ref,
                &mqtt.authentication.key_secret_ref,
            ) else {
                return Err(missing("certificateSecretRef and keySecretRef"));
            };
            MqttAuthenticationFile::Mtls {
                certificate_file: mounts.secret(certificate, "tls.crt").into(),
                key_file: mounts.secret(key, "tls.key").into(),
            }
        }
    };
    let tls = match mqtt.tls.mode {
        crate::api::ClientTlsMode::Disabled => MqttTlsFile::Disabled {},
        crate::api::ClientTlsMode::Verify => MqttTlsFile::Verify {
            ca_file: mqtt
                .tls
                .ca
                .as_ref()
                .and_then(|ca| mounts.ca(ca, "ca.crt"))
                .map(Into::into),
        },
    };
    Ok(MqttFiles {
        authentication,
        tls,
        mounts,
    })
}

#[cfg(test)]
mod tests;
