//! A pod's metadata and status as facts about a broker.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

use super::super::build::{CONFIG_ANNOTATION, KAFKA_CONTAINER, REVISION_ANNOTATION};
use super::super::roll::Process;
use crate::broker::progress::LastWords;

/// Characters of a container's last words that are shown.
const SHOWN: usize = 300;
/// Restarts from which a container that is not ready counts as failing rather than starting.
const FAILING_RESTARTS: i32 = 2;
/// A run that lasted longer than this ended for a reason of its own: one that came to nothing is part of a crash loop.
const FAILED_RUN: SignedDuration = SignedDuration::from_mins(10);

/// What is known of a broker's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The resource version that all of this was read from.
    pub version: Option<String>,
    /// The revision that it was made from.
    pub revision: Option<String>,
    /// The ConfigMap of its configuration.
    pub config: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// IP of its node.
    pub host_ip: Option<String>,
    /// What Kafka's container does.
    pub process: Process,
    /// Whether the container does not serve, ended at least twice, and its last run was short.
    pub failing: bool,
    /// The launcher's last words, while the container does not serve.
    pub last_words: Option<LastWords>,
    /// Why it does not serve, in Kubernetes' or Kafka's words.
    pub trouble: Option<String>,
}

/// Reads a pod of the StatefulSet `set`; `None` if it is none of its.
pub fn pod_facts(set: &str, pod: &Pod) -> Option<(i32, PodFacts)> {
    let name = pod.metadata.name.clone()?;
    let id: i32 = name.strip_prefix(set)?.strip_prefix('-')?.parse().ok()?;
    let annotation = |key: &str| pod.metadata.annotations.as_ref()?.get(key).cloned();
    let status = pod.status.clone().unwrap_or_default();
    let kafka = status
        .container_statuses
        .iter()
        .flatten()
        .find(|c| c.name == KAFKA_CONTAINER);
    let process = process(&status, kafka);
    let serving = process == Process::Serving;
    let ended = kafka.and_then(last_end).filter(|_| !serving);
    Some((
        id,
        PodFacts {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            version: pod.metadata.resource_version.clone(),
            revision: annotation(REVISION_ANNOTATION),
            config: annotation(CONFIG_ANNOTATION),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            host_ip: status.host_ip.clone(),
            process,
            failing: !serving && kafka.is_some_and(crash_loops),
            last_words: ended.and_then(|e| LastWords::parse(e.message.as_deref()?)),
            trouble: if serving { None } else { trouble(&status, ended) },
            name,
        },
    ))
}

fn process(status: &PodStatus, kafka: Option<&ContainerStatus>) -> Process {
    let Some(container) = kafka else {
        return Process::Stopped;
    };
    let Some(running) = container.state.as_ref().and_then(|s| s.running.as_ref()) else {
        return Process::Stopped;
    };
    let pod_ready = condition(status, "Ready").is_some_and(|(status, _)| status == "True");
    match (container.ready, pod_ready) {
        (true, true) => Process::Serving,
        // The container was ready when the kubelet last reported; the node's own controller says it no longer does.
        (true, false) => Process::Unknown,
        (false, _) => Process::Starting {
            since: running.started_at.as_ref().map_or(Timestamp::MIN, |t| t.0),
        },
    }
}

fn condition<'a>(status: &'a PodStatus, type_: &str) -> Option<(&'a str, Option<&'a str>)> {
    let found = status.conditions.iter().flatten().find(|c| c.type_ == type_)?;
    Some((&found.status, found.message.as_deref()))
}

/// Whether it ends again and again; the restart count alone is that of the pod's whole life, which may be years.
fn crash_loops(container: &ContainerStatus) -> bool {
    let run = last_end(container).and_then(|end| {
        let (began, ended) = (end.started_at.as_ref()?, end.finished_at.as_ref()?);
        Some(ended.0.duration_since(began.0))
    });
    container.restart_count >= FAILING_RESTARTS && run.is_none_or(|run| run <= FAILED_RUN)
}

/// How the container last ended.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container.state.as_ref().and_then(|s| s.terminated.as_ref());
    now.or_else(|| container.last_state.as_ref().and_then(|s| s.terminated.as_ref()))
}

fn trouble(status: &PodStatus, ended: Option<&ContainerStateTerminated>) -> Option<String> {
    if let Some(("False", message)) = condition(status, "PodScheduled") {
        return Some(format!(
            "it cannot be scheduled: {}",
            message.unwrap_or("no reason given")
        ));
    }
    let containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    for container in containers {
        let Some(waiting) = container.state.as_ref().and_then(|s| s.waiting.as_ref()) else {
            continue;
        };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if ["PodInitializing", "ContainerCreating", "CrashLoopBackOff", ""].contains(&reason) {
            continue;
        }
        let message = waiting.message.as_deref().unwrap_or("no reason given");
        return Some(cut(&format!("container {}: {reason}: {message}", container.name)));
    }
    ended.map(|end| {
        let why = end
            .reason
            .as_deref()
            .filter(|r| *r != "Error" && *r != "Completed");
        let why = why.map(|r| format!(" ({r})")).unwrap_or_default();
        let words = end.message.as_deref().map(telling).filter(|w| !w.is_empty());
        let words = words.map(|w| format!(": {w}")).unwrap_or_default();
        format!(
            "Kafka's container ended with status {}{why}{words}",
            end.exit_code
        )
    })
}

