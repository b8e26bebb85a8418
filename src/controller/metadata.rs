//! Names, labels and owner references of what the operator creates.
//!
//! `app.kubernetes.io/instance` and `argocd.argoproj.io/*` are never set: Argo CD tracks its own objects by them and
//! would prune ours.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use super::Kind;

/// Label that selects everything the operator creates; its watches are limited to it.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "tributary";
/// Label with the kind of the object that something was created for.
pub const KIND_LABEL: &str = "tributary.dev/kind";
/// Label with that object's name; at most 40 characters by the CRDs' rule.
pub const NAME_LABEL: &str = "tributary.dev/name";

/// The labels by which an object's pods are selected; immutable in a StatefulSet.
#[must_use]
pub fn selector_labels(kind: &str, name: &str) -> BTreeMap<String, String> {
    [(KIND_LABEL, kind), (NAME_LABEL, name)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Name, namespace, labels and owner of something that is created for `owner` and deleted with it.
#[must_use]
pub fn owned_metadata<K: Kind>(owner: &K, name: impl Into<String>) -> ObjectMeta {
    let mut labels = selector_labels(K::KIND, &owner.name_any());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), "tributary".to_owned());
    ObjectMeta {
        name: Some(name.into()),
        namespace: owner.namespace(),
        labels: Some(labels),
        owner_references: Some(vec![owner_reference(owner)]),
        ..ObjectMeta::default()
    }
}

/// The reference by which the garbage collector deletes what is created for `owner` after it.
///
/// `blockOwnerDeletion` stays unset: it only matters for foreground deletion, where it would let a stuck pod hold the
/// object (law 7), and setting it needs rights on finalizers.
#[must_use]
pub fn owner_reference<K: Kind>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::KIND.to_owned(),
        name: owner.name_any(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}
