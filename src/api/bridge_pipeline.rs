//! BridgePipeline: an MQTT bridge into a Kafka cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaSource, ClientTlsMode, Duration, KafkaEndpoint, SecretKeyRef, Verdict};

/// The desired state of an MQTT bridge.
#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[cfg_attr(test, kube(cel))]
#[kube(
    group = "tributary.dev",
    version = "v1alpha1",
    kind = "BridgePipeline",
    plural = "bridgepipelines",
    shortname = "bp",
    category = "tributary",
    category = "kafka",
    namespaced,
    status = "BridgePipelineStatus",
    derive = "PartialEq",
    doc = "An MQTT bridge: subscriptions of an MQTT broker routed into Kafka topics, acknowledged after Kafka did.",
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ' is too long: at most 40 characters, so that pod and service names fit'".into())),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ': lower case letters, digits and hyphens, so that the names of its pods are valid'".into())),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Buffered", type_ = "integer", json_path = ".status.lag.inFlight", description = "Messages received and not yet acknowledged by Kafka"),
    printcolumn(name = "Lossless", type_ = "string", json_path = r#".status.conditions[?(@.type=="Lossless")].status"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BridgePipelineSpec {
    /// The MQTT side.
    pub mqtt: MqttSource,
    /// The Kafka side.
    pub kafka: KafkaEndpoint,
    /// Where messages go. Every matching route produces a record; a message is acknowledged after all of them.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub routes: Vec<Route>,
    /// Where goes what no route takes or a route refuses; absent: such a message stops the bridge, which names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Stops the bridge's pod and leaves its session at the MQTT broker, which goes on queueing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// An MQTT broker and what to subscribe to.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.tls.mode == 'Verify' ? self.servers.all(s, s.startsWith('mqtts://')) : self.servers.all(s, s.startsWith('mqtt://'))")
        .message(Message::Expression("'mqtt.servers: with tls.mode ' + self.tls.mode + ' every server must start with ' + (self.tls.mode == 'Verify' ? 'mqtts://' : 'mqtt://')".into())),
    validation = Rule::new("self.protocol == 'V5' || !has(self.session)")
        .message("mqtt.session needs protocol V5: in MQTT 3.1.1 the broker decides how long a session lives; remove session"),
    validation = Rule::new("has(self.clientId) == has(oldSelf.clientId) && (!has(self.clientId) || self.clientId == oldSelf.clientId)")
        .message("mqtt.clientId is immutable: the session, and what it holds, belongs to it; create a new BridgePipeline"),
    validation = Rule::new("self.authentication.type != 'Mtls' || self.tls.mode == 'Verify'")
        .message("mqtt.authentication.type Mtls needs tls.mode Verify")
)]
pub struct MqttSource {
    /// `mqtt://host:port` or `mqtts://host:port` of one broker, tried in order.
    #[schemars(
        length(min = 1, max = 5),
        inner(
            length(min = 8, max = 300),
            regex(pattern = r"^mqtts?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$")
        )
    )]
    pub servers: Vec<String>,
    /// `V311` or `V5`.
    pub protocol: MqttProtocol,
    /// Client identifier, which owns the session; absent or empty: derived from namespace and name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[A-Za-z0-9._:-]*$"))]
    pub client_id: Option<String>,
    /// How the bridge proves who it is.
    pub authentication: MqttAuthentication,
    /// Encryption of the connection.
    pub tls: MqttTls,
    /// Life of the session at the broker; V5 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<MqttSession>,
    /// What to subscribe to; filters must not overlap.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["filter".into()]))]
    pub subscriptions: Vec<Subscription>,
}

/// Versions of MQTT.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttProtocol {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// Encryption of the connection to the MQTT broker.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.mode == 'Verify' || !has(self.ca)")
        .message("tls.ca is set but tls.mode is Disabled: set mode to Verify, or remove ca")
)]
pub struct MqttTls {
    /// `Disabled`, or `Verify`: encrypted, with the server's certificate and name checked.
    pub mode: ClientTlsMode,
    /// The CA that signed the server's certificate; absent: the public CAs of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSource>,
}

/// How the bridge proves who it is.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.type == 'Password') == (has(self.username) && has(self.passwordSecretRef)) && (self.type == 'Password' || (!has(self.username) && !has(self.passwordSecretRef)))")
        .message(Message::Expression("'authentication.type is ' + self.type + ': username and passwordSecretRef are needed for Password, and must be absent otherwise'".into())),
    validation = Rule::new("(self.type == 'Mtls') == (has(self.certificateSecretRef) && has(self.keySecretRef)) && (self.type == 'Mtls' || (!has(self.certificateSecretRef) && !has(self.keySecretRef)))")
        .message(Message::Expression("'authentication.type is ' + self.type + ': certificateSecretRef and keySecretRef are needed for Mtls, and must be absent otherwise'".into()))
)]
pub struct MqttAuthentication {
    /// `None`, `Password` or `Mtls`.
    #[serde(rename = "type")]
    pub type_: MqttAuthenticationType,
    /// User name; for `Password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// Password; for `Password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
    /// Client certificate chain (PEM); for `Mtls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret_ref: Option<SecretKeyRef>,
    /// The certificate's private key (PEM); for `Mtls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeyRef>,
}

