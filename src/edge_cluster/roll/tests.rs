use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const NOW: i64 = 100_000;

fn pod(up_to_date: bool) -> PodState {
    PodState {
        up_to_date,
        terminating: false,
        process: Process::Serving,
    }
}

fn healthy_kafka(brokers: i32, leader: i32) -> KafkaState {
    KafkaState {
        at: at(NOW),
        live: (0..brokers).collect(),
        leader: Some(leader),
        voters: (0..brokers)
            .map(|id| {
                (
                    id,
                    Voter {
                        caught_up_ms: Some(1_000_000),
                    },
                )
            })
            .collect(),
        lagging: Vec::new(),
    }
}

/// A healthy cluster whose pods are all outdated.
fn outdated(brokers: i32, leader: i32) -> Observed {
    Observed {
        pods: (0..brokers).map(|id| (id, pod(false))).collect(),
        kafka: Ok(healthy_kafka(brokers, leader)),
    }
}

fn kafka(observed: &mut Observed) -> &mut KafkaState {
    observed.kafka.as_mut().unwrap()
}

fn lagging(replicas: &[i32], in_sync: &[i32]) -> Lagging {
    Lagging {
        name: "telemetry-0".into(),
        replicas: replicas.to_vec(),
        in_sync: in_sync.to_vec(),
    }
}

fn decide(observed: &Observed) -> Step {
    next(observed, i32::try_from(observed.pods.len()).unwrap(), at(NOW))
}

fn restarted(observed: &Observed) -> Option<i32> {
    match decide(observed) {
        Step::Restart { id, .. } => Some(id),
        _ => None,
    }
}

fn wait_of(observed: &Observed, id: i32) -> String {
    decide(observed).waiting().unwrap()[&id].to_string()
}

#[test]
fn when_every_pod_is_up_to_date_there_is_nothing_to_do() {
    let mut observed = outdated(3, 0);
    observed.pods.values_mut().for_each(|p| p.up_to_date = true);
    assert_eq!(decide(&observed), Step::Done);
}

#[test]
fn a_healthy_cluster_rolls_the_highest_id_first_and_the_active_controller_last() {
    assert_eq!(restarted(&outdated(3, 2)), Some(1));
    assert_eq!(restarted(&outdated(3, 0)), Some(2));
    let mut observed = outdated(3, 2);
    observed.pods.insert(1, pod(true));
    observed.pods.insert(0, pod(true));
    assert_eq!(restarted(&observed), Some(2));
}

#[test]
fn the_others_say_whose_turn_it_is() {
    assert_eq!(wait_of(&outdated(3, 2), 0), "its turn: broker 1 comes first");
}

#[test]
fn the_active_controller_waits_even_if_the_others_cannot_restart_now() {
    let mut observed = outdated(3, 0);
    kafka(&mut observed).lagging = vec![lagging(&[1, 2], &[1])];
    assert_eq!(restarted(&observed), None);
    assert_eq!(wait_of(&observed, 0), "its turn: broker 2 comes first");
}

#[test]
fn a_single_broker_rolls_when_kafka_answers_and_not_when_it_does_not() {
    let mut observed = outdated(1, 0);
    assert_eq!(restarted(&observed), Some(0));
    observed.kafka = Err(Unasked("no answer".into()));
    assert_eq!(restarted(&observed), None);
    assert!(wait_of(&observed, 0).contains("no answer"));
}

#[test]
fn without_kafka_nothing_that_runs_is_restarted() {
    let mut observed = outdated(3, 0);
    observed.kafka = Err(Unasked("no answer".into()));
    assert_eq!(restarted(&observed), None);
}

#[test]
fn an_old_answer_of_kafka_proves_nothing() {
    let mut observed = outdated(3, 0);
    kafka(&mut observed).at = at(NOW - 60);
    assert_eq!(restarted(&observed), None);
    assert_eq!(wait_of(&observed, 2), "a fresh answer from Kafka");
}

