//! From the spec, and what was found for its references, to the replicator's configuration. Pure.

use kube::ResourceExt;

use crate::api::{Delivery, KafkaEndpoint, NamingType, Reason, ReplicationLink, Start};
use crate::controller::{PodEndpoint, Problem, SecretMounts};
use crate::kafka::endpoint::MAX_BOOTSTRAP_SERVERS;
use crate::replicator::config::{self, ReplicatorConfig, TopicSelection, TopicsConfig, Tuning};

/// A spec that can work, with what it refers to.
#[derive(Clone, Debug)]
pub(super) struct ValidatedLink {
    /// What the pods read.
    pub(super) config: ReplicatorConfig,
    /// Its choice of topics, compiled.
    pub(super) selection: TopicSelection,
    /// Files of the source's side.
    pub(super) source_mounts: SecretMounts,
    /// Files of the target's side.
    pub(super) target_mounts: SecretMounts,
    /// Whether no pod may run.
    pub(super) paused: bool,
}

/// Pods that share the partitions, as the spec has it.
pub(super) fn workers(object: &ReplicationLink) -> i32 {
    object.spec.workers.unwrap_or(1)
}

/// Replicas of created topics, as the spec has it.
pub(super) fn replication_factor(object: &ReplicationLink) -> i32 {
    object.spec.topics.replication_factor.unwrap_or(-1)
}

/// Builds the configuration and asks the replicator's own questions about it.
///
/// # Errors
/// Everything that cannot work, each with field, value, cause and remedy.
pub(super) fn validate(
    object: &ReplicationLink,
    source: &PodEndpoint,
    target: &PodEndpoint,
) -> Result<ValidatedLink, Vec<Problem>> {
    let mut problems = Vec::new();
    for (field, endpoint) in [("spec.source", source), ("spec.target", target)] {
        problems.extend(too_many_servers(field, endpoint));
    }
    problems.extend(runs_in_a_circle(object, source, target));
    let naming = naming(object).map_err(|problem| problems.push(problem)).ok();
    let Some(naming) = naming else {
        return Err(problems);
    };
    let config = config(object, naming, source, target);
    let selection = config.validate().map_err(|invalid| {
        let field = format!("spec.{}", invalid.field);
        problems.push(Problem::new(
            Reason::InvalidSpec,
            field,
            invalid.value,
            invalid.why,
            invalid.remedy,
        ));
    });
    match selection {
        Ok(selection) if problems.is_empty() => Ok(ValidatedLink {
            config,
            selection,
            source_mounts: source.mounts.clone(),
            target_mounts: target.mounts.clone(),
            paused: object.spec.paused == Some(true),
        }),
        _ => Err(problems),
    }
}

fn config(
    object: &ReplicationLink,
    naming: config::Naming,
    source: &PodEndpoint,
    target: &PodEndpoint,
) -> ReplicatorConfig {
    let spec = &object.spec;
    ReplicatorConfig {
        name: format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()),
        // Not in the file: a generation that changes nothing else must not start the pods anew.
        generation: None,
        link_id: spec.link_id.clone().filter(|id| !id.is_empty()),
        source: source.file.clone(),
        target: target.file.clone(),
        topics: TopicsConfig {
            include: spec.topics.include.clone(),
            deny: spec.topics.deny.clone(),
            naming,
            // What does not fit is refused by the replicator's own check.
            replication_factor: i16::try_from(replication_factor(object)).unwrap_or(i16::MIN),
        },
        delivery: match spec.delivery {
            Delivery::AtLeastOnce => config::Delivery::AtLeastOnce,
        },
        start: match spec.start {
            Start::Earliest => config::Start::Earliest,
            Start::Latest => config::Start::Latest,
        },
        workers: u32::try_from(workers(object)).unwrap_or(0),
        worker: None,
        positions_seen: false,
        telemetry: config::TelemetryConfig::default(),
        tuning: Tuning::default(),
    }
}

fn naming(object: &ReplicationLink) -> Result<config::Naming, Problem> {
    let naming = &object.spec.topics.naming;
    match (naming.type_, &naming.prefix) {
        (NamingType::Identity, _) => Ok(config::Naming::Identity {}),
        (NamingType::Prefix, Some(prefix)) => Ok(config::Naming::Prefix {
            prefix: prefix.clone(),
        }),
        (NamingType::Prefix, None) => Err(Problem::new(
            Reason::InvalidSpec,
            "spec.topics.naming.prefix",
            "",
            "is needed for type Prefix",
            "set it, such as munich.",
        )),
    }
}

fn too_many_servers(field: &str, endpoint: &PodEndpoint) -> Option<Problem> {
    let count = endpoint.file.bootstrap_servers.len();
    (count > MAX_BOOTSTRAP_SERVERS).then(|| {
        Problem::new(
            Reason::InvalidSpec,
            format!("{field}.external.bootstrapServers"),
            format!("{count} addresses"),
            format!("at most {MAX_BOOTSTRAP_SERVERS} are used"),
            "name some of the brokers; the others are learnt from them",
        )
    })
}

/// Under Identity, a source that is the target would feed every topic from itself. What is one cluster under two
/// addresses is found by the replicator, which compares cluster IDs.
fn runs_in_a_circle(object: &ReplicationLink, source: &PodEndpoint, target: &PodEndpoint) -> Option<Problem> {
    let spec = &object.spec;
    if spec.topics.naming.type_ != NamingType::Identity {
        return None;
    }
    let cluster = |endpoint: &KafkaEndpoint| endpoint.cluster_ref.as_ref().map(|c| c.name.clone());
    let one_cluster = cluster(&spec.source).is_some() && cluster(&spec.source) == cluster(&spec.target);
    let servers = &source.file.bootstrap_servers;
    let shared = target.file.bootstrap_servers.iter().find(|s| servers.contains(s));
    if !one_cluster && shared.is_none() {
        return None;
    }
    Some(Problem::new(
        Reason::LoopRefused,
        "spec.target",
        cluster(&spec.target)
            .or_else(|| shared.cloned())
            .unwrap_or_default(),
        "is the source too, and under naming Identity each topic would feed itself",
        "correct source or target, or use naming Prefix",
    ))
}

#[cfg(test)]
mod tests;
