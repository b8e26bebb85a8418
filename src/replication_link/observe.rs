//! All reading: references, pods, what was noted before, and the latest sample.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use tokio::time::{MissedTickBehavior, interval};

use super::build::{POSITIONS_SEEN_ANNOTATION, objects_name};
use super::sampling::{Pace, Sample, Sampler};
use super::validate::ValidatedLink;
use crate::api::ReplicationLink;
use crate::controller::{
    Cached, Context, ObjectKey, Owned, Peer, PodView, ResolvedEndpoint, Samplers, Unresolved,
    noted_broker_ports,
};

/// References, resolved.
#[derive(Debug)]
pub(super) struct References {
    pub(super) source: ResolvedEndpoint,
    pub(super) target: ResolvedEndpoint,
    pub(super) peers: BTreeSet<Peer>,
}

/// Resolves everything that the spec refers to.
///
/// # Errors
/// What is missing or wrong; or that the API server did not tell.
pub(super) async fn references(ctx: &Context, object: &ReplicationLink) -> Result<References, Unresolved> {
    let namespace = object.namespace().unwrap_or_default();
    let spec = &object.spec;
    let source = ctx
        .resolve_endpoint(&namespace, "spec.source", "source", &spec.source)
        .await?;
    let target = ctx
        .resolve_endpoint(&namespace, "spec.target", "target", &spec.target)
        .await?;
    let mut peers = ctx.kafka_peers(&namespace, &source.peer).await;
    peers.extend(ctx.kafka_peers(&namespace, &target.peer).await);
    Ok(References {
        source,
        target,
        peers,
    })
}

/// The object's pods.
pub(super) fn pods(ctx: &Context, object: &ReplicationLink) -> Vec<PodView> {
    let namespace = object.namespace().unwrap_or_default();
    let pods = ctx
        .caches()
        .pods_of::<ReplicationLink>(&namespace, &object.name_any());
    pods.iter().map(|pod| PodView::of(pod)).collect()
}

fn cached<T: Owned>(ctx: &Context, key: &ObjectKey) -> Option<Box<ObjectMeta>> {
    let scope = ctx.caches().scope(&key.namespace)?;
    match T::cached(scope, &key.namespace, &objects_name(&key.name)) {
        Cached::Present(meta) => Some(meta),
        Cached::Absent | Cached::NotWatched => None,
    }
}

/// The brokers' ports: as just sampled, else as the NetworkPolicy that stands there notes them.
pub(super) fn broker_ports(ctx: &Context, key: &ObjectKey, sample: Option<&Sample>) -> BTreeSet<u16> {
    let noted = cached::<NetworkPolicy>(ctx, key).map(|meta| noted_broker_ports(meta.annotations.as_ref()));
    match (sample, noted) {
        // Both sides answered: what is noted from earlier brokers has had its time.
        (Some(sample), _) if sample.source.is_ok() && sample.target.is_ok() => sample.broker_ports.clone(),
        (Some(sample), noted) => {
            let mut ports = noted.unwrap_or_default();
            ports.extend(&sample.broker_ports);
            ports
        }
        (None, noted) => noted.unwrap_or_default(),
    }
}

/// The link ID of which the ConfigMap that stands there notes that positions were seen.
pub(super) fn noted_positions(ctx: &Context, key: &ObjectKey) -> Option<String> {
    let meta = cached::<ConfigMap>(ctx, key)?;
    meta.annotations?.get(POSITIONS_SEEN_ANNOTATION).cloned()
}

/// Keeps the object's sampler running and yields its latest sample.
pub(super) fn sample(
    ctx: &Context,
    samplers: &Samplers<Sample>,
    object: &ReplicationLink,
    references: &References,
    link: &ValidatedLink,
) -> Option<Arc<Sample>> {
    let key = ObjectKey::of(object);
    let topics = &object.spec.topics;
    let input = (
        references.source.digest,
        references.target.digest,
        &link.config.link_id,
        &topics.include,
        &topics.deny,
    );
    let effective = object.status.as_ref().and_then(|s| s.effective.as_ref());
    let source_cluster = effective.and_then(|e| e.source_cluster_id.clone());
    let (ctx, own_key) = (ctx.clone(), key.clone());
    samplers.observe(&key, &input, |latest| {
        let mut sampler = Sampler::new(
            link.config.clone(),
            link.selection.clone(),
            &references.source,
            &references.target,
            source_cluster,
        );
        async move {
            let mut ticks = interval(ctx.options().sample_interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut pace = Pace::default();
            loop {
                ticks.tick().await;
                // Boxed: the exchanges with Kafka make it large.
                let sample = Box::pin(sampler.take(&ctx, &own_key)).await;
                let soon = pace.soon(&sample);
                latest.set(sample);
                ctx.trigger::<ReplicationLink>(&own_key.namespace, &own_key.name);
                if let Some(pause) = soon {
                    ticks.reset_after(pause.min(ctx.options().sample_interval));
                }
            }
        }
    })
}
