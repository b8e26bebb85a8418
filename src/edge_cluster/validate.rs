//! From the raw spec to what builders use: everything resolved, nothing optional that is needed.
//!
//! The CRD's CEL rules say most of this already. It is said again because a stored object may be older than the rules,
//! and because some rules need arithmetic that CEL has not.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use super::defaults;
use crate::api::{
    EdgeCluster, Listener, ListenerType, OWNED_BROKER_KEYS, PodSettings, Quantity, Reason, ResourceAmounts,
    Resources,
};
use crate::controller::{
    Kind, MANAGED_BY, MANAGED_BY_LABEL, Options, Problem, owner_reference, selector_labels,
};

#[cfg(test)]
pub(super) mod tests;

/// The KRaft controllers' port.
pub const CONTROLLER_PORT: u16 = 9093;
/// Ports that listeners may not have.
const OWN_PORTS: [i32; 2] = [9093, 9404];
/// Names that listeners may not have: they are names of our own objects.
const OWN_NAMES: [&str; 2] = ["controller", "brokers"];
/// The topic setting that would break law 1; the broker's own is one of [`OWNED_BROKER_KEYS`].
const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";
/// Settings that give a number of replicas, which cannot exceed the number of brokers.
const REPLICA_KEYS: [&str; 7] = [
    "default.replication.factor",
    "min.insync.replicas",
    "offsets.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.min.isr",
    "transaction.state.log.replication.factor",
];

/// An EdgeCluster whose spec can work.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedEdgeCluster {
    /// Name of the object.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The reference by which what is built is deleted after it.
    pub owner: OwnerReference,
    /// Kafka's image.
    pub kafka_image: String,
    /// Our own image, whose program is copied beside Kafka.
    pub helper_image: String,
    /// Pull policy of both, if one is set.
    pub pull_policy: Option<String>,
    /// Secrets for pulling them.
    pub pull_secrets: Vec<String>,
    /// Number of brokers; their IDs are 0 to `brokers - 1`.
    pub brokers: i32,
    /// The volumes.
    pub storage: ValidStorage,
    /// Resources of a broker's container.
    pub resources: Resources,
    /// The JVM's heap.
    pub heap_mib: u32,
    /// The listeners, in the spec's order.
    pub listeners: Vec<ValidListener>,
    /// The listener that brokers use among themselves: the first Internal one.
    pub inter_broker: usize,
    /// Broker settings of the spec.
    pub config: BTreeMap<String, String>,
    /// Broker settings that the operator chose where the spec is silent.
    pub chosen: BTreeMap<String, String>,
    /// The topics, by name.
    pub topics: BTreeMap<String, ValidTopic>,
    /// Where and how pods are scheduled.
    pub pod: PodSettings,
}

/// The volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidStorage {
    /// Size as the spec has it.
    pub size: Quantity,
    /// The same in bytes.
    pub bytes: u64,
    /// Storage class, if one is named.
    pub class: Option<String>,
    /// Whether volumes and identity outlive the object.
    pub retain: bool,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidListener {
    /// Its name.
    pub name: String,
    /// The container's port.
    pub port: u16,
    /// Node ports, for type NodePort.
    pub node_port: Option<ValidNodePort>,
}

/// The node ports of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidNodePort {
    /// The port that reaches any broker.
    pub bootstrap: u16,
    /// Each broker's own port and host, by ID.
    pub brokers: BTreeMap<i32, (u16, Option<String>)>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidTopic {
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replicas: i16,
    /// Settings.
    pub config: BTreeMap<String, String>,
}

impl ValidatedEdgeCluster {
    /// Labels of everything that is built.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = selector_labels(EdgeCluster::KIND, &self.name);
        labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
        labels.insert("app.kubernetes.io/part-of".to_owned(), "tributary".to_owned());
        labels
    }

    /// Metadata of something that is deleted with the object.
    pub fn metadata(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            owner_references: Some(vec![self.owner.clone()]),
            ..self.unowned_metadata(name)
        }
    }

    /// Metadata of something that outlives the object.
    pub fn unowned_metadata(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    /// The listener that brokers use among themselves.
    pub fn inter_broker_listener(&self) -> &ValidListener {
        &self.listeners[self.inter_broker]
    }

    /// All broker settings: the spec's before the operator's choices, and what the operator owns.
    pub fn broker_config(&self) -> BTreeMap<String, String> {
        let mut all = self.chosen.clone();
        all.extend(self.config.clone());
        all.extend(defaults::fixed().map(|(k, v)| (k.to_owned(), v.to_owned())));
        all
    }
}

fn invalid(field: &str, value: impl ToString, why: impl Into<String>, remedy: &str) -> Problem {
    Problem::new(Reason::InvalidSpec, field, value.to_string(), why, remedy)
}

