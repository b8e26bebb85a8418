//! Server-side apply, only when something differs.
//!
//! Each apply remembers a fingerprint of what was wanted and one of what stood there afterwards. As long as the wanted
//! object and the watched metadata match these, nothing is sent. Metadata is enough to notice any edit: a change of a
//! spec moves `generation`, a change of what has no generation moves `resourceVersion`, and labels, annotations and
//! owners are metadata themselves. After a restart each object is applied once; the server does not write what is the
//! same.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::{Cached, Scope};
use super::{Context, Error, FIELD_MANAGER, Kind, MANAGED_BY, MANAGED_BY_LABEL};

/// A namespaced built-in type that the operator creates.
pub trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + k8s_openapi::Resource
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The cached metadata of an object of this type; [`Cached::NotWatched`] if the type is not watched.
    fn cached(scope: &Scope, namespace: &str, name: &str) -> Cached {
        let _ = (scope, namespace, name);
        Cached::NotWatched
    }
}

/// Whether something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The object was created or changed.
    Written,
    /// It was as wanted already.
    Unchanged,
}

/// What was applied to each object, by `kind/namespace/name`. Bounded by the number of objects that exist: entries go
/// when the object is deleted by the operator, or when its owner is gone.
#[derive(Debug, Default)]
pub(super) struct ApplyMemory(Mutex<HashMap<(String, String, String), (u64, u64)>>);

impl ApplyMemory {
    fn get(&self, key: &(String, String, String)) -> Option<(u64, u64)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
    }

    fn set(&self, key: (String, String, String), value: (u64, u64)) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, value);
    }

    fn remove(&self, key: &(String, String, String)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Drops every entry that `keep` (kind, namespace, name) refuses.
    pub(super) fn retain(&self, keep: impl Fn(&str, &str, &str) -> bool) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.retain(|(kind, namespace, name), _| keep(kind, namespace, name));
    }
}

impl Context {
    /// Applies an object that belongs to `owner` (its metadata comes from [`owned_metadata`](super::owned_metadata)).
    /// Fields that somebody else changed come back; fields that we do not set stay theirs.
    ///
    /// # Errors
    /// [`Error::OwnershipConflict`] when an object of this name belongs to someone else, which is then left alone;
    /// [`Error::StillDeleting`] when it belongs to an earlier owner of the same name; else what the API server says.
    pub async fn apply<K: Kind, T: Owned>(&self, owner: &K, desired: &T) -> Result<Applied, Error> {
        self.apply_with(owner.meta().uid.as_deref(), K::KIND, &owner.name_any(), desired)
            .await
    }