#[test]
fn kafka_is_asked_anew_for_a_restart_and_where_only_its_age_is_in_the_way() {
    let mut observed = outdated(3, 0);
    assert!(decide(&observed).asks_anew());
    kafka(&mut observed).at = at(NOW - 60);
    assert!(decide(&observed).asks_anew(), "samples may be a minute apart");
    observed.kafka = Err(Unasked("no answer".into()));
    assert!(!decide(&observed).asks_anew());
    observed.pods.values_mut().for_each(|p| p.up_to_date = true);
    assert!(!decide(&observed).asks_anew());
}

#[test]
fn brokers_that_crash_because_of_what_was_mended_are_replaced_without_kafka() {
    let mut observed = outdated(3, 0);
    observed.kafka = Err(Unasked("no answer".into()));
    observed
        .pods
        .values_mut()
        .for_each(|p| p.process = Process::Stopped);
    assert_eq!(restarted(&observed), Some(2));
    let mut single = outdated(1, 0);
    single.kafka = Err(Unasked("no answer".into()));
    single.pods.get_mut(&0).unwrap().process = Process::Stopped;
    assert_eq!(restarted(&single), Some(0));
}

#[test]
fn a_stopped_pod_that_kafka_counts_as_live_is_not_believed_to_be_down() {
    let mut observed = outdated(3, 0);
    observed.pods.get_mut(&1).unwrap().process = Process::Stopped;
    kafka(&mut observed).live.remove(&2);
    assert_ne!(restarted(&observed), Some(1));
}

#[test]
fn a_broker_that_failed_with_the_new_configuration_stops_the_roll() {
    let mut observed = outdated(3, 0);
    observed.pods.insert(
        2,
        PodState {
            process: Process::Stopped,
            ..pod(true)
        },
    );
    kafka(&mut observed).live.remove(&2);
    assert_eq!(restarted(&observed), None);
    assert_eq!(wait_of(&observed, 1), "broker 2, which does not run");
    // The configuration is mended: the broker that is down comes first.
    observed.pods.get_mut(&2).unwrap().up_to_date = false;
    assert_eq!(restarted(&observed), Some(2));
}

#[test]
fn one_at_a_time() {
    for other in [
        PodState {
            terminating: true,
            ..pod(true)
        },
        PodState {
            process: Process::Starting { since: at(NOW) },
            ..pod(true)
        },
        PodState {
            process: Process::Unknown,
            ..pod(true)
        },
    ] {
        let mut observed = outdated(3, 0);
        observed.pods.insert(2, other.clone());
        assert_eq!(restarted(&observed), None, "{other:?}");
    }
    let mut observed = outdated(3, 0);
    observed.pods.remove(&2);
    assert_eq!(
        next(&observed, 3, at(NOW)).waiting().unwrap()[&1],
        Wait::Broker(2, "has no pod yet")
    );
}

#[test]
fn a_broker_that_may_be_recovering_its_log_is_left_alone() {
    let mut observed = outdated(1, 0);
    observed.kafka = Err(Unasked("no answer".into()));
    for seconds in [300, 601, 86_400] {
        observed.pods.get_mut(&0).unwrap().process = Process::Starting {
            since: at(NOW - seconds),
        };
        assert_eq!(decide(&observed).waiting().unwrap()[&0], Wait::OwnStart);
    }
    // One that ended because of what is to be mended is restarted without asking anybody.
    observed.pods.get_mut(&0).unwrap().process = Process::Stopped;
    assert_eq!(restarted(&observed), Some(0));
}

#[test]
fn a_stuck_start_of_one_of_three_needs_kafkas_word_that_the_others_suffice() {
    let mut observed = outdated(3, 0);
    observed.pods.get_mut(&2).unwrap().process = Process::Starting { since: at(NOW - 601) };
    kafka(&mut observed).live.remove(&2);
    kafka(&mut observed).lagging = vec![lagging(&[0, 1, 2], &[0, 1])];
    assert_eq!(restarted(&observed), Some(2));
    observed.kafka = Err(Unasked("no answer".into()));
    assert_eq!(restarted(&observed), None);
}

