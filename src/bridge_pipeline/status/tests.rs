mod losses;
mod refused;
mod standing;

use super::super::tests::{object, validated};
use super::*;
use crate::bridge::progress::{
    Counters, HeadOfLine, InFlight, KafkaProgress, MqttProgress, Problem as BridgeProblem,
    SubscriptionProgress,
};
use std::collections::BTreeSet;

const HASH: &str = "h1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

fn progress(second: i64) -> BridgeProgress {
    BridgeProgress {
        observed_at: at(second),
        started_at: at(0),
        config_hash: String::new(),
        generation: None,
        mqtt: MqttProgress {
            client_id: "c".into(),
            connected_since: Some(at(0)),
            session_present: Some(true),
            subscriptions: vec![SubscriptionProgress {
                filter: "factory/+/+/telemetry".into(),
                requested_qos: 1,
                granted_qos: Some(1),
                refused: None,
            }],
            ..MqttProgress::default()
        },
        kafka: KafkaProgress {
            connected_since: Some(at(0)),
            ..KafkaProgress::default()
        },
        counters: Counters::default(),
        in_flight: InFlight::default(),
        head_of_line: None,
        problems: Vec::new(),
        last_error: None,
        losses: Vec::new(),
    }
}

fn pod(state: PodState) -> PodView {
    PodView {
        name: "machines-bridge-0".into(),
        state,
        config_hash: Some(HASH.into()),
        workers: None,
        restarts: 0,
        uid: String::new(),
    }
}

fn running() -> PodView {
    pod(PodState::Running {
        ip: "10.0.0.1".into(),
        ready: true,
    })
}

/// A bridge that is looked at again and again.
struct Watched {
    object: BridgePipeline,
    memory: Memory,
    lost: u64,
}

impl Watched {
    fn new() -> Self {
        Self {
            object: object(),
            memory: Memory::default(),
            lost: 0,
        }
    }

    fn look(&mut self, second: i64, pods: &[PodView], progress: Result<BridgeProgress, String>) -> &mut Self {
        let bridge = validated(&self.object);
        let sample = Sample {
            at: at(second),
            progress,
            run: pods.first().map(PodView::run),
            broker_ports: BTreeSet::new(),
        };
        self.with(&Look {
            now: at(second),
            validated: Ok((&bridge, HASH)),
            stopped_by: None,
            pods,
            sample: Some(&sample),
        })
    }

    fn with(&mut self, look: &Look<'_>) -> &mut Self {
        let (status, lost) = status(&self.object, &mut self.memory, look);
        self.object.status = Some(status);
        self.lost = lost;
        self
    }

    fn following(&mut self, second: i64) -> &mut Self {
        self.look(second, &[running()], Ok(progress(second)))
    }

    fn condition(&self, type_: &str) -> Option<(String, String, String)> {
        let conditions = &self.object.status.as_ref().unwrap().conditions;
        let found = conditions.iter().find(|c| c.type_ == type_)?;
        Some((found.status.clone(), found.reason.clone(), found.message.clone()))
    }

    fn expect(&self, type_: &str, status: &str, reason: Reason) -> String {
        let (is, why, message) = self.condition(type_).unwrap_or_else(|| panic!("no {type_}"));
        assert_eq!(
            (is.as_str(), why.as_str()),
            (status, reason.as_str()),
            "{type_}: {message}"
        );
        message
    }

    fn verdict(&self) -> Verdict {
        self.object.status.as_ref().unwrap().verdict.unwrap()
    }
}

fn problem(component: Component, reason: bridge::Reason) -> BridgeProblem {
    BridgeProblem {
        component,
        reason,
        message: "why and what to do".into(),
        since: at(0),
    }
}

#[test]
fn a_subscribed_bridge_is_ready_and_says_what_it_holds() {
    let mut bridge = Watched::new();
    bridge.following(10);
    assert_eq!(bridge.verdict(), Verdict::InSync);
    bridge.expect("Ready", "True", Reason::Following);
    bridge.expect("Connected", "True", Reason::Following);
    bridge.expect("Lossless", "True", Reason::NothingLost);
    assert_eq!(
        (bridge.condition("Reconciling"), bridge.condition("Stalled")),
        (None, None)
    );
    let status = bridge.object.status.unwrap();
    assert_eq!(status.subscriptions[0].granted_qos, Some(1));
    assert_eq!(status.effective.unwrap().client_id, "tributary.factory.machines");
    assert_eq!(status.observed_generation, Some(3));
}

