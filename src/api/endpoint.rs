//! How a Kafka is reached: an EdgeCluster of the same namespace, or any other Kafka.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaSource, SecretKeyRef};

/// A Kafka to connect to: exactly one of `clusterRef` and `external`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.clusterRef) != has(self.external)")
        .message("set exactly one of clusterRef (an EdgeCluster of this namespace) and external (any other Kafka)")
)]
pub struct KafkaEndpoint {
    /// An EdgeCluster of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterRef>,
    /// Any other Kafka, also one in another Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalKafka>,
}

/// An EdgeCluster of the same namespace, by listener.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterRef {
    /// Name of the EdgeCluster.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// Name of one of its listeners.
    #[schemars(length(min = 1, max = 14))]
    pub listener: String,
}

/// A Kafka that this operator does not run.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalKafka {
    /// `host:port` of one or more brokers; the rest of the cluster is learned from them.
    #[schemars(
        length(min = 1, max = 20),
        inner(
            length(min = 3, max = 260),
            regex(pattern = r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub bootstrap_servers: Vec<String>,
    /// Encryption of the connection.
    pub tls: ClientTls,
    /// How the client proves who it is.
    pub authentication: KafkaAuthentication,
}

/// Encryption as a client.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.mode == 'Verify' || !has(self.ca)")
        .message("tls.ca is set but tls.mode is Disabled: set mode to Verify, or remove ca")
)]
pub struct ClientTls {
    /// `Disabled`, or `Verify`: encrypted, with the server's certificate and name checked.
    pub mode: ClientTlsMode,
    /// The CA that signed the server's certificate; absent: the public CAs of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSource>,
}

/// Whether a client encrypts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// Plain TCP.
    Disabled,
    /// TLS with the server's certificate and host name verified.
    Verify,
}

/// How a client of Kafka proves who it is. `type` decides which other fields are needed.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.type in ['Plain', 'Scram']) == (has(self.username) && has(self.passwordSecretRef)) && (self.type in ['Plain', 'Scram'] || (!has(self.username) && !has(self.passwordSecretRef)))")
        .message(Message::Expression("'authentication.type is ' + self.type + ': username and passwordSecretRef are needed for Plain and Scram, and must be absent otherwise'".into())),
    validation = Rule::new("(self.type == 'Mtls') == (has(self.certificateSecretRef) && has(self.keySecretRef)) && (self.type == 'Mtls' || (!has(self.certificateSecretRef) && !has(self.keySecretRef)))")
        .message(Message::Expression("'authentication.type is ' + self.type + ': certificateSecretRef and keySecretRef are needed for Mtls, and must be absent otherwise'".into())),
    validation = Rule::new("(self.type == 'Scram') == has(self.mechanism)")
        .message(Message::Expression("'authentication.type is ' + self.type + ': mechanism (ScramSha256 or ScramSha512) is needed for Scram, and must be absent otherwise'".into()))
)]
pub struct KafkaAuthentication {
    /// `None`, `Plain`, `Scram` or `Mtls`.
    #[serde(rename = "type")]
    pub type_: KafkaAuthenticationType,
    /// The SCRAM hash; for `Scram` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<ScramMechanism>,
    /// User name; for `Plain` and `Scram`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// Password; for `Plain` and `Scram`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
    /// Client certificate chain (PEM); for `Mtls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret_ref: Option<SecretKeyRef>,
    /// The certificate's private key (PEM); for `Mtls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeyRef>,
}

/// Kinds of authentication towards Kafka.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaAuthenticationType {
    /// No credentials.
    None,
    /// SASL PLAIN (RFC 4616).
    Plain,
    /// SASL SCRAM (RFC 5802).
    Scram,
    /// A TLS client certificate.
    Mtls,
}

/// Hash functions of SASL SCRAM that Kafka knows.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}
