//! Tests of the pure parts: from objects as the API server lists them to the text on the terminal.

mod bad_input;
mod layout;
mod order;
mod situations;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::model::{Answer, Fleet};
use super::object::Object;
use super::render::picture;
use super::style::Look;
use crate::health::{Situation, row};

/// The time in all tests.
pub(super) fn now() -> Timestamp {
    "2026-03-02T08:00:00Z".parse().unwrap()
}

pub(super) fn ago(seconds: i64) -> String {
    (now() - SignedDuration::from_secs(seconds)).to_string()
}

pub(super) const WIDE: Look = Look {
    width: Some(100),
    colour: false,
    unicode: true,
};

/// An object under construction.
pub(super) struct Make(Value);

impl Make {
    fn new(kind: &str, namespace: &str, name: &str, spec: &Value) -> Self {
        Self(json!({
            "apiVersion": "tributary.dev/v1alpha1", "kind": kind,
            "metadata": {"namespace": namespace, "name": name, "generation": 1, "creationTimestamp": ago(90_000)},
            "spec": spec,
            "status": {"observedGeneration": 1, "observedAt": ago(12), "conditions": []},
        }))
    }

    /// An EdgeCluster whose three conditions are True.
    pub(super) fn cluster(namespace: &str, name: &str, brokers: u8) -> Self {
        let mut made = Self::new("EdgeCluster", namespace, name, &json!({"brokers": brokers}));
        made.0["status"]["readyBrokers"] = json!(format!("{brokers}/{brokers}"));
        for type_ in [
            "Ready",
            "QuorumHealthy",
            "PartitionsHealthy",
            "TopicsSynced",
            "UpToDate",
        ] {
            made = made.condition(type_, "True", "AsDesired", "as desired", 90_000);
        }
        made
    }

    pub(super) fn bridge(namespace: &str, name: &str, cluster: &str) -> Self {
        let spec = json!({"kafka": {"clusterRef": {"name": cluster, "listener": "internal"}}});
        let mut made = Self::new("BridgePipeline", namespace, name, &spec);
        made.0["status"]["lag"] = json!({"inFlight": 3, "oldestSeconds": 0});
        made.in_situation(Situation::Following, "Following", "subscribed: factory/#", 90_000)
    }

    pub(super) fn link(namespace: &str, name: &str, cluster: &str) -> Self {
        let spec = json!({
            "source": {"clusterRef": {"name": cluster, "listener": "internal"}},
            "target": {"external": {"bootstrapServers": ["kafka.eu.example:9094"]}},
        });
        let mut made = Self::new("ReplicationLink", namespace, name, &spec);
        made.0["status"]["lag"] =
            json!({"offsets": 41, "estimatedBytes": 10_240, "seconds": 1, "catchUpSeconds": 0});
        made.in_situation(Situation::Following, "Following", "following 2 topics", 90_000)
    }

    /// The conditions that the operator writes for a row of health's table.
    pub(super) fn in_situation(
        self,
        situation: Situation,
        reason: &str,
        message: &str,
        seconds: i64,
    ) -> Self {
        let row = row(situation);
        let status = |value: Option<bool>| value.map_or("Unknown", |v| if v { "True" } else { "False" });
        let mut made = self;
        made.0["status"]["conditions"] = json!([]);
        made.0["status"]["verdict"] = json!(row.verdict.as_str());
        made = made
            .condition("Ready", status(row.ready.as_bool()), reason, message, seconds)
            .condition("Connected", status(row.connected), reason, message, seconds);
        if made.0["kind"] == "ReplicationLink" {
            let (reason, message) = match situation {
                Situation::Disconnected => ("NotConnected", "not known while the line is down"),
                _ => (reason, message),
            };
            made = made.condition("KeepingUp", status(row.keeping_up), reason, message, seconds);
        }
        for (type_, stands) in [("Stalled", row.stalled), ("Reconciling", row.reconciling)] {
            if stands {
                made = made.condition(type_, "True", reason, message, seconds);
            }
        }
        made.condition(
            "Lossless",
            "True",
            "NothingLost",
            "nothing acknowledged is known to be lost",
            90_000,
        )
    }

    /// Sets a condition that has stood for so many seconds.
    pub(super) fn condition(
        mut self,
        type_: &str,
        status: &str,
        reason: &str,
        message: &str,
        seconds: i64,
    ) -> Self {
        let condition = json!({"type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": ago(seconds)});
        let list = self.0["status"]["conditions"].as_array_mut().unwrap();
        list.retain(|c| c["type"] != type_);
        list.push(condition);
        self
    }

    /// Sets any field by its JSON pointer.
    pub(super) fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.0.pointer_mut(parent).unwrap()[field] = value;
        self
    }

    pub(super) fn done(self) -> Object {
        Object::read(None, &self.0).unwrap()
    }
}

/// A context that answered.
pub(super) fn answer(context: &str, objects: Vec<Make>) -> Answer {
    let mut answer = Answer::empty(context, Some("https://192.0.2.1:6443"), now(), Vec::new());
    answer.reachable = true;
    answer.read_at = Some(now());
    answer.objects = objects.into_iter().map(Make::done).collect();
    answer
}

pub(super) fn fleet(answers: &[Answer]) -> Fleet {
    Fleet::build(answers, now())
}

pub(super) fn draw(answers: &[Answer], look: Look) -> String {
    picture(&fleet(answers), look).join("\n") + "\n"
}
