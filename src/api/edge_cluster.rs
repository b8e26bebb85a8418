//! EdgeCluster: a factory's own Kafka cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PodSettings, Quantity, Resources};

/// Broker settings that the operator derives from other fields of the spec, or that would break a law; refused by name.
pub const OWNED_BROKER_KEYS: [&str; 22] = [
    "advertised.listeners",
    "auto.create.topics.enable",
    "broker.id",
    "broker.rack",
    "controlled.shutdown.enable",
    "controller.listener.names",
    "controller.quorum.auto.join.enable",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "early.start.listeners",
    "initial.broker.registration.timeout.ms",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
    "process.roles",
    "security.inter.broker.protocol",
    "unclean.leader.election.enable",
    "unclean.recovery.strategy",
];

/// [`OWNED_BROKER_KEYS`] as a CEL list.
fn owned_keys() -> String {
    format!("['{}']", OWNED_BROKER_KEYS.join("', '"))
}

/// The desired state of a factory's Kafka cluster.
#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[cfg_attr(test, kube(cel))]
#[kube(
    group = "tributary.dev",
    version = "v1alpha1",
    kind = "EdgeCluster",
    plural = "edgeclusters",
    shortname = "ec",
    category = "tributary",
    category = "kafka",
    namespaced,
    status = "EdgeClusterStatus",
    derive = "PartialEq",
    doc = "A factory's own Kafka cluster: brokers, listeners and topics in one object.",
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ' is too long: at most 40 characters, so that pod and service names fit'".into())),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ': lower case letters, digits and hyphens, starting with a letter, so that service names are valid'".into())),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Brokers", type_ = "string", json_path = ".status.readyBrokers", description = "Running of wanted"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.listeners.all(l, !has(l.nodePort) || (l.nodePort.brokers.size() == self.brokers && l.nodePort.brokers.all(b, b.id < self.brokers)))")
        .message(Message::Expression("'listeners: nodePort.brokers needs exactly one entry for each broker ID from 0 to ' + (self.brokers == 1 ? '0' : '2')".into()))
)]
pub struct EdgeClusterSpec {
    /// Apache Kafka's version; immutable until upgrades exist.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message(Message::Expression("'kafkaVersion cannot change from ' + oldSelf + ' to ' + self + ': upgrades are not supported yet'".into())))]
    pub kafka_version: KafkaVersion,
    /// Number of combined broker and controller nodes, 1 or 3; immutable until growth exists.
    #[schemars(schema_with = "broker_count_schema")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message(Message::Expression("'brokers cannot change from ' + (oldSelf == 1 ? '1' : '3') + ' to ' + (self == 1 ? '1' : '3') + ': growth is not supported yet; create a new EdgeCluster and replicate into it'".into())))]
    pub brokers: i32,
    /// The brokers' volumes.
    pub storage: Storage,
    /// CPU and memory of each broker's container; absent: 512Mi requested, 768Mi at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where clients connect; at least one of type Internal.
    #[schemars(length(min = 1, max = 10))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.exists(l, l.type == 'Internal')")
            .message("listeners: at least one of type Internal is needed; the brokers speak to each other over the first of them"),
        validation = Rule::new("self.all(a, self.exists_one(b, b.port == a.port))")
            .message("listeners: every listener needs a port of its own"),
        validation = Rule::new("self.all(l, !(l.port in [9093, 9404]))")
            .message("listeners: port 9093 (KRaft controller) and 9404 (metrics) are the operator's; choose another"),
        validation = Rule::new("self.all(l, !(l.name in ['controller', 'brokers']))")
            .message("listeners: the names controller and brokers are the operator's; choose another")
    )]
    pub listeners: Vec<Listener>,
    /// Broker settings by Kafka's own names; keys that the operator owns are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    #[x_kube(
        validation = Rule::new(format!("self.all(k, !(k in {}))", owned_keys()))
            .message(Message::Expression(format!("'config: ' + self.filter(k, k in {})[0] + ' is owned by the operator; remove it'", owned_keys()))),
        validation = Rule::new("self.all(k, !k.startsWith('listener.name.') && !k.startsWith('ssl.') && !k.startsWith('sasl.'))")
            .message("config: keys under listener.name., ssl. and sasl. follow from listeners; remove them"),
        validation = Rule::new("self.all(k, k.matches('^[a-z0-9._-]{1,249}$') && !self[k].matches('[\\\\r\\\\n]'))")
            .message("config: keys are lower case Kafka property names, values have no line breaks")
    )]
    pub config: BTreeMap<String, String>,
    /// Topics that the operator creates and configures; one removed from here is kept and reported, not deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub topics: Vec<Topic>,
    /// Where and how the brokers' pods are scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSettings>,
    /// Leaves everything as it is: nothing is created, changed or restarted while true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// Versions of Apache Kafka that this release runs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaVersion {
    /// Apache Kafka 4.3.1.
    #[serde(rename = "4.3.1")]
    V4_3_1,
}

