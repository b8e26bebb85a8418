//! From what was observed to the status. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use super::held;
use super::observe::Sample;
use super::validate::{ValidatedBridge, client_id, stale_filters};
use crate::api::{
    BridgeLag, BridgePipeline, BridgePipelineStatus, EffectiveBridgePipeline, Reason, SubscriptionStatus,
    Verdict,
};
use crate::bridge::progress::{self as bridge, BridgeProgress, Component};
use crate::controller::{
    Account, Conditions, PodRun, PodState, PodView, Problem, Told, failing, first_of, reason_of, stands_in,
    starting_since,
};
use crate::health::{self, Facts, History, Observation, Reach, Situation};

/// How long a pod may fail to run before that is more than a restart, seconds.
const FAILING_SECONDS: i64 = 60;

/// What is remembered of an object between passes; lost at a restart of the operator.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    uid: Option<String>,
    generation: Option<i64>,
    history: History,
    was_connected: bool,
    failing_since: Option<Timestamp>,
    /// Start of the pod's process and its count of lost sessions, as seen last.
    sessions: Option<(Timestamp, u64)>,
}

/// One look at everything.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) now: Timestamp,
    /// What the spec was found to mean, with the hash that pods must run; or what is wrong with it.
    pub(super) validated: Result<(&'a ValidatedBridge, &'a str), &'a [Problem]>,
    /// Why the pass ended early.
    pub(super) stopped_by: Option<(Reason, String)>,
    pub(super) pods: &'a [PodView],
    pub(super) sample: Option<&'a Sample>,
}

impl Memory {
    /// Starts anew for another object or generation.
    fn turn_to(&mut self, object: &BridgePipeline) {
        let meta = object.meta();
        if self.uid == meta.uid && self.generation == meta.generation {
            return;
        }
        let sessions = self.sessions.filter(|_| self.uid == meta.uid);
        let verdict = object
            .status
            .as_ref()
            .filter(|s| s.observed_generation.is_some() && s.observed_generation == meta.generation)
            .and_then(|s| s.verdict);
        *self = Self {
            uid: meta.uid.clone(),
            generation: meta.generation,
            was_connected: verdict.is_some_and(|v| !matches!(v, Verdict::Unknown | Verdict::Paused)),
            sessions,
            ..Self::default()
        };
    }

    /// How many sessions were lost since the last look; 0 at the first.
    fn sessions_lost(&mut self, progress: &BridgeProgress) -> u64 {
        let now = (progress.started_at, progress.counters.sessions_lost);
        match self.sessions.replace(now) {
            Some((started, count)) if started == now.0 => now.1.saturating_sub(count),
            Some(_) => now.1,
            None => 0,
        }
    }
}

/// Whether the first look of a new sampler is still to come while the last status is good for a moment longer.
pub(super) fn soon_known(object: &BridgePipeline, look: &Look<'_>) -> bool {
    look.sample.is_none()
        && look.validated.is_ok()
        && look.stopped_by.is_none()
        && stands_in(object, look.now)
}

/// The next status, and how many sessions were lost since the last look.
pub(super) fn status(
    object: &BridgePipeline,
    memory: &mut Memory,
    look: &Look<'_>,
) -> (BridgePipelineStatus, u64) {
    memory.turn_to(object);
    let old = object.status.clone().unwrap_or_default();
    let progress = told(look);
    let mut lost = progress.map_or(0, |p| memory.sessions_lost(p));
    let running = running(look).and(progress);
    // What is measured by the spec's own words asks for the process that has them.
    let current = running.filter(|_| look.validated.is_ok());
    let effective = effective(object, look, &old, progress);
    let mut account = account(object, memory, look, running, &old);
    let away = current.and_then(|p| held::lost_while_away(object, &effective.client_id, p, &old));
    if let Some(loss) = &away {
        // Once: with this status the session is that of the present process.
        let holds = current.is_some_and(BridgeProgress::holds_session);
        lost += u64::from(loss.reason == bridge::Reason::SessionLost && holds);
        account.lossless = lossless::lossless(object, current, &old, Some(loss));
    }
    let mut conditions = Conditions::new(&old.conditions, object.meta().generation, look.now);
    account.tell(&mut conditions);
    let status = BridgePipelineStatus {
        observed_generation: object.meta().generation,
        observed_at: Some(Time(look.sample.map_or(look.now, |s| s.at))),
        conditions: conditions.finish(),
        verdict: Some(account.row.verdict),
        lag: progress.map(lag),
        subscriptions: subscriptions(object, &old, progress),
        session: held::held(object, &effective.client_id, current, &old),
        effective: Some(effective),
    };
    (status, lost)
}

