//! The last step of a pass: one broker restarts, if that is proven safe by what Kafka says right before.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};

use super::{Pass, checked};
use crate::controller::{Error, EventKind, StepOutcome};
use crate::edge_cluster::build;
use crate::edge_cluster::observe::{self, PodFacts, Sample};
use crate::edge_cluster::roll::{self, Step};

impl Pass<'_> {
    /// Restarts the next broker that needs it and may.
    pub(super) async fn roll(&mut self, config: &str) -> StepOutcome {
        let revision = match build::revision(self.cluster, config) {
            Ok(revision) => revision,
            Err(error) => return StepOutcome::Failed(error),
        };
        let step = self.next(&revision, self.sample);
        let Step::Restart { id, .. } = step else {
            self.found.step = Some(step);
            return StepOutcome::Unchanged;
        };
        // The sample may be seconds old: asked again right before it counts.
        let fresh = self.fresh_sample().await;
        let step = self.next(&revision, fresh.as_ref());
        let still = matches!(&step, Step::Restart { id: again, .. } if *again == id);
        self.found.step = Some(step);
        if !still {
            return StepOutcome::Unchanged;
        }
        match self.restart(id).await {
            Ok(applied) => applied,
            Err(error) => StepOutcome::Failed(error),
        }
    }

    fn next(&self, revision: &str, sample: Option<&Sample>) -> Step {
        let pod = |pod: &PodFacts| roll::PodState {
            up_to_date: pod.revision.as_deref() == Some(revision),
            terminating: pod.terminating,
            process: pod.process,
        };
        let observed = roll::Observed {
            pods: self
                .observed
                .pods
                .iter()
                .map(|(id, facts)| (*id, pod(facts)))
                .collect(),
            kafka: sample.map_or_else(
                || Err(roll::Unasked("it was not asked yet".to_owned())),
                Sample::roll_state,
            ),
        };
        roll::next(&observed, self.cluster.brokers, self.ctx.now())
    }

    async fn fresh_sample(&mut self) -> Option<Sample> {
        let admin = self.admin()?;
        let sample = observe::sample(&admin, self.ctx.now()).await;
        Some(checked(sample, self.found.identity.as_ref()))
    }

    /// Deletes exactly the pod that was observed; the StatefulSet makes it anew.
    async fn restart(&mut self, id: i32) -> Result<StepOutcome, Error> {
        let Some(pod) = self.observed.pods.get(&id) else {
            return Ok(StepOutcome::Unchanged);
        };
        let namespace = &self.cluster.namespace;
        if !observe::is_set_current(self.ctx, namespace, &self.cluster.name).await? {
            return Ok(StepOutcome::Skipped {
                why: "the StatefulSet's controller has not seen its latest template".to_owned(),
            });
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let (api, name) = (self.ctx.api::<Pod>(namespace), pod.name.clone());
        let what = || format!("delete pod {namespace}/{name}");
        match self.ctx.call(what, api.delete(&name, &params)).await {
            Ok(_) => {}
            Err(error) if error.is_gone() => return Ok(StepOutcome::Unchanged),
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
