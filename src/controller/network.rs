//! NetworkPolicies of the data plane: DNS, the peers of the spec, and nobody in but those who read metrics. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{Kind, Options, owned_metadata, selector_labels};
use crate::api::EdgeCluster;
use crate::telemetry::DEFAULT_PORT;

/// Label that every namespace has with its own name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Annotation of a NetworkPolicy: the brokers' ports that were learnt from Kafka, for the time when it cannot be asked.
pub const BROKER_PORTS_ANNOTATION: &str = "tributary.dev/broker-ports";
/// Ports that DNS servers' pods listen on: the policy sees the port behind the Service (CoreDNS as a plain user: 1053;
/// OpenShift: 5353).
const DNS_PORTS: [i32; 3] = [53, 1053, 5353];
/// Where NodeLocal DNSCache listens on every node.
const NODE_LOCAL_DNS: &str = "169.254.20.10/32";

/// Somebody whom a pod may call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The brokers of an EdgeCluster in the same namespace, at a container port.
    Brokers {
        /// The EdgeCluster.
        cluster: String,
        /// The listener's container port.
        port: i32,
    },
    /// The pods behind a Service.
    Pods {
        /// Their namespace.
        namespace: String,
        /// Their labels.
        labels: BTreeMap<String, String>,
        /// Their port's number or name.
        port: PodPort,
    },
    /// Any address at these ports.
    Anywhere {
        /// TCP ports.
        ports: BTreeSet<u16>,
    },
}

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodPort {
    /// By number.
    Number(i32),
    /// By the name in the pod.
    Name(String),
}

/// The policy for the pods of `owner`: out to DNS and `peers`, in from the operator and from those who may read metrics.
#[must_use]
pub fn network_policy<K: Kind>(
    owner: &K,
    name: String,
    options: &Options,
    peers: &BTreeSet<Peer>,
    broker_ports: &BTreeSet<u16>,
) -> NetworkPolicy {
    let mut metadata = owned_metadata(owner, name);
    if !broker_ports.is_empty() {
        let ports: Vec<_> = broker_ports.iter().map(u16::to_string).collect();
        metadata.annotations = Some([(BROKER_PORTS_ANNOTATION.to_owned(), ports.join(","))].into());
    }
    let mut egress = dns();
    egress.extend(peers.iter().map(egress_rule));
    if !broker_ports.is_empty() {
        egress.push(egress_rule(&Peer::Anywhere {
            ports: broker_ports.clone(),
        }));
    }
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(selector_labels(K::KIND, &owner.name_any()))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![metrics_rule(options)]),
            egress: Some(egress),
        }),
    }
}

/// The ports that [`network_policy`] noted.
#[must_use]
pub fn noted_broker_ports(annotations: Option<&BTreeMap<String, String>>) -> BTreeSet<u16> {
    let noted = annotations.and_then(|a| a.get(BROKER_PORTS_ANNOTATION));
    noted
        .into_iter()
        .flat_map(|ports| ports.split(','))
        .filter_map(|port| port.parse().ok())
        .collect()
}

/// Who may read metrics and progress. The kubelet's probes come from the node, which no policy keeps out.
#[must_use]
pub fn metrics_rule(options: &Options) -> NetworkPolicyIngressRule {
    let operator: BTreeMap<_, _> = [
        ("app.kubernetes.io/name", "tributary"),
        ("app.kubernetes.io/component", "operator"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    let mut from = vec![NetworkPolicyPeer {
        namespace_selector: Some(namespace(&options.operator_namespace)),
        pod_selector: Some(selector(operator)),
        ip_block: None,
    }];
    from.extend(options.metrics_namespaces.iter().map(|name| NetworkPolicyPeer {
        namespace_selector: Some(namespace(name)),
        pod_selector: None,
        ip_block: None,
    }));
    NetworkPolicyIngressRule {
        from: Some(from),
        ports: Some(vec![port("TCP", IntOrString::Int(DEFAULT_PORT.into()))]),
    }
}

/// Out to DNS.
#[must_use]
pub fn dns() -> Vec<NetworkPolicyEgressRule> {
    let ports = |list: &[i32]| {
        let both = list
            .iter()
            .flat_map(|p| ["UDP", "TCP"].map(|protocol| port(protocol, IntOrString::Int(*p))));
        Some(both.collect::<Vec<_>>())
    };
    let pods = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let node_local = NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: NODE_LOCAL_DNS.to_owned(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    };
    vec![
        NetworkPolicyEgressRule {
            to: Some(vec![pods]),
            ports: ports(&DNS_PORTS),
        },
        NetworkPolicyEgressRule {
            to: Some(vec![node_local]),
            ports: ports(&DNS_PORTS[..1]),
        },
    ]
}

fn egress_rule(peer: &Peer) -> NetworkPolicyEgressRule {
    match peer {
        Peer::Brokers {
            cluster,
            port: number,
        } => NetworkPolicyEgressRule {
            to: Some(vec![NetworkPolicyPeer {
                pod_selector: Some(selector(selector_labels(EdgeCluster::KIND, cluster))),
                ..NetworkPolicyPeer::default()
            }]),
            ports: Some(vec![port("TCP", IntOrString::Int(*number))]),
        },
        Peer::Pods {
            namespace: name,
            labels,
            port: pod_port,
        } => NetworkPolicyEgressRule {
            to: Some(vec![NetworkPolicyPeer {
                namespace_selector: Some(namespace(name)),
                pod_selector: Some(selector(labels.clone())),
                ip_block: None,
            }]),
            ports: Some(vec![port(
                "TCP",
                match pod_port {
                    PodPort::Number(number) => IntOrString::Int(*number),
                    PodPort::Name(name) => IntOrString::String(name.clone()),
                },
            )]),
        },
        Peer::Anywhere { ports } => NetworkPolicyEgressRule {
            to: None,
            ports: Some(
                ports
                    .iter()
                    .map(|p| port("TCP", IntOrString::Int((*p).into())))
                    .collect(),
            ),
        },
    }
}

fn port(protocol: &str, number: IntOrString) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(number),
        end_port: None,
    }
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}

fn namespace(name: &str) -> LabelSelector {
    selector([(NAMESPACE_LABEL.to_owned(), name.to_owned())].into())
}