/// What a pod in view has told. A sample may be older than the pod: what its predecessor told is of no use any more.
fn told<'a>(look: &Look<'a>) -> Option<&'a BridgeProgress> {
    let sample = look.sample?;
    let in_view = |run: &PodRun| look.pods.iter().any(|pod| pod.run() == *run);
    sample.run.as_ref().filter(|run| in_view(run))?;
    sample.progress.as_ref().ok()
}

/// The pod that runs what the spec now says; while the spec cannot work, the one that goes on with the last that could.
fn running<'a>(look: &'a Look<'_>) -> Option<&'a PodView> {
    let right = |pod: &&PodView| match look.validated {
        Ok((_, hash)) => pod.config_hash.as_deref() == Some(hash),
        Err(_) => true,
    };
    look.pods.iter().filter(|pod| pod.ip().is_some()).find(right)
}

fn account(
    object: &BridgePipeline,
    memory: &mut Memory,
    look: &Look<'_>,
    progress: Option<&BridgeProgress>,
    old: &BridgePipelineStatus,
) -> Account {
    let connected = connected(look, progress);
    if let Some(sample) = look.sample {
        memory.history.push(observation(sample, progress));
    }
    if memory.history.latest().is_some_and(|o| o.reach == Reach::Up) {
        memory.was_connected = true;
    }
    // After the look itself: what it finds to be connected is no longer on its way.
    let finding = finding(memory, look, progress);
    let facts = Facts {
        now: look.now,
        paused: object.spec.paused == Some(true),
        cannot_work: finding.as_ref().is_some_and(|f| f.blocks),
        was_connected: memory.was_connected,
        starting_since: starting_since(
            &old.conditions,
            object.meta().generation,
            finding.as_ref().map(|f| f.reason),
            look.now,
        ),
    };
    let mut situation = memory.history.judge(&facts).situation;
    let head = progress.and_then(|p| p.head_of_line.as_ref());
    if head.is_some() && !facts.paused && !facts.cannot_work {
        situation = Situation::NotMoving;
    }
    let row = health::row(situation);
    let why = match (situation, finding) {
        (Situation::Paused, _) => (
            Reason::Paused,
            "no pod runs, the session stays at the MQTT broker and queues there".to_owned(),
        ),
        (Situation::Following | Situation::CatchingUp | Situation::FallingBehind, _) => {
            (Reason::Following, format!("subscribed: {}", filters(object)))
        }
        (_, Some(finding)) => (finding.reason, finding.message),
        (Situation::Disconnected, None) => (connected.reason, connected.message.clone()),
        (Situation::NotMoving, None) => (reason_of(situation), NOT_CONFIRMED.to_owned()),
        (_, None) => (reason_of(situation), starting_message(look)),
    };
    Account {
        row,
        why,
        stopped: None,
        connected: if facts.paused {
            Told::new(None, Reason::Paused, "")
        } else {
            connected
        },
        keeping_up: None,
        lossless: lossless::lossless(object, progress, old, None),
    }
}

/// A bridge that is connected, and whose oldest message is not confirmed. How many wait, and for how long, stands in the lag.
const NOT_CONFIRMED: &str = "Kafka does not confirm the message that has waited longest; see whether each partition of the routes' \
                             topics has a leader and enough in-sync replicas (min.insync.replicas)";

fn filters(object: &BridgePipeline) -> String {
    match &object.spec.mqtt.subscriptions[..] {
        [one] => one.filter.clone(),
        many => format!("{} filters", many.len()),
    }
}

fn starting_message(look: &Look<'_>) -> String {
    match look.pods {
        [] => "waiting for the pod to be created".to_owned(),
        [pod, ..] if pod.ip().is_none() => format!("waiting for pod {} to start", pod.name),
        [pod, ..] if running(look).is_none() => {
            format!(
                "waiting for pod {} to start anew with the present configuration",
                pod.name
            )
        }
        [pod, ..] => match look.sample.map(|s| &s.progress) {
            Some(Err(why)) => format!("the progress of pod {} cannot be read: {why}", pod.name),
            _ => format!("pod {} is connecting", pod.name),
        },
    }
}

/// Something that is wrong.
struct Finding {
    reason: Reason,
    message: String,
    /// It does not mend itself by the line coming back.
    blocks: bool,
}

impl Finding {
    fn new(blocks: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            blocks,
        }
    }
}