#[test]
fn a_first_start_is_reconciling_and_stalled_after_ten_minutes_with_the_cause_at_hand() {
    let mut bridge = Watched::new();
    bridge.look(0, &[], Err("no pod runs".into()));
    bridge.expect("Ready", "False", Reason::Starting);
    bridge.expect("Reconciling", "True", Reason::Starting);
    let mut unreachable = progress(10);
    unreachable.mqtt.connected_since = None;
    unreachable.problems = vec![problem(Component::Mqtt, bridge::Reason::MqttCredentialsRefused)];
    bridge.look(10, &[running()], Ok(unreachable.clone()));
    bridge.expect("Ready", "False", Reason::MqttAuthenticationFailed);
    bridge.expect("Connected", "False", Reason::MqttAuthenticationFailed);
    bridge.look(599, &[running()], Ok(unreachable.clone()));
    bridge.expect("Reconciling", "True", Reason::MqttAuthenticationFailed);
    bridge.look(601, &[running()], Ok(unreachable));
    bridge.expect("Stalled", "True", Reason::MqttAuthenticationFailed);
    assert_eq!(bridge.condition("Reconciling"), None);
}

#[test]
fn a_start_that_stalled_stays_so_until_it_is_connected_also_after_a_restart_of_the_operator() {
    let mut bridge = Watched::new();
    let refused = |second| {
        let mut refused = progress(second);
        refused.mqtt.connected_since = None;
        refused.problems = vec![problem(Component::Mqtt, bridge::Reason::MqttCredentialsRefused)];
        Ok(refused)
    };
    bridge.look(0, &[running()], refused(0));
    for second in [601, 620, 1300] {
        bridge.look(second, &[running()], refused(second));
        bridge.expect("Stalled", "True", Reason::MqttAuthenticationFailed);
        assert_eq!(bridge.condition("Reconciling"), None);
        bridge.memory = Memory::default();
    }
    // Another cause of the same standstill.
    bridge.look(1310, &[], Err("no pod runs".into()));
    bridge.expect("Stalled", "True", Reason::Starting);
    let bridge = bridge.following(1320);
    bridge.expect("Ready", "True", Reason::Following);
    assert_eq!(bridge.condition("Stalled"), None);
}

#[test]
fn a_start_that_stalled_begins_anew_with_a_new_spec() {
    let mut bridge = Watched::new();
    for second in [0, 601] {
        bridge.look(second, &[], Err("no pod runs".into()));
    }
    bridge.expect("Stalled", "True", Reason::Starting);
    bridge.object.metadata.generation = Some(4);
    bridge.look(620, &[], Err("no pod runs".into()));
    bridge.expect("Reconciling", "True", Reason::Starting);
}

#[test]
fn a_status_that_is_fresh_stands_until_the_first_look_of_a_new_sampler() {
    let bridge_at = |second, generation, stopped_by: Option<(Reason, String)>, sample: Option<&Sample>| {
        let mut bridge = Watched::new();
        bridge.following(0);
        bridge.object.metadata.generation = Some(generation);
        let good = validated(&bridge.object);
        let look = Look {
            now: at(second),
            validated: Ok((&good, HASH)),
            stopped_by,
            pods: &[running()],
            sample,
        };
        soon_known(&bridge.object, &look)
    };
    assert!(bridge_at(30, 3, None, None));
    assert!(!bridge_at(91, 3, None, None), "it is too old");
    assert!(!bridge_at(30, 4, None, None), "it speaks of another spec");
    let refused = Some((Reason::ApiError, "no".to_owned()));
    assert!(!bridge_at(30, 3, refused, None), "something is wrong");
    let looked = Sample {
        at: at(30),
        progress: Ok(progress(30)),
        run: Some(running().run()),
        broker_ports: BTreeSet::new(),
    };
    assert!(!bridge_at(30, 3, None, Some(&looked)));
}

#[test]
fn a_line_that_breaks_later_is_disconnected_also_after_a_restart_of_the_operator() {
    let mut bridge = Watched::new();
    bridge.following(10);
    bridge.memory = Memory::default();
    let mut cut = progress(20);
    cut.mqtt.connected_since = None;
    cut.problems = vec![problem(Component::Mqtt, bridge::Reason::MqttUnreachable)];
    bridge.look(20, &[running()], Ok(cut));
    assert_eq!(bridge.verdict(), Verdict::Disconnected);
    bridge.expect("Ready", "True", Reason::MqttUnreachable);
    let message = bridge.expect("Connected", "False", Reason::MqttUnreachable);
    assert!(message.contains("since 2025-"), "{message}");
}

