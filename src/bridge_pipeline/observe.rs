//! All reading: references, pods, and what the pod says about itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use tokio::time::{MissedTickBehavior, interval};

use super::validate::{MqttFiles, mqtt_files};
use crate::api::{BridgePipeline, MqttAuthenticationType};
use crate::bridge::progress::BridgeProgress;
use crate::controller::{
    BrokerPorts, Cached, Context, KafkaPeer, Latest, ObjectKey, Owned, Peer, PodRun, PodView,
    ResolvedEndpoint, Samplers, Unresolved, noted_broker_ports, read_progress,
};
use crate::mqtt::endpoint::ServerAddress;

/// What the sampler read last.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When.
    pub(super) at: Timestamp,
    /// The pod's progress, or why it is not known.
    pub(super) progress: Result<BridgeProgress, String>,
    /// Whose progress that is; absent if no pod ran.
    pub(super) run: Option<PodRun>,
    /// Ports of the brokers, where they are elsewhere.
    pub(super) broker_ports: BTreeSet<u16>,
}

/// References as far as they could be resolved.
#[derive(Debug)]
pub(super) struct References {
    pub(super) mqtt: MqttFiles,
    pub(super) kafka: ResolvedEndpoint,
    pub(super) peers: BTreeSet<Peer>,
}

/// Resolves everything that the spec refers to.
///
/// # Errors
/// What is missing or wrong; or that the API server did not tell.
pub(super) async fn references(ctx: &Context, object: &BridgePipeline) -> Result<References, Unresolved> {
    let namespace = object.namespace().unwrap_or_default();
    let mqtt = mqtt_files(object)?;
    check_mqtt_secrets(ctx, object, &namespace).await?;
    let kafka = ctx
        .resolve_endpoint(&namespace, "spec.kafka", "kafka", &object.spec.kafka)
        .await?;
    let mut peers = ctx.kafka_peers(&namespace, &kafka.peer).await;
    for server in &object.spec.mqtt.servers {
        // What is no address is told by validation.
        if let Ok(address) = server.parse::<ServerAddress>() {
            peers.insert(ctx.peer(&namespace, &address.host, address.port).await);
        }
    }
    Ok(References { mqtt, kafka, peers })
}

/// The operator does not use these credentials; it only says early what the pod would find.
async fn check_mqtt_secrets(
    ctx: &Context,
    object: &BridgePipeline,
    namespace: &str,
) -> Result<(), Unresolved> {
    let mqtt = &object.spec.mqtt;
    let field = "spec.mqtt.authentication";
    let auth = &mqtt.authentication;
    if let (MqttAuthenticationType::Password, Some(secret)) = (auth.type_, &auth.password_secret_ref) {
        ctx.read_password(namespace, &format!("{field}.passwordSecretRef"), secret)
            .await?;
    }
    if let (MqttAuthenticationType::Mtls, Some(certificate), Some(key)) =
        (auth.type_, &auth.certificate_secret_ref, &auth.key_secret_ref)
    {
        ctx.read_certificates(namespace, &format!("{field}.certificateSecretRef"), certificate)
            .await?;
        ctx.read_private_key(namespace, &format!("{field}.keySecretRef"), key)
            .await?;
    }
    if let Some(ca) = &mqtt.tls.ca {
        ctx.read_ca(namespace, "spec.mqtt.tls.ca", ca).await?;
    }
    Ok(())
}

/// The object's pods.
pub(super) fn pods(ctx: &Context, key: &ObjectKey) -> Vec<PodView> {
    bridge_pods(ctx, key).iter().map(|pod| PodView::of(pod)).collect()
}

/// The pods of the bridge itself, without those that end an earlier session.
pub(super) fn bridge_pods(ctx: &Context, key: &ObjectKey) -> Vec<Arc<Pod>> {
    let mut pods = ctx.caches().pods_of::<BridgePipeline>(&key.namespace, &key.name);
    pods.retain(|pod| !of_a_job(pod));
    pods
}

/// A pod that ends a session carries the bridge's labels, so that the NetworkPolicy lets it out, and is no bridge.
fn of_a_job(pod: &Pod) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.kind == "Job")
}

/// The brokers' ports: as just sampled, else as the NetworkPolicy that stands there notes them.
pub(super) fn broker_ports(
    ctx: &Context,
    key: &ObjectKey,
    policy: &str,
    sample: Option<&Sample>,
) -> BTreeSet<u16> {
    if let Some(sample) = sample.filter(|s| !s.broker_ports.is_empty()) {
        return sample.broker_ports.clone();
    }
    let cached = ctx
        .caches()
        .scope(&key.namespace)
        .map(|s| NetworkPolicy::cached(s, &key.namespace, policy));
    match cached {
        Some(Cached::Present(meta)) => noted_broker_ports(meta.annotations.as_ref()),
        _ => BTreeSet::new(),
    }
}

/// Keeps the object's sampler running and yields its latest sample.
pub(super) fn sample(
    ctx: &Context,
    samplers: &Samplers<Sample>,
    key: &ObjectKey,
    kafka: Option<&ResolvedEndpoint>,
) -> Option<Arc<Sample>> {
    let external = kafka.filter(|k| matches!(k.peer, KafkaPeer::External { .. }));
    let connection = external.map(|k| k.connection.clone());
    let (ctx, own_key) = (ctx.clone(), key.clone());
    samplers.observe(key, &external.map(|k| k.digest), move |latest| async move {
        let mut ports = connection.map(BrokerPorts::new);
        let mut ticks = interval(ctx.options().sample_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            take(&ctx, &own_key, ports.as_mut(), &latest).await;
            ctx.trigger::<BridgePipeline>(&own_key.namespace, &own_key.name);
        }
    })
}

async fn take(ctx: &Context, key: &ObjectKey, ports: Option<&mut BrokerPorts>, latest: &Latest<Sample>) {
    let pods = bridge_pods(ctx, key);
    // Before it is asked: should it be started anew meanwhile, its answer is taken for that of the former run.
    let pod = pods
        .iter()
        .map(|pod| PodView::of(pod))
        .find(|pod| pod.ip().is_some());
    let progress = async {
        match pod.as_ref().and_then(PodView::ip) {
            None => Err("no pod runs".to_owned()),
            Some(ip) => read_progress::<BridgeProgress>(ip)
                .await
                .map_err(|e| e.to_string()),
        }
    };
    let broker_ports = async {
        match ports {
            Some(ports) => ports.read().await,
            None => BTreeSet::new(),
        }
    };
    let (progress, broker_ports) = tokio::join!(progress, broker_ports);
    latest.set(Sample {
        at: ctx.now(),
        progress,
        run: pod.as_ref().map(PodView::run),
        broker_ports,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_that_ends_an_earlier_session_is_no_bridge() {
        let owned_by = |kind: &str| -> Pod {
            let owner =
                json!({"apiVersion": "v1", "kind": kind, "name": "x", "uid": "u", "controller": true});
            serde_json::from_value(json!({"metadata": {"ownerReferences": [owner]}})).unwrap()
        };
        assert!(of_a_job(&owned_by("Job")));
        assert!(!of_a_job(&owned_by("StatefulSet")) && !of_a_job(&Pod::default()));
    }
}
