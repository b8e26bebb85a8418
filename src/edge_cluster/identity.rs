//! The identity record's life (law 3): drawn once before the first start, adopted with the volumes it belongs to, never
//! replaced; permissions to format withdrawn once brokers ran. The plans are pure; [`carry_out`] and [`withdraw`] write.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::build::IDENTITY_KEY;
use super::names;
use super::observe::{Claim, FoundIdentity};
use super::validate::ValidatedEdgeCluster;
use crate::api::{EdgeCluster, Reason};
use crate::broker::config::Identity;
use crate::controller::{Context, Error, FIELD_MANAGER, Kind};

#[cfg(test)]
mod tests;

/// What becomes of the record.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Neither record nor volumes exist: draw one.
    Draw,
    /// The record belongs here.
    Use {
        /// The record.
        identity: Identity,
        /// Whether its labels or its owner must be put right.
        adopt: bool,
    },
    /// Something of an earlier object of this name is still being deleted.
    Wait(String),
    /// Record and volumes contradict each other: nothing may be touched.
    Refuse(Reason, String),
}

/// The record with the permission of the brokers that `ran` withdrawn; `None` when that changes nothing. Neither spec nor
/// volumes are asked: to take a permission back is safe whatever they say.
#[must_use]
pub fn withdrawal(object: &EdgeCluster, found: &FoundIdentity, ran: &[i32]) -> Option<Identity> {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    if is_going(&object.name_any(), uid, found) {
        return None;
    }
    found.record.as_ref().ok()?.withdrawn(ran)
}

/// Decides.
#[must_use]
pub fn plan(
    cluster: &ValidatedEdgeCluster,
    found: Option<&FoundIdentity>,
    claims: &BTreeMap<i32, Claim>,
) -> Plan {
    let Some(found) = found else {
        return without_record(cluster, claims);
    };
    let name = names::identity(&cluster.name);
    if is_going(&cluster.name, &cluster.owner.uid, found) {
        return Plan::Wait(format!(
            "ConfigMap {name} of an earlier EdgeCluster with this name is being deleted"
        ));
    }
    let identity = match &found.record {
        Ok(identity) => identity,
        Err(why) => return Plan::Refuse(Reason::IdentityMismatch, format!("ConfigMap {name}: {why}")),
    };
    let mut ids: Vec<i32> = identity.brokers.iter().map(|b| b.id).collect();
    ids.sort_unstable();
    if !ids.iter().copied().eq(0..cluster.brokers) {
        let message = format!(
            "ConfigMap {name} is the record of a cluster with brokers {ids:?}, but spec.brokers is {}; set it back, or \
             give this EdgeCluster another name",
            cluster.brokers
        );
        return Plan::Refuse(Reason::IdentityMismatch, message);
    }
    Plan::Use {
        identity: identity.clone(),
        adopt: !has_metadata(cluster, found),
    }
}

fn without_record(cluster: &ValidatedEdgeCluster, claims: &BTreeMap<i32, Claim>) -> Plan {
    if claims.is_empty() {
        return Plan::Draw;
    }
    let names: Vec<&str> = claims.values().map(|c| c.name.as_str()).collect();
    let names = names.join(", ");
    if claims.values().all(|c| c.terminating) {
        return Plan::Wait(format!(
            "volume claims {names} of an earlier EdgeCluster are being deleted"
        ));
    }
    let record = names::identity(&cluster.name);
    Plan::Refuse(
        Reason::IdentityMissing,
        format!(
            "volume claims {names} exist, but ConfigMap {record}, the identity record that belongs to them, does not. \
             Restore it from a backup; if the data may go, delete the claims"
        ),
    )
}

/// Whether the record is being deleted, or about to be: with `retain: false` it belongs to the object, and one that
/// belongs to an object of the same name with another UID is collected.
fn is_going(name: &str, uid: &str, found: &FoundIdentity) -> bool {
    let mut owners = found.meta.owner_references.iter().flatten();
    found.meta.deletion_timestamp.is_some()
        || owners.any(|owner| owner.kind == EdgeCluster::KIND && owner.name == name && owner.uid != uid)
}

