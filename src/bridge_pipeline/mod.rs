//! The controller of BridgePipelines: for each one StatefulSet of one `tributary bridge`.

mod build;
mod held;
mod observe;
mod session;
mod status;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::api::{BridgePipeline, BridgePipelineStatus, Reason, condition_type};
use crate::controller::{
    Context, Error, EventKind, Figures, ObjectKey, Problem, Reconciler, Requeue, Samplers, Steps, Unresolved,
};
use build::Objects;
use held::Left;
use observe::Sample;
use status::{Look, Memory};
use validate::ValidatedBridge;

/// How soon it is looked again whether what a step waits for is there: nobody watches it.
const WAITING: Duration = Duration::from_secs(2);
/// Deleted bridges whose sessions are remembered.
const MAX_LEFT: usize = 1000;

/// Reconciles BridgePipelines.
#[derive(Debug, Default)]
pub struct BridgePipelines {
    samplers: Samplers<Sample>,
    /// One entry for each object.
    memories: Mutex<HashMap<ObjectKey, Memory>>,
    /// One entry for each object that this process has applied.
    applied: Mutex<HashMap<ObjectKey, Applied>>,
    /// One small entry for each object that this process has seen go, until one of its name has a status.
    left: Mutex<HashMap<ObjectKey, Left>>,
}

/// What is kept of a bridge for its end.
#[derive(Debug)]
struct Applied {
    uid: Option<String>,
    ending: session::Ending,
    left: Left,
}

/// What the spec was found to mean.
struct Found {
    bridge: ValidatedBridge,
    objects: Objects,
}

impl Reconciler for BridgePipelines {
    type Kind = BridgePipeline;

    async fn reconcile(&self, ctx: &Context, object: &BridgePipeline) -> Result<Requeue, Error> {
        let key = ObjectKey::of(object);
        let successor = self.successor(&key, object);
        let object = successor.as_ref().unwrap_or(object);
        let mut steps = Steps::default();
        let (found, sample) = self.find(ctx, &key, object).await;
        let mut unknown = None;
        let found = match found {
            Ok(found) => {
                self.apply(ctx, &key, object, &found, &mut steps).await;
                Ok(found)
            }
            Err(unresolved) => {
                if object.spec.paused == Some(true) {
                    let name = format!("{}-bridge", object.name_any());
                    steps
                        .run(
                            "scale to zero",
                            ctx.scale_to_zero::<_, StatefulSet>(object, &name),
                        )
                        .await;
                }
                match unresolved {
                    Findings::Problems(problems) => Err(problems),
                    Findings::Unknown(error) => {
                        unknown = Some(error);
                        Err(Vec::new())
                    }
                }
            }
        };
        let stopped_by = unknown
            .as_ref()
            .map(|e| (e.reason(), e.to_string()))
            .or_else(|| steps.stopped_by());
        let pods = observe::pods(ctx, &key);
        let look = Look {
            now: ctx.now(),
            validated: match &found {
                Ok(found) => Ok((&found.bridge, &found.objects.restart_hash)),
                Err(problems) => Err(problems),
            },
            stopped_by,
            pods: &pods,
            sample: sample.as_deref(),
        };
        if !status::soon_known(object, &look) {
            self.report(ctx, &key, object, &look).await?;
        }
        ctx.metrics().steps(key.kind, &steps);
        let waits = !steps.go_on();
        Ok(if unknown.is_some() || steps.into_error().is_some() {
            Requeue::BackOff
        } else if waits {
            Requeue::After(WAITING)
        } else {
            // The sampler asks for the next pass; this is for the case that it does not.
            Requeue::After(ctx.options().sample_interval * 3)
        })
    }

    async fn gone(&self, ctx: &Context, key: &ObjectKey) {
        self.samplers.stop(key);
        locked(&self.memories).remove(key);
        let applied = locked(&self.applied).remove(key);
        if let Some(Applied { ending, left, .. }) = applied {
            self.leave(key, left);
            // Beside the other deletions: it waits for the pod's end.
            let (ctx, key) = (ctx.clone(), key.clone());
            tokio::spawn(async move { session::end(&ctx, &key, ending).await });
        }
    }

    fn refers_to(&self, object: &BridgePipeline, edge_cluster: &str) -> bool {
        object
            .spec
            .kafka
            .cluster_ref
            .as_ref()
            .is_some_and(|c| c.name == edge_cluster)
    }
}

/// Why a spec's meaning is not known.
enum Findings {
    Problems(Vec<Problem>),
    Unknown(Error),
}