    /// Applies an object without owner, which outlives the object it was made for. It is recognised by its labels.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn apply_unowned<K: Kind, T: Owned>(&self, for_: &K, desired: &T) -> Result<Applied, Error> {
        self.apply_with(None, K::KIND, &for_.name_any(), desired).await
    }

    async fn apply_with<T: Owned>(
        &self,
        owner_uid: Option<&str>,
        owner_kind: &str,
        owner_name: &str,
        desired: &T,
    ) -> Result<Applied, Error> {
        let namespace = desired.namespace().unwrap_or_default();
        let name = desired.name_any();
        let kind = T::kind(&()).into_owned();
        let what = || format!("{kind} {namespace}/{name}");
        let wanted = hash_of(desired).map_err(|message| Error::Serialize {
            what: what(),
            message,
        })?;
        let key = (kind.clone(), namespace.clone(), name.clone());

        let live = match self
            .caches()
            .scope(&namespace)
            .map_or(Cached::NotWatched, |s| T::cached(s, &namespace, &name))
        {
            Cached::Present(meta) => Some(*meta),
            // Absent may also mean that our label was taken off, or that the watch lags behind.
            Cached::Absent | Cached::NotWatched => self
                .call(
                    || format!("read {}", what()),
                    self.api::<T>(&namespace).get_metadata_opt(&name),
                )
                .await?
                .map(|found| found.metadata),
        };
        if let Some(meta) = &live {
            check_owner(meta, owner_uid, owner_kind, owner_name, what)?;
            if self.applied().get(&key) == Some((wanted, fingerprint(meta))) {
                return Ok(Applied::Unchanged);
            }
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(desired);
        let call = self.api::<T>(&namespace);
        let after = self
            .call(
                || format!("apply {}", what()),
                call.patch_metadata(&name, &params, &patch),
            )
            .await?
            .metadata;
        self.applied().set(key, (wanted, fingerprint(&after)));
        let before = live.and_then(|meta| meta.resource_version);
        Ok(if before.is_some() && before == after.resource_version {
            Applied::Unchanged
        } else {
            Applied::Written
        })
    }

    /// Sets the replicas of a workload of `owner` to 0 if it exists, and leaves everything else of it alone.
    ///
    /// # Errors
    /// What the API server says; that it does not exist is no error.
    pub async fn scale_to_zero<K: Kind, T: Owned>(&self, owner: &K, name: &str) -> Result<Applied, Error> {
        let namespace = owner.namespace().unwrap_or_default();
        let kind = T::kind(&()).into_owned();
        let what = || format!("{kind} {namespace}/{name}");
        let api = self.api::<T>(&namespace);
        let read = self
            .call(|| format!("read {}", what()), api.get_metadata_opt(name))
            .await?;
        let Some(meta) = read.map(|found| found.metadata) else {
            return Ok(Applied::Unchanged);
        };
        if controller_of(&meta).map(|o| o.uid.as_str()) != owner.meta().uid.as_deref() {
            return Ok(Applied::Unchanged);
        }
        let patch = Patch::Merge(serde_json::json!({ "spec": { "replicas": 0 } }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = api.patch_metadata(name, &params, &patch);
        let after = self
            .call(|| format!("scale {} to zero", what()), patched)
            .await?
            .metadata;
        Ok(if after.resource_version == meta.resource_version {
            Applied::Unchanged
        } else {
            Applied::Written
        })
    }

    /// Drops what is remembered of watched objects that no longer exist.
    pub(super) fn forget_applied(&self) {
        let exists = |kind: &str, namespace: &str, name: &str| {
            let Some(scope) = self.caches().scope(namespace) else {
                return false;
            };
            scope.holds(kind, namespace, name).unwrap_or(true)
        };
        self.applied().retain(exists);
    }

    /// Deletes an object if it exists and belongs to `owner`.
    ///
    /// # Errors
    /// What the API server says; that it is gone already is no error.
    pub async fn delete_owned<K: Kind, T: Owned>(&self, owner: &K, name: &str) -> Result<Applied, Error> {
        let namespace = owner.namespace().unwrap_or_default();
        let kind = T::kind(&()).into_owned();
        let what = || format!("{kind} {namespace}/{name}");
        let api = self.api::<T>(&namespace);
        let Some(live) = self
            .call(|| format!("read {}", what()), api.get_metadata_opt(name))
            .await?
        else {
            return Ok(Applied::Unchanged);
        };
        if controller_of(&live.metadata).map(|o| o.uid.as_str()) != owner.meta().uid.as_deref() {
            return Ok(Applied::Unchanged);
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        self.applied()
            .remove(&(kind.clone(), namespace.clone(), name.to_owned()));
        match self
            .call(|| format!("delete {}", what()), api.delete(name, &params))
            .await
        {
            Ok(_) => Ok(Applied::Written),
            Err(error) if error.is_gone() => Ok(Applied::Unchanged),
            Err(error) => Err(error),
        }
    }
}

fn controller_of(
    meta: &ObjectMeta,
) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference> {
    meta.owner_references
        .as_ref()?
        .iter()
        .find(|o| o.controller == Some(true))
}

/// Whether the object that stands there may be changed by us.
fn check_owner(
    live: &ObjectMeta,
    owner_uid: Option<&str>,
    owner_kind: &str,
    owner_name: &str,
    what: impl Fn() -> String,
) -> Result<(), Error> {
    let managed = live
        .labels
        .as_ref()
        .and_then(|l| l.get(MANAGED_BY_LABEL))
        .is_some_and(|v| v == MANAGED_BY);
    match controller_of(live) {
        Some(owner) if Some(owner.uid.as_str()) == owner_uid => Ok(()),
        Some(owner) if owner_uid.is_some() && owner.kind == owner_kind && owner.name == owner_name => {
            Err(Error::StillDeleting { what: what() })
        }
        Some(owner) => Err(Error::OwnershipConflict {
            what: what(),
            owner: format!("{} {}", owner.kind, owner.name),
        }),
        None if managed => Ok(()),
        None => Err(Error::OwnershipConflict {
            what: what(),
            owner: "nobody the operator knows".to_owned(),
        }),
    }
}

/// What tells one state of a live object from another.
fn fingerprint(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    match meta.generation {
        Some(generation) => generation.hash(&mut hasher),
        None => meta.resource_version.hash(&mut hasher),
    }
    meta.labels.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for owner in meta.owner_references.iter().flatten() {
        (&owner.uid, owner.controller).hash(&mut hasher);
    }
    hasher.finish()
}

fn hash_of<T: Serialize>(value: &T) -> Result<u64, String> {
    let bytes = serde_json::to_vec(value).map_err(|e| e.to_string())?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    fn owned_by(uid: &str, name: &str) -> ObjectMeta {
        let owner = OwnerReference {
            kind: "ReplicationLink".into(),
            name: name.into(),
            uid: uid.into(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta {
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    fn check(live: &ObjectMeta) -> Result<(), Error> {
        check_owner(live, Some("u1"), "ReplicationLink", "eu", || {
            "ConfigMap ns/eu".into()
        })
    }

    #[test]
    fn what_belongs_to_someone_else_is_left_alone() {
        assert!(check(&owned_by("u1", "eu")).is_ok());
        assert!(matches!(
            check(&owned_by("u0", "eu")),
            Err(Error::StillDeleting { .. })
        ));
        assert!(matches!(
            check(&owned_by("u9", "us")),
            Err(Error::OwnershipConflict { .. })
        ));
        let mut stray = ObjectMeta::default();
        assert!(matches!(check(&stray), Err(Error::OwnershipConflict { .. })));
        stray.labels = Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into());
        assert!(check(&stray).is_ok());
    }

    #[test]
    fn a_status_update_leaves_the_fingerprint_and_an_edit_does_not() {
        let mut meta = owned_by("u1", "eu");
        (meta.generation, meta.resource_version) = (Some(1), Some("10".into()));
        let before = fingerprint(&meta);
        meta.resource_version = Some("11".into());
        assert_eq!(fingerprint(&meta), before);
        meta.generation = Some(2);
        assert_ne!(fingerprint(&meta), before);
        meta.generation = Some(1);
        meta.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_ne!(fingerprint(&meta), before);
    }

    #[test]
    fn without_a_generation_any_write_changes_the_fingerprint() {
        let mut meta = owned_by("u1", "eu");
        meta.resource_version = Some("10".into());
        let before = fingerprint(&meta);
        meta.resource_version = Some("11".into());
        assert_ne!(fingerprint(&meta), before);
    }
}
