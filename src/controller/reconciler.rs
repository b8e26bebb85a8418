//! What a kind brings along.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::Scope;
use super::{Context, Error, ObjectKey};

/// One of the custom resources.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its name, such as `ReplicationLink`.
    const KIND: &'static str;
    /// Its status.
    type Status: Clone + Debug + Default + PartialEq + Serialize + Send + Sync + 'static;
    /// Fields of the status, as JSON, that hold what was measured and are worth nothing once they are old.
    const MEASURED: &'static [&'static str];

    /// The object's status, as cached.
    fn status(&self) -> Option<&Self::Status>;
    /// The status' conditions.
    fn conditions(status: &Self::Status) -> &[Condition];
    /// The generation that the status speaks of.
    fn observed_generation(status: &Self::Status) -> Option<i64>;
    /// The status' `observedAt`.
    fn observed_at(status: &Self::Status) -> Option<Timestamp>;
    /// The status without what moves at rest: two that are equal here need no write before the refresh is due.
    fn at_rest(status: &Self::Status) -> Self::Status;
    /// Where the objects of this kind are cached.
    fn store(scope: &Scope) -> &Store<DeserializeGuard<Self>>;
    /// Where they are asked to be reconciled.
    fn triggers(scope: &Scope) -> &super::cache::Trigger<Self>;
}

/// When an object is looked at again if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// After the sampling interval.
    Sample,
    /// After this time.
    After(Duration),
    /// After a failure that was reported in status: after the object's back-off.
    BackOff,
}

/// Reconciles the objects of one kind.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind.
    type Kind: Kind;

    /// One pass: observe, validate, build, apply, report. An error is what could not even be reported in status; it
    /// is logged, counted, and the object tried again after its back-off.
    fn reconcile(
        &self,
        ctx: &Context,
        object: &Self::Kind,
    ) -> impl Future<Output = Result<Requeue, Error>> + Send;

    /// The object is gone: end what runs for it. Also called once for each object that vanished unseen.
    fn gone(&self, ctx: &Context, key: &ObjectKey) -> impl Future<Output = ()> + Send;

    /// An EdgeCluster of this namespace changed: which objects must be looked at? Called with every cached object.
    fn refers_to(&self, object: &Self::Kind, edge_cluster: &str) -> bool {
        let _ = (object, edge_cluster);
        false
    }
}
