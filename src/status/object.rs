//! Custom resources as tolerant JSON: what an older or newer operator wrote is read as far as it goes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api;

/// The kinds that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A factory's Kafka.
    EdgeCluster,
    /// MQTT into Kafka.
    BridgePipeline,
    /// Kafka to Kafka.
    ReplicationLink,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::EdgeCluster, Self::BridgePipeline, Self::ReplicationLink];

    /// The kind's name in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdgeCluster => "EdgeCluster",
            Self::BridgePipeline => "BridgePipeline",
            Self::ReplicationLink => "ReplicationLink",
        }
    }

    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::EdgeCluster => "edgeclusters",
            Self::BridgePipeline => "bridgepipelines",
            Self::ReplicationLink => "replicationlinks",
        }
    }

    /// The word in the tree.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::EdgeCluster => "cluster",
            Self::BridgePipeline => "bridge",
            Self::ReplicationLink => "link",
        }
    }
}

/// A condition as it stands in the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Its type, such as `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word that `tributary explain` takes.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// One object, cut down to what is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) kind: Kind,
    value: Value,
}

impl Object {
    /// Takes an object from a list; `None` if it has no name or is of a kind that is not shown.
    pub(super) fn read(kind: Option<Kind>, value: &Value) -> Option<Self> {
        let stated = || {
            let ours = value["apiVersion"].as_str()?.split('/').next()? == api::GROUP;
            let kind = value["kind"].as_str()?;
            Kind::ALL.into_iter().find(|k| ours && k.as_str() == kind)
        };
        let kind = kind.or_else(stated)?;
        value["metadata"]["name"].as_str()?;
        Some(Self {
            kind,
            value: trimmed(kind, value),
        })
    }

    /// As it is kept in the cache.
    pub(super) fn into_value(self) -> Value {
        self.value
    }

    pub(super) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    pub(super) fn created_at(&self) -> Option<Timestamp> {
        time(&self.value["metadata"]["creationTimestamp"])
    }

    pub(super) fn is_being_deleted(&self) -> bool {
        self.value["metadata"]["deletionTimestamp"].is_string()
    }

    /// Names of the EdgeClusters that it belongs to, the nearest first.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &str> {
        ["kafka", "source", "target"]
            .into_iter()
            .filter_map(|side| self.value["spec"][side]["clusterRef"]["name"].as_str())
    }

    pub(super) fn has_status(&self) -> bool {
        self.value["status"].as_object().is_some_and(|s| !s.is_empty())
    }

    /// Whether the status speaks of an older spec.
    pub(super) fn is_behind_its_spec(&self) -> bool {
        let wanted = self.value["metadata"]["generation"].as_i64();
        let seen = self.value["status"]["observedGeneration"].as_i64();
        matches!((wanted, seen), (Some(wanted), Some(seen)) if seen < wanted)
    }

    pub(super) fn observed_at(&self) -> Option<Timestamp> {
        time(&self.value["status"]["observedAt"])
    }

    pub(super) fn position_read_at(&self) -> Option<Timestamp> {
        time(&self.value["status"]["positionReadAt"])
    }

    /// The verdict, word for word; whatever stands there is shown.
    pub(super) fn verdict(&self) -> Option<String> {
        match &self.value["status"]["verdict"] {
            Value::Null => None,
            Value::String(word) => Some(word.clone()),
            other => Some(other.to_string()),
        }
    }

    pub(super) fn ready_brokers(&self) -> Option<&str> {
        self.value["status"]["readyBrokers"].as_str()
    }

    /// A figure of the lag.
    pub(super) fn lag(&self, field: &str) -> Option<i64> {
        let figure = &self.value["status"]["lag"][field];
        // A newer operator may write fractions.
        figure.as_i64().or_else(|| figure.as_f64().map(whole))
    }

    /// The conditions, as far as they are conditions.
    pub(super) fn conditions(&self) -> Vec<Told> {
        let list = self.value["status"]["conditions"].as_array();
        list.into_iter().flatten().filter_map(told).collect()
    }
}

fn told(value: &Value) -> Option<Told> {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Some(Told {
        type_: value["type"].as_str()?.to_owned(),
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
        since: time(&value["lastTransitionTime"]),
    })
}

#[allow(clippy::cast_possible_truncation)] // saturates, and is a figure for people
fn whole(figure: f64) -> i64 {
    figure as i64
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Only the fields that are read, so that memory and cache hold nothing else: no bootstrap servers, no annotations.
fn trimmed(kind: Kind, value: &Value) -> Value {
    let part = |from: &Value, fields: &[&str]| -> Value {
        let kept = fields
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), from.get(field)?.clone())));
        Value::Object(kept.collect::<Map<_, _>>())
    };
    let side = |name: &str| {
        let cluster = part(&value["spec"][name]["clusterRef"], &["name"]);
        json!({ "clusterRef": cluster })
    };
    json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": kind.as_str(),
        "metadata": part(
            &value["metadata"],
            &["name", "namespace", "generation", "creationTimestamp", "deletionTimestamp"],
        ),
        "spec": {"kafka": side("kafka"), "source": side("source"), "target": side("target")},
        "status": part(
            &value["status"],
            &[
                "observedAt", "observedGeneration", "conditions", "verdict", "lag", "positionReadAt",
                "readyBrokers",
            ],
        ),
    })
}
