//! The StatefulSet. Pods are replaced by the operator only (`OnDelete`), after its own checks.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::super::names;
use super::super::validate::ValidatedEdgeCluster;
use super::config_map::digest;
use super::{CONFIG_ANNOTATION, DATA_VOLUME, REVISION_ANNOTATION, pod};
use crate::api::EdgeCluster;
use crate::controller::{Error, Kind, selector_labels};

/// Old revisions that Kubernetes keeps for a look back.
const HISTORY: i32 = 3;

/// The size in the claim template. Kubernetes never changes it, so a StatefulSet that exists keeps its own, and the
/// claims grow one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimSize {
    /// There is no StatefulSet yet: the spec's.
    New,
    /// What the existing StatefulSet says.
    Existing(String),
}

/// Builds it. `config` is the name of the broker's ConfigMap.
///
/// # Errors
/// Only if the serializer fails, which it does not for these types.
pub fn stateful_set(
    cluster: &ValidatedEdgeCluster,
    config: &str,
    claim_size: &ClaimSize,
) -> Result<StatefulSet, Error> {
    let mut template = template(cluster, config);
    let revision = revision_of(&template)?;
    let meta = template.metadata.get_or_insert_default();
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(REVISION_ANNOTATION.to_owned(), revision);
    Ok(StatefulSet {
        metadata: cluster.metadata(names::base(&cluster.name)),
        spec: Some(StatefulSetSpec {
            replicas: Some(cluster.brokers),
            service_name: Some(names::headless(&cluster.name)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(HISTORY),
            selector: LabelSelector {
                match_labels: Some(selector_labels(EdgeCluster::KIND, &cluster.name)),
                ..LabelSelector::default()
            },
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                // With `storage.retain: false` the claims belong to the EdgeCluster (`volumes::own`): whoever deletes
                // the StatefulSet alone, which comes back, must not delete the data.
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            volume_claim_templates: Some(vec![claim(cluster, claim_size)]),
            template,
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

/// The revision that pods of this cluster should have.
///
/// # Errors
/// As [`stateful_set`].
pub fn revision(cluster: &ValidatedEdgeCluster, config: &str) -> Result<String, Error> {
    revision_of(&template(cluster, config))
}

fn template(cluster: &ValidatedEdgeCluster, config: &str) -> PodTemplateSpec {
    let mut labels = cluster.pod.labels.clone();
    labels.extend(cluster.labels());
    labels.insert("app.kubernetes.io/name".to_owned(), "kafka".to_owned());
    labels.insert("app.kubernetes.io/component".to_owned(), "broker".to_owned());
    let mut annotations = cluster.pod.annotations.clone();
    annotations.insert(CONFIG_ANNOTATION.to_owned(), config.to_owned());
    annotations.insert(
        "kubectl.kubernetes.io/default-container".to_owned(),
        super::KAFKA_CONTAINER.to_owned(),
    );
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod::spec(cluster, config)),
    }
}

/// A digest of what a running pod would notice. Left out is how images are pulled, and our own image: upgrading the
/// operator alone restarts no broker.
fn revision_of(template: &PodTemplateSpec) -> Result<String, Error> {
    let mut template = template.clone();
    if let Some(spec) = &mut template.spec {
        spec.image_pull_secrets = None;
        for container in &mut spec.containers {
            container.image_pull_policy = None;
        }
        for container in spec.init_containers.iter_mut().flatten() {
            (container.image, container.image_pull_policy) = (None, None);
        }
    }
    let bytes = serde_json::to_vec(&template).map_err(|e| Error::Serialize {
        what: "the pod template".to_owned(),
        message: e.to_string(),
    })?;
    Ok(digest(&bytes))
}

fn claim(cluster: &ValidatedEdgeCluster, size: &ClaimSize) -> PersistentVolumeClaim {
    let size = match size {
        ClaimSize::New => cluster.storage.size.0.clone(),
        ClaimSize::Existing(size) => size.clone(),
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA_VOLUME.to_owned()),
            labels: Some(cluster.labels()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: cluster.storage.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size))])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
