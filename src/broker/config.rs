//! The broker's YAML file: what the operator renders, and what a gateway without Kubernetes is given by hand.
//!
//! ```yaml
//! cluster: factory/munich
//! identityFile: /etc/tributary/identity/identity.yaml
//! kafkaHome: /opt/kafka
//! directories: {volume: /var/lib/kafka, state: /opt/tributary, scratch: /tmp/tributary}
//! heapMib: 256
//! controllers: [{id: 0, host: munich-kafka-0.munich-kafka-brokers.factory.svc, port: 9093}]
//! listeners:
//!   - {name: internal, port: 9092, advertised: [{id: 0, host: munich-kafka-0.munich-kafka-brokers.factory.svc, port: 9092}]}
//!   - {name: plant, port: 9094, advertised: [{id: 0, port: 31093}]}      # no host: the node's IP
//! interBrokerListener: internal
//! properties: {log.retention.hours: "168"}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod identity;
#[cfg(test)]
mod tests;

pub use identity::{FormatPermission, Identity, IdentityBroker, IdentityError};

/// Bytes of a configuration or identity file, at most.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Brokers of a cluster, at most.
pub const MAX_BROKERS: usize = 5;
/// The listener of the KRaft controllers; no other may have this name.
pub const CONTROLLER_LISTENER: &str = "controller";

/// The whole file. Everything that differs between brokers of one cluster is in lists by ID, so that one file serves
/// all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerConfig {
    /// Name of the cluster for messages, such as `factory/munich`.
    pub cluster: String,
    /// The identity record (law 3), see [`Identity`].
    pub identity_file: PathBuf,
    /// Where Kafka is installed; its jars are in `libs/`.
    pub kafka_home: PathBuf,
    /// Where the broker keeps what.
    pub directories: Directories,
    /// The JVM's maximum heap, MiB, 64 to 32768.
    pub heap_mib: u32,
    /// The KRaft voters, the same list on every broker; it also says on which address each one answers.
    pub controllers: Vec<Controller>,
    /// Where clients and brokers connect.
    pub listeners: Vec<BrokerListener>,
    /// The listener that brokers use among themselves.
    pub inter_broker_listener: String,
    /// Further Kafka properties; keys that follow from the fields above are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// Where the broker keeps what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directories {
    /// The volume; Kafka's data are in `kafka/` on it.
    pub volume: PathBuf,
    /// Lives as long as the pod, on disk, so that it survives a reboot: remembers that this pod has seen a formatted
    /// volume. May be the same for the gateway's whole life.
    pub state: PathBuf,
    /// For rendered files; made anew at each start.
    pub scratch: PathBuf,
}

/// A KRaft voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Controller {
    /// Node ID.
    pub id: i32,
    /// Host name or IP address under which the others reach it.
    pub host: String,
    /// Port of the controller listener.
    pub port: u16,
}

/// A listener for clients or brokers. Plaintext without authentication; TLS and users come later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerListener {
    /// Lower case letters and digits.
    pub name: String,
    /// The port it binds on all addresses.
    pub port: u16,
    /// What clients are told, by broker.
    pub advertised: Vec<Advertised>,
}

/// How one broker is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Advertised {
    /// Node ID.
    pub id: i32,
    /// Host name or IP address; absent: the IP of the node, given with `--host-ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port.
    pub port: u16,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; give the configuration's path with --config", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not parse.
    #[error("{} is not a broker configuration: {why}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// A field cannot work.
    #[error("{field}: {why}")]
    Field {
        /// The field's path.
        field: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

impl ConfigError {
    fn field(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            why: why.into(),
        }
    }
}

impl BrokerConfig {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        };
        if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE_BYTES {
            return Err(unreadable(std::io::Error::other("it is larger than 1 MiB")));
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let config: Self = serde_yaml::from_str(&text).map_err(|e| ConfigError::Syntax {
            file: file.to_owned(),
            why: e.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first field that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(64..=32768).contains(&self.heap_mib) {
            return Err(ConfigError::field(
                "heapMib",
                format!("{} is not between 64 and 32768", self.heap_mib),
            ));
        }
        self.check_controllers()?;
        self.check_listeners()?;
        for (key, value) in &self.properties {
            if let Some(why) = super::properties::refused(key, value) {
                return Err(ConfigError::field(format!("properties.{key}"), why));
            }
        }
        Ok(())
    }

    fn check_controllers(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_BROKERS).contains(&self.controllers.len()) {
            return Err(ConfigError::field(
                "controllers",
                format!("has {} entries; give 1 to {MAX_BROKERS}", self.controllers.len()),
            ));
        }
        let ids: BTreeSet<i32> = self.controllers.iter().map(|c| c.id).collect();
        if ids.len() != self.controllers.len() || ids.iter().any(|id| *id < 0) {
            return Err(ConfigError::field(
                "controllers",
                "every entry needs an ID of its own, 0 or higher",
            ));
        }
        for (i, controller) in self.controllers.iter().enumerate() {
            check_address(&format!("controllers[{i}]"), &controller.host, controller.port)?;
        }
        Ok(())
    }

    fn check_listeners(&self) -> Result<(), ConfigError> {
        let mut names = BTreeSet::from([CONTROLLER_LISTENER]);
        let mut ports: BTreeSet<u16> = self.controllers.iter().map(|c| c.port).collect();
        for listener in &self.listeners {
            let field = format!("listeners.{}", listener.name);
            let good = |c: char, first: bool| c.is_ascii_lowercase() || (!first && c.is_ascii_digit());
            if listener.name.is_empty() || !listener.name.char_indices().all(|(i, c)| good(c, i == 0)) {
                return Err(ConfigError::field(
                    field,
                    "a name has lower case letters and digits only",
                ));
            }
            if !names.insert(&listener.name) {
                return Err(ConfigError::field(field, "the name is taken"));
            }
            if listener.port == 0 || !ports.insert(listener.port) {
                return Err(ConfigError::field(
                    field,
                    format!("port {} is taken", listener.port),
                ));
            }
            for controller in &self.controllers {
                let Some(advertised) = listener.advertised.iter().find(|a| a.id == controller.id) else {
                    return Err(ConfigError::field(
                        field,
                        format!("advertised has no entry for broker {}", controller.id),
                    ));
                };
                let host = advertised.host.as_deref().unwrap_or("node");
                check_address(&format!("{field}.advertised"), host, advertised.port)?;
            }
        }
        if !self
            .listeners
            .iter()
            .any(|l| l.name == self.inter_broker_listener)
        {
            return Err(ConfigError::field(
                "interBrokerListener",
                format!("there is no listener {:?}", self.inter_broker_listener),
            ));
        }
        Ok(())
    }

    /// Kafka's data directory on the volume.
    pub fn log_dir(&self) -> PathBuf {
        self.directories.volume.join("kafka")
    }
}

fn check_address(field: &str, host: &str, port: u16) -> Result<(), ConfigError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || ",/@[]\\".contains(c);
    if host.is_empty() || host.contains(odd) {
        return Err(ConfigError::field(
            field,
            format!("{host:?} is no host name or IP address"),
        ));
    }
    if port == 0 {
        return Err(ConfigError::field(field, "port 0 cannot be used"));
    }
    Ok(())
}