impl KafkaVersion {
    /// The version's number, as in the image's tag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4_3_1 => "4.3.1",
        }
    }
}

fn broker_count_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "format": "int32", "enum": [1, 3] })
}

/// The volume of each broker.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)")
        .message("storage.className is immutable: volumes cannot move to another storage class; create a new EdgeCluster and replicate into it"),
    validation = Rule::new("quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0")
        .message(Message::Expression("'storage.size cannot shrink from ' + string(oldSelf.size) + ' to ' + string(self.size)".into()))
)]
pub struct Storage {
    /// Size of each broker's volume. It may grow where the storage class allows expansion, never shrink.
    pub size: Quantity,
    /// Storage class; absent: the cluster's default. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Keep the volumes and the identity record when the EdgeCluster is deleted; absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<bool>,
}

/// One place where clients connect.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.type == 'NodePort') == has(self.nodePort)")
        .message(Message::Expression("'listener ' + self.name + ': nodePort is needed for type NodePort, and must be absent for type ' + self.type".into())),
    validation = Rule::new("self.type == oldSelf.type")
        .message(Message::Expression("'listener ' + self.name + ': type cannot change from ' + oldSelf.type + ' to ' + self.type + '; add a listener with another name'".into()))
)]
pub struct Listener {
    /// Name, unique in the cluster; lower case letters and digits.
    #[schemars(length(min = 1, max = 14), regex(pattern = "^[a-z][a-z0-9]*$"))]
    pub name: String,
    /// `Internal`: inside the Kubernetes cluster. `NodePort`: also from outside, through ports of the nodes.
    #[serde(rename = "type")]
    pub type_: ListenerType,
    /// The container's port.
    #[schemars(range(min = 1024, max = 65535))]
    pub port: i32,
    /// Ports and host names for type NodePort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<NodePortListener>,
    /// Encryption of the listener.
    pub tls: ListenerTls,
    /// How clients prove who they are.
    pub authentication: ListenerAuthentication,
}

/// Kinds of listeners.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerType {
    /// Reached inside the Kubernetes cluster through Services.
    Internal,
    /// Reached from outside through ports of the nodes.
    NodePort,
}

/// The node ports of a listener.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.brokers.all(a, a.port != self.bootstrap && self.brokers.exists_one(b, b.port == a.port))")
        .message("nodePort: bootstrap and every broker need a node port of their own")
)]
pub struct NodePortListener {
    /// Node port that reaches any broker; what clients bootstrap from.
    #[schemars(range(min = 1, max = 65535))]
    pub bootstrap: i32,
    /// Node port and advertised host of each broker.
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub brokers: Vec<NodePortBroker>,
}

/// How one broker is reached from outside.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePortBroker {
    /// The broker's ID.
    #[schemars(range(min = 0, max = 2))]
    pub id: i32,
    /// Its node port, also the advertised port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The host that clients are told; absent: the IP of the pod's node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9.:-]+$"))]
    pub advertised_host: Option<String>,
}

/// Encryption of a listener.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Whether the listener encrypts.
    pub mode: ListenerTlsMode,
}

/// Modes of a listener's encryption.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerTlsMode {
    /// Plain TCP.
    Disabled,
}

