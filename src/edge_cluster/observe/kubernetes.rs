//! What the API server has for an EdgeCluster. Watched metadata tells what is as it was; the rest is read when it
//! changed. An absence counts only if the API server itself says so: the watch may lag behind.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ListParams;

use super::super::build::{DATA_VOLUME, IDENTITY_KEY};
use super::super::names;
use super::{Observed, PodFacts, pod_facts};
use crate::api::{EdgeCluster, Quantity};
use crate::broker::config::Identity;
use crate::controller::{Cached, Context, Error, Kind, Owned, selector_labels};

/// Age at which the volume claims, which are not watched, are read again.
const CLAIMS_TTL: SignedDuration = SignedDuration::from_secs(60);

/// What was read before and is still true. One for each object.
#[derive(Debug, Default)]
pub struct Memory {
    identity: Option<(String, FoundIdentity)>,
    topics: Option<(String, FoundRecord)>,
    set: Option<SetFacts>,
    claims: Option<(Timestamp, BTreeMap<i32, Claim>)>,
}

impl Memory {
    /// Has the claims read by the next pass: they are being changed.
    pub fn forget_claims(&mut self) {
        self.claims = None;
    }
}

/// The StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFacts {
    /// Its UID.
    pub uid: String,
    /// The size in its claim template, which never changes.
    pub claim_size: String,
}

/// The identity record as found.
#[derive(Clone, Debug)]
pub struct FoundIdentity {
    /// Its metadata.
    pub meta: ObjectMeta,
    /// The record, or why it cannot be read.
    pub record: Result<Identity, String>,
}

/// Another record, as found.
#[derive(Clone, Debug)]
pub struct FoundRecord {
    /// Its data.
    pub data: BTreeMap<String, String>,
}

/// A volume claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// The resource version that all of this was read from.
    pub version: Option<String>,
    /// With whom it is collected.
    pub owners: Vec<OwnerReference>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The size asked for, bytes.
    pub requested: u64,
    /// The size that the volume has, bytes; `None` while it is not bound.
    pub capacity: Option<u64>,
    /// What Kubernetes says of a resize that does not get on.
    pub trouble: Option<String>,
}

/// Reads everything. `claims` are read anew at most once a minute unless the identity record is missing.
///
/// # Errors
/// When the API server does not tell; then nothing is concluded.
pub async fn observe(
    ctx: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
) -> Result<Observed, Error> {
    let set_name = names::base(name);
    let pods = ctx.caches().pods_of::<EdgeCluster>(namespace, name);
    let pods = pods.iter().filter_map(|pod| pod_facts(&set_name, pod)).collect();
    let identity = read_identity(ctx, namespace, name, memory).await?;
    let topics = read_topics(ctx, namespace, name, memory).await?;
    let set = read_set(ctx, namespace, &set_name, memory).await?;
    if identity.is_none() {
        memory.claims = None;
    }
    Ok(Observed {
        pods,
        set,
        identity,
        claims: read_claims(ctx, namespace, name, memory).await?,
        topics,
    })
}

fn cached<T: Owned>(ctx: &Context, namespace: &str, name: &str) -> Option<ObjectMeta> {
    match T::cached(ctx.caches().scope(namespace)?, namespace, name) {
        Cached::Present(meta) => Some(*meta),
        Cached::Absent | Cached::NotWatched => None,
    }
}

/// Reads a ConfigMap unless it is known to be as it was (`known` is the resource version that was read).
async fn config_map(
    ctx: &Context,
    namespace: &str,
    name: &str,
    known: Option<&str>,
) -> Result<Changed<ConfigMap>, Error> {
    let version = cached::<ConfigMap>(ctx, namespace, name).and_then(|meta| meta.resource_version);
    if version.is_some() && version.as_deref() == known {
        return Ok(Changed::Same);
    }
    let what = || format!("read ConfigMap {namespace}/{name}");
    Ok(
        match ctx
            .call(what, ctx.api::<ConfigMap>(namespace).get_opt(name))
            .await?
        {
            Some(map) => Changed::To(Box::new(map)),
            None => Changed::Gone,
        },
    )
}

enum Changed<T> {
    Same,
    To(Box<T>),
    Gone,
}

async fn read_identity(
    ctx: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
) -> Result<Option<FoundIdentity>, Error> {
    let known = memory.identity.as_ref().map(|(version, _)| version.as_str());
    match config_map(ctx, namespace, &names::identity(name), known).await? {
        Changed::Same => {}
        Changed::Gone => memory.identity = None,
        Changed::To(map) => {
            let text = map.data.as_ref().and_then(|d| d.get(IDENTITY_KEY));
            let record = match text {
                Some(text) => Identity::parse(text).map_err(|e| e.to_string()),
                None => Err(format!("it has no key {IDENTITY_KEY}; restore it from a backup")),
            };
            let version = map.metadata.resource_version.clone().unwrap_or_default();
            let meta = map.metadata;
            memory.identity = Some((version, FoundIdentity { meta, record }));
        }
    }
    Ok(memory.identity.as_ref().map(|(_, found)| found.clone()))
}

async fn read_topics(
    ctx: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
) -> Result<Option<FoundRecord>, Error> {
    let known = memory.topics.as_ref().map(|(version, _)| version.as_str());
    match config_map(ctx, namespace, &names::topics(name), known).await? {
        Changed::Same => {}
        Changed::Gone => memory.topics = None,
        Changed::To(map) => {
            let version = map.metadata.resource_version.unwrap_or_default();
            let data = map.data.unwrap_or_default();
            memory.topics = Some((version, FoundRecord { data }));
        }
    }
    Ok(memory.topics.as_ref().map(|(_, found)| found.clone()))
}

