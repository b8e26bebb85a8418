//! The end of a bridge's MQTT session after its object was deleted.
//!
//! Without it the MQTT broker would go on queueing, for days, for a client that never comes back. No finalizer: one
//! would hold the object while the operator or the broker is gone (law 7). Instead the operator, on seeing that the
//! object is gone, starts a Job that runs `tributary bridge --config FILE end-session` once with the last configuration. The Job
//! mounts the same Secrets as the pod did, so that no MQTT credential is ever in the operator. It is best effort:
//! with the namespace, the Secrets or the operator gone, the session ends by its expiry.
//!
//! A successor of the same name must not start beside it: a pod of the Job would take the new session over, with what
//! machines publish until the bridge is subscribed again. So the Job is deleted first, and waited for until its pods are gone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use tokio::time::Instant;

use super::build::Objects;
use super::observe;
use crate::api::{BridgePipeline, Reason};
use crate::controller::{Cached, Context, Error, ObjectKey, Owned, PodState, PodView, StepOutcome};

/// How long the Job, and each of its pods, may take, and how long it stays to be looked at.
const DEADLINE_SECONDS: i64 = 60;
/// How long a pod may outlive the Job's deletion, also on a node out of reach: the kubelet there enforces the pod's own
/// deadline, and the pod's grace period of 15 s; and 15 s for clocks that differ.
const LAST_RUN: SignedDuration = SignedDuration::from_secs(DEADLINE_SECONDS + 30);
const KEEP_SECONDS: i32 = 120;
/// How long a pod that ends is waited for: it must not find its session gone while it is settling.
const POD_GONE: Duration = Duration::from_secs(5);
/// How long the StatefulSet and its pod are given to begin to end.
const POD_ENDS: Duration = Duration::from_secs(60);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// What is kept of a bridge for its end.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    config_map: ConfigMap,
    template: PodTemplateSpec,
}

impl Ending {
    pub(super) fn of(objects: &Objects) -> Option<Self> {
        let template = objects.stateful_set.spec.as_ref()?.template.clone();
        Some(Self {
            config_map: objects.config_map.clone(),
            template,
        })
    }
}

fn name(bridge: &str) -> String {
    format!("{bridge}-bridge-end-session")
}

/// What came of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The Job runs.
    Job,
    /// The object exists again.
    Back,
    /// What was orphaned goes on.
    InUse,
}

/// Starts the Job, unless the session is still in use or the object exists again.
pub(super) async fn end(ctx: &Context, key: &ObjectKey, ending: Ending) {
    let unused = unused(ctx, key).await;
    let ended = async {
        match (exists(ctx, key).await?, unused) {
            (true, _) => Ok(Ended::Back),
            (false, false) => Ok(Ended::InUse),
            (false, true) => Box::pin(start(ctx, key, ending)).await,
        }
    };
    match ended.await {
        Ok(Ended::Job) => tracing::info!(object = %key, "ending its MQTT session"),
        Ok(Ended::Back) => tracing::info!(object = %key, "it exists again: its MQTT session stays"),
        Ok(Ended::InUse) => {
            tracing::warn!(object = %key, "its pod goes on (deleted with --cascade=orphan?): its MQTT session is left to it");
        }
        Err(error) if error.is_gone() => {
            tracing::info!(object = %key, "its namespace is going: the MQTT session ends by its expiry");
        }
        Err(error) => {
            tracing::warn!(object = %key, %error, "its MQTT session is not ended; it ends by its expiry");
        }
    }
}

