//! What a pod's status says, in a form that decisions can be taken on. Pure.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

use super::{CONFIG_HASH_ANNOTATION, WORKERS_ANNOTATION};

/// Characters of Kubernetes' own words that are passed on.
const MAX_WORDS: usize = 300;
/// A run of at most this length which ended by itself came to nothing.
const FAILED_RUN: SignedDuration = SignedDuration::from_mins(1);
/// Restarts from which such runs are a crash loop.
const CRASH_LOOP: i32 = 2;

/// The kubelet's word for a container that ends again and again.
const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It is being deleted.
    Terminating,
    /// It is not running yet, and nothing is known to keep it from it.
    Starting,
    /// It cannot run; Kubernetes' reason and words.
    Failing(String),
    /// Its process runs.
    Running {
        /// Its address.
        ip: String,
        /// Its readiness probe succeeds.
        ready: bool,
    },
}

/// One pod of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: PodState,
    /// The hash of the configuration that it was started with.
    pub config_hash: Option<String>,
    /// How many pods share the work by the configuration that it was started with, if it says so.
    pub workers: Option<u32>,
    /// How often its containers were started anew.
    pub restarts: i32,
    /// Its UID: a pod of the same name that comes after it has another one.
    pub uid: String,
}

/// One run of a pod's process. What another run told says nothing about this one, which may have another configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRun {
    uid: String,
    restarts: i32,
}

impl PodView {
    /// Reads a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let annotation = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name));
        Self {
            name: meta.name.clone().unwrap_or_default(),
            state: state(pod),
            config_hash: annotation(CONFIG_HASH_ANNOTATION).cloned(),
            workers: annotation(WORKERS_ANNOTATION).and_then(|count| count.parse().ok()),
            restarts: statuses(pod).map(|c| c.restart_count).sum(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    /// The run that this view is of.
    #[must_use]
    pub fn run(&self) -> PodRun {
        PodRun {
            uid: self.uid.clone(),
            restarts: self.restarts,
        }
    }

    /// The address, if its process runs.
    #[must_use]
    pub fn ip(&self) -> Option<&str> {
        match &self.state {
            PodState::Running { ip, .. } => Some(ip),
            _ => None,
        }
    }
}

/// Why the pods of an object do not run, if Kubernetes says so of one of them.
#[must_use]
pub fn failing(pods: &[PodView]) -> Option<String> {
    pods.iter().find_map(|pod| match &pod.state {
        PodState::Failing(why) => Some(format!("pod {}: {why}", pod.name)),
        _ => None,
    })
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status
        .and_then(|s| s.init_container_statuses.as_ref())
        .into_iter()
        .flatten();
    init.chain(
        status
            .and_then(|s| s.container_statuses.as_ref())
            .into_iter()
            .flatten(),
    )
}

fn state(pod: &Pod) -> PodState {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Terminating;
    }
    let Some(status) = &pod.status else {
        return PodState::Starting;
    };
    if let Some(why) = statuses(pod).find_map(|c| waiting(c).or_else(|| crash_loop(c))) {
        return PodState::Failing(why);
    }
    let condition = |type_: &str| status.conditions.iter().flatten().find(|c| c.type_ == type_);
    if let Some(scheduled) = condition("PodScheduled").filter(|c| c.status == "False") {
        return PodState::Failing(words(
            scheduled.reason.as_deref().unwrap_or("Unschedulable"),
            scheduled.message.as_deref(),
        ));
    }
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let running = !containers.is_empty()
        && containers
            .iter()
            .all(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()));
    match (&status.pod_ip, status.phase.as_deref()) {
        (Some(ip), Some("Running")) if running => PodState::Running {
            ip: ip.clone(),
            ready: condition("Ready").is_some_and(|c| c.status == "True"),
        },
        (_, Some("Failed")) => PodState::Failing(words(
            status.reason.as_deref().unwrap_or("Failed"),
            status.message.as_deref(),
        )),
        _ => PodState::Starting,
    }
}

/// Why a container waits, if that is more than that it is being created.
fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or("Waiting");
    if matches!(reason, "ContainerCreating" | "PodInitializing") {
        return None;
    }
    // Why it ended last time says more than that it is not started again at once.
    Some(match last_end(container) {
        Some(last) if reason == CRASH_LOOP_BACK_OFF => crashed(last),
        _ => words(reason, waiting.message.as_deref()),
    })
}

/// Why a container ends again and again, told also in the moments in which it has just ended or just begun: a back-off is
/// not the only sign of it, and may be short.
fn crash_loop(container: &ContainerStatus) -> Option<String> {
    let last = last_end(container)?;
    let run = last.finished_at.as_ref().zip(last.started_at.as_ref());
    let short = run.is_none_or(|(end, begin)| end.0.duration_since(begin.0) <= FAILED_RUN);
    let loops = !container.ready && container.restart_count >= CRASH_LOOP && last.exit_code != 0 && short;
    loops.then(|| crashed(last))
}

/// How a container ended last.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container
        .state
        .as_ref()
        .filter(|s: &&ContainerState| s.terminated.is_some());
    now.or(container.last_state.as_ref())?.terminated.as_ref()
}

