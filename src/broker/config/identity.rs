//! The identity record (law 3): who a cluster is, drawn before its first start and kept as long as its volumes.
//!
//! ```yaml
//! version: 1
//! clusterId: 3rJHqx9lQ9mWfC0o2kqWJw
//! brokers:
//!   - {id: 0, directoryId: Kt0rQ5dPTXOxkq0uXAAAAQ, format: Withdrawn}
//! ```
//!
//! In Kubernetes it lives in the ConfigMap `<name>-kafka-identity`, key `identity.yaml`. `format: Permitted` allows
//! the broker to format an empty volume; the operator withdraws it as soon as that broker was seen running.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{MAX_BROKERS, MAX_FILE_BYTES};
use crate::kafka::TopicId;

/// The only version of the record's format.
const VERSION: u32 = 1;

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Version of this format, 1.
    pub version: u32,
    /// Kafka's cluster ID.
    pub cluster_id: String,
    /// Each node.
    pub brokers: Vec<IdentityBroker>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityBroker {
    /// Node ID.
    pub id: i32,
    /// ID of its data directory, the same as in the volume's `meta.properties` (KIP-858, KIP-853).
    pub directory_id: TopicId,
    /// Whether an empty volume may be formatted.
    pub format: FormatPermission,
}

/// Whether an empty volume may be formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormatPermission {
    /// This broker was never seen running: its volume may be empty.
    Permitted,
    /// This broker ran: an empty volume means that data were lost.
    Withdrawn,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read.
    #[error("the identity record {} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not make sense.
    #[error("the identity record is damaged: {0}; restore it from a backup")]
    Damaged(String),
}

impl Identity {
    /// Draws new IDs at random, with permission to format, for brokers 0 to `brokers - 1`.
    #[must_use]
    pub fn draw(brokers: i32) -> Self {
        Self {
            version: VERSION,
            cluster_id: draw_id().to_string(),
            brokers: (0..brokers)
                .map(|id| IdentityBroker {
                    id,
                    directory_id: draw_id(),
                    format: FormatPermission::Permitted,
                })
                .collect(),
        }
    }

    /// Reads the record's text.
    ///
    /// # Errors
    /// When the text is no record of a version we know, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let identity: Self = serde_yaml::from_str(text).map_err(|e| IdentityError::Damaged(e.to_string()))?;
        identity.check().map_err(IdentityError::Damaged)?;
        Ok(identity)
    }

    /// Reads the record from a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no record.
    pub fn load(file: &Path) -> Result<Self, IdentityError> {
        let unreadable = |source| IdentityError::Unreadable {
            file: file.to_owned(),
            source,
        };
        if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE_BYTES {
            return Err(unreadable(std::io::Error::other("it is larger than 1 MiB")));
        }
        Self::parse(&std::fs::read_to_string(file).map_err(unreadable)?)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("version {} is not known, only {VERSION}", self.version));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.cluster_id.is_empty() || self.cluster_id.len() > 64 || !self.cluster_id.chars().all(good) {
            return Err(format!("clusterId {:?} is no cluster ID", self.cluster_id));
        }
        if !(1..=MAX_BROKERS).contains(&self.brokers.len()) {
            return Err(format!("it has {} brokers", self.brokers.len()));
        }
        for (i, broker) in self.brokers.iter().enumerate() {
            if reserved(broker.directory_id) {
                return Err(format!(
                    "directoryId {} is reserved by Kafka",
                    broker.directory_id
                ));
            }
            let same = |b: &IdentityBroker| b.id == broker.id || b.directory_id == broker.directory_id;
            if broker.id < 0 || self.brokers[..i].iter().any(same) {
                return Err(format!("broker {} or its directoryId stands twice", broker.id));
            }
        }
        Ok(())
    }

    /// The record's text.
    ///
    /// # Errors
    /// Never for a record that [`Identity::parse`] or [`Identity::draw`] gave; the serializer's signature asks for it.
    pub fn to_yaml(&self) -> Result<String, IdentityError> {
        serde_yaml::to_string(self).map_err(|e| IdentityError::Damaged(e.to_string()))
    }

    /// One node's entry.
    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&IdentityBroker> {
        self.brokers.iter().find(|b| b.id == id)
    }

    /// The record with the permission of these brokers withdrawn; `None` when that changes nothing.
    #[must_use]
    pub fn withdrawn(&self, seen_running: &[i32]) -> Option<Self> {
        let mut next = self.clone();
        for broker in &mut next.brokers {
            if seen_running.contains(&broker.id) {
                broker.format = FormatPermission::Withdrawn;
            }
        }
        (next != *self).then_some(next)
    }
}

/// Kafka keeps the first hundred UUIDs for itself (`Uuid.RESERVED`, `DirectoryId`).
fn reserved(id: TopicId) -> bool {
    id.0.as_u128() < 100
}

/// A random ID as Kafka's own `Uuid.randomUuid` draws it: not reserved, and not starting with `-`, which shells and
/// people take for an option.
fn draw_id() -> TopicId {
    loop {
        let id = TopicId(Uuid::new_v4());
        let text = id.to_string();
        if !text.starts_with('-') && !text.starts_with("AAAA") {
            return id;
        }
    }
}
