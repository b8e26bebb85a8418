//! One function for each object that a bridge is made of. Pure: the same input gives the same bytes.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::validate::ValidatedBridge;
use crate::api::BridgePipeline;
use crate::bridge::config::BridgeConfig;
use crate::controller::{Error, Options, Peer, Workload, network_policy, restart_hash};

/// Everything a bridge is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Objects {
    pub(super) network_policy: NetworkPolicy,
    pub(super) config_map: ConfigMap,
    pub(super) stateful_set: StatefulSet,
    /// What running pods must have been started with.
    pub(super) restart_hash: String,
}

/// Builds them.
///
/// # Errors
/// When the configuration cannot be written as YAML, which would be a bug.
pub(super) fn build(
    owner: &BridgePipeline,
    bridge: &ValidatedBridge,
    options: &Options,
    peers: &BTreeSet<Peer>,
    broker_ports: &BTreeSet<u16>,
) -> Result<Objects, Error> {
    let workload = Workload {
        command: "bridge",
        // At most one pod for one session.
        replicas: i32::from(!bridge.paused),
        workers: None,
        config: yaml(&bridge.config)?,
        restart_hash: restart_hash(&yaml(&starts_anew(&bridge.config))?),
        mounts: vec![&bridge.mqtt_mounts, &bridge.kafka_mounts],
        cpu_request: "50m",
        memory_request: "48Mi",
        memory_limit: "128Mi",
    };
    Ok(Objects {
        network_policy: network_policy(owner, workload.name(owner), options, peers, broker_ports),
        config_map: workload.config_map(owner),
        stateful_set: workload.stateful_set(owner, options),
        restart_hash: workload.restart_hash,
    })
}

/// What a change of must start the pod anew: all but the filters to unsubscribe, which are done with one by one.
fn starts_anew(config: &BridgeConfig) -> BridgeConfig {
    let mut config = config.clone();
    config.mqtt.unsubscribe = Vec::new();
    config
}

fn yaml(config: &BridgeConfig) -> Result<String, Error> {
    serde_yaml::to_string(config).map_err(|e| Error::Serialize {
        what: "the bridge's configuration".to_owned(),
        message: e.to_string(),
    })
}

#[cfg(test)]
mod tests;