fn crashed(last: &ContainerStateTerminated) -> String {
    let why = words(last.reason.as_deref().unwrap_or("ended"), last.message.as_deref());
    format!("{CRASH_LOOP_BACK_OFF}: exit status {}, {why}", last.exit_code)
}

fn words(reason: &str, message: Option<&str>) -> String {
    let Some(message) = message.map(str::trim).filter(|m| !m.is_empty()) else {
        return reason.to_owned();
    };
    // The end of a log says why; its beginning says only that something started.
    let skip = message.chars().count().saturating_sub(MAX_WORDS);
    let message: String = message.chars().skip(skip).collect();
    format!("{reason}: {}", message.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: &Value) -> PodView {
        let pod = json!({"metadata": {"name": "x-bridge-0"}, "status": status});
        PodView::of(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_running_pod_has_an_address_and_readiness() {
        let status = |ready: &str| {
            json!({
                "phase": "Running", "podIP": "10.0.0.9",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "bridge", "image": "", "imageID": "", "ready": true,
                    "restartCount": 2, "state": {"running": {}}}],
            })
        };
        let view = pod(&status("True"));
        assert_eq!(
            view.state,
            PodState::Running {
                ip: "10.0.0.9".into(),
                ready: true
            }
        );
        assert_eq!((view.restarts, view.ip()), (2, Some("10.0.0.9")));
        assert_eq!(
            pod(&status("False")).state,
            PodState::Running {
                ip: "10.0.0.9".into(),
                ready: false
            }
        );
    }

    #[test]
    fn a_pod_says_what_it_was_started_with() {
        let view = |annotations: Value| {
            let pod = json!({"metadata": {"name": "x-bridge-0", "annotations": annotations}});
            let view = PodView::of(&serde_json::from_value(pod).unwrap());
            (view.config_hash, view.workers)
        };
        let noted = json!({CONFIG_HASH_ANNOTATION: "h", WORKERS_ANNOTATION: "3"});
        assert_eq!(view(noted), (Some("h".into()), Some(3)));
        assert_eq!(view(json!({})), (None, None));
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_told_in_kubernetes_own_words() {
        let waiting = |reason: &str, last: Value| {
            pod(&json!({"phase": "Pending", "containerStatuses": [{"name": "bridge", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "lastState": last,
                "state": {"waiting": {"reason": reason, "message": "no such image"}}}]}))
            .state
        };
        assert_eq!(waiting("ContainerCreating", json!({})), PodState::Starting);
        assert_eq!(
            waiting("ErrImagePull", json!({})),
            PodState::Failing("ErrImagePull: no such image".into())
        );
        let crash = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "a\ncannot work\n"}});
        assert_eq!(
            waiting("CrashLoopBackOff", crash),
            PodState::Failing("CrashLoopBackOff: exit status 3, Error: a cannot work".into())
        );
        let unschedulable = pod(
            &json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
            "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]}),
        );
        assert_eq!(
            unschedulable.state,
            PodState::Failing("Unschedulable: 0/1 nodes are available".into())
        );
    }

    #[test]
    fn a_crash_loop_is_told_in_all_its_moments_until_the_container_is_ready() {
        let end = |finished: &str| {
            json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "no config",
                "startedAt": "2026-01-02T03:00:00Z", "finishedAt": finished}})
        };
        let view = |ready: bool, restarts: i32, state: Value, last: Value| {
            let container = json!({"name": "bridge", "image": "", "imageID": "", "ready": ready,
                "restartCount": restarts, "state": state, "lastState": last});
            pod(&json!({"phase": "Running", "podIP": "10.0.0.9", "containerStatuses": [container]})).state
        };
        let told = PodState::Failing("CrashLoopBackOff: exit status 3, Error: no config".into());
        let soon = end("2026-01-02T03:00:05Z");
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        for state in [json!({"running": {}}), soon.clone(), back_off] {
            assert_eq!(view(false, 2, state, soon.clone()), told);
        }
        let running = |ready| PodState::Running {
            ip: "10.0.0.9".into(),
            ready,
        };
        let now = || json!({"running": {}});
        assert_eq!(view(true, 9, now(), soon.clone()), running(false), "it serves");
        assert_eq!(view(false, 1, now(), soon), running(false), "once is no loop");
        assert_eq!(
            view(false, 9, now(), end("2026-01-09T03:00:05Z")),
            running(false),
            "it ran for a week"
        );
    }

    #[test]
    fn another_pod_of_the_name_and_a_container_that_was_started_anew_are_other_runs() {
        let run = |uid: &str, restarts: i32, ready: bool| {
            let status = json!({"containerStatuses": [{"name": "bridge", "image": "", "imageID": "", "ready": ready,
                "restartCount": restarts, "state": {"running": {}}}]});
            let pod = json!({"metadata": {"name": "x-bridge-0", "uid": uid}, "status": status});
            PodView::of(&serde_json::from_value(pod).unwrap()).run()
        };
        assert_eq!(run("a", 0, false), run("a", 0, true));
        assert_ne!(run("a", 0, true), run("b", 0, true));
        assert_ne!(run("a", 0, true), run("a", 1, true));
    }

    #[test]
    fn of_a_long_log_the_end_is_told() {
        let text = words("Error", Some(&format!("{}the cause", "x".repeat(1000))));
        assert!(text.ends_with("the cause") && text.len() < 320, "{text}");
    }
}