#[test]
fn a_new_generation_is_not_ready_before_a_pod_runs_it() {
    let mut bridge = Watched::new();
    bridge.following(10);
    bridge.object.metadata.generation = Some(4);
    let old_pod = PodView {
        config_hash: Some("h0".into()),
        ..running()
    };
    bridge.look(20, &[old_pod], Ok(progress(20)));
    let message = bridge.expect("Ready", "False", Reason::Starting);
    assert!(message.contains("start anew"), "{message}");
    bridge.following(30).expect("Ready", "True", Reason::Following);
}

#[test]
fn what_the_former_process_told_says_nothing_about_the_present_one() {
    let mut bridge = Watched::new();
    bridge.following(10);
    bridge.object.metadata.generation = Some(4);
    let anew = PodView {
        uid: "another".into(),
        ..running()
    };
    let restarted = PodView {
        restarts: 1,
        ..running()
    };
    for pod in [anew, restarted] {
        let validated = validated(&bridge.object);
        let sample = Sample {
            at: at(19),
            progress: Ok(progress(19)),
            run: Some(running().run()),
            broker_ports: BTreeSet::new(),
        };
        bridge.with(&Look {
            now: at(20),
            validated: Ok((&validated, HASH)),
            stopped_by: None,
            pods: &[pod],
            sample: Some(&sample),
        });
        bridge.expect("Connected", "Unknown", Reason::Starting);
        bridge.expect("Ready", "False", Reason::Starting);
        assert_eq!(bridge.object.status.as_ref().unwrap().lag, None);
    }
    bridge
        .following(30)
        .expect("Connected", "True", Reason::Following);
}

#[test]
fn a_refused_subscription_is_told_with_its_code_and_stalls() {
    let mut bridge = Watched::new();
    let mut refused = progress(10);
    refused.mqtt.subscriptions[0].granted_qos = None;
    refused.mqtt.subscriptions[0].refused = Some("0x87 not authorized".into());
    refused.problems = vec![problem(
        Component::Subscriptions,
        bridge::Reason::SubscriptionRefused,
    )];
    bridge.look(10, &[running()], Ok(refused));
    bridge.expect("Ready", "False", Reason::SubscriptionRefused);
    bridge.expect("Stalled", "True", Reason::SubscriptionRefused);
    let subscription = &bridge.object.status.as_ref().unwrap().subscriptions[0];
    assert_eq!(subscription.message.as_deref(), Some("0x87 not authorized"));
}

#[test]
fn a_message_that_does_not_pass_is_named_and_stalls() {
    let mut bridge = Watched::new();
    bridge.following(10);
    let mut stuck = progress(20);
    stuck.in_flight = InFlight {
        messages: 5,
        bytes: 100,
        oldest_age_seconds: Some(9.0),
    };
    stuck.head_of_line = Some(HeadOfLine {
        topic: None,
        mqtt_topic: "factory/l1/m1/telemetry".into(),
        reason: bridge::Reason::InvalidPayload,
        message: "no JSON; set deadLetter".into(),
        since: at(11),
    });
    bridge.look(20, &[running()], Ok(stuck));
    assert_eq!(bridge.verdict(), Verdict::NotMoving);
    let message = bridge.expect("Stalled", "True", Reason::MessageRefused);
    assert!(
        message.contains("factory/l1/m1/telemetry") && message.contains("set deadLetter"),
        "{message}"
    );
    bridge.following(30).expect("Ready", "True", Reason::Following);
}

#[test]
fn a_missing_topic_is_waited_for_at_first_and_stalls_later() {
    let missing = |second| {
        let mut missing = progress(second);
        missing.kafka.missing_topics = vec!["telemetry".into()];
        missing
    };
    let mut bridge = Watched::new();
    bridge.look(10, &[running()], Ok(missing(10)));
    bridge.expect("Reconciling", "True", Reason::TopicMissing);
    bridge.following(20);
    bridge.look(30, &[running()], Ok(missing(30)));
    bridge.expect("Stalled", "True", Reason::TopicMissing);
}

