//! The identity record's life (law 3): drawn once before the first start, adopted with the volumes it belongs to, never
//! replaced. The plan is pure; [`carry_out`] writes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

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
        /// As it should be from now on.
        identity: Identity,
        /// The change to make, if any.
        patch: Option<Change>,
    },
    /// Something of an earlier object of this name is still being deleted.
    Wait(String),
    /// Record and volumes contradict each other: nothing may be touched.
    Refuse(Reason, String),
}

/// A change to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// A permission is withdrawn.
    pub data: bool,
    /// Labels or owner are put right.
    pub metadata: bool,
}

/// Decides. `ran` are the brokers that were seen running.
#[must_use]
pub fn plan(
    cluster: &ValidatedEdgeCluster,
    found: Option<&FoundIdentity>,
    claims: &BTreeMap<i32, Claim>,
    ran: &[i32],
) -> Plan {
    let Some(found) = found else {
        return without_record(cluster, claims);
    };
    let name = names::identity(&cluster.name);
    if found.meta.deletion_timestamp.is_some() || owned_by_an_earlier(cluster, found) {
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
    let withdrawn = identity.withdrawn(ran);
    let change = Change {
        data: withdrawn.is_some(),
        metadata: !has_metadata(cluster, found),
    };
    Plan::Use {
        patch: (change.data || change.metadata).then_some(change),
        identity: withdrawn.unwrap_or_else(|| identity.clone()),
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

/// With `retain: false` the record belongs to the object. One that belongs to an object of the same name with another
/// UID is about to be collected.
fn owned_by_an_earlier(cluster: &ValidatedEdgeCluster, found: &FoundIdentity) -> bool {
    found.meta.owner_references.iter().flatten().any(|owner| {
        owner.kind == EdgeCluster::KIND && owner.name == cluster.name && owner.uid != cluster.owner.uid
    })
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
        Plan::Use { identity, patch } => {
            if let (Some(change), Some(found)) = (patch, found)
                && !change_record(ctx, cluster, found, identity, *change).await?
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

/// Changes exactly the record that was read: anything that happened to it meanwhile makes this a conflict.
async fn change_record(
    ctx: &Context,
    cluster: &ValidatedEdgeCluster,
    found: &FoundIdentity,
    identity: &Identity,
    change: Change,
) -> Result<bool, Error> {
    let name = names::identity(&cluster.name);
    let mut meta = json!({ "resourceVersion": found.meta.resource_version });
    if change.metadata {
        let mut owners = found.meta.owner_references.clone().unwrap_or_default();
        owners.retain(|o| o.uid != cluster.owner.uid);
        if !cluster.storage.retain {
            owners.push(cluster.owner.clone());
        }
        meta["labels"] = json!(cluster.labels());
        meta["ownerReferences"] = json!(owners);
    }
    let mut patch = json!({ "metadata": meta });
    if change.data {
        patch["data"] = json!({ IDENTITY_KEY: text(identity)? });
    }
    let api = ctx.api::<ConfigMap>(&cluster.namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let what = || format!("change ConfigMap {name}");
    match ctx
        .call(what, api.patch_metadata(&name, &params, &Patch::Merge(&patch)))
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api { source: kube::Error::Api(status), .. } if status.code == 409)
}