#[test]
fn the_quorum_must_keep_a_caught_up_majority() {
    let mut observed = outdated(3, 0);
    kafka(&mut observed).voters.get_mut(&1).unwrap().caught_up_ms = Some(1_000_000 - 60_000);
    // Without 2, only the leader would be caught up; without 1, the leader and 2 are.
    assert_eq!(
        decide(&observed).waiting().unwrap()[&2],
        Wait::Quorum { have: 1, need: 2 }
    );
    assert_eq!(restarted(&observed), Some(1));
    kafka(&mut observed).voters.get_mut(&1).unwrap().caught_up_ms = None;
    assert_eq!(
        decide(&observed).waiting().unwrap()[&2],
        Wait::Quorum { have: 1, need: 2 }
    );
    kafka(&mut observed).leader = None;
    assert_eq!(decide(&observed).waiting().unwrap()[&2], Wait::NoLeader);
}

#[test]
fn a_broker_whose_partition_lacks_a_replica_waits() {
    let mut observed = outdated(3, 0);
    let lack = lagging(&[0, 1, 2], &[0, 1]);
    kafka(&mut observed).lagging = vec![lack.clone(), lack];
    assert_eq!(restarted(&observed), None);
    assert_eq!(
        wait_of(&observed, 2),
        "partition telemetry-0, which has 2 of 3 in-sync replicas (and 1 more partitions)"
    );
}

#[test]
fn a_lagging_partition_elsewhere_does_not_concern_a_broker() {
    let mut observed = outdated(3, 0);
    kafka(&mut observed).lagging = vec![lagging(&[0, 1], &[0])];
    assert_eq!(restarted(&observed), Some(2));
}

#[test]
fn replicas_up_to_the_minimum_are_waited_for_as_well_and_single_ones_never() {
    let mut observed = outdated(3, 0);
    kafka(&mut observed).lagging = vec![lagging(&[1, 2], &[1]), lagging(&[2], &[])];
    assert_eq!(restarted(&observed), None, "it has one of two replicas");
    kafka(&mut observed).lagging.remove(0);
    assert_eq!(restarted(&observed), Some(2));
}

fn any_process() -> impl Strategy<Value = Process> {
    prop_oneof![
        3 => Just(Process::Serving),
        1 => Just(Process::Stopped),
        1 => Just(Process::Unknown),
        1 => (0..1200i64).prop_map(|age| Process::Starting { since: at(NOW - age) }),
    ]
}

fn any_pod() -> impl Strategy<Value = PodState> {
    (any::<bool>(), prop::bool::weighted(0.1), any_process()).prop_map(
        |(up_to_date, terminating, process)| PodState {
            up_to_date,
            terminating,
            process,
        },
    )
}

fn any_lagging() -> impl Strategy<Value = Lagging> {
    (prop::sample::subsequence(vec![0, 1, 2], 1..=3), 0..8usize).prop_map(|(replicas, mask)| {
        let in_sync = replicas
            .iter()
            .enumerate()
            .filter(|(i, _)| mask >> i & 1 == 1)
            .map(|(_, r)| *r);
        let in_sync: Vec<i32> = in_sync.collect();
        Lagging {
            name: "t-0".into(),
            in_sync,
            replicas,
        }
    })
}

prop_compose! {
    fn any_kafka()(
        age in 0..30i64,
        live in prop::sample::subsequence(vec![0, 1, 2], 0..=3),
        leader in prop::option::weighted(0.9, 0..3i32),
        voters in prop::collection::btree_map(0..3i32, prop::option::of(990_000..1_000_000i64), 0..4),
        lagging in prop::collection::vec(any_lagging(), 0..4),
    ) -> KafkaState {
        KafkaState {
            at: at(NOW - age),
            live: live.into_iter().collect(),
            leader,
            voters: voters.into_iter().map(|(id, caught_up_ms)| (id, Voter { caught_up_ms })).collect(),
            lagging,
        }
    }
}

