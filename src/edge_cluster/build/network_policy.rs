//! The NetworkPolicy: client listeners for everyone, the controllers' port for brokers of this cluster only, and out
//! to each other and to DNS only: a broker has no reason to dial anything else.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::names;
use super::super::validate::{CONTROLLER_PORT, ValidatedEdgeCluster};
use crate::api::EdgeCluster;
use crate::controller::{Kind, dns, selector_labels};

/// Builds it.
pub fn network_policy(cluster: &ValidatedEdgeCluster) -> NetworkPolicy {
    let brokers = LabelSelector {
        match_labels: Some(selector_labels(EdgeCluster::KIND, &cluster.name)),
        ..LabelSelector::default()
    };
    let peers = vec![NetworkPolicyPeer {
        pod_selector: Some(brokers.clone()),
        ..NetworkPolicyPeer::default()
    }];
    let among_brokers = vec![tcp(CONTROLLER_PORT), tcp(cluster.inter_broker_listener().port)];
    let clients = NetworkPolicyIngressRule {
        from: None,
        ports: Some(cluster.listeners.iter().map(|l| tcp(l.port)).collect()),
    };
    let controllers = NetworkPolicyIngressRule {
        from: Some(peers.clone()),
        ports: Some(vec![tcp(CONTROLLER_PORT)]),
    };
    let to_brokers = NetworkPolicyEgressRule {
        to: Some(peers),
        ports: Some(among_brokers),
    };
    let mut egress = vec![to_brokers];
    egress.extend(dns());
    NetworkPolicy {
        metadata: cluster.metadata(names::base(&cluster.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(brokers),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![clients, controllers]),
            egress: Some(egress),
        }),
    }
}

fn tcp(number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}
