//! One function for each object that a link is made of. Pure: the same input gives the same bytes.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::validate::ValidatedLink;
use super::workers::{self, Step};
use crate::api::ReplicationLink;
use crate::controller::{Error, Options, Peer, PodView, Workload, network_policy, restart_hash};
use crate::replicator::config::ReplicatorConfig;

/// Annotation of the ConfigMap: the link ID of which positions were seen on the target. It outlives a status that was
/// wiped; from then on missing positions stop the link.
pub(super) const POSITIONS_SEEN_ANNOTATION: &str = "tributary.dev/positions-seen";

/// Everything a link is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Objects {
    pub(super) network_policy: NetworkPolicy,
    pub(super) config_map: ConfigMap,
    pub(super) stateful_set: StatefulSet,
    /// What running pods must have been started with.
    pub(super) restart_hash: String,
    /// How many pods there may be now.
    pub(super) step: Step,
}

/// The name of all objects of a link.
pub(super) fn objects_name(link: &str) -> String {
    format!("{link}-replicator")
}

/// Builds them. `positions_seen` is the link ID of which positions were seen, if any were; `pods` are those that are there.
///
/// # Errors
/// When the configuration cannot be written as YAML, which would be a bug.
pub(super) fn build(
    owner: &ReplicationLink,
    link: &ValidatedLink,
    positions_seen: Option<&str>,
    options: &Options,
    peers: &BTreeSet<Peer>,
    broker_ports: &BTreeSet<u16>,
    pods: &[PodView],
) -> Result<Objects, Error> {
    let mut config = link.config.clone();
    config.positions_seen = positions_seen.is_some();
    let restart_hash = restart_hash(&yaml(&starts_anew(&config))?);
    let wanted = if link.paused {
        0
    } else {
        i32::try_from(config.workers).unwrap_or(1)
    };
    let step = workers::next(wanted, config.workers, &restart_hash, pods);
    let workload = Workload {
        command: "replicator",
        replicas: step.replicas(),
        workers: Some(config.workers),
        config: yaml(&config)?,
        restart_hash,
        mounts: vec![&link.source_mounts, &link.target_mounts],
        cpu_request: "100m",
        // The defaults of `Tuning` (32 MiB each way) suit this limit.
        memory_request: "96Mi",
        memory_limit: "256Mi",
    };
    let mut config_map = workload.config_map(owner);
    if let Some(link_id) = positions_seen {
        let note = (POSITIONS_SEEN_ANNOTATION.to_owned(), link_id.to_owned());
        config_map
            .metadata
            .annotations
            .get_or_insert_default()
            .extend([note]);
    }
    Ok(Objects {
        network_policy: network_policy(owner, workload.name(owner), options, peers, broker_ports),
        config_map,
        stateful_set: workload.stateful_set(owner, options),
        restart_hash: workload.restart_hash,
        step,
    })
}

/// What a change of must start the pods anew: all but what they know by themselves while they run.
fn starts_anew(config: &ReplicatorConfig) -> ReplicatorConfig {
    ReplicatorConfig {
        positions_seen: false,
        ..config.clone()
    }
}

fn yaml(config: &ReplicatorConfig) -> Result<String, Error> {
    serde_yaml::to_string(config).map_err(|e| Error::Serialize {
        what: "the replicator's configuration".to_owned(),
        message: e.to_string(),
    })
}

#[cfg(test)]
mod tests;
