//! The custom resources: types, conditions, shared fragments. No I/O; imports no other room.
//!
//! Group `tributary.dev`, version `v1alpha1`. The CRDs inject no defaults (law 7): an absent optional field stays
//! absent in the stored object, and the value in effect is published under `status.effective`.

mod bridge_pipeline;
mod common;
mod edge_cluster;
mod endpoint;
mod reason;
mod replication_link;
mod status;
pub mod words;

#[cfg(test)]
mod tests;

pub use bridge_pipeline::*;
pub use common::*;
pub use edge_cluster::*;
pub use endpoint::*;
pub use reason::*;
pub use replication_link::*;
pub use status::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of every kind.
pub const GROUP: &str = "tributary.dev";
/// API version of every kind.
pub const VERSION: &str = "v1alpha1";

/// Every CRD of this release with its file name under `crds/`, in a stable order.
#[must_use]
pub fn crds() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("tributary.dev_edgeclusters.yaml", EdgeCluster::crd()),
        ("tributary.dev_bridgepipelines.yaml", BridgePipeline::crd()),
        ("tributary.dev_replicationlinks.yaml", ReplicationLink::crd()),
    ]
}