fn finding(memory: &mut Memory, look: &Look<'_>, progress: Option<&BridgeProgress>) -> Option<Finding> {
    if let Err(problems) = look.validated {
        let (reason, message) = first_of(problems)?;
        return Some(Finding::new(reason != Reason::Progressing, reason, message));
    }
    if let Some((reason, message)) = &look.stopped_by
        && progress.is_none()
    {
        return Some(Finding::new(
            *reason == Reason::OwnershipConflict,
            *reason,
            message,
        ));
    }
    if let Some(finding) = pods_finding(memory, look) {
        return Some(finding);
    }
    let progress = progress?;
    if let Some(head) = &progress.head_of_line {
        let reason = match reason(head.reason) {
            missing @ (Reason::TopicMissing | Reason::KafkaError) => missing,
            _ => Reason::MessageRefused,
        };
        let message = format!(
            "the message at the head, on {}, does not pass: {}",
            head.mqtt_topic, head.message
        );
        return Some(Finding::new(false, reason, message));
    }
    let problem = |component| {
        progress
            .problem(component)
            .map(|p| (reason(p.reason), p.message.clone()))
    };
    if let Some((reason, message)) = problem(Component::Subscriptions) {
        return Some(Finding::new(true, reason, message));
    }
    for component in [Component::Mqtt, Component::Kafka] {
        if let Some((reason, message)) = problem(component) {
            return Some(Finding::new(false, reason, message));
        }
    }
    if let [topic, ..] = &progress.kafka.missing_topics[..] {
        let message = format!("topic {topic} does not exist in Kafka; create it");
        // At first the topics may be on their way too.
        return Some(Finding::new(memory.was_connected, Reason::TopicMissing, message));
    }
    problem(Component::Topic).map(|(reason, message)| Finding::new(memory.was_connected, reason, message))
}

/// A pod that Kubernetes cannot run, for longer than a restart takes.
fn pods_finding(memory: &mut Memory, look: &Look<'_>) -> Option<Finding> {
    let why = failing(look.pods);
    let Some(why) = why else {
        memory.failing_since = None;
        return None;
    };
    let since = *memory.failing_since.get_or_insert(look.now);
    let lasts = look.now.duration_since(since).as_secs() >= FAILING_SECONDS;
    Some(Finding::new(lasts, Reason::PodsUnavailable, why))
}

fn observation(sample: &Sample, progress: Option<&BridgeProgress>) -> Observation {
    let Some(progress) = progress else {
        return Observation {
            at: sample.at,
            reach: Reach::Unknown,
            lag: None,
            seconds: None,
            carried: 0,
            standing_seconds: 0,
        };
    };
    let up = progress.subscribed()
        && progress.kafka.connected_since.is_some()
        && progress.kafka.missing_topics.is_empty();
    let age = lag(progress).oldest_seconds.unwrap_or(0);
    Observation {
        at: sample.at,
        reach: if up { Reach::Up } else { Reach::Down },
        lag: Some(i64::try_from(progress.in_flight.messages).unwrap_or(i64::MAX)),
        seconds: Some(age),
        carried: i64::try_from(progress.counters.acknowledged).unwrap_or(i64::MAX),
        // How old the oldest is says nothing by itself: it may have waited for Kafka, or behind many others. What counts is
        // that nothing is carried, and acknowledgements keep their order.
        standing_seconds: age.min(i64::try_from(health::STUCK.as_secs()).unwrap_or(i64::MAX)),
    }
}

fn connected(look: &Look<'_>, progress: Option<&BridgeProgress>) -> Told {
    let Some(progress) = progress else {
        let running = look
            .pods
            .iter()
            .any(|p| matches!(p.state, PodState::Running { .. }));
        let reason = if running {
            Reason::Starting
        } else {
            Reason::PodsUnavailable
        };
        return Told::new(None, reason, starting_message(look));
    };
    let sides = [
        (
            Component::Mqtt,
            progress.mqtt.connected_since,
            Reason::MqttUnreachable,
            "MQTT",
        ),
        (
            Component::Kafka,
            progress.kafka.connected_since,
            Reason::KafkaUnreachable,
            "Kafka",
        ),
    ];
    for (component, since, fallback, name) in sides {
        if since.is_some() {
            continue;
        }
        return match progress.problem(component) {
            Some(problem) => Told::new(
                Some(false),
                reason(problem.reason),
                format!("{} (since {})", problem.message, problem.since),
            ),
            None => Told::new(Some(false), fallback, format!("connecting to {name}")),
        };
    }
    Told::new(Some(true), Reason::Following, "connected to MQTT and Kafka")
}

fn lag(progress: &BridgeProgress) -> BridgeLag {
    let in_flight = &progress.in_flight;
    BridgeLag {
        in_flight: i64::try_from(in_flight.messages).unwrap_or(i64::MAX),
        // Whole seconds; a float converts by saturating.
        #[allow(clippy::cast_possible_truncation)]
        oldest_seconds: in_flight.oldest_age_seconds.map(|seconds| seconds as i64),
    }
}

