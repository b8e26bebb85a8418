//! A broker of three is away, for whatever reason.

use super::*;

/// Three brokers of which `id` starts, and nothing is left to roll.
fn starting(ids: &[i32]) -> Situation {
    let mut situation = three();
    for id in ids {
        situation.pod(*id).process = Process::Starting { since: at(NOW) };
        situation.facts().live.remove(id);
    }
    situation
}

#[test]
fn while_the_last_broker_of_a_roll_starts_the_cluster_stays_ready() {
    let situation = starting(&[0]);
    situation.has(&[
        "Ready=True/Progressing",
        "Reconciling=True/Starting",
        "UpToDate=True/AsDesired",
    ]);
    assert_eq!(situation.message("Ready"), "broker 0 is Starting");
    assert_eq!(situation.status().ready_brokers.as_deref(), Some("2/3"));
}

#[test]
fn a_broker_of_three_that_crashed_leaves_the_cluster_ready_and_is_told() {
    let mut situation = three();
    situation.pod(1).process = Process::Stopped;
    situation.pod(1).trouble = Some("Kafka's container ended with status 137".into());
    situation.facts().live.remove(&1);
    situation.facts().counts.under_replicated = 20;
    situation.has(&[
        "Ready=True/Progressing",
        "Reconciling=True/PodsUnavailable",
        "PartitionsHealthy=False/UnderReplicated",
    ]);
    let message = situation.message("Ready");
    assert_eq!(
        message,
        "broker 1 is Pending: Kafka's container ended with status 137"
    );
}

#[test]
fn a_cluster_is_ready_only_while_a_majority_runs_and_serves_everything() {
    starting(&[0, 1]).has(&["Ready=False/Starting"]);
    let mut offline = starting(&[0]);
    offline.facts().counts.offline = 1;
    offline.has(&["Ready=False/Starting"]);
    let mut leaderless = starting(&[0]);
    leaderless.facts().quorum.as_mut().unwrap().0 = None;
    leaderless.has(&["Ready=False/Starting"]);
    let mut silent = starting(&[0]);
    silent.unreachable();
    silent.has(&["Ready=False/Starting"]);
    let mut alone = one();
    alone.pod(0).process = Process::Starting { since: at(NOW) };
    alone.has(&["Ready=False/Starting"]);
}

#[test]
fn topics_that_wait_for_a_broker_are_progress_and_no_refusal() {
    let mut situation = starting(&[2]);
    situation.topics = Some(Outcome::Known {
        report: Vec::new(),
        waiting: Some("waiting for more brokers to register: topics telemetry".into()),
    });
    situation.has(&["Ready=False/Starting", "TopicsSynced=False/Progressing"]);
    assert!(situation.message("TopicsSynced").contains("telemetry"));
    situation.pod(2).process = Process::Serving;
    situation.facts().live.insert(2);
    situation.has(&["Ready=False/Starting", "Reconciling=True/Starting"]);
    assert!(situation.message("Ready").contains("telemetry"));
}
