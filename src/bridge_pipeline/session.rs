//! The end of a bridge's MQTT session after its object was deleted.
//!
//! Without it the MQTT broker would go on queueing, for days, for a client that never comes back. No finalizer: one
//! would hold the object while the operator or the broker is gone (law 7). Instead the operator, on seeing that the
//! object is gone, starts a Job that runs `tributary bridge --config FILE end-session` once with the last configuration. The Job
//! mounts the same Secrets as the pod did, so that no MQTT credential is ever in the operator. It is best effort:
//! with the namespace, the Secrets or the operator gone, the session ends by its expiry.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};

use super::build::Objects;
use crate::api::BridgePipeline;
use crate::controller::{Context, Error, ObjectKey, PodState, PodView};

/// How long the Job may take, and how long it stays to be looked at.
const DEADLINE_SECONDS: i64 = 60;
const KEEP_SECONDS: i32 = 120;
/// How long the bridge's own pod is waited for: it must not find its session gone while it is settling.
const POD_GONE: std::time::Duration = std::time::Duration::from_secs(5);

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

/// Starts the Job, unless the object exists again.
pub(super) async fn end(ctx: &Context, key: &ObjectKey, ending: Ending) {
    let gone = async {
        while pods_run(ctx, key) {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    // If it hangs, its session is taken over; it is being killed anyway.
    let _ = tokio::time::timeout(POD_GONE, gone).await;
    if exists(ctx, key) {
        return;
    }
    match start(ctx, key, ending).await {
        Ok(()) => tracing::info!(object = %key, "ending its MQTT session"),
        Err(error) if error.is_gone() => {
            tracing::info!(object = %key, "its namespace is going: the MQTT session ends by its expiry");
        }
        Err(error) => {
            tracing::warn!(object = %key, %error, "its MQTT session is not ended; it ends by its expiry");
        }
    }
}

fn pods_run(ctx: &Context, key: &ObjectKey) -> bool {
    let pods = ctx.caches().pods_of::<BridgePipeline>(&key.namespace, &key.name);
    pods.iter().any(|pod| {
        matches!(
            PodView::of(pod).state,
            PodState::Running { .. } | PodState::Terminating
        )
    })
}

fn exists(ctx: &Context, key: &ObjectKey) -> bool {
    let reference = kube::runtime::reflector::ObjectRef::new(&key.name).within(&key.namespace);
    ctx.caches()
        .scope(&key.namespace)
        .is_some_and(|s| s.bridge_pipelines.get(&reference).is_some())
}

async fn start(ctx: &Context, key: &ObjectKey, ending: Ending) -> Result<(), Error> {
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
        }) if status.code == 409 => return Ok(()),
        Err(error) => return Err(error),
    };
    let config_map = owned_by(config_map, &job);
    let what = || format!("create ConfigMap {}/{}", key.namespace, name(&key.name));
    let api = ctx.api::<ConfigMap>(&key.namespace);
    ctx.call(what, api.create(&PostParams::default(), &config_map))
        .await
        .map(drop)
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
pub(super) async fn cancel(ctx: &Context, key: &ObjectKey) -> Result<(), Error> {
    let api = ctx.api::<Job>(&key.namespace);
    let what = || format!("delete Job {}/{}", key.namespace, name(&key.name));
    match ctx
        .call(what, api.delete(&name(&key.name), &DeleteParams::background()))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.is_gone() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{object, objects};
    use super::*;

    #[test]
    fn the_job_runs_the_last_configuration_with_the_same_secrets_and_the_same_security() {
        let objects = objects(&object());
        let key = ObjectKey::new("BridgePipeline", "factory", "machines");
        let (job, config_map) = build(&key, Ending::of(&objects).unwrap());
        assert_eq!(config_map.data, objects.config_map.data);
        assert_eq!(
            config_map.metadata.owner_references, None,
            "the deleted object's garbage collection must spare it"
        );
        let pod = job.spec.unwrap().template.spec.unwrap();
        let bridge = objects.stateful_set.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.security_context, bridge.security_context);
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(
            pod.containers[0].args.as_ref().unwrap().last().unwrap(),
            "end-session"
        );
        let names = |pod: &k8s_openapi::api::core::v1::PodSpec| {
            pod.volumes
                .clone()
                .unwrap()
                .into_iter()
                .map(|v| v.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&pod), names(&bridge));
        let config = &pod.volumes.unwrap()[0].config_map.clone().unwrap().name;
        assert_eq!(Some(config), config_map.metadata.name.as_ref());
    }
}