/// Waits until nothing uses the session any more; false if that does not come.
async fn unused(ctx: &Context, key: &ObjectKey) -> bool {
    let begun = Instant::now();
    loop {
        let pods = observe::bridge_pods(ctx, key);
        let pods: Vec<_> = pods.iter().map(|pod| PodView::of(pod).state).collect();
        match wait(set_stands(ctx, key), &pods, begun.elapsed()) {
            Wait::Over => return true,
            Wait::InVain => return false,
            Wait::More => tokio::time::sleep(LOOK).await,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Nothing uses the session.
    Over,
    /// It may end.
    More,
    /// What was orphaned goes on.
    InVain,
}

fn wait(set_stands: bool, pods: &[PodState], waited: Duration) -> Wait {
    // Also a pod that does not run now: it will again, with its session.
    let stays = set_stands || pods.iter().any(|pod| *pod != PodState::Terminating);
    match (stays, pods) {
        (true, _) if waited >= POD_ENDS => Wait::InVain,
        (true, _) => Wait::More,
        // If it hangs, its session is taken over; it is being killed anyway.
        (false, [_, ..]) if waited < POD_GONE => Wait::More,
        (false, _) => Wait::Over,
    }
}

fn set_stands(ctx: &Context, key: &ObjectKey) -> bool {
    let name = format!("{}-bridge", key.name);
    let scope = ctx.caches().scope(&key.namespace);
    scope.is_some_and(|s| matches!(StatefulSet::cached(s, &key.namespace, &name), Cached::Present(_)))
}

/// Asked of the server: the caches stand still once another process leads.
async fn exists(ctx: &Context, key: &ObjectKey) -> Result<bool, Error> {
    let api = ctx.api::<BridgePipeline>(&key.namespace);
    let read = ctx.call(|| format!("read {key}"), api.get_metadata_opt(&key.name));
    Ok(read.await?.is_some())
}

async fn start(ctx: &Context, key: &ObjectKey, ending: Ending) -> Result<Ended, Error> {
    let (job, config_map) = build(key, ending);
    let what = || format!("create Job {}/{}", key.namespace, name(&key.name));
    let job = match ctx
        .call(
            what,
            ctx.api::<Job>(&key.namespace)
                .create(&PostParams::default(), &job),
        )
        .await
    {
        Ok(job) => job,
        // Deleted, created and deleted again within two minutes: the Job that runs does the same.
        Err(Error::Api {
            source: kube::Error::Api(status),
            ..
        }) if status.code == 409 => return Ok(Ended::Job),
        Err(error) => return Err(error),
    };
    // Its first pass may have looked for a Job before there was this one, whose pod waits for its ConfigMap yet.
    match exists(ctx, key).await {
        Ok(false) => {}
        back => {
            delete(ctx, key).await?;
            return back.map(|_| Ended::Back);
        }
    }
    let config_map = owned_by(config_map, &job);
    let what = || format!("create ConfigMap {}/{}", key.namespace, name(&key.name));
    let api = ctx.api::<ConfigMap>(&key.namespace);
    ctx.call(what, api.create(&PostParams::default(), &config_map))
        .await
        .map(|_| Ended::Job)
}

/// The Job and its configuration, under names of their own: the bridge's are being deleted.
fn build(key: &ObjectKey, ending: Ending) -> (Job, ConfigMap) {
    let Ending {
        config_map,
        mut template,
    } = ending;
    let metadata = ObjectMeta {
        name: Some(name(&key.name)),
        namespace: Some(key.namespace.clone()),
        labels: config_map.metadata.labels.clone(),
        ..ObjectMeta::default()
    };
    if let Some(pod) = &mut template.spec {
        pod.restart_policy = Some("OnFailure".to_owned());
        // The Job's deadline is kept by the control plane, this one by the node itself.
        pod.active_deadline_seconds = Some(DEADLINE_SECONDS);
        for volume in pod.volumes.iter_mut().flatten() {
            if let Some(source) = &mut volume.config_map {
                source.name = name(&key.name);
            }
        }
        for container in &mut pod.containers {
            container
                .args
                .get_or_insert_default()
                .push("end-session".to_owned());
            (container.liveness_probe, container.readiness_probe) = (None, None);
        }
    }
    let job = Job {
        metadata: metadata.clone(),
        spec: Some(JobSpec {
            template,
            backoff_limit: Some(5),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            ttl_seconds_after_finished: Some(KEEP_SECONDS),
            ..JobSpec::default()
        }),
        status: None,
    };
    (
        job,
        ConfigMap {
            metadata,
            ..config_map
        },
    )
}

fn owned_by(mut config_map: ConfigMap, job: &Job) -> ConfigMap {
    config_map.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        name: job.name_any(),
        uid: job.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    config_map
}

/// Stops a Job of an earlier object of this name before its successor's pod starts: it would end the new session.
pub(super) async fn cancel(ctx: &Context, key: &ObjectKey) -> StepOutcome {
    match delete(ctx, key).await {
        Ok(deleting) => stopping(&name(&key.name), deleting, ctx.now()),
        Err(error) => StepOutcome::Failed(error),
    }
}

/// Deletes the Job; yields since when it is being deleted, if it is not gone yet. It goes last, after its pods.
async fn delete(ctx: &Context, key: &ObjectKey) -> Result<Option<Timestamp>, Error> {
    let api = ctx.api::<Job>(&key.namespace);
    let what = || format!("delete Job {}/{}", key.namespace, name(&key.name));
    match ctx
        .call(what, api.delete(&name(&key.name), &DeleteParams::foreground()))
        .await
    {
        Ok(deleted) => Ok(deleted
            .left()
            .map(|job| job.metadata.deletion_timestamp.map_or(ctx.now(), |t| t.0))),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a pod of the Job may run yet.
fn stopping(job: &str, deleting: Option<Timestamp>, now: Timestamp) -> StepOutcome {
    let Some(since) = deleting else {
        return StepOutcome::Unchanged;
    };
    if now.duration_since(since) >= LAST_RUN {
        tracing::warn!(
            job,
            "it is still being deleted, but none of its pods can run any more"
        );
        return StepOutcome::Unchanged;
    }
    StepOutcome::Waiting {
        reason: Reason::Progressing,
        message: format!(
            "waiting for Job {job} and its pod to go, {} s at most: it ends the MQTT session of an earlier object of this \
             name, and would end this one's",
            LAST_RUN.as_secs()
        ),
    }
}

#[cfg(test)]
mod tests;
