//! The last step of a pass: one broker restarts, if that is proven safe by what Kafka says right before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};

use super::{Pass, checked};
use crate::controller::{Error, EventKind, StepOutcome};
use crate::edge_cluster::build;
use crate::edge_cluster::identity::is_conflict;
use crate::edge_cluster::observe::{self, PodFacts, Sample};
use crate::edge_cluster::roll::{self, Step};

#[cfg(test)]
mod tests;

/// The brokers at one moment.
struct Moment<'a> {
    pods: &'a BTreeMap<i32, PodFacts>,
    kafka: Option<&'a Sample>,
}

impl Pass<'_> {
    /// Restarts the next broker that needs it and may.
    pub(super) async fn roll(&mut self, config: &str) -> StepOutcome {
        let revision = match build::revision(self.cluster, config) {
            Ok(revision) => revision,
            Err(error) => return StepOutcome::Failed(error),
        };
        let observed = Moment {
            pods: &self.observed.pods,
            kafka: self.sample,
        };
        let step = observed.next(&revision, self.cluster.brokers, self.ctx.now());
        let asks_anew = step.asks_anew();
        self.found.step = Some(step);
        if !asks_anew {
            return StepOutcome::Unchanged;
        }
        match self.restart(&revision).await {
            Ok(outcome) => outcome,
            Err(error) => StepOutcome::Failed(error),
        }
    }

    /// Decides on what is so now, and carries it out: what the pass observed may be seconds old.
    async fn restart(&mut self, revision: &str) -> Result<StepOutcome, Error> {
        let (namespace, name) = (&self.cluster.namespace, &self.cluster.name);
        if !observe::is_set_current(self.ctx, namespace, name).await? {
            return Ok(StepOutcome::Skipped {
                why: "the StatefulSet's controller has not seen its latest template".to_owned(),
            });
        }
        let kafka = self.fresh_sample().await;
        // After Kafka, which for seconds lists a broker as live that is being evicted.
        let pods = observe::pods_now(self.ctx, namespace, name).await?;
        let now = Moment {
            pods: &pods,
            kafka: kafka.as_ref(),
        };
        let step = now.next(revision, self.cluster.brokers, self.ctx.now());
        let chosen = match &step {
            Step::Restart { id, .. } => pods.get_key_value(id),
            Step::Done | Step::Wait { .. } => None,
        };
        self.found.step = Some(step);
        match chosen {
            Some((id, pod)) => self.delete(*id, pod).await,
            None => Ok(StepOutcome::Unchanged),
        }
    }

    async fn fresh_sample(&mut self) -> Option<Sample> {
        let admin = self.admin()?;
        let sample = observe::sample(&admin, self.ctx.now()).await;
        Some(checked(sample, self.found.identity.as_ref()))
    }

    /// Deletes the pod; the StatefulSet makes it anew.
    async fn delete(&self, id: i32, pod: &PodFacts) -> Result<StepOutcome, Error> {
        let namespace = &self.cluster.namespace;
        let params = exactly(pod);
        let (api, name) = (self.ctx.api::<Pod>(namespace), pod.name.clone());
        let what = || format!("delete pod {namespace}/{name}");
        match self.ctx.call(what, api.delete(&name, &params)).await {
            Ok(_) => {}
            // It is not as it was read: the next pass decides anew.
            Err(error) if error.is_gone() || is_conflict(&error) => return Ok(StepOutcome::Unchanged),
            Err(error) => return Err(error),
        }
        let note = format!("broker {id} restarts for a changed configuration");
        let events = self.ctx.events();
        events
            .publish(self.object, EventKind::Normal, "BrokerRestarting", "Roll", &note)
            .await;
        Ok(StepOutcome::Applied)
    }
}

impl Moment<'_> {
    fn next(&self, revision: &str, brokers: i32, now: Timestamp) -> Step {
        let pod = |pod: &PodFacts| roll::PodState {
            up_to_date: pod.revision.as_deref() == Some(revision),
            terminating: pod.terminating,
            process: pod.process,
        };
        let observed = roll::Observed {
            pods: self.pods.iter().map(|(id, facts)| (*id, pod(facts))).collect(),
            kafka: self.kafka.map_or_else(
                || Err(roll::Unasked("it was not asked yet".to_owned())),
                Sample::roll_state,
            ),
        };
        roll::next(&observed, brokers, now)
    }
}

/// Only this pod, and only as it was read: a change of its status may be an eviction.
fn exactly(pod: &PodFacts) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(pod.uid.clone()),
            resource_version: pod.version.clone(),
        }),
        ..DeleteParams::default()
    }
}
