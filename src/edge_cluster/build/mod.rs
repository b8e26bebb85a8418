//! What an EdgeCluster is turned into: one pure function for each object. No client, no clock, no randomness: the same
//! input gives the same bytes.

mod config_map;
mod disruption_budget;
mod network_policy;
mod pod;
mod services;
mod stateful_set;

#[cfg(test)]
mod tests;

pub use config_map::config_map;
pub use disruption_budget::disruption_budget;
pub use network_policy::network_policy;
pub use services::services;
pub use stateful_set::{ClaimSize, revision, stateful_set};

/// The container that Kafka runs in.
pub const KAFKA_CONTAINER: &str = "kafka";
/// The volume (claim) with the broker's data.
pub const DATA_VOLUME: &str = "data";
/// Key of the broker's configuration in its ConfigMap.
pub const CONFIG_KEY: &str = "broker.yaml";
/// Key of the identity record in its ConfigMap.
pub const IDENTITY_KEY: &str = "identity.yaml";
/// Pod annotation: the revision that the pod was made from. It differs exactly when a restart is needed.
pub const REVISION_ANNOTATION: &str = "tributary.dev/revision";
/// Pod annotation: the ConfigMap that the pod's configuration is in.
pub const CONFIG_ANNOTATION: &str = "tributary.dev/broker-config";

/// Where things are in the container.
mod path {
    pub const VOLUME: &str = "/var/lib/kafka";
    pub const HELPER: &str = "/opt/tributary";
    pub const CONFIG: &str = "/etc/tributary/config";
    pub const IDENTITY: &str = "/etc/tributary/identity";
    pub const TMP: &str = "/tmp";
    pub const KAFKA_HOME: &str = "/opt/kafka";
}
