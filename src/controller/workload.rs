//! The StatefulSet and ConfigMap of a data-plane process: the same shape for bridge and replicator. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort, HTTPGetAction,
    LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::{Kind, MANAGED_BY, MANAGED_BY_LABEL, Options, SecretMounts, owned_metadata, selector_labels};
use crate::telemetry::DEFAULT_PORT;

/// Annotation of pods: the hash of the configuration that they were started with.
pub const CONFIG_HASH_ANNOTATION: &str = "tributary.dev/config-hash";
/// Annotation of pods: how many share the work of their object, as they were started.
pub const WORKERS_ANNOTATION: &str = "tributary.dev/workers";
/// Where the configuration is mounted.
const CONFIG_DIR: &str = "/etc/tributary/config";
/// The numeric user of the image.
const USER: i64 = 65532;
/// Time for an orderly end: what is in flight is settled, positions are stored.
const GRACE_SECONDS: i64 = 15;

/// A data-plane process.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    /// The command, which is also the container's name and the suffix of the objects' names: `bridge`, `replicator`.
    pub command: &'static str,
    /// Pods.
    pub replicas: i32,
    /// How many pods the configuration shares the work among, where each of them must know.
    pub workers: Option<u32>,
    /// The configuration file's text.
    pub config: String,
    /// Changes when the pods must start anew: a hash of what they read at their start only.
    pub restart_hash: String,
    /// Credentials.
    pub mounts: Vec<&'a SecretMounts>,
    /// CPU requested.
    pub cpu_request: &'static str,
    /// Memory requested.
    pub memory_request: &'static str,
    /// Memory at most.
    pub memory_limit: &'static str,
}

/// SHA-256 in hex, cut to 32 digits: enough to tell configurations apart.
#[must_use]
pub fn restart_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Workload<'_> {
    /// The name of everything that is created.
    #[must_use]
    pub fn name<K: Kind>(&self, owner: &K) -> String {
        format!("{}-{}", owner.name_any(), self.command)
    }

    fn metadata<K: Kind>(&self, owner: &K) -> ObjectMeta {
        let mut metadata = owned_metadata(owner, self.name(owner));
        metadata
            .labels
            .get_or_insert_default()
            .extend(self.component_labels());
        metadata
    }

    fn component_labels(&self) -> [(String, String); 2] {
        [
            ("app.kubernetes.io/name", "tributary"),
            ("app.kubernetes.io/component", self.command),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    }

    /// The ConfigMap with the configuration file.
    #[must_use]
    pub fn config_map<K: Kind>(&self, owner: &K) -> ConfigMap {
        ConfigMap {
            metadata: self.metadata(owner),
            data: Some([(self.file(), self.config.clone())].into()),
            ..ConfigMap::default()
        }
    }

    fn file(&self) -> String {
        format!("{}.yaml", self.command)
    }

    /// The StatefulSet. It never runs two pods of one ordinal, also when a node is out of reach; that is what keeps one
    /// MQTT session in one hand, and one partition as long as the number of pods that share them stays the same. Pods
    /// of different ordinals it ends and starts all at once: a change of that number is up to whoever sets `replicas`.
    #[must_use]
    pub fn stateful_set<K: Kind>(&self, owner: &K, options: &Options) -> StatefulSet {
        let selector = selector_labels(K::KIND, &owner.name_any());
        let mut labels = selector.clone();
        labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
        labels.extend(self.component_labels());
        let mut annotations: BTreeMap<_, _> =
            [(CONFIG_HASH_ANNOTATION.to_owned(), self.restart_hash.clone())].into();
        let workers = self.workers.map(|count| count.to_string());
        annotations.extend(workers.map(|count| (WORKERS_ANNOTATION.to_owned(), count)));
        StatefulSet {
            metadata: self.metadata(owner),
            spec: Some(StatefulSetSpec {
                replicas: Some(self.replicas),
                service_name: Some(self.name(owner)),
                // A pod that does not come up must not keep its mended successor, or the other workers, waiting.
                pod_management_policy: Some("Parallel".to_owned()),
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: None,
                }),
                revision_history_limit: Some(2),
                selector: LabelSelector {
                    match_labels: Some(selector),
                    match_expressions: None,
                },
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels),
                        annotations: Some(annotations),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(self.pod(owner, options)),
                },
                ..StatefulSetSpec::default()
            }),
            status: None,
        }
    }

    fn pod<K: Kind>(&self, owner: &K, options: &Options) -> PodSpec {
        let (mut volumes, mut mounts) = (vec![self.config_volume(owner)], vec![config_mount()]);
        for (volume, mount) in self.mounts.iter().filter_map(|m| m.volume()) {
            volumes.push(volume);
            mounts.push(mount);
        }
        let secrets = options
            .image_pull_secrets
            .iter()
            .map(|name| LocalObjectReference { name: name.clone() });
        PodSpec {
            containers: vec![self.container(options, mounts)],
            volumes: Some(volumes),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            image_pull_secrets: Some(secrets.collect::<Vec<_>>()).filter(|s| !s.is_empty()),
            security_context: Some(pod_security()),
            ..PodSpec::default()
        }
    }

    fn config_volume<K: Kind>(&self, owner: &K) -> Volume {
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: self.name(owner),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        }
    }

    fn container(&self, options: &Options, mounts: Vec<VolumeMount>) -> Container {
        let amount = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
        Container {
            name: self.command.to_owned(),
            image: Some(options.image.clone()),
            image_pull_policy: options.image_pull_policy.clone(),
            args: Some(vec![
                self.command.to_owned(),
                "--config".to_owned(),
                format!("{CONFIG_DIR}/{}", self.file()),
            ]),
            ports: Some(vec![ContainerPort {
                name: Some("metrics".to_owned()),
                container_port: DEFAULT_PORT.into(),
                ..ContainerPort::default()
            }]),
            resources: Some(ResourceRequirements {
                requests: Some(
                    [
                        amount("cpu", self.cpu_request),
                        amount("memory", self.memory_request),
                    ]
                    .into(),
                ),
                limits: Some([amount("memory", self.memory_limit)].into()),
                claims: None,
            }),
            liveness_probe: Some(probe("/healthz", 10, 6)),
            readiness_probe: Some(probe("/readyz", 3, 2)),
            security_context: Some(container_security()),
            // The last lines of the log become the reason in the pod's status.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(mounts),
            ..Container::default()
        }
    }
}

fn config_mount() -> VolumeMount {
    VolumeMount {
        name: "config".to_owned(),
        mount_path: CONFIG_DIR.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("metrics".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// The pod's half of the restricted Pod Security Standard.
#[must_use]
pub fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// The container's half of the restricted Pod Security Standard, with a read-only root.
#[must_use]
pub fn container_security() -> SecurityContext {
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
