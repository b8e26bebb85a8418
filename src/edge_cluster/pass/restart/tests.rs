use std::collections::BTreeSet;

use super::*;
use crate::api::PartitionCounts;
use crate::edge_cluster::observe::KafkaFacts;
use crate::edge_cluster::roll::{Process, Voter, Wait};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn pod(id: i32, process: Process) -> PodFacts {
    PodFacts {
        name: format!("eu-kafka-{id}"),
        uid: format!("uid-{id}"),
        version: Some("7".into()),
        revision: Some("old".into()),
        config: None,
        terminating: false,
        host_ip: None,
        process,
        failing: false,
        last_words: None,
        trouble: None,
    }
}

fn pods(brokers: i32) -> BTreeMap<i32, PodFacts> {
    (0..brokers).map(|id| (id, pod(id, Process::Serving))).collect()
}

/// Kafka, to which everything is well.
fn kafka(brokers: i32) -> Sample {
    let voter = Voter {
        caught_up_ms: Some(1_000),
    };
    Sample {
        at: NOW,
        result: Ok(KafkaFacts {
            cluster_id: "c".into(),
            live: (0..brokers).collect::<BTreeSet<_>>(),
            quorum: Ok((Some(0), (0..brokers).map(|id| (id, voter)).collect())),
            counts: PartitionCounts::default(),
            lagging: Vec::new(),
            topics: BTreeMap::new(),
            disks: BTreeMap::new(),
        }),
    }
}

fn next(pods: &BTreeMap<i32, PodFacts>, kafka: Option<&Sample>) -> Step {
    let brokers = i32::try_from(pods.len()).unwrap();
    Moment { pods, kafka }.next("new", brokers, NOW)
}

#[test]
fn a_broker_that_is_being_evicted_holds_the_roll_although_kafka_still_lists_it_as_live() {
    let (mut pods, kafka) = (pods(3), kafka(3));
    assert!(matches!(next(&pods, Some(&kafka)), Step::Restart { id: 2, .. }));
    pods.get_mut(&1).unwrap().terminating = true;
    let step = next(&pods, Some(&kafka));
    assert_eq!(step.waiting().unwrap()[&2], Wait::Broker(1, "is restarting"));
    assert!(matches!(step, Step::Wait { .. }));
}

#[test]
fn a_broker_that_came_up_since_is_not_taken_for_one_that_does_not_run() {
    let mut pods = pods(1);
    pods.get_mut(&0).unwrap().process = Process::Stopped;
    assert!(matches!(next(&pods, None), Step::Restart { id: 0, .. }));
    pods.get_mut(&0).unwrap().process = Process::Serving;
    assert!(matches!(next(&pods, None), Step::Wait { .. }));
}

#[test]
fn only_the_pod_that_was_decided_on_is_deleted_and_only_as_it_was_read() {
    let preconditions = exactly(&pod(2, Process::Serving)).preconditions.unwrap();
    assert_eq!(preconditions.uid.as_deref(), Some("uid-2"));
    assert_eq!(preconditions.resource_version.as_deref(), Some("7"));
}