/// The line of a log's end that tells most: the first with an exception, else the last with an error, else the last.
fn telling(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let stack = |line: &&&str| line.starts_with("at ") || line.starts_with("...");
    let found = lines
        .iter()
        .find(|l| !stack(l) && (l.contains("Exception: ") || l.contains("OutOfMemoryError")))
        .or_else(|| {
            lines
                .iter()
                .rev()
                .find(|l| l.contains(" ERROR ") || l.contains(" FATAL "))
        })
        .or_else(|| lines.last());
    cut(found.copied().unwrap_or_default())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn facts(status: Value) -> PodFacts {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "munich-kafka-2", "uid": "u",
                "annotations": {REVISION_ANNOTATION: "r1", CONFIG_ANNOTATION: "c1"}
            },
            "status": status
        }))
        .unwrap();
        let (id, facts) = pod_facts("munich-kafka", &pod).unwrap();
        assert_eq!(id, 2);
        facts
    }

    fn kafka(ready: bool, restarts: i32, state: Value, last: Value) -> Value {
        json!({"name": "kafka", "ready": ready, "restartCount": restarts, "image": "", "imageID": "", "state": state,
            "lastState": last})
    }

    fn running() -> Value {
        json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}})
    }

    fn terminated(code: i32, message: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": "Error", "message": message}})
    }

    #[test]
    fn a_ready_broker_serves() {
        let facts = facts(
            json!({"hostIP": "192.0.2.1", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [kafka(true, 3, running(), terminated(1, "VolumeRefused: x"))]}),
        );
        assert_eq!(facts.process, Process::Serving);
        assert_eq!(
            (facts.failing, facts.last_words, facts.trouble),
            (false, None, None)
        );
        assert_eq!(
            (facts.revision.as_deref(), facts.host_ip.as_deref()),
            (Some("r1"), Some("192.0.2.1"))
        );
    }

    #[test]
    fn a_broker_on_a_silent_node_is_unknown_rather_than_ready() {
        let facts = facts(json!({"conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [kafka(true, 0, running(), json!({}))]}));
        assert_eq!(facts.process, Process::Unknown);
    }

    #[test]
    fn a_starting_broker_says_since_when() {
        let facts = facts(json!({"containerStatuses": [kafka(false, 0, running(), json!({}))]}));
        let since = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(facts.process, Process::Starting { since });
        assert_eq!((facts.failing, facts.trouble), (false, None));
    }

    #[test]
    fn a_refused_volume_is_told_in_the_launchers_words_also_between_two_attempts() {
        for state in [json!({"waiting": {"reason": "CrashLoopBackOff"}}), running()] {
            let last = terminated(65, "VolumeRefused: the volume is empty");
            let facts = facts(json!({"containerStatuses": [kafka(false, 1, state, last)]}));
            assert_eq!(facts.last_words.unwrap().message, "the volume is empty");
        }
    }

    #[test]
    fn a_crash_tells_exit_status_and_the_line_that_explains_it() {
        let log = "[2026] INFO starting (Kafka)\norg.apache.kafka.common.config.ConfigException: Invalid value x\n\
                   \tat org.apache.kafka.X\n\tat java.base\n";
        let state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let facts = facts(json!({"containerStatuses": [kafka(false, 4, state, terminated(1, log))]}));
        assert_eq!((facts.process, facts.failing), (Process::Stopped, true));
        assert_eq!(
            facts.trouble.unwrap(),
            "Kafka's container ended with status 1: \
             org.apache.kafka.common.config.ConfigException: Invalid value x"
        );
    }

    #[test]
    fn restarts_of_long_ago_do_not_make_a_broker_failing() {
        let ended = |at: &str| {
            let mut last = terminated(137, "");
            last["terminated"]["startedAt"] = json!("2026-01-02T03:00:00Z");
            last["terminated"]["finishedAt"] = json!(at);
            facts(json!({"containerStatuses": [kafka(false, 5, running(), last)]})).failing
        };
        assert!(ended("2026-01-02T03:01:00Z"), "its last run came to nothing");
        assert!(!ended("2026-06-02T03:00:00Z"), "it ran for months before");
    }

    #[test]
    fn what_kubernetes_waits_for_is_told() {
        let unscheduled = facts(json!({"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}));
        assert!(unscheduled.trouble.unwrap().contains("0/1 nodes"));
        let pull = json!({"name": "tributary", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}});
        let pulling = facts(json!({"initContainerStatuses": [pull]}));
        assert_eq!(
            pulling.trouble.unwrap(),
            "container tributary: ErrImagePull: not found"
        );
        assert_eq!(pulling.process, Process::Stopped);
    }

    #[test]
    fn pods_of_another_set_are_not_ours() {
        let named = |name: &str| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            pod_facts("munich-kafka", &pod)
        };
        assert!(
            named("munich-kafka-x-0").is_none()
                && named("munich-kafka").is_none()
                && named("eu-kafka-0").is_none()
        );
    }
}