impl BridgePipelines {
    /// A new object that finds the session of a former one of its name.
    fn successor(&self, key: &ObjectKey, object: &BridgePipeline) -> Option<BridgePipeline> {
        // That the former one went may be told later than that this one came, or not at all.
        let former = locked(&self.applied)
            .get(key)
            .filter(|applied| applied.uid != object.uid())
            .map(|applied| applied.left.clone());
        if let Some(former) = former {
            self.leave(key, former);
        }
        let mut left = locked(&self.left);
        let successor = left.get(key)?.told_to(object);
        if successor.is_none() {
            left.remove(key);
        }
        successor
    }

    fn leave(&self, key: &ObjectKey, session: Left) {
        let mut left = locked(&self.left);
        // Names that never come back: rather an old subscription of one that does than memory without bound.
        if left.len() >= MAX_LEFT {
            left.clear();
        }
        left.insert(key.clone(), session);
    }

    /// Observes, validates and builds; yields the latest sample in any case.
    async fn find(
        &self,
        ctx: &Context,
        key: &ObjectKey,
        object: &BridgePipeline,
    ) -> (Result<Found, Findings>, Option<Arc<Sample>>) {
        let references = match observe::references(ctx, object).await {
            Ok(references) => references,
            Err(unresolved) => {
                // The pod of the last good spec goes on, and so does looking at it.
                let sample = self
                    .samplers
                    .latest(key)
                    .or_else(|| observe::sample(ctx, &self.samplers, key, None));
                return (
                    Err(match unresolved {
                        Unresolved::Problem(problem) => Findings::Problems(vec![problem]),
                        Unresolved::Error(error) => Findings::Unknown(error),
                    }),
                    sample,
                );
            }
        };
        let sample = observe::sample(ctx, &self.samplers, key, Some(&references.kafka));
        let held = object
            .status
            .as_ref()
            .map(|s| s.subscriptions.as_slice())
            .unwrap_or_default();
        let validated = validate::validate(object, &references.mqtt, &references.kafka.pod, held);
        let bridge = match validated {
            Ok(bridge) => bridge,
            Err(problems) => return (Err(Findings::Problems(problems)), sample),
        };
        let policy = format!("{}-bridge", object.name_any());
        let ports = observe::broker_ports(ctx, key, &policy, sample.as_deref());
        let built = build::build(object, &bridge, ctx.options(), &references.peers, &ports);
        (
            built
                .map(|objects| Found { bridge, objects })
                .map_err(Findings::Unknown),
            sample,
        )
    }

    /// Applies what the bridge is made of; what starts the pod anew comes last.
    async fn apply(
        &self,
        ctx: &Context,
        key: &ObjectKey,
        object: &BridgePipeline,
        Found { bridge, objects }: &Found,
        steps: &mut Steps,
    ) {
        if !locked(&self.applied).contains_key(key) {
            steps
                .run("cancel the end of an earlier session", session::cancel(ctx, key))
                .await;
        }
        steps
            .run("apply NetworkPolicy", ctx.apply(object, &objects.network_policy))
            .await;
        steps
            .run("apply ConfigMap", ctx.apply(object, &objects.config_map))
            .await;
        if steps
            .run("apply StatefulSet", ctx.apply(object, &objects.stateful_set))
            .await
            && let Some(ending) = session::Ending::of(objects)
        {
            let left = Left::by(&bridge.config.mqtt);
            let uid = object.uid();
            locked(&self.applied).insert(key.clone(), Applied { uid, ending, left });
        }
    }

    async fn report(
        &self,
        ctx: &Context,
        key: &ObjectKey,
        object: &BridgePipeline,
        look: &Look<'_>,
    ) -> Result<(), Error> {
        let (status, sessions_lost) = {
            let mut memories = locked(&self.memories);
            status::status(object, memories.entry(key.clone()).or_default(), look)
        };
        let told_before = object.status.as_ref().is_some_and(tells_of_a_lost_session);
        ctx.statuses().write(ctx, object, &status).await?;
        ctx.metrics().figures(key, figures(&status, sessions_lost));
        if sessions_lost > 0 && told_before {
            // The condition stands already: what is new is that it happened again.
            let note = "the MQTT broker no longer had the session; what it queued meanwhile may be lost";
            let reason = Reason::SessionLost.as_str();
            ctx.events()
                .publish(object, EventKind::Warning, reason, condition_type::LOSSLESS, note)
                .await;
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tells_of_a_lost_session(status: &BridgePipelineStatus) -> bool {
    let tells =
        |c: &Condition| c.type_ == condition_type::LOSSLESS && c.reason == Reason::SessionLost.as_str();
    status.conditions.iter().any(tells)
}

fn figures(status: &BridgePipelineStatus, sessions_lost: u64) -> Figures {
    Figures {
        verdict: status.verdict,
        in_flight: status.lag.as_ref().map(|lag| lag.in_flight),
        sessions_lost,
        ..Figures::default()
    }
}