#[test]
fn a_filter_no_longer_wanted_is_held_until_the_broker_confirms_its_end() {
    let mut bridge = Watched::new();
    bridge.object.status = Some(BridgePipelineStatus {
        subscriptions: vec![SubscriptionStatus {
            filter: "old/#".into(),
            granted_qos: Some(1),
            message: None,
        }],
        ..Default::default()
    });
    let filters = |b: &Watched| {
        let status = b.object.status.clone().unwrap();
        status
            .subscriptions
            .into_iter()
            .map(|s| s.filter)
            .collect::<Vec<_>>()
    };
    bridge.following(10);
    assert_eq!(filters(&bridge), ["factory/+/+/telemetry", "old/#"]);
    bridge.look(20, &[], Err("no pod runs".into()));
    assert_eq!(filters(&bridge), ["factory/+/+/telemetry", "old/#"]);
    let mut done = progress(30);
    done.mqtt.unsubscribed = vec!["old/#".into()];
    bridge.look(30, &[running()], Ok(done));
    assert_eq!(filters(&bridge), ["factory/+/+/telemetry"]);
}

#[test]
fn an_invalid_spec_stalls_and_what_runs_goes_on_being_looked_at() {
    let mut bridge = Watched::new();
    bridge.following(10);
    let problems = [Problem::new(
        Reason::SecretNotFound,
        "spec.mqtt.x.name",
        "mqtt",
        "there is no such Secret",
        "create it",
    )];
    let sample = Sample {
        at: at(20),
        progress: Ok(progress(20)),
        run: Some(running().run()),
        broker_ports: BTreeSet::new(),
    };
    bridge.with(&Look {
        now: at(20),
        validated: Err(&problems),
        stopped_by: None,
        pods: &[running()],
        sample: Some(&sample),
    });
    let message = bridge.expect("Stalled", "True", Reason::SecretNotFound);
    assert!(
        message.contains("spec.mqtt.x.name \"mqtt\"") && message.contains("create it"),
        "{message}"
    );
    assert!(bridge.object.status.as_ref().unwrap().lag.is_some());
    // The pod goes on with the last spec that could work: that is no reason to doubt what it carries.
    bridge.expect("Connected", "True", Reason::Following);
    bridge.expect("Lossless", "True", Reason::NothingLost);
}

#[test]
fn a_pod_that_cannot_run_stalls_after_a_minute_and_not_while_it_restarts() {
    let failing = pod(PodState::Failing("ErrImagePull: no such image".into()));
    let mut bridge = Watched::new();
    bridge.following(0);
    bridge.look(10, std::slice::from_ref(&failing), Err("no pod runs".into()));
    bridge.expect("Ready", "Unknown", Reason::PodsUnavailable);
    bridge.look(71, &[failing], Err("no pod runs".into()));
    let message = bridge.expect("Stalled", "True", Reason::PodsUnavailable);
    assert!(message.contains("no such image"), "{message}");
}

#[test]
fn paused_is_paused_whatever_else_is_wrong() {
    let mut bridge = Watched::new();
    bridge.following(10);
    bridge.object.spec.paused = Some(true);
    bridge.object.metadata.generation = Some(4);
    bridge.look(20, &[], Err("no pod runs".into()));
    assert_eq!(bridge.verdict(), Verdict::Paused);
    bridge.expect("Ready", "False", Reason::Paused);
    assert_eq!(
        (bridge.condition("Reconciling"), bridge.condition("Stalled")),
        (None, None)
    );
}

#[test]
fn at_rest_two_looks_give_a_status_that_needs_no_write() {
    use crate::controller::Kind;
    let mut bridge = Watched::new();
    bridge.following(10);
    let first = bridge.object.status.clone().unwrap();
    bridge.following(20);
    let second = bridge.object.status.clone().unwrap();
    assert_eq!(BridgePipeline::at_rest(&first), BridgePipeline::at_rest(&second));
}

#[test]
fn a_session_that_the_server_keeps_for_less_than_asked_is_told_as_it_is() {
    let mut watched = Watched::new();
    let expiry = |watched: &Watched| {
        let status = watched.object.status.as_ref().unwrap();
        status.effective.as_ref().unwrap().session_expiry.clone()
    };
    watched.following(0);
    assert_eq!(expiry(&watched).as_deref(), Some("168h"));
    let mut granted = progress(10);
    granted.mqtt.session_expiry_seconds = Some(7200);
    watched.look(10, &[running()], Ok(granted.clone()));
    assert_eq!(expiry(&watched).as_deref(), Some("7200s"));
    watched.look(20, &[], Err("no pod answers".into()));
    assert_eq!(
        expiry(&watched).as_deref(),
        Some("7200s"),
        "while nobody can be asked it stays"
    );
    granted.mqtt.session_expiry_seconds = Some(7 * 24 * 3600);
    watched.look(30, &[running()], Ok(granted));
    assert_eq!(expiry(&watched).as_deref(), Some("168h"));
}
