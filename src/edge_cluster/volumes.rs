//! The brokers' volume claims: `storage.size` may grow where the storage class allows it, and `storage.retain` says whether
//! they are collected with the EdgeCluster.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::identity::is_conflict;
use super::observe::Claim;
use super::validate::ValidatedEdgeCluster;
use crate::api::EdgeCluster;
use crate::controller::{Context, Error, FIELD_MANAGER};

/// A growth that was refused is tried again after this time.
const RETRY: SignedDuration = SignedDuration::from_secs(60);

/// How far the volumes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Growth {
    /// Every volume is as large as it should be, or not there yet.
    #[default]
    Done,
    /// Under way; what is waited for.
    Growing(String),
    /// Kubernetes refuses; its words.
    Refused(String),
}

/// What was tried last. One for each object.
#[derive(Debug, Default)]
pub struct Memory {
    refused: Option<(Timestamp, u64, String)>,
}

/// Claims that ask for less than they should.
fn too_small<'a>(
    cluster: &'a ValidatedEdgeCluster,
    claims: &'a BTreeMap<i32, Claim>,
) -> impl Iterator<Item = &'a Claim> {
    let wanted = |(id, claim): &(&i32, &Claim)| {
        (0..cluster.brokers).contains(*id) && !claim.terminating && claim.requested < cluster.storage.bytes
    };
    claims.iter().filter(wanted).map(|(_, claim)| claim)
}

/// Claims that asked and have not got it yet: growing, or stuck.
fn unfinished(cluster: &ValidatedEdgeCluster, claims: &BTreeMap<i32, Claim>) -> Growth {
    let ours = claims.iter().filter(|(id, _)| (0..cluster.brokers).contains(*id));
    let behind: Vec<&Claim> = ours
        .map(|(_, c)| c)
        .filter(|c| c.capacity.is_some_and(|has| has < c.requested))
        .collect();
    if let Some((claim, why)) = behind.iter().find_map(|c| Some((c, c.trouble.as_ref()?))) {
        return Growth::Refused(format!("{}: {why}", claim.name));
    }
    match behind.first() {
        Some(claim) => Growth::Growing(format!("{} to grow to {}", claim.name, cluster.storage.size)),
        None => Growth::Done,
    }
}

