//! What a bridge left with the MQTT broker, so that a later process is measured by it: of what got lost while no bridge
//! ran, no bridge can know. Pure.

use super::validate::client_id;
use crate::api::{BridgePipeline, BridgePipelineStatus, HeldSession, SubscriptionStatus};
use crate::bridge::config::MqttConfig;
use crate::bridge::progress::{BridgeProgress, Loss, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The session of the last status, if it is the one that the spec speaks of.
fn before<'a>(
    object: &BridgePipeline,
    client_id: &str,
    old: &'a BridgePipelineStatus,
) -> Option<&'a HeldSession> {
    let same = |held: &&HeldSession| held.servers == object.spec.mqtt.servers && held.client_id == client_id;
    old.session.as_ref().filter(same)
}

/// What the next status says of the session: as the process that holds it knows it, else as it was.
pub(super) fn held(
    object: &BridgePipeline,
    client_id: &str,
    progress: Option<&BridgeProgress>,
    old: &BridgePipelineStatus,
) -> Option<HeldSession> {
    let before = before(object, client_id, old);
    let Some(progress) = progress.filter(|p| p.holds_session() && p.mqtt.client_id == client_id) else {
        return before.cloned();
    };
    let dropped = progress.mqtt.broker_dropped.as_ref();
    // A broker that began anew tells its count only after a while, and it must be told from that of the former process.
    let awaits_count = |held: &&HeldSession| {
        held.broker_dropped.is_some()
            && dropped.is_none()
            && progress.mqtt.first_session_present == Some(true)
    };
    let process_started_at = match before.filter(awaits_count) {
        Some(held) => held.process_started_at.clone(),
        None => Some(Time(progress.started_at)),
    };
    Some(HeldSession {
        servers: object.spec.mqtt.servers.clone(),
        client_id: client_id.to_owned(),
        process_started_at,
        broker_dropped: dropped
            .map(|d| i64::try_from(d.current).unwrap_or(i64::MAX))
            .or_else(|| before.and_then(|held| held.broker_dropped)),
    })
}

/// The session that an object had when it was deleted. One of its name that comes back at once, before the session was
/// ended, finds it: its filters would go on feeding the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    servers: Vec<String>,
    client_id: String,
    filters: Vec<String>,
}

impl Left {
    pub(super) fn by(config: &MqttConfig) -> Self {
        let subscribed = config.subscriptions.iter().map(|s| &s.filter);
        Self {
            servers: config.servers.clone(),
            client_id: config.client_id.clone(),
            filters: subscribed.chain(&config.unsubscribe).cloned().collect(),
        }
    }

    /// The new object as if its status told of these filters; None if it has a status, or a session of its own.
    pub(super) fn told_to(&self, object: &BridgePipeline) -> Option<BridgePipeline> {
        let same = self.servers == object.spec.mqtt.servers && self.client_id == client_id(object);
        if object.status.is_some() || !same {
            return None;
        }
        let subscriptions = self.filters.iter().map(|filter| SubscriptionStatus {
            filter: filter.clone(),
            granted_qos: None,
            message: None,
        });
        let mut object = object.clone();
        object.status.get_or_insert_default().subscriptions = subscriptions.collect();
        Some(object)
    }
}

/// What was lost between the last process of the status and the present one, the surest first.
pub(super) fn lost_while_away(
    object: &BridgePipeline,
    client_id: &str,
    progress: &BridgeProgress,
    old: &BridgePipelineStatus,
) -> Option<Loss> {
    let before = before(object, client_id, old)?;
    dropped(before, progress).or_else(|| session_gone(before, progress))
}

fn dropped(before: &HeldSession, progress: &BridgeProgress) -> Option<Loss> {
    let first = i64::try_from(progress.mqtt.broker_dropped.as_ref()?.baseline).ok()?;
    let held = before.broker_dropped?;
    // A smaller count is that of a broker which began anew: all of it is since then. Of the process that was seen last
    // already the first count is no news: it had a greater one in the meantime.
    let count = match first < held {
        true if another_process(before, progress) => first,
        true => return None,
        false => first - held,
    };
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    Some(Loss {
        reason: Reason::BrokerDropped,
        count,
        message: format!(
            "the MQTT broker dropped {count} messages while no bridge was connected: give it room for what its longest \
             pause needs (mosquitto: max_queued_messages, max_queued_bytes)"
        ),
        last_seen: progress.started_at,
    })
}

fn another_process(before: &HeldSession, progress: &BridgeProgress) -> bool {
    // The status has whole seconds.
    let started = before.process_started_at.as_ref();
    started.is_some_and(|t| t.0.as_second() != progress.started_at.as_second())
}

fn session_gone(before: &HeldSession, progress: &BridgeProgress) -> Option<Loss> {
    (another_process(before, progress) && progress.mqtt.first_session_present == Some(false)).then(|| Loss {
        reason: Reason::SessionLost,
        count: 1,
        message: format!(
            "the MQTT broker no longer had the session of client ID {:?} when the bridge came back: what it queued for us is \
             gone. Its volume is new, it does not persist, or sessions expire too early",
            before.client_id
        ),
        last_seen: progress.started_at,
    })
}

#[cfg(test)]
mod tests;
