//! Services: a headless one for the brokers' own names, one for bootstrapping, and one for each node port.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::names;
use super::super::validate::{CONTROLLER_PORT, ValidListener, ValidatedEdgeCluster};
use crate::api::EdgeCluster;
use crate::controller::{Kind, selector_labels};

/// Builds all of them.
pub fn services(cluster: &ValidatedEdgeCluster) -> Vec<Service> {
    let mut services = vec![headless(cluster), bootstrap(cluster)];
    for listener in &cluster.listeners {
        let Some(node_port) = &listener.node_port else {
            continue;
        };
        services.push(outside(
            cluster,
            names::node_port(&cluster.name, &listener.name),
            selector(cluster),
            (listener, node_port.bootstrap),
            false,
        ));
        for (id, (port, _)) in &node_port.brokers {
            let mut selector = selector(cluster);
            let pod = names::pod(&cluster.name, *id);
            selector.insert("statefulset.kubernetes.io/pod-name".to_owned(), pod);
            let name = names::node_port_broker(&cluster.name, &listener.name, *id);
            services.push(outside(cluster, name, selector, (listener, *port), true));
        }
    }
    services
}

fn selector(cluster: &ValidatedEdgeCluster) -> BTreeMap<String, String> {
    selector_labels(EdgeCluster::KIND, &cluster.name)
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// Names of the pods. Also for pods that are not ready: the KRaft quorum must form before anyone is.
fn headless(cluster: &ValidatedEdgeCluster) -> Service {
    let mut ports = vec![port("controller", CONTROLLER_PORT)];
    ports.extend(cluster.listeners.iter().map(|l| port(&l.name, l.port)));
    Service {
        metadata: cluster.metadata(names::headless(&cluster.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector(cluster)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Any ready broker, through the Internal listeners.
fn bootstrap(cluster: &ValidatedEdgeCluster) -> Service {
    let internal = cluster.listeners.iter().filter(|l| l.node_port.is_none());
    Service {
        metadata: cluster.metadata(names::base(&cluster.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector(cluster)),
            ports: Some(internal.map(|l| port(&l.name, l.port)).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// A port of every node. A broker's own port leads to it whether it is ready or not: a client that must speak to this
/// broker has no other way, and an open connection should not end because a probe failed once.
fn outside(
    cluster: &ValidatedEdgeCluster,
    name: String,
    selector: BTreeMap<String, String>,
    (listener, node_port): (&ValidListener, u16),
    not_ready: bool,
) -> Service {
    Service {
        metadata: cluster.metadata(name),
        spec: Some(ServiceSpec {
            type_: Some("NodePort".to_owned()),
            selector: Some(selector),
            publish_not_ready_addresses: Some(not_ready),
            ports: Some(vec![ServicePort {
                node_port: Some(i32::from(node_port)),
                ..port(&listener.name, listener.port)
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
