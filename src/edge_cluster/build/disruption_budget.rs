//! The PodDisruptionBudget: node drains take one broker of three at a time. A single broker has none: it would block
//! every drain.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::names;
use super::super::validate::ValidatedEdgeCluster;
use crate::api::EdgeCluster;
use crate::controller::{Kind, selector_labels};

/// Builds it, for clusters that have one.
pub fn disruption_budget(cluster: &ValidatedEdgeCluster) -> Option<PodDisruptionBudget> {
    (cluster.brokers > 1).then(|| PodDisruptionBudget {
        metadata: cluster.metadata(names::base(&cluster.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(selector_labels(EdgeCluster::KIND, &cluster.name)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
