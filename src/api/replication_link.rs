//! ReplicationLink: replication of topics from one Kafka cluster to another.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KafkaEndpoint, Lag, Verdict};

/// The desired state of a replication.
#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[cfg_attr(test, kube(cel))]
#[kube(
    group = "tributary.dev",
    version = "v1alpha1",
    kind = "ReplicationLink",
    plural = "replicationlinks",
    shortname = "rl",
    category = "tributary",
    category = "kafka",
    namespaced,
    status = "ReplicationLinkStatus",
    derive = "PartialEq",
    doc = "Replication of topics from one Kafka cluster to another, with the lag measured against Kafka itself.",
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ' is too long: at most 40 characters, so that pod and service names fit'".into())),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ': lower case letters, digits and hyphens, so that the names of its pods are valid'".into())),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag.offsets", description = "Source end offsets minus positions"),
    printcolumn(name = "Behind", type_ = "integer", json_path = ".status.lag.seconds", description = "Seconds behind", priority = "1"),
    printcolumn(name = "Lossless", type_ = "string", json_path = r#".status.conditions[?(@.type=="Lossless")].status"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.linkId) == has(oldSelf.linkId) && (!has(self.linkId) || self.linkId == oldSelf.linkId)")
        .message("linkId is immutable: the positions on the target belong to it; create a new ReplicationLink")
)]
pub struct ReplicationLinkSpec {
    /// Stable identity of the positions; absent or empty: source cluster ID, namespace and name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = "^[A-Za-z0-9._/-]*$"))]
    pub link_id: Option<String>,
    /// Where records are read.
    pub source: KafkaEndpoint,
    /// Where records are written, and the positions with them.
    pub target: KafkaEndpoint,
    /// What is replicated, and under which names.
    pub topics: TopicSelection,
    /// What is promised about each record.
    pub delivery: Delivery,
    /// Where partitions start that exist when the link first runs; later ones start at their beginning.
    pub start: Start,
    /// Pods that share the partitions; absent: 1. After a change all of them end before the new ones start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub workers: Option<i32>,
    /// Stops the link's pods; positions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// Which topics, under which names.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicSelection {
    /// Regular expressions for whole names; internal topics never match.
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 249)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub include: Vec<String>,
    /// Regular expressions for whole names that win over every include.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 249)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub deny: Vec<String>,
    /// Names on the target. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("topics.naming is immutable: what was replicated stands under the old names; create a new ReplicationLink"))]
    pub naming: Naming,
    /// Replicas of topics created on the target, -1 for the target's default; absent: -1. Never the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == -1 || (self >= 1 && self <= 9)")
        .message("topics.replicationFactor must be -1 (the target's default) or 1 to 9"))]
    pub replication_factor: Option<i32>,
}

/// How a topic is called on the target.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.type == 'Prefix') == has(self.prefix)")
        .message(Message::Expression("'naming.type is ' + self.type + ': prefix is needed for Prefix, and must be absent for Identity'".into()))
)]
pub struct Naming {
    /// `Identity`: as on the source. `Prefix`: with a prefix.
    #[serde(rename = "type")]
    pub type_: NamingType,
    /// The prefix, such as `munich.`; for `Prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[a-zA-Z0-9._-]+$"))]
    pub prefix: Option<String>,
}

/// Kinds of naming.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamingType {
    /// The source's name.
    Identity,
    /// A prefix before the source's name.
    Prefix,
}

/// What is promised about each record.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// None is lost; some may be repeated after a fault.
    AtLeastOnce,
}

/// Where the link starts at first.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that the source holds.
    Earliest,
    /// At the source's end.
    Latest,
}

/// The observed state of a ReplicationLink.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationLinkStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the figures were read; refreshed on change and about once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
    /// Ready, Connected, KeepingUp, Lossless; Reconciling and Stalled only while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::status::conditions_schema")]
    pub conditions: Vec<Condition>,
    /// What the operator makes of the lag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The whole link's lag; an upper bound while the target is out of reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// When the position was read that the lag is measured from; older than `observedAt` during a cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_read_at: Option<Time>,
    /// The 20 topics that are furthest behind; all are in metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub topics: Vec<LinkTopicStatus>,
    /// Ranges of source offsets that are gone or were refused, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub gaps: Vec<Gap>,
    /// Topics that match but are not replicated, at most 20, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub refused: Vec<RefusedTopic>,
    /// Values in effect where the spec is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveReplicationLink>,
}

/// One replicated topic.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LinkTopicStatus {
    /// Name on the source.
    pub name: String,
    /// Its partitions on the source, with which the target's topic grows.
    pub partitions: i32,
    /// Its lag.
    pub lag: Lag,
}

/// A range of source offsets that the target will not get.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Name on the source.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First missing offset.
    pub from: i64,
    /// First offset after the missing ones; absent when it cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Why, such as `BelowLogStart`, `BeyondLogEnd` or `TopicRecreated`.
    pub reason: String,
    /// When it was first seen.
    pub seen_at: Time,
}

/// A topic that matches but is not replicated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RefusedTopic {
    /// Name on the source.
    pub name: String,
    /// Why, such as `LoopRefused` or `NameCollision`.
    pub reason: String,
    /// What stands against it, and what to do.
    pub message: String,
}

/// Values in effect.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveReplicationLink {
    /// Identity of the positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_id: Option<String>,
    /// The source's cluster ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_id: Option<String>,
    /// The target's cluster ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cluster_id: Option<String>,
    /// Replication factor of created topics.
    pub replication_factor: i32,
    /// Pods that share the partitions.
    pub workers: i32,
    /// A position of this link was seen on the target; from then on, missing positions stop it (`PositionsLost`).
    pub positions_seen: bool,
}
