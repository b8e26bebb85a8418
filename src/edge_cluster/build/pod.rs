//! The broker's pod: our program is copied in, prepares the volume, and becomes Kafka.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, KeyToPath, LocalObjectReference, ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
    TCPSocketAction, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::names;
use super::super::validate::{CONTROLLER_PORT, ValidatedEdgeCluster};
use super::{CONFIG_KEY, DATA_VOLUME, IDENTITY_KEY, KAFKA_CONTAINER, path};
use crate::api::{EdgeCluster, ResourceAmounts, Resources};
use crate::controller::{Kind, selector_labels};

/// The user of the stock `apache/kafka` image.
const KAFKA_USER: i64 = 1000;
/// Time for Kafka's controlled shutdown before it is killed: leaders move away, segments are flushed. Seconds.
const GRACE: i64 = 120;
const HELPER_VOLUME: &str = "tributary";
const CONFIG_VOLUME: &str = "config";
const IDENTITY_VOLUME: &str = "identity";
const TMP_VOLUME: &str = "tmp";

/// Builds the pod's spec. `config` is the name of the broker's ConfigMap.
pub(super) fn spec(cluster: &ValidatedEdgeCluster, config: &str) -> PodSpec {
    let settings = &cluster.pod;
    let secrets = cluster
        .pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    let priority = settings
        .priority_class_name
        .clone()
        .filter(|name| !name.is_empty());
    PodSpec {
        init_containers: Some(vec![helper(cluster)]),
        containers: vec![kafka(cluster)],
        volumes: Some(volumes(cluster, config)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(KAFKA_USER),
            run_as_group: Some(KAFKA_USER),
            fs_group: Some(KAFKA_USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE),
        image_pull_secrets: Some(secrets.collect::<Vec<_>>()).filter(|list| !list.is_empty()),
        node_selector: Some(settings.node_selector.clone()).filter(|map| !map.is_empty()),
        tolerations: Some(settings.tolerations.clone()).filter(|list| !list.is_empty()),
        affinity: settings.affinity.clone().or_else(|| apart(cluster)),
        priority_class_name: priority,
        ..PodSpec::default()
    }
}

/// Copies are worth little on one node. Preferred only: a small site may have fewer nodes than brokers.
fn apart(cluster: &ValidatedEdgeCluster) -> Option<Affinity> {
    let term = WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: PodAffinityTerm {
            topology_key: "kubernetes.io/hostname".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(selector_labels(EdgeCluster::KIND, &cluster.name)),
                ..LabelSelector::default()
            }),
            ..PodAffinityTerm::default()
        },
    };
    (cluster.brokers > 1).then(|| Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    })
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// Copies our program to where the broker's container finds it.
fn helper(cluster: &ValidatedEdgeCluster) -> Container {
    let amounts = |cpu: Option<&str>, memory: &str| {
        let mut map = BTreeMap::from([("memory".to_owned(), Quantity(memory.to_owned()))]);
        map.extend(cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.to_owned()))));
        Some(map)
    };
    Container {
        name: "tributary".to_owned(),
        image: Some(cluster.helper_image.clone()),
        image_pull_policy: cluster.pull_policy.clone(),
        args: Some(
            ["broker", "install", "--to", path::HELPER]
                .map(str::to_owned)
                .to_vec(),
        ),
        resources: Some(ResourceRequirements {
            requests: amounts(Some("10m"), "16Mi"),
            limits: amounts(None, "128Mi"),
            claims: None,
        }),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![mount(HELPER_VOLUME, path::HELPER, false)]),
        ..Container::default()
    }
}

fn kafka(cluster: &ValidatedEdgeCluster) -> Container {
    let mut ports: Vec<ContainerPort> = vec![container_port("controller", CONTROLLER_PORT)];
    ports.extend(cluster.listeners.iter().map(|l| container_port(&l.name, l.port)));
    let config = format!("{}/{CONFIG_KEY}", path::CONFIG);
    let program = format!("{}/tributary", path::HELPER);
    Container {
        name: KAFKA_CONTAINER.to_owned(),
        image: Some(cluster.kafka_image.clone()),
        image_pull_policy: cluster.pull_policy.clone(),
        command: Some(vec![program, "broker".to_owned(), "--config".to_owned(), config]),
        env: Some(vec![
            from_field("POD_NAME", "metadata.name"),
            from_field("HOST_IP", "status.hostIP"),
        ]),
        ports: Some(ports),
        resources: Some(requirements(&cluster.resources)),
        security_context: Some(restricted()),
        // Kafka opens its listeners only once it has caught up with the cluster's metadata. There is no liveness probe:
        // a broker that recovers its log for an hour is not dead, and killing it would begin the recovery anew.
        readiness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction {
                port: IntOrString::Int(i32::from(cluster.inter_broker_listener().port)),
                host: None,
            }),
            period_seconds: Some(2),
            timeout_seconds: Some(2),
            failure_threshold: Some(3),
            ..Probe::default()
        }),
        // The launcher writes its reason; when Kafka dies, the end of its log stands there instead.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            mount(DATA_VOLUME, path::VOLUME, false),
            mount(HELPER_VOLUME, path::HELPER, false),
            mount(TMP_VOLUME, path::TMP, false),
            mount(CONFIG_VOLUME, path::CONFIG, true),
            mount(IDENTITY_VOLUME, path::IDENTITY, true),
        ]),
        ..Container::default()
    }
}

fn container_port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn from_field(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: field.to_owned(),
                api_version: None,
            }),
            ..EnvVarSource::default()
        }),
        value: None,
    }
}

fn requirements(resources: &Resources) -> ResourceRequirements {
    let amounts = |amounts: &Option<ResourceAmounts>| {
        let amounts = amounts.as_ref()?;
        let pairs = [("cpu", &amounts.cpu), ("memory", &amounts.memory)];
        let map: BTreeMap<String, Quantity> = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), Quantity(value.as_ref()?.0.clone()))))
            .collect();
        Some(map).filter(|map| !map.is_empty())
    };
    ResourceRequirements {
        requests: amounts(&resources.requests),
        limits: amounts(&resources.limits),
        claims: None,
    }
}

fn volumes(cluster: &ValidatedEdgeCluster, config: &str) -> Vec<Volume> {
    let empty = |name: &str, limit: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            // On disk, not in memory: the launcher's memory of its volume must survive a reboot of the node.
            medium: None,
            size_limit: Some(Quantity(limit.to_owned())),
        }),
        ..Volume::default()
    };
    let file = |name: &str, config_map: &str, key: &str| Volume {
        name: name.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            items: Some(vec![KeyToPath {
                key: key.to_owned(),
                path: key.to_owned(),
                mode: None,
            }]),
            optional: Some(false),
            default_mode: None,
        }),
        ..Volume::default()
    };
    vec![
        empty(HELPER_VOLUME, "256Mi"),
        empty(TMP_VOLUME, "256Mi"),
        file(CONFIG_VOLUME, config, CONFIG_KEY),
        file(IDENTITY_VOLUME, &names::identity(&cluster.name), IDENTITY_KEY),
    ]
}