/// Asks for more where the spec does.
///
/// # Errors
/// Never for a refusal, which is an outcome; when the API server does not answer.
pub async fn grow(
    ctx: &Context,
    cluster: &ValidatedEdgeCluster,
    claims: &BTreeMap<i32, Claim>,
    memory: &mut Memory,
) -> Result<Growth, Error> {
    let now = ctx.now();
    let small: Vec<&Claim> = too_small(cluster, claims).collect();
    if small.is_empty() {
        memory.refused = None;
        return Ok(unfinished(cluster, claims));
    }
    if let Some((tried, bytes, why)) = &memory.refused
        && *bytes == cluster.storage.bytes
        && now.duration_since(*tried).abs() < RETRY
    {
        return Ok(Growth::Refused(why.clone()));
    }
    let patch = json!({ "spec": { "resources": { "requests": { "storage": cluster.storage.size.0 } } } });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    for claim in &small {
        let api = ctx.api::<PersistentVolumeClaim>(&cluster.namespace);
        let what = || format!("grow volume claim {}", claim.name);
        match ctx
            .call(
                what,
                api.patch_metadata(&claim.name, &params, &Patch::Merge(&patch)),
            )
            .await
        {
            Ok(_) => {}
            Err(Error::Api {
                source: kube::Error::Api(status),
                ..
            }) if [400, 403, 422].contains(&status.code) => {
                let why = format!("{}: {}", claim.name, status.message);
                memory.refused = Some((now, cluster.storage.bytes, why.clone()));
                return Ok(Growth::Refused(why));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Growth::Growing(format!(
        "{} to grow to {}",
        small[0].name, cluster.storage.size
    )))
}

/// The owners that a claim should have, if it has others. One that belonged to an earlier object of the same name is
/// being collected, and left alone.
fn owners(cluster: &ValidatedEdgeCluster, claim: &Claim) -> Option<Vec<OwnerReference>> {
    let owner = &cluster.owner;
    let kind = EdgeCluster::kind(&());
    let earlier = |o: &OwnerReference| o.kind == kind && o.name == owner.name && o.uid != owner.uid;
    let owned = claim.owners.iter().any(|o| o.uid == owner.uid);
    if claim.terminating || owned != cluster.storage.retain || claim.owners.iter().any(earlier) {
        return None;
    }
    let others = claim.owners.iter().filter(|o| o.uid != owner.uid).cloned();
    // Collected with it, not controlled by it: the StatefulSet's pods use them as they are.
    let owner = (!owned).then(|| OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..owner.clone()
    });
    Some(others.chain(owner).collect())
}

/// Makes the claims belong to the EdgeCluster where `storage.retain` is false, and to nobody where it is true. Yields
/// whether all are as they should be; if not, they are to be read again.
///
/// # Errors
/// When the API server does not take it.
pub async fn own(
    ctx: &Context,
    cluster: &ValidatedEdgeCluster,
    claims: &BTreeMap<i32, Claim>,
) -> Result<bool, Error> {
    let mut settled = cluster.storage.retain || (0..cluster.brokers).all(|id| claims.contains_key(&id));
    for claim in claims.values() {
        let Some(owners) = owners(cluster, claim) else {
            continue;
        };
        settled = false;
        let patch = json!({ "metadata": { "resourceVersion": claim.version, "ownerReferences": owners } });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (api, patch) = (
            ctx.api::<PersistentVolumeClaim>(&cluster.namespace),
            Patch::Merge(&patch),
        );
        let what = || format!("set the owner of volume claim {}", claim.name);
        match ctx
            .call(what, api.patch_metadata(&claim.name, &params, &patch))
            .await
        {
            // Somebody else was faster: what it is now is read again.
            Err(error) if !is_conflict(&error) && !error.is_gone() => return Err(error),
            _ => {}
        }
    }
    Ok(settled)
}

#[cfg(test)]
mod tests {
    use super::super::validate::tests::{region, valid};
    use super::*;

    fn claim(id: i32, requested: u64, capacity: u64) -> (i32, Claim) {
        let claim = Claim {
            name: format!("data-eu-kafka-{id}"),
            version: Some("7".into()),
            owners: Vec::new(),
            terminating: false,
            requested: requested << 30,
            capacity: Some(capacity << 30),
            trouble: None,
        };
        (id, claim)
    }

    #[test]
    fn only_claims_of_brokers_that_ask_for_too_little_grow() {
        let cluster = valid(&region());
        let mut claims: BTreeMap<i32, Claim> = [
            claim(0, 10, 10),
            claim(1, 20, 20),
            claim(2, 30, 30),
            claim(3, 1, 1),
        ]
        .into();
        let names = |claims: &BTreeMap<i32, Claim>| {
            too_small(&cluster, claims)
                .map(|c| c.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&claims), ["data-eu-kafka-0"]);
        claims.get_mut(&0).unwrap().terminating = true;
        assert!(names(&claims).is_empty());
    }

    #[test]
    fn a_claim_that_waits_for_its_volume_is_growing_and_one_that_is_stuck_says_why() {
        let cluster = valid(&region());
        let done = [claim(0, 20, 20), claim(1, 20, 20)].into();
        assert_eq!(unfinished(&cluster, &done), Growth::Done);
        let mut growing: BTreeMap<i32, Claim> = [claim(0, 20, 10), claim(1, 20, 20)].into();
        assert_eq!(
            unfinished(&cluster, &growing),
            Growth::Growing("data-eu-kafka-0 to grow to 20Gi".into())
        );
        growing.get_mut(&0).unwrap().trouble = Some("quota".into());
        assert_eq!(
            unfinished(&cluster, &growing),
            Growth::Refused("data-eu-kafka-0: quota".into())
        );
    }

    #[test]
    fn claims_belong_to_the_edge_cluster_only_where_they_may_go_with_it() {
        let mut cluster = valid(&region());
        let (_, mut claim) = claim(0, 10, 10);
        let mut other = cluster.owner.clone();
        (other.kind, other.uid) = ("Backup".into(), "b".into());
        claim.owners = vec![other.clone()];
        assert_eq!(owners(&cluster, &claim), None, "retained, and not ours");
        cluster.storage.retain = false;
        claim.owners = owners(&cluster, &claim).expect("an owner is missing");
        assert_eq!(claim.owners[0], other);
        assert_eq!(
            (&claim.owners[1].uid, claim.owners[1].controller),
            (&cluster.owner.uid, None)
        );
        assert_eq!(owners(&cluster, &claim), None);
        cluster.storage.retain = true;
        assert_eq!(owners(&cluster, &claim), Some(vec![other]));
    }

    #[test]
    fn a_claim_that_goes_with_an_earlier_object_is_not_held_back() {
        let mut cluster = valid(&region());
        cluster.storage.retain = false;
        let (_, mut claim) = claim(0, 10, 10);
        claim.owners = vec![OwnerReference {
            uid: "of the earlier one".into(),
            ..cluster.owner.clone()
        }];
        assert_eq!(owners(&cluster, &claim), None);
        claim.owners.clear();
        claim.terminating = true;
        assert_eq!(owners(&cluster, &claim), None);
    }
}