fn has_metadata(cluster: &ValidatedEdgeCluster, found: &FoundIdentity) -> bool {
    let labels = found.meta.labels.clone().unwrap_or_default();
    let owners = found.meta.owner_references.as_deref().unwrap_or_default();
    let owned = owners.iter().any(|o| o.uid == cluster.owner.uid);
    cluster
        .labels()
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && owned != cluster.storage.retain
}

/// Carries the plan out. Yields the record, or `None` if somebody else was faster: the next pass reads theirs.
///
/// # Errors
/// When the API server does not take it.
pub async fn carry_out(
    ctx: &Context,
    cluster: &ValidatedEdgeCluster,
    found: Option<&FoundIdentity>,
    plan: &Plan,
) -> Result<Option<Identity>, Error> {
    match plan {
        Plan::Draw => {
            let identity = Identity::draw(cluster.brokers);
            let created = create(ctx, cluster, &identity).await?;
            Ok(created.then_some(identity))
        }
        Plan::Use { identity, adopt } => {
            if let (true, Some(found)) = (*adopt, found)
                && !take_up(ctx, cluster, found).await?
            {
                return Ok(None);
            }
            Ok(Some(identity.clone()))
        }
        Plan::Wait(_) | Plan::Refuse(..) => Ok(None),
    }
}

fn text(identity: &Identity) -> Result<String, Error> {
    identity.to_yaml().map_err(|e| Error::Serialize {
        what: "the identity record".to_owned(),
        message: e.to_string(),
    })
}

async fn create(ctx: &Context, cluster: &ValidatedEdgeCluster, identity: &Identity) -> Result<bool, Error> {
    let name = names::identity(&cluster.name);
    let map = ConfigMap {
        metadata: if cluster.storage.retain {
            cluster.unowned_metadata(name.as_str())
        } else {
            cluster.metadata(name.as_str())
        },
        data: Some(BTreeMap::from([(IDENTITY_KEY.to_owned(), text(identity)?)])),
        ..ConfigMap::default()
    };
    let api = ctx.api::<ConfigMap>(&cluster.namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    // Created, never applied: a record that appeared meanwhile must not be overwritten.
    match ctx
        .call(|| format!("create ConfigMap {name}"), api.create(&params, &map))
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the record its labels, and its owner or none.
async fn take_up(
    ctx: &Context,
    cluster: &ValidatedEdgeCluster,
    found: &FoundIdentity,
) -> Result<bool, Error> {
    let mut owners = found.meta.owner_references.clone().unwrap_or_default();
    owners.retain(|o| o.uid != cluster.owner.uid);
    if !cluster.storage.retain {
        owners.push(cluster.owner.clone());
    }
    let patch = json!({ "metadata": { "labels": cluster.labels(), "ownerReferences": owners } });
    let changed = change(ctx, &cluster.namespace, &cluster.name, found, patch).await?;
    Ok(changed.is_some())
}

/// Writes the record with a permission withdrawn. Yields its new metadata, or `None` if somebody else was faster.
///
/// # Errors
/// When the API server does not take it.
pub async fn withdraw(
    ctx: &Context,
    object: &EdgeCluster,
    found: &FoundIdentity,
    identity: &Identity,
) -> Result<Option<ObjectMeta>, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let patch = json!({ "data": { IDENTITY_KEY: text(identity)? } });
    change(ctx, &namespace, &object.name_any(), found, patch).await
}

/// Changes exactly the record that was read: anything that happened to it meanwhile makes this a conflict.
async fn change(
    ctx: &Context,
    namespace: &str,
    cluster: &str,
    found: &FoundIdentity,
    mut patch: Value,
) -> Result<Option<ObjectMeta>, Error> {
    let name = names::identity(cluster);
    patch["metadata"]["resourceVersion"] = json!(found.meta.resource_version);
    let api = ctx.api::<ConfigMap>(namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let what = || format!("change ConfigMap {name}");
    match ctx
        .call(what, api.patch_metadata(&name, &params, &Patch::Merge(&patch)))
        .await
    {
        Ok(changed) => Ok(Some(changed.metadata)),
        Err(error) if is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether somebody else was faster: the object is not as it was read, or exists by now.
pub fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api { source: kube::Error::Api(status), .. } if status.code == 409)
}