async fn read_set(
    ctx: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
) -> Result<Option<SetFacts>, Error> {
    let uid = cached::<StatefulSet>(ctx, namespace, name).and_then(|meta| meta.uid);
    if uid.is_some() && memory.set.as_ref().map(|s| &s.uid) == uid.as_ref() {
        return Ok(memory.set.clone());
    }
    let what = || format!("read StatefulSet {namespace}/{name}");
    let found = ctx
        .call(what, ctx.api::<StatefulSet>(namespace).get_opt(name))
        .await?;
    memory.set = found.map(|set| SetFacts {
        claim_size: claim_size(&set).unwrap_or_default(),
        uid: set.metadata.uid.unwrap_or_default(),
    });
    Ok(memory.set.clone())
}

fn claim_size(set: &StatefulSet) -> Option<String> {
    let claims = set.spec.as_ref()?.volume_claim_templates.as_ref()?;
    let data = claims
        .iter()
        .find(|c| c.metadata.name.as_deref() == Some(DATA_VOLUME))?;
    let requests = data.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(requests.get("storage")?.0.clone())
}

async fn read_claims(
    ctx: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
) -> Result<BTreeMap<i32, Claim>, Error> {
    let now = ctx.now();
    if let Some((read, claims)) = &memory.claims
        && now.duration_since(*read).abs() < CLAIMS_TTL
    {
        return Ok(claims.clone());
    }
    let what = || format!("list the volume claims of namespace {namespace}");
    let api = ctx.api::<PersistentVolumeClaim>(namespace);
    // By name, not by label: a claim restored by hand has no labels, and the StatefulSet takes it by name.
    let list = ctx
        .call(what, async { api.list(&ListParams::default()).await })
        .await?;
    let prefix = format!("{DATA_VOLUME}-{}-", names::base(name));
    let claims: BTreeMap<i32, Claim> = list
        .items
        .into_iter()
        .filter_map(|claim| {
            let id = claim
                .metadata
                .name
                .as_deref()?
                .strip_prefix(&prefix)?
                .parse()
                .ok()?;
            Some((id, claim_facts(claim)))
        })
        .collect();
    memory.claims = Some((now, claims.clone()));
    Ok(claims)
}

fn claim_facts(claim: PersistentVolumeClaim) -> Claim {
    let status = claim.status.unwrap_or_default();
    let requests = claim.spec.and_then(|s| s.resources).and_then(|r| r.requests);
    let bytes = |amounts: Option<
        &BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >| { Quantity(amounts?.get("storage")?.0.clone()).units() };
    let troubled = ["ControllerResizeError", "NodeResizeError"];
    let trouble = status
        .conditions
        .iter()
        .flatten()
        .find(|c| troubled.contains(&c.type_.as_str()) && c.status == "True");
    Claim {
        name: claim.metadata.name.unwrap_or_default(),
        version: claim.metadata.resource_version,
        owners: claim.metadata.owner_references.unwrap_or_default(),
        terminating: claim.metadata.deletion_timestamp.is_some(),
        requested: bytes(requests.as_ref()).unwrap_or(0),
        capacity: bytes(status.capacity.as_ref()),
        trouble: trouble.map(|c| c.message.clone().unwrap_or_else(|| c.type_.clone())),
    }
}

/// Whether the StatefulSet's controller has seen its latest template: a pod that is deleted before would come back as
/// it was. Read from the API server itself, right before it matters.
///
/// # Errors
/// When the API server does not tell.
pub async fn is_set_current(ctx: &Context, namespace: &str, name: &str) -> Result<bool, Error> {
    let set_name = names::base(name);
    let what = || format!("read StatefulSet {namespace}/{set_name}");
    let found = ctx
        .call(what, ctx.api::<StatefulSet>(namespace).get_opt(&set_name))
        .await?;
    Ok(found.is_some_and(|set| {
        let seen = set.status.and_then(|s| s.observed_generation);
        seen.is_some() && seen >= set.metadata.generation
    }))
}

/// The brokers' pods as the API server has them now: the watch may lag behind.
///
/// # Errors
/// When the API server does not tell.
pub async fn pods_now(ctx: &Context, namespace: &str, name: &str) -> Result<BTreeMap<i32, PodFacts>, Error> {
    let labels = selector_labels(EdgeCluster::KIND, name);
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let params = ListParams::default().labels(&labels.join(","));
    let what = || format!("list the pods of EdgeCluster {namespace}/{name}");
    let api = ctx.api::<Pod>(namespace);
    let list = ctx.call(what, async { api.list(&params).await }).await?;
    let set = names::base(name);
    Ok(list.items.iter().filter_map(|pod| pod_facts(&set, pod)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_tells_what_it_asks_for_what_it_has_and_why_it_does_not_grow() {
        let claim = |status| {
            serde_json::from_value(json!({
                "metadata": {"name": "data-munich-kafka-0"},
                "spec": {"resources": {"requests": {"storage": "20Gi"}}},
                "status": status
            }))
            .map(claim_facts)
            .unwrap()
        };
        let bound = claim(json!({"capacity": {"storage": "10Gi"}}));
        assert_eq!((bound.requested, bound.capacity), (20 << 30, Some(10 << 30)));
        assert_eq!((bound.terminating, bound.trouble), (false, None));
        let stuck = claim(json!({"conditions": [
            {"type": "Resizing", "status": "True", "message": "under way"},
            {"type": "ControllerResizeError", "status": "True", "message": "quota"}]}));
        assert_eq!((stuck.capacity, stuck.trouble.as_deref()), (None, Some("quota")));
    }
}
