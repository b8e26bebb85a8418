//! What the condition `Lossless` says.

use jiff::Timestamp;
use kube::Resource;

use super::reason;
use crate::api::{BridgePipeline, BridgePipelineStatus, Reason, condition_type};
use crate::bridge::progress::{self as bridge, BridgeProgress, Lossless};
use crate::controller::Told;

/// The annotation by which a person says that losses up to a time (RFC 3339) are known and dealt with.
pub(super) const ACKNOWLEDGED_ANNOTATION: &str = "tributary.dev/losses-acknowledged";
/// What is appended to the message when that annotation is no time.
const NO_TIME: &str =
    "; the annotation tributary.dev/losses-acknowledged is not a time such as 2026-01-31T12:00:00Z: ";

/// Reasons of `Lossless` that tell of a loss.
const LOSSES: [Reason; 3] = [
    Reason::PayloadTooLarge,
    Reason::BrokerDroppedMessages,
    Reason::SessionLost,
];

/// A loss stays told until the spec changes or a person acknowledges it: a pod that starts anew forgets it, the lost data
/// do not come back. `away` is a loss of which the process itself does not know.
pub(super) fn lossless(
    object: &BridgePipeline,
    progress: Option<&BridgeProgress>,
    old: &BridgePipelineStatus,
    away: Option<&bridge::Loss>,
) -> Told {
    let (until, wrong) = match acknowledged(object) {
        Ok(until) => (until, None),
        Err(text) => (None, Some(text)),
    };
    let told = known(object, progress, old, until);
    let away = away.filter(|loss| until.is_none_or(|until| loss.last_seen > until));
    let mut told = match away {
        Some(loss) => with_loss(told, loss),
        None => told,
    };
    if let Some(text) = wrong.filter(|_| LOSSES.contains(&told.reason)) {
        told.message = format!("{}{NO_TIME}{text:?}", without_remark(&told.message));
    }
    told
}

/// Up to when losses are acknowledged; the annotation's value when it is no time.
fn acknowledged(object: &BridgePipeline) -> Result<Option<Timestamp>, String> {
    let annotations = object.meta().annotations.as_ref();
    let Some(text) = annotations.and_then(|a| a.get(ACKNOWLEDGED_ANNOTATION)) else {
        return Ok(None);
    };
    text.trim()
        .parse()
        .map(Some)
        .map_err(|_| text.chars().take(100).collect())
}

/// As the process and the last status know it, losses up to `until` left out.
fn known(
    object: &BridgePipeline,
    progress: Option<&BridgeProgress>,
    old: &BridgePipelineStatus,
    until: Option<Timestamp>,
) -> Told {
    let now = progress.map(|p| p.lossless_after(until));
    let before = old.conditions.iter().find(|c| {
        c.type_ == condition_type::LOSSLESS
            && c.observed_generation == object.meta().generation
            && LOSSES.iter().any(|r| r.as_str() == c.reason)
            && until.is_none_or(|until| c.last_transition_time.0 > until)
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
            Told::new(status, reason, without_remark(&before.message))
        }
        (Some(_), None) => Told::new(
            Some(true),
            Reason::NothingLost,
            "nothing acknowledged is known to be lost",
        ),
        (None, None) => Told::new(None, Reason::Starting, "the bridge has not reported yet"),
    }
}

/// What is surely lost outweighs what may be.
fn with_loss(told: Told, loss: &bridge::Loss) -> Told {
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

fn without_remark(message: &str) -> &str {
    message.split_once(NO_TIME).map_or(message, |(before, _)| before)
}