/// Authentication of a listener.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerAuthentication {
    /// How clients prove who they are.
    #[serde(rename = "type")]
    pub type_: ListenerAuthenticationType,
}

/// Kinds of a listener's authentication.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerAuthenticationType {
    /// Everyone who reaches the port may use it.
    None,
}

/// A topic of the cluster.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.partitions >= oldSelf.partitions")
        .message(Message::Expression("'topic ' + self.name + ': partitions cannot shrink, because Kafka cannot remove partitions; give at least as many as before'".into())),
    validation = Rule::new("!(self.name in ['.', '..']) && !self.name.startsWith('__')")
        .message(Message::Expression("'topic ' + self.name + ': names . and .. and names that start with __ are reserved'".into()))
)]
pub struct Topic {
    /// Kafka's name of the topic.
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[a-zA-Z0-9._-]+$"))]
    pub name: String,
    /// Number of partitions; may grow, never shrink. Growth changes which partition a key maps to.
    #[schemars(range(min = 1, max = 10000))]
    pub partitions: i32,
    /// Replicas of each partition, at most the number of brokers. Those of a topic that exists stay as they are;
    /// `TopicsSynced` and `status.topics` tell of a difference.
    #[schemars(range(min = 1, max = 3))]
    pub replicas: i32,
    /// Topic settings by Kafka's own names; a key removed from here keeps its value and is reported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub config: BTreeMap<String, String>,
}

/// The observed state of an EdgeCluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeClusterStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the figures were read; refreshed on change and about once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// Ready, QuorumHealthy, PartitionsHealthy, TopicsSynced, UpToDate; Reconciling and Stalled only while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::status::conditions_schema")]
    pub conditions: Vec<Condition>,
    /// Kafka's cluster ID, drawn before the first start and kept with the volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Running of wanted brokers, such as `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_brokers: Option<String>,
    /// Each broker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub brokers: Vec<BrokerStatus>,
    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub listeners: Vec<ListenerStatus>,
    /// Partitions of the whole cluster; absent while Kafka cannot be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionCounts>,
    /// Topics of the spec that differ, and topics and settings that were removed from it and are kept; at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub topics: Vec<TopicStatus>,
    /// Values in effect where the spec is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveEdgeCluster>,
}

/// One broker as last seen.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// The broker's ID.
    pub id: i32,
    /// `Pending`, `Starting`, `Running`, `Restarting`, `Failing` (its container ends again and again), `Refused` (its
    /// volume is not what it should be) or `Unknown`.
    pub state: String,
    /// Its role in the KRaft quorum: `Leader`, `Follower` or `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Used share of the volume, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_used_percent: Option<i32>,
    /// What this broker's restart waits for, and why; absent when none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// One listener as clients see it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: String,
    /// What clients put into `bootstrap.servers`.
    pub bootstrap_servers: String,
}

/// Health of the cluster's partitions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PartitionCounts {
    /// All partitions.
    pub total: i32,
    /// Partitions with fewer in-sync replicas than replicas.
    pub under_replicated: i32,
    /// Partitions without a leader.
    pub offline: i32,
}

/// A topic that is not, or no longer, as the spec says.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The topic's name.
    pub name: String,
    /// `Refused` (Kafka refuses what the spec asks), `Differs` (cannot be changed to what the spec asks), `Kept`
    /// (removed from the spec, still in Kafka) or `SettingsKept` (settings removed from the spec, still in Kafka).
    pub state: String,
    /// What differs and what to do.
    pub message: String,
}

/// Values in effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveEdgeCluster {
    /// Storage class of the volumes; absent: the cluster's default at creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// Whether volumes and identity outlive the object.
    pub retain: bool,
    /// Resources of each broker's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The JVM's maximum heap, such as `256m`.
    pub heap: String,
    /// Broker settings that the operator chose where the spec is silent, `log.flush.interval.messages` among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub config: BTreeMap<String, String>,
    /// What an acknowledged record survives with these settings, in one sentence (law 1).
    pub durability: String,
}
