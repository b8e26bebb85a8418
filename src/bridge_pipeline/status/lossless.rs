//! What the condition `Lossless` says.

use kube::Resource;

use super::reason;
use crate::api::{BridgePipeline, BridgePipelineStatus, Reason, condition_type};
use crate::bridge::progress::{self as bridge, BridgeProgress, Lossless};
use crate::controller::Told;

/// A loss stays told until the spec changes: a pod that starts anew forgets it, the lost data do not come back.
pub(super) fn lossless(
    object: &BridgePipeline,
    progress: Option<&BridgeProgress>,
    old: &BridgePipelineStatus,
) -> Told {
    let now = progress.map(BridgeProgress::lossless);
    let before = old.conditions.iter().find(|c| {
        c.type_ == condition_type::LOSSLESS
            && c.observed_generation == object.meta().generation
            && LOSSES.iter().any(|r| r.as_str() == c.reason)
    });
    let told = |status, loss: &bridge::Loss| Told::new(status, reason(loss.reason), &loss.message);
    match (now, before) {
        (Some(Lossless::No(loss)), _) => told(Some(false), &loss),
        // What is surely lost outweighs what may be.
        (Some(Lossless::Unknown(loss)), before) if before.is_none_or(|c| c.status != "False") => {
            told(None, &loss)
        }
        (_, Some(before)) => {
            let reason = LOSSES
                .iter()
                .copied()
                .find(|r| r.as_str() == before.reason)
                .unwrap_or(Reason::SessionLost);
            let status = if before.status == "False" {
                Some(false)
            } else {
                None
            };
            Told::new(status, reason, &before.message)
        }
        (Some(_), None) => Told::new(
            Some(true),
            Reason::NothingLost,
            "nothing acknowledged is known to be lost",
        ),
        (None, None) => Told::new(None, Reason::Starting, "the bridge has not reported yet"),
    }
}

/// With a loss of which the process itself does not know. What is surely lost outweighs what may be.
pub(super) fn with_loss(told: Told, loss: &bridge::Loss) -> Told {
    let status = match loss.reason {
        bridge::Reason::SessionLost => None,
        _ => Some(false),
    };
    match told.status {
        Some(false) => told,
        None if status.is_none() && told.reason != Reason::Starting => told,
        _ => Told::new(status, reason(loss.reason), &loss.message),
    }
}

/// Reasons of `Lossless` that tell of a loss.
const LOSSES: [Reason; 3] = [
    Reason::PayloadTooLarge,
    Reason::BrokerDroppedMessages,
    Reason::SessionLost,
];
