//! The controller of ReplicationLinks: for each one StatefulSet of `tributary replicator`, and its lag as measured
//! against Kafka itself.

mod build;
mod lag;
mod observe;
mod sampling;
mod status;
mod validate;
mod workers;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use crate::api::{KafkaEndpoint, Reason, ReplicationLink};
use crate::controller::{
    Context, Error, Figures, ObjectKey, PodView, Problem, Reconciler, Requeue, Samplers, StepOutcome, Steps,
    Unresolved,
};
use build::{Objects, objects_name};
use sampling::Sample;
use status::{Identity, Look, Memory};
use validate::ValidatedLink;

/// Reconciles ReplicationLinks.
#[derive(Debug, Default)]
pub struct ReplicationLinks {
    samplers: Samplers<Sample>,
    /// One entry for each object.
    memories: Mutex<HashMap<ObjectKey, Memory>>,
}

/// What the spec was found to mean.
struct Found {
    link: ValidatedLink,
    objects: Objects,
}

/// Why a spec's meaning is not known.
enum Findings {
    Problems(Vec<Problem>),
    Unknown(Error),
}

impl From<Unresolved> for Findings {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Problem(problem) => Self::Problems(vec![problem]),
            Unresolved::Error(error) => Self::Unknown(error),
        }
    }
}

/// What a look at the object gave.
struct Observed {
    found: Result<Found, Findings>,
    identity: Identity,
    sample: Option<Arc<Sample>>,
}

impl Reconciler for ReplicationLinks {
    type Kind = ReplicationLink;

    async fn reconcile(&self, ctx: &Context, object: &ReplicationLink) -> Result<Requeue, Error> {
        let key = ObjectKey::of(object);
        let mut steps = Steps::default();
        let pods = observe::pods(ctx, object);
        let Observed {
            found,
            identity,
            sample,
        } = self.find(ctx, &key, object, &pods).await;
        let mut unknown = None;
        let found = match found {
            Ok(found) => {
                apply(ctx, object, &found.objects, &mut steps).await;
                Ok(found)
            }
            Err(findings) => {
                if object.spec.paused == Some(true) {
                    let name = objects_name(&object.name_any());
                    let scale = ctx.scale_to_zero::<_, StatefulSet>(object, &name);
                    steps.run("scale to zero", scale).await;
                }
                match findings {
                    Findings::Problems(problems) => Err(problems),
                    Findings::Unknown(error) => {
                        unknown = Some(error);
                        Err(Vec::new())
                    }
                }
            }
        };
        let stopped_by = unknown.as_ref().map(|e| (e.reason(), e.to_string()));
        let look = Look {
            now: ctx.now(),
            validated: match &found {
                Ok(found) => Ok((&found.link, &found.objects.restart_hash)),
                Err(problems) => Err(problems),
            },
            stopped_by: stopped_by.or_else(|| steps.stopped_by()),
            pods: &pods,
            sample: sample.as_deref(),
            identity: &identity,
        };
        if !status::soon_known(object, &look) {
            self.report(ctx, &key, object, &look).await?;
        }
        ctx.metrics().steps(key.kind, &steps);
        // The sampler asks for the next pass; this is for the case that it does not.
        let failed = unknown.is_some() || steps.into_error().is_some();
        Ok(if failed {
            Requeue::BackOff
        } else {
            Requeue::After(ctx.options().sample_interval * 3)
        })
    }

    async fn gone(&self, _ctx: &Context, key: &ObjectKey) {
        self.samplers.stop(key);
        self.memories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    fn refers_to(&self, object: &ReplicationLink, edge_cluster: &str) -> bool {
        let refers = |endpoint: &KafkaEndpoint| {
            endpoint
                .cluster_ref
                .as_ref()
                .is_some_and(|c| c.name == edge_cluster)
        };
        refers(&object.spec.source) || refers(&object.spec.target)
    }
}

/// Applies what the link is made of; what starts pods anew comes last.
async fn apply(ctx: &Context, object: &ReplicationLink, objects: &Objects, steps: &mut Steps) {
    steps
        .run("apply NetworkPolicy", ctx.apply(object, &objects.network_policy))
        .await;
    let Some(message) = objects.step.waits() else {
        steps
            .run("apply ConfigMap", ctx.apply(object, &objects.config_map))
            .await;
        steps
            .run("apply StatefulSet", ctx.apply(object, &objects.stateful_set))
            .await;
        return;
    };
    // The pods that end must not read the new configuration, should their process start once more.
    steps
        .run("apply StatefulSet", ctx.apply(object, &objects.stateful_set))
        .await;
    let reason = Reason::Progressing;
    steps
        .run("end all workers", async {
            StepOutcome::Waiting { reason, message }
        })
        .await;
}

impl ReplicationLinks {
    /// Observes, validates and builds; yields the latest sample in any case.
    async fn find(
        &self,
        ctx: &Context,
        key: &ObjectKey,
        object: &ReplicationLink,
        pods: &[PodView],
    ) -> Observed {
        let noted = observe::noted_positions(ctx, key);
        let references = match observe::references(ctx, object).await {
            Ok(references) => references,
            Err(unresolved) => return self.without_meaning(key, object, noted, unresolved.into()),
        };
        let link = match validate::validate(object, &references.source.pod, &references.target.pod) {
            Ok(link) => link,
            Err(problems) => return self.without_meaning(key, object, noted, Findings::Problems(problems)),
        };
        let sample = observe::sample(ctx, &self.samplers, object, &references, &link);
        let identity = Identity::of(object, Some(&link.config), sample.as_deref(), noted.as_deref());
        let ports = observe::broker_ports(ctx, key, sample.as_deref());
        let seen = identity.seen();
        let built = build::build(
            object,
            &link,
            seen,
            ctx.options(),
            &references.peers,
            &ports,
            pods,
        );
        Observed {
            found: built
                .map(|objects| Found { link, objects })
                .map_err(Findings::Unknown),
            identity,
            sample,
        }
    }

    /// The pods of the last good spec go on, and so does looking at them.
    fn without_meaning(
        &self,
        key: &ObjectKey,
        object: &ReplicationLink,
        noted: Option<String>,
        findings: Findings,
    ) -> Observed {
        let sample = self.samplers.latest(key);
        Observed {
            found: Err(findings),
            identity: Identity::of(object, None, sample.as_deref(), noted.as_deref()),
            sample,
        }
    }

    async fn report(
        &self,
        ctx: &Context,
        key: &ObjectKey,
        object: &ReplicationLink,
        look: &Look<'_>,
    ) -> Result<(), Error> {
        let (status, figures) = {
            let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
            let memory = memories.entry(key.clone()).or_default();
            let status = status::status(object, memory, look);
            let figures = figures(memory, &status, look);
            (status, figures)
        };
        ctx.metrics().figures(key, figures);
        ctx.statuses().write(ctx, object, &status).await.map(drop)
    }
}

fn figures(memory: &Memory, status: &crate::api::ReplicationLinkStatus, look: &Look<'_>) -> Figures {
    let age = |at: jiff::Timestamp| look.now.duration_since(at).as_secs().max(0);
    Figures {
        verdict: status.verdict,
        partitions: memory.ledger().partitions().to_vec(),
        topics: memory.ledger().topic_figures(),
        position_age: memory.ledger().position_read_at().map(age),
        // Without lag there is nothing to wait for.
        catch_up: status.lag.as_ref().and_then(|lag| match lag.offsets {
            0 => Some(0),
            _ => lag.catch_up_seconds,
        }),
        ..Figures::default()
    }
}