/// Checks the spec and resolves what it leaves open.
///
/// # Errors
/// The first field that cannot work.
pub fn validate(object: &EdgeCluster, options: &Options) -> Result<ValidatedEdgeCluster, Problem> {
    let spec = &object.spec;
    if ![1, 3].contains(&spec.brokers) {
        return Err(invalid(
            "spec.brokers",
            spec.brokers,
            "is neither 1 nor 3",
            "create a new EdgeCluster",
        ));
    }
    let resources = spec.resources.clone().unwrap_or_else(defaults::resources);
    let heap_mib = heap(&resources)?;
    let listeners = listeners(&spec.listeners, spec.brokers)?;
    let Some(inter_broker) = listeners.iter().position(|l| l.node_port.is_none()) else {
        let remedy = "add a listener of type Internal";
        return Err(invalid(
            "spec.listeners",
            "",
            "none is of type Internal, which brokers use among themselves",
            remedy,
        ));
    };
    config(&spec.config, spec.brokers)?;
    let mut chosen = defaults::config(spec.brokers, heap_mib);
    chosen.retain(|key, _| !spec.config.contains_key(key));
    let bytes = spec.storage.size.units().filter(|b| *b > 0);
    let Some(bytes) = bytes else {
        return Err(invalid(
            "spec.storage.size",
            &spec.storage.size,
            "is not an amount of bytes",
            "write for example 20Gi",
        ));
    };
    let version = spec.kafka_version.as_str();
    Ok(ValidatedEdgeCluster {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        owner: owner_reference(object),
        kafka_image: options.kafka_image_of(version),
        helper_image: options.image.clone(),
        pull_policy: options.image_pull_policy.clone(),
        pull_secrets: options.image_pull_secrets.clone(),
        brokers: spec.brokers,
        storage: ValidStorage {
            size: spec.storage.size.clone(),
            bytes,
            class: spec.storage.class_name.clone(),
            retain: spec.storage.retain.unwrap_or(true),
        },
        resources,
        heap_mib,
        listeners,
        inter_broker,
        config: spec.config.clone(),
        chosen,
        topics: topics(object)?,
        pod: spec.pod.clone().unwrap_or_default(),
    })
}

fn heap(resources: &Resources) -> Result<u32, Problem> {
    let limit = memory("limits", resources.limits.as_ref())?;
    let request = memory("requests", resources.requests.as_ref())?;
    let least = defaults::MEMORY_MIB_LEAST << 20;
    if let Some((field, amount, _)) = limit.as_ref().filter(|(.., bytes)| *bytes < least) {
        let why = format!(
            "is less than the {}Mi that a broker needs",
            defaults::MEMORY_MIB_LEAST
        );
        return Err(invalid(field, amount, why, "raise it; 768Mi is a good start"));
    }
    if let (Some((.., most)), Some((field, amount, bytes))) = (&limit, &request)
        && bytes > most
    {
        return Err(invalid(
            field,
            amount,
            "is more than the limit",
            "lower it, or raise the limit",
        ));
    }
    // Without a limit the heap follows what the scheduler sets aside.
    let basis = limit.or(request).map_or(768 << 20, |(.., bytes)| bytes);
    Ok(defaults::heap_mib(basis.max(least)))
}

/// An amount of memory: field, value, bytes.
fn memory(kind: &str, amounts: Option<&ResourceAmounts>) -> Result<Option<(String, Quantity, u64)>, Problem> {
    let Some(amount) = amounts.and_then(|a| a.memory.clone()) else {
        return Ok(None);
    };
    let field = format!("spec.resources.{kind}.memory");
    match amount.units() {
        Some(bytes) => Ok(Some((field, amount, bytes))),
        None => Err(invalid(
            &field,
            amount,
            "is not an amount of bytes",
            "write for example 768Mi",
        )),
    }
}

