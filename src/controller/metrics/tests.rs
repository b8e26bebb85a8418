use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::{BrokerFigures, StepOutcome, Steps, TopicFigures};
use super::*;
use crate::api::{PartitionCounts, Verdict};
use crate::telemetry::documented::assert_documented;

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

fn ready() -> Condition {
    Condition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: "AsDesired".to_owned(),
        message: String::new(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    }
}

#[tokio::test]
async fn what_the_operator_serves_is_in_the_book() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let mut steps = Steps::default();
    steps.run("topics", async { StepOutcome::Applied }).await;
    metrics.steps("EdgeCluster", &steps);
    let key = ObjectKey::new("ReplicationLink", "factory", "to-eu");
    metrics.conditions(&key, &[ready()]);
    let everything = Figures {
        verdict: Some(Verdict::InSync),
        brokers: vec![BrokerFigures {
            id: 0,
            running: true,
            disk_used_percent: Some(12),
        }],
        counts: Some(PartitionCounts::default()),
        in_flight: Some(0),
        sessions_lost: 0,
        partitions: vec![("telemetry".to_owned(), 0, 0)],
        topics: vec![TopicFigures {
            name: "telemetry".to_owned(),
            seconds: Some(0),
            bytes: Some(0),
        }],
        position_age: Some(0),
        catch_up: Some(0),
    };
    metrics.figures(&key, everything);
    assert_documented("Operator", &registry);
}

#[test]
fn a_kind_is_shown_with_zeros_before_its_first_pass() {
    let mut registry = Registry::default();
    let _metrics = Metrics::register(&mut registry);
    for line in [
        "tributary_reconcile_errors_total{kind=\"EdgeCluster\"} 0",
        "tributary_reconcile_duration_seconds_count{kind=\"BridgePipeline\"} 0",
        "tributary_reconcile_queue_length{kind=\"ReplicationLink\"} 0",
    ] {
        assert!(
            text(&registry).lines().any(|l| l == line),
            "{line}\n{}",
            text(&registry)
        );
    }
}

#[test]
fn an_object_waits_once_however_often_it_is_asked_for_and_until_its_pass_begins_or_it_is_gone() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let key = |name| ObjectKey::new("EdgeCluster", "factory", name);
    let shows = |waiting: i64, active: i64| {
        let text = text(&registry);
        for line in [
            format!("tributary_reconcile_queue_length{{kind=\"EdgeCluster\"}} {waiting}"),
            format!("tributary_reconcile_active{{kind=\"EdgeCluster\"}} {active}"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    };
    metrics.requested(&key("a"));
    metrics.requested(&key("a"));
    metrics.requested(&key("b"));
    metrics.requested(&key("c"));
    shows(3, 0);
    let pass = metrics.begun(&key("a"));
    shows(2, 1);
    metrics.forget(&key("b"));
    shows(1, 1);
    drop(pass);
    // By its own clock, asked for by nobody.
    drop(metrics.begun(&key("a")));
    shows(1, 0);
    metrics.leader(false);
    shows(0, 0);
}

#[test]
fn passes_are_counted_by_kind_with_their_duration_and_failures() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.reconciled("EdgeCluster", Duration::from_millis(30), true);
    metrics.reconciled("EdgeCluster", Duration::from_millis(1), false);
    for line in [
        "tributary_reconcile_errors_total{kind=\"EdgeCluster\"} 1",
        "tributary_reconcile_duration_seconds_count{kind=\"EdgeCluster\"} 2",
        "tributary_reconcile_duration_seconds_bucket{le=\"0.02\",kind=\"EdgeCluster\"} 1",
    ] {
        assert!(
            text(&registry).lines().any(|l| l == line),
            "{line}\n{}",
            text(&registry)
        );
    }
}