prop_compose! {
    fn any_observed()(
        single in any::<bool>(),
        pods in prop::collection::btree_map(0..3i32, any_pod(), 0..=3),
        kafka in prop::option::weighted(0.8, any_kafka()),
    ) -> (i32, Observed) {
        let brokers = if single { 1 } else { 3 };
        let pods = pods.into_iter().filter(|(id, _)| *id < brokers).collect();
        (brokers, Observed { pods, kafka: kafka.ok_or(Unasked("no answer".into())) })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Law 4, whatever is observed: a running broker is restarted only with Kafka's fresh word that nothing depends on
    /// it alone; and never two at a time.
    #[test]
    fn nothing_is_restarted_that_is_not_proven_safe((brokers, observed) in any_observed()) {
        let Step::Restart { id, .. } = next(&observed, brokers, at(NOW)) else { return Ok(()) };
        let pod = &observed.pods[&id];
        prop_assert!(!pod.up_to_date && !pod.terminating);
        let others: Vec<i32> = (0..brokers).filter(|other| *other != id).collect();
        for other in &others {
            prop_assert!(observed.pods.get(other).is_some_and(|p| !p.terminating), "{} is away", other);
        }
        let live = observed.kafka.as_ref().is_ok_and(|k| k.live.contains(&id));
        if pod.process == Process::Stopped && !live {
            return Ok(());
        }
        for other in &others {
            prop_assert_eq!(observed.pods[other].process, Process::Serving);
        }
        if let Process::Starting { since } = pod.process {
            prop_assert!(brokers > 1 && at(NOW).duration_since(since) >= STARTUP);
        }
        let kafka = observed.kafka.as_ref().unwrap();
        prop_assert!(at(NOW).duration_since(kafka.at) <= FRESH);
        if brokers == 1 {
            return Ok(());
        }
        prop_assert!(others.iter().all(|other| kafka.live.contains(other)));
        let leader = kafka.leader.unwrap();
        let then = kafka.voters.get(&leader).and_then(|v| v.caught_up_ms);
        let caught_up = others.iter().filter(|o| {
            let voter = kafka.voters.get(o).and_then(|v| v.caught_up_ms);
            kafka.voters.contains_key(o)
                && (**o == leader || then.zip(voter).is_some_and(|(a, b)| a - b <= CAUGHT_UP_WITHIN_MS))
        });
        prop_assert!(caught_up.count() > kafka.voters.len() / 2);
        for p in kafka.lagging.iter().filter(|p| p.replicas.len() > 1 && p.replicas.contains(&id)) {
            let full = p.in_sync.len() == p.replicas.len();
            let stuck = pod.process != Process::Serving && !p.in_sync.contains(&id);
            prop_assert!(full || stuck, "{:?}", p);
        }
    }

    /// Whoever is outdated and not restarted now says what it waits for; whoever is not, says nothing.
    #[test]
    fn everyone_who_waits_says_for_what((brokers, observed) in any_observed()) {
        let step = next(&observed, brokers, at(NOW));
        let outdated: BTreeSet<i32> =
            observed.pods.iter().filter(|(_, p)| !p.up_to_date).map(|(id, _)| *id).collect();
        let mut told: BTreeSet<i32> = step.waiting().into_iter().flatten().map(|(id, _)| *id).collect();
        if let Step::Restart { id, .. } = &step {
            prop_assert!(told.insert(*id), "a broker that restarts does not wait");
        }
        prop_assert_eq!(told, outdated);
    }

    /// A healthy cluster gets through: each broker restarts once, the controller last, whatever the replication.
    #[test]
    fn a_healthy_cluster_rolls_to_the_end(single in any::<bool>(), leader in 0..3i32) {
        let brokers = if single { 1 } else { 3 };
        let leader = leader.min(brokers - 1);
        let mut observed = outdated(brokers, leader);
        let mut order = Vec::new();
        while let Step::Restart { id, .. } = next(&observed, brokers, at(NOW)) {
            order.push(id);
            observed.pods.insert(id, pod(true));
        }
        prop_assert_eq!(next(&observed, brokers, at(NOW)), Step::Done);
        prop_assert_eq!(order.len(), observed.pods.len());
        prop_assert_eq!(order.last(), Some(&leader));
    }
}