fn listeners(listeners: &[Listener], brokers: i32) -> Result<Vec<ValidListener>, Problem> {
    let (mut names, mut ports, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let mut valid = Vec::new();
    for listener in listeners {
        let field = |name: &str| format!("spec.listeners[{}].{name}", listener.name);
        if OWN_NAMES.contains(&listener.name.as_str()) || !names.insert(&listener.name) {
            return Err(invalid(
                &field("name"),
                &listener.name,
                "is taken",
                "choose another name",
            ));
        }
        let port = u16::try_from(listener.port).ok().filter(|p| *p >= 1024);
        let Some(port) = port.filter(|_| !OWN_PORTS.contains(&listener.port) && ports.insert(listener.port))
        else {
            return Err(invalid(
                &field("port"),
                listener.port,
                "is taken or out of range",
                "choose another port",
            ));
        };
        let node_port = match (listener.type_, &listener.node_port) {
            (ListenerType::Internal, None) => None,
            (ListenerType::NodePort, Some(_)) => Some(node_port(listener, brokers, &mut node_ports)?),
            (type_, _) => {
                let remedy = "set nodePort for type NodePort, and only for it";
                return Err(invalid(
                    &field("type"),
                    format!("{type_:?}"),
                    "does not go with nodePort",
                    remedy,
                ));
            }
        };
        valid.push(ValidListener {
            name: listener.name.clone(),
            port,
            node_port,
        });
    }
    Ok(valid)
}

fn node_port(
    listener: &Listener,
    brokers: i32,
    taken: &mut BTreeMap<u16, String>,
) -> Result<ValidNodePort, Problem> {
    let mut take = |path: String, port: i32| match u16::try_from(port) {
        Ok(port) if port > 0 => match taken.insert(port, path.clone()) {
            None => Ok(port),
            Some(other) => Err(invalid(
                &path,
                port,
                format!("is also {other}"),
                "give every entry a node port of its own",
            )),
        },
        _ => Err(invalid(
            &path,
            port,
            "is no port",
            "give a port of the node port range",
        )),
    };
    let field = format!("spec.listeners[{}].nodePort", listener.name);
    let Some(node_port) = &listener.node_port else {
        return Err(invalid(&field, "", "is needed for type NodePort", "set it"));
    };
    let mut valid = ValidNodePort {
        bootstrap: take(format!("{field}.bootstrap"), node_port.bootstrap)?,
        brokers: BTreeMap::new(),
    };
    for broker in &node_port.brokers {
        let port = take(format!("{field}.brokers[{}].port", broker.id), broker.port)?;
        valid
            .brokers
            .insert(broker.id, (port, broker.advertised_host.clone()));
    }
    if !valid.brokers.keys().copied().eq(0..brokers) {
        let ids: Vec<String> = valid.brokers.keys().map(i32::to_string).collect();
        let remedy = "give exactly one entry for each broker ID";
        return Err(invalid(
            &format!("{field}.brokers"),
            ids.join(","),
            format!("there are {brokers} brokers, with IDs from 0"),
            remedy,
        ));
    }
    Ok(valid)
}

fn config(config: &BTreeMap<String, String>, brokers: i32) -> Result<(), Problem> {
    for (key, value) in config {
        let field = format!("spec.config.{key}");
        if OWNED_BROKER_KEYS.contains(&key.as_str()) {
            return Err(invalid(&field, value, "is owned by the operator", "remove it"));
        }
        if ["listener.name.", "ssl.", "sasl."]
            .iter()
            .any(|p| key.starts_with(p))
        {
            return Err(invalid(&field, value, "follows from spec.listeners", "remove it"));
        }
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if key.is_empty() || !key.chars().all(good) || value.contains(['\r', '\n']) {
            return Err(invalid(
                &field,
                value,
                "is no Kafka property",
                "write lower case names and values without line breaks",
            ));
        }
        if REPLICA_KEYS.contains(&key.as_str())
            && value.parse::<i32>().is_ok_and(|replicas| replicas > brokers)
        {
            return Err(invalid(
                &field,
                value,
                format!("is more than the {brokers} brokers"),
                "lower it, or remove it",
            ));
        }
    }
    Ok(())
}

fn topics(object: &EdgeCluster) -> Result<BTreeMap<String, ValidTopic>, Problem> {
    let mut topics = BTreeMap::new();
    for topic in &object.spec.topics {
        let field = format!("spec.topics[{}]", topic.name);
        let replicas = i16::try_from(topic.replicas).ok().filter(|r| *r > 0);
        let Some(replicas) = replicas else {
            return Err(invalid(
                &format!("{field}.replicas"),
                topic.replicas,
                "is no number of replicas",
                "give 1 to 3",
            ));
        };
        if topic.partitions < 1 {
            return Err(invalid(
                &format!("{field}.partitions"),
                topic.partitions,
                "is no number of partitions",
                "give 1 or more",
            ));
        }
        if topic.name.starts_with("__") || [".", ".."].contains(&topic.name.as_str()) {
            return Err(invalid(
                &format!("{field}.name"),
                &topic.name,
                "is reserved",
                "choose another name",
            ));
        }
        topic_config(&field, &topic.config)?;
        let valid = ValidTopic {
            partitions: topic.partitions,
            replicas,
            config: topic.config.clone(),
        };
        if topics.insert(topic.name.clone(), valid).is_some() {
            return Err(invalid(
                &format!("{field}.name"),
                &topic.name,
                "stands twice",
                "remove one of them",
            ));
        }
    }
    Ok(topics)
}

fn topic_config(topic: &str, config: &BTreeMap<String, String>) -> Result<(), Problem> {
    // Kafka takes any case, and spaces around it.
    let unclean = config.get(UNCLEAN_ELECTION);
    match unclean.filter(|value| value.trim().eq_ignore_ascii_case("true")) {
        None => Ok(()),
        Some(value) => Err(invalid(
            &format!("{topic}.config.{UNCLEAN_ELECTION}"),
            value,
            "lets a replica that is behind become leader, which drops what was acknowledged",
            "set it to \"false\"; removed, it would stay in Kafka",
        )),
    }
}
