//! Which pods stand behind a host name: a NetworkPolicy sees the port behind a Service, not the Service's own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::time::Instant;

use super::Context;
use super::network::{Peer, PodPort};

/// How long an answer is used, also one that there is no such Service.
const TTL: Duration = Duration::from_secs(60);

/// What was found in the last [`TTL`]. Bounded by the hosts that specs name.
#[derive(Debug, Default)]
pub(super) struct Services(Mutex<HashMap<(String, String), (Instant, Option<ServiceSpec>)>>);

impl Context {
    /// Whom a pod in `namespace` reaches at `host:port`: the pods of a Service if the name is one's, else any address.
    pub async fn peer(&self, namespace: &str, host: &str, port: u16) -> Peer {
        let anywhere = Peer::Anywhere { ports: [port].into() };
        let Some((service, service_namespace)) = service_of(host, namespace) else {
            return anywhere;
        };
        let Some(spec) = self.service(&service_namespace, &service).await else {
            return anywhere;
        };
        behind(&spec, &service_namespace, port).unwrap_or(anywhere)
    }

    async fn service(&self, namespace: &str, name: &str) -> Option<ServiceSpec> {
        let key = (namespace.to_owned(), name.to_owned());
        {
            let mut known = self.services().0.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, (read, _)| read.elapsed() < TTL);
            if let Some((_, spec)) = known.get(&key) {
                return spec.clone();
            }
        }
        let what = || format!("read Service {namespace}/{name}");
        let found = match self
            .call(what, self.api::<Service>(namespace).get_opt(name))
            .await
        {
            Ok(found) => found.and_then(|s| s.spec),
            Err(error) => {
                // In a namespace that we may not read, the port itself is allowed anywhere.
                tracing::debug!(%error, "no Service to narrow a NetworkPolicy by");
                None
            }
        };
        let mut known = self.services().0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, (Instant::now(), found.clone()));
        found
    }
}

/// Service and namespace that a host name may mean, as the cluster's DNS search list has it.
fn service_of(host: &str, namespace: &str) -> Option<(String, String)> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let labels: Vec<_> = host.trim_end_matches('.').split('.').collect();
    let named = |service: &str, namespace: &str| Some((service.to_owned(), namespace.to_owned()));
    match labels[..] {
        [service] => named(service, namespace),
        [service, ns] | [service, ns, "svc"] | [service, ns, "svc", "cluster", "local"] => named(service, ns),
        // One pod of a headless Service.
        [_, service, ns, "svc"] | [_, service, ns, "svc", "cluster", "local"] => named(service, ns),
        _ => None,
    }
}

/// The pods behind a Service's port; `None` for a Service without selector, whose endpoints may be anywhere.
fn behind(spec: &ServiceSpec, namespace: &str, port: u16) -> Option<Peer> {
    let labels = spec.selector.clone().filter(|s| !s.is_empty())?;
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let target = spec.ports.iter().flatten().find(|p| p.port == i32::from(port));
    let pod_port = match target.and_then(|p| p.target_port.clone()) {
        // A headless Service's name leads to the pods themselves: nothing translates the port.
        _ if headless => PodPort::Number(port.into()),
        Some(IntOrString::Int(number)) => PodPort::Number(number),
        Some(IntOrString::String(name)) => PodPort::Name(name),
        None if target.is_some() => PodPort::Number(port.into()),
        None => return None,
    };
    Some(Peer::Pods {
        namespace: namespace.to_owned(),
        labels,
        port: pod_port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_host_name_is_read_as_the_search_list_reads_it() {
        let of = |host| service_of(host, "factory").map(|(s, ns)| format!("{ns}/{s}"));
        for (host, service) in [
            ("mosquitto", Some("factory/mosquitto")),
            ("mosquitto.plant", Some("plant/mosquitto")),
            ("mosquitto.plant.svc", Some("plant/mosquitto")),
            ("mosquitto.plant.svc.cluster.local.", Some("plant/mosquitto")),
            ("broker-0.brokers.plant.svc", Some("plant/brokers")),
            ("kafka.eu.example", None),
            ("10.0.0.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(of(host).as_deref(), service, "{host}");
        }
    }

    #[test]
    fn the_policy_s_port_is_the_one_behind_the_service() {
        let spec = |value| serde_json::from_value::<ServiceSpec>(value).unwrap();
        let port = |spec: ServiceSpec| match behind(&spec, "plant", 8883) {
            Some(Peer::Pods { port, .. }) => Some(port),
            _ => None,
        };
        let ports = |target| json!([{"port": 8883, "targetPort": target}]);
        let selector = json!({"app": "mosquitto"});
        assert_eq!(
            port(spec(json!({"selector": selector, "ports": ports(json!(1883))}))),
            Some(PodPort::Number(1883))
        );
        assert_eq!(
            port(spec(json!({"selector": selector, "ports": ports(json!("mqtt"))}))),
            Some(PodPort::Name("mqtt".into()))
        );
        let headless = json!({"selector": selector, "clusterIP": "None", "ports": ports(json!(1883))});
        assert_eq!(port(spec(headless)), Some(PodPort::Number(8883)));
        assert_eq!(
            port(spec(json!({"selector": selector, "ports": [{"port": 1}]}))),
            None
        );
        assert_eq!(
            port(spec(json!({"ports": ports(json!(1883))}))),
            None,
            "endpoints made by hand"
        );
    }
}