/// What the session holds: the spec's filters as granted, and earlier ones until the broker confirmed their end.
fn subscriptions(
    object: &BridgePipeline,
    old: &BridgePipelineStatus,
    progress: Option<&BridgeProgress>,
) -> Vec<SubscriptionStatus> {
    let granted =
        |filter: &str| progress.and_then(|p| p.mqtt.subscriptions.iter().find(|s| s.filter == filter));
    let known = |filter: &str| old.subscriptions.iter().find(|s| s.filter == filter);
    let wanted = object
        .spec
        .mqtt
        .subscriptions
        .iter()
        .map(|s| match granted(&s.filter) {
            Some(seen) => SubscriptionStatus {
                filter: s.filter.clone(),
                granted_qos: seen.granted_qos.map(i32::from),
                message: seen.refused.clone(),
            },
            // Nobody could be asked: the session holds what it held.
            None => known(&s.filter).cloned().unwrap_or(SubscriptionStatus {
                filter: s.filter.clone(),
                granted_qos: None,
                message: None,
            }),
        });
    let gone = |filter: &String| progress.is_some_and(|p| p.mqtt.unsubscribed.contains(filter));
    let stale = stale_filters(object, &old.subscriptions)
        .into_iter()
        .filter(|filter| !gone(filter))
        .map(|filter| SubscriptionStatus {
            filter,
            granted_qos: None,
            message: Some("no longer in the spec; being unsubscribed".to_owned()),
        });
    // The schema's bound; the oldest filters, which are the spec's, come first.
    wanted.chain(stale).take(100).collect()
}

/// What the spec asks for, or what the server grants of it; while no bridge can be asked, as it was.
fn session_expiry(
    bridge: &ValidatedBridge,
    object: &BridgePipeline,
    old: &BridgePipelineStatus,
    progress: Option<&BridgeProgress>,
) -> Option<String> {
    let Some(progress) = progress else {
        let same = old.observed_generation == object.meta().generation;
        let before = old.effective.as_ref().filter(|_| same);
        return before.map_or_else(|| bridge.session_expiry.clone(), |e| e.session_expiry.clone());
    };
    let asked = bridge.config.mqtt.session_expiry_seconds;
    match progress.mqtt.session_expiry_seconds {
        Some(granted) if asked != Some(granted) => Some(format!("{granted}s")),
        _ => bridge.session_expiry.clone(),
    }
}

fn effective(
    object: &BridgePipeline,
    look: &Look<'_>,
    old: &BridgePipelineStatus,
    progress: Option<&BridgeProgress>,
) -> EffectiveBridgePipeline {
    match look.validated {
        Ok((bridge, _)) => EffectiveBridgePipeline {
            client_id: bridge.config.mqtt.client_id.clone(),
            session_expiry: session_expiry(bridge, object, old, progress),
            bootstrap_servers: Some(bridge.config.kafka.bootstrap_servers.join(",")),
        },
        Err(_) => old.effective.clone().unwrap_or(EffectiveBridgePipeline {
            client_id: client_id(object),
            session_expiry: None,
            bootstrap_servers: None,
        }),
    }
}

/// The condition's reason for the bridge's own word.
const fn reason(reason: bridge::Reason) -> Reason {
    use bridge::Reason as B;
    match reason {
        B::MqttNameUnknown | B::MqttUnreachable | B::MqttProtocolError => Reason::MqttUnreachable,
        B::MqttTlsFailed | B::KafkaTlsFailed => Reason::TlsFailed,
        B::MqttCredentialsRefused => Reason::MqttAuthenticationFailed,
        B::MqttRefused => Reason::MqttRefused,
        B::MqttSessionTakenOver => Reason::MqttSessionTakenOver,
        B::CredentialsUnreadable => Reason::CredentialsInvalid,
        B::SubscriptionRefused | B::SubscriptionQosLowered => Reason::SubscriptionRefused,
        B::KafkaUnreachable => Reason::KafkaUnreachable,
        B::KafkaCredentialsRefused => Reason::KafkaAuthenticationFailed,
        B::KafkaProtocolError => Reason::NotKafka,
        B::TopicMissing => Reason::TopicMissing,
        B::TopicUnauthorized | B::RecordRefused => Reason::KafkaError,
        B::NoRoute | B::InvalidPayload | B::DeadLetterFailed => Reason::MessageRefused,
        B::PayloadTooLarge => Reason::PayloadTooLarge,
        B::SessionLost => Reason::SessionLost,
        B::BrokerDropped => Reason::BrokerDroppedMessages,
    }
}

mod lossless;
#[cfg(test)]
mod tests;
