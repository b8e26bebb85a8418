//! The pass' part in the identity record's life.

use super::super::identity::{self, Plan};
use super::super::observe::{FoundIdentity, Observed, Sample};
use super::super::roll::Process;
use super::Pass;
use crate::api::{EdgeCluster, Reason};
use crate::controller::{Context, StepOutcome};

impl Pass<'_> {
    /// Draws the record, or takes up the one that is there.
    pub(super) async fn identity(&mut self) -> StepOutcome {
        let found = self.observed.identity.as_ref();
        let plan = identity::plan(self.cluster, found, &self.observed.claims);
        match &plan {
            Plan::Refuse(reason, message) => {
                self.found.refused = Some((*reason, message.clone()));
                return StepOutcome::Waiting {
                    reason: *reason,
                    message: message.clone(),
                };
            }
            Plan::Wait(message) => {
                return StepOutcome::Waiting {
                    reason: Reason::Progressing,
                    message: message.clone(),
                };
            }
            Plan::Draw | Plan::Use { .. } => {}
        }
        match identity::carry_out(self.ctx, self.cluster, found, &plan).await {
            Ok(Some(identity)) => {
                self.found.identity = Some(identity);
                match plan {
                    Plan::Use { adopt: false, .. } => StepOutcome::Unchanged,
                    _ => StepOutcome::Applied,
                }
            }
            Ok(None) => StepOutcome::Waiting {
                reason: Reason::Progressing,
                message: "the identity record changed meanwhile; it is read again".to_owned(),
            },
            Err(error) => StepOutcome::Failed(error),
        }
    }
}

/// Withdraws the permission to format from brokers that were seen running. What was observed is then as it is now.
pub(super) async fn withdraw(
    ctx: &Context,
    object: &EdgeCluster,
    observed: &mut Observed,
    sample: Option<&Sample>,
) -> StepOutcome {
    let Some(found) = &observed.identity else {
        return StepOutcome::Unchanged;
    };
    let Some(identity) = identity::withdrawal(object, found, &ran(observed, sample)) else {
        return StepOutcome::Unchanged;
    };
    match identity::withdraw(ctx, object, found, &identity).await {
        Ok(Some(meta)) => {
            let record = Ok(identity);
            observed.identity = Some(FoundIdentity { meta, record });
            StepOutcome::Applied
        }
        Ok(None) => StepOutcome::Skipped {
            why: "the identity record changed meanwhile; it is read again".to_owned(),
        },
        Err(error) => StepOutcome::Failed(error),
    }
}

/// Brokers that were seen running: by Kafka itself, or by the kubelet's probe of a listener that only a running Kafka
/// opens.
fn ran(observed: &Observed, sample: Option<&Sample>) -> Vec<i32> {
    let live = sample.and_then(|s| s.result.as_ref().ok()).map(|f| &f.live);
    let serving = observed
        .pods
        .iter()
        .filter(|(_, pod)| pod.process == Process::Serving);
    let mut ran: Vec<i32> = live
        .into_iter()
        .flatten()
        .chain(serving.map(|(id, _)| id))
        .copied()
        .collect();
    ran.sort_unstable();
    ran.dedup();
    ran
}