/// Kinds of authentication towards an MQTT broker.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttAuthenticationType {
    /// No credentials.
    None,
    /// User name and password.
    Password,
    /// A TLS client certificate.
    Mtls,
}

/// Life of the session.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttSession {
    /// How long the broker keeps the session, and queues for it, while the bridge is away (MQTT 5 section 3.1.2.11.2);
    /// absent: 168h.
    pub expiry: Duration,
}

/// One topic filter.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!self.filter.startsWith('$share/')")
        .message(Message::Expression("'subscription ' + self.filter + ': shared subscriptions are not supported'".into()))
)]
pub struct Subscription {
    /// MQTT topic filter with `+` and `#`.
    #[schemars(
        length(min = 1, max = 512),
        regex(pattern = r"^([^+#/]*|\+)(/([^+#/]*|\+))*(/#)?$|^#$")
    )]
    pub filter: String,
    /// Highest quality of service asked for, 0 or 1.
    #[schemars(schema_with = "qos_schema")]
    pub qos: i32,
}

fn qos_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "format": "int32", "enum": [0, 1] })
}

/// From MQTT topics to a Kafka topic.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Name, unique in the pipeline; stands in metrics and dead letters.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Topic filter whose levels may be captures such as `{machine}`; `+` and `#` work as in MQTT.
    #[serde(rename = "match")]
    #[schemars(length(min = 1, max = 512))]
    pub match_: String,
    /// Kafka topic.
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[a-zA-Z0-9._-]+$"))]
    pub topic: String,
    /// Template of the record key with captures such as `{line}/{machine}`; absent: the MQTT topic. Order is kept per key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub key: Option<String>,
    /// What the payload must be: `Raw` (anything) or `Json` (checked, forwarded unchanged).
    pub format: RouteFormat,
    /// Record headers; values may use captures.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20, "additionalProperties" = {"type": "string", "maxLength": 512}))]
    #[x_kube(validation = Rule::new("self.all(k, k.size() <= 128 && !k.startsWith('tributary.') && !k.startsWith('mqtt.'))")
        .message("headers: names have at most 128 characters and do not start with tributary. or mqtt., which the bridge sets"))]
    pub headers: BTreeMap<String, String>,
}

/// What a route's payloads must be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFormat {
    /// Any bytes.
    Raw,
    /// A JSON text (RFC 8259), forwarded byte for byte.
    Json,
}

/// Where refused messages go.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetter {
    /// Kafka topic.
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[a-zA-Z0-9._-]+$"))]
    pub topic: String,
}

/// The observed state of a BridgePipeline.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BridgePipelineStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the figures were read; refreshed on change and about once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// Ready, Connected, Lossless; Reconciling and Stalled only while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::status::conditions_schema")]
    pub conditions: Vec<Condition>,
    /// What the operator makes of the bridge's progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What is between MQTT and Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<BridgeLag>,
    /// Filters that the session holds, with the quality of service that the broker granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["filter"]))]
    pub subscriptions: Vec<SubscriptionStatus>,
    /// What the bridge left with the MQTT broker: by it is seen what got lost while no bridge ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<HeldSession>,
    /// Values in effect where the spec is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveBridgePipeline>,
}

/// A session at an MQTT broker, as the bridge knew it last.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeldSession {
    /// The servers of the spec that it was made with.
    #[schemars(length(max = 5))]
    pub servers: Vec<String>,
    /// Its client identifier.
    pub client_id: String,
    /// When the bridge's process that last told of it, with the broker's count where that can be read, began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_started_at: Option<Time>,
    /// Messages that the broker said it had dropped, for all its clients; absent where `$SYS` cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_dropped: Option<i64>,
}

/// What is between MQTT and Kafka.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BridgeLag {
    /// Messages received and not yet acknowledged.
    pub in_flight: i64,
    /// Age of the oldest of them, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_seconds: Option<i64>,
}

/// A filter of the session.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionStatus {
    /// The topic filter.
    pub filter: String,
    /// What the broker granted; absent: not granted, or not yet asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_qos: Option<i32>,
    /// The broker's refusal, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Values in effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveBridgePipeline {
    /// The MQTT client identifier that owns the session.
    pub client_id: String,
    /// Session expiry; absent: the broker decides (V311).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expiry: Option<String>,
    /// What the bridge connects to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,
}
