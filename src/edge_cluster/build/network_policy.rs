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
use crate::controller::{Kind, selector_labels};

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
    NetworkPolicy {
        metadata: cluster.metadata(names::base(&cluster.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(brokers),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![clients, controllers]),
            egress: Some(vec![to_brokers, dns(), dns_pods()]),
        }),
    }
}

fn tcp(number: u16) -> NetworkPolicyPort {
    on("TCP", number)
}

fn on(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}

/// DNS wherever it is: a node-local cache has no pod of its own.
fn dns() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: None,
        ports: Some(vec![on("UDP", 53), on("TCP", 53)]),
    }
}

/// The cluster's DNS pods on whatever port they listen: policies see the port after the Service's translation.
fn dns_pods() -> NetworkPolicyEgressRule {
    let selector = LabelSelector {
        match_labels: Some([("k8s-app".to_owned(), "kube-dns".to_owned())].into()),
        ..LabelSelector::default()
    };
    NetworkPolicyEgressRule {
        to: Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            pod_selector: Some(selector),
            ip_block: None,
        }]),
        ports: None,
    }
}
