//! What is wrong, and what is told of it.

use super::*;

#[test]
fn behind_and_gaining_is_ready_and_behind_and_losing_says_so() {
    let mut gaining = Watched::new();
    gaining
        .at(0, 0, 0)
        .at(100, 90_000, 0)
        .at(110, 90_000, 10_000)
        .at(135, 90_000, 60_000);
    assert_eq!(gaining.verdict(), Verdict::CatchingUp);
    gaining.expect("Ready", "True", Reason::Following);
    gaining.expect("KeepingUp", "True", Reason::Following);
    let lag = gaining.status().lag.clone().unwrap();
    assert!(lag.catch_up_seconds.is_some_and(|s| s > 0), "{lag:?}");
    let mut losing = Watched::new();
    losing.at(0, 0, 0);
    for i in 1..20 {
        losing.at(i * 10, i * 10_000, i * 100);
    }
    assert_eq!(losing.verdict(), Verdict::FallingBehind);
    losing.expect("Ready", "True", Reason::FallingBehind);
    losing.expect("KeepingUp", "False", Reason::FallingBehind);
}

#[test]
fn a_position_that_stands_while_the_source_moves_is_stalled_and_named() {
    let mut link = Watched::new();
    for i in 0..10 {
        link.at(i * 10, 100 + i * 100, 100);
    }
    assert_eq!(link.verdict(), Verdict::NotMoving);
    let message = link.expect("Stalled", "True", Reason::NotMoving);
    assert!(message.contains("telemetry-0"), "{message}");
    link.expect("Ready", "False", Reason::NotMoving);
    link.expect("KeepingUp", "False", Reason::NotMoving);
}

#[test]
fn a_cut_or_a_restart_between_two_looks_is_no_standing_still() {
    let anew = |second, since, source_too: bool| {
        let mut told = progress(second);
        told.target.connected_since = Some(at(since));
        if source_too {
            told.source.connected_since = Some(at(since));
        }
        told
    };
    for restarted in [false, true] {
        let mut link = Watched::new();
        for second in [0, 10, 20, 30, 40, 50] {
            link.at(second, 200, 100);
        }
        link.told(60, 200, 100, anew(60, 55, restarted));
        assert_ne!(link.verdict(), Verdict::NotMoving, "restarted: {restarted}");
        // From then on it counts again.
        for second in [70, 80, 90, 100, 110] {
            link.told(second, 200, 100, anew(second, 55, restarted));
        }
        assert_ne!(link.verdict(), Verdict::NotMoving, "restarted: {restarted}");
        link.told(120, 200, 100, anew(120, 55, restarted));
        assert_eq!(link.verdict(), Verdict::NotMoving, "restarted: {restarted}");
    }
}

#[test]
fn a_paused_link_is_paused_and_still_shows_its_lag() {
    let mut link = Watched::new();
    link.at(0, 100, 100);
    link.object.spec.paused = Some(true);
    link.object.metadata.generation = Some(4);
    let mut looked = sample(10, Ok(source(300)), Ok(target(10, Some(100))), None);
    looked.workers.clear();
    link.look(10, &[], Some(&looked));
    assert_eq!((link.verdict(), link.offsets()), (Verdict::Paused, Some(200)));
    link.expect("Ready", "False", Reason::Paused);
    assert_eq!(
        (link.condition("Reconciling"), link.condition("Stalled")),
        (None, None)
    );
}

#[test]
fn a_spec_that_cannot_work_is_stalled_with_field_value_and_remedy() {
    let mut link = Watched::new();
    link.at(0, 100, 100);
    let problem = Problem::new(
        Reason::ClusterNotFound,
        "spec.source.clusterRef.name",
        "absent",
        "is not there",
        "create it",
    );
    let identity = Identity::of(&link.object, None, None, None);
    let problems = [problem];
    link.with(&Look {
        now: at(10),
        validated: Err(&problems),
        stopped_by: None,
        pods: &[running()],
        sample: None,
        identity: &identity,
    });
    assert_eq!(link.verdict(), Verdict::Unknown);
    let message = link.expect("Stalled", "True", Reason::ClusterNotFound);
    assert!(
        message.contains("absent") && message.contains("create it"),
        "{message}"
    );
    let effective = link.status().effective.as_ref().unwrap();
    assert_eq!(
        (effective.link_id.as_deref(), effective.positions_seen),
        (Some(ID), true)
    );
    // The pods go on with the last spec that could work, and are believed.
    let sample = sample(15, Ok(source(100)), Ok(target(15, Some(100))), Some(progress(15)));
    link.with(&Look {
        now: at(15),
        validated: Err(&problems),
        stopped_by: None,
        pods: &[running()],
        sample: Some(&sample),
        identity: &identity,
    });
    link.expect("Stalled", "True", Reason::ClusterNotFound);
    link.expect("Connected", "True", Reason::Following);
    link.expect("Lossless", "True", Reason::NothingLost);
    link.at(20, 100, 100).expect("Ready", "True", Reason::Following);
}

#[test]
fn a_stopped_partition_makes_the_link_degraded_and_its_gap_stays_told_until_the_spec_changes() {
    let mut link = Watched::new();
    let mut told = progress(10);
    told.partitions = vec![stopped(0, StopReason::BelowLogStart)];
    let gap = ToldGap {
        topic: "telemetry".into(),
        topic_id: TopicId::ZERO.to_string(),
        partition: 0,
        from: 40,
        to: Some(70),
        reason: StopReason::BelowLogStart,
        seen_at: at(5),
    };
    told.gaps = vec![gap.clone()];
    link.told(10, 100, 40, told.clone());
    let message = link.expect("Ready", "False", Reason::PartitionStopped);
    assert!(
        message.contains("telemetry-0") && message.contains("BelowLogStart"),
        "{message}"
    );
    link.expect("Stalled", "True", Reason::PartitionStopped);
    link.expect("Lossless", "False", Reason::GapRecorded);
    told.gaps = vec![ToldGap {
        to: Some(80),
        seen_at: at(15),
        ..gap
    }];
    link.told(20, 100, 40, told);
    let gaps = &link.status().gaps;
    assert_eq!((gaps.len(), gaps[0].to, gaps[0].seen_at.0), (1, Some(80), at(5)));
    // Somebody decided, the partition goes on: the records are gone all the same.
    link.at(30, 100, 100)
        .at(40, 100, 100)
        .expect("Ready", "True", Reason::Following);
    link.expect("Lossless", "False", Reason::GapRecorded);
    assert_eq!(link.status().gaps.len(), 1);
    link.object.metadata.generation = Some(4);
    link.at(50, 100, 100)
        .expect("Lossless", "True", Reason::NothingLost);
    assert_eq!(link.status().gaps, []);
}

#[test]
fn records_that_the_source_deleted_during_a_cut_make_losslessness_unknown_with_their_range() {
    let mut link = Watched::new();
    let cut = |link: &mut Watched, second, start, position: Option<i64>| {
        let mut told = progress(second);
        let target = match position {
            Some(next) => Ok(target(second, Some(next))),
            None => {
                told.target = down(second);
                Err(fault(true, Reason::KafkaUnreachable))
            }
        };
        let sample = sample(second, Ok(source_from(start, 9000)), target, Some(told));
        link.look(second, &[running()], Some(&sample));
    };
    link.at(0, 1000, 1000);
    cut(&mut link, 10, 900, None);
    link.expect("Lossless", "True", Reason::NothingLost);
    cut(&mut link, 20, 5000, None);
    cut(&mut link, 30, 5000, None);
    let message = link.expect("Lossless", "Unknown", Reason::RecordsExpired);
    assert!(message.contains("1000 to 5000 of telemetry-0"), "{message}");
    // Also when nobody replicates, and when the source cannot be read either.
    link.object.spec.paused = Some(true);
    cut(&mut link, 40, 5000, None);
    link.expect("Lossless", "Unknown", Reason::RecordsExpired);
    link.object.spec.paused = None;
    let blind = fault(true, Reason::KafkaUnreachable);
    let sample = sample(50, Err(blind.clone()), Err(blind), Some(progress(50)));
    link.look(50, &[running()], Some(&sample));
    link.expect("Lossless", "Unknown", Reason::RecordsExpired);
    // What was in flight has arrived.
    cut(&mut link, 60, 5000, Some(6000));
    link.expect("Lossless", "True", Reason::NothingLost);
}

#[test]
fn an_operator_that_starts_after_the_deletion_sees_it_at_its_first_look() {
    let mut link = Watched::new();
    let looked = sample(
        0,
        Ok(source_from(5000, 9000)),
        Ok(target(0, Some(1000))),
        Some(progress(0)),
    );
    link.look(0, &[running()], Some(&looked));
    link.expect("Lossless", "Unknown", Reason::RecordsExpired);
}

#[test]
fn a_pod_that_has_not_reported_for_long_vouches_for_nothing() {
    let other = PodView {
        name: "to-eu-replicator-1".into(),
        ..running()
    };
    let mut link = Watched::new();
    let looked = |second, second_pod: bool| {
        let mut looked = sample(second, Ok(source(100)), Ok(target(second, Some(100))), None);
        let told = progress(second);
        looked.workers.insert(POD.into(), Ok(told.clone()));
        if second_pod {
            looked.workers.insert(other.name.clone(), Ok(told));
        }
        looked
    };
    let pods = [running(), other.clone()];
    link.look(0, &pods, Some(&looked(0, false)));
    let message = link.expect("Lossless", "Unknown", Reason::Starting);
    assert!(message.contains(&other.name), "{message}");
    link.look(10, &pods, Some(&looked(10, true)))
        .expect("Lossless", "True", Reason::NothingLost);
    link.look(190, &pods, Some(&looked(190, false)))
        .expect("Lossless", "True", Reason::NothingLost);
    link.look(191, &pods, Some(&looked(191, false)));
    let message = link.expect("Lossless", "Unknown", Reason::Stale);
    assert!(message.contains(&other.name), "{message}");
    link.look(200, &pods, Some(&looked(200, true)))
        .expect("Lossless", "True", Reason::NothingLost);
}

#[test]
fn pods_that_never_saw_the_target_do_not_vouch_for_positions_that_nobody_has_read() {
    let mut link = Watched::new();
    link.cut(0, 100)
        .expect("Lossless", "Unknown", Reason::NotConnected);
    // The pods judge by themselves what the operator cannot read.
    let mut blind = sample(
        10,
        Err(fault(true, Reason::KafkaUnreachable)),
        Ok(target(10, Some(50))),
        Some(progress(10)),
    );
    link.look(10, &[running()], Some(&blind))
        .expect("Lossless", "True", Reason::NothingLost);
    blind.at = at(20);
    blind.workers.insert(POD.into(), Err("no answer".into()));
    link.look(20, &[running()], Some(&blind))
        .expect("Lossless", "True", Reason::NothingLost);
}

fn stopped(partition: i32, reason: StopReason) -> PartitionProgress {
    PartitionProgress {
        topic: "telemetry".into(),
        topic_id: TopicId::ZERO.to_string(),
        partition,
        state: PartitionState::Stopped,
        reason: Some(reason),
        message: Some("raise max.message.bytes".into()),
        position: Some(40),
        stored: Some(40),
        leader_epoch: None,
        last_timestamp: None,
        bytes: 0,
        records: 0,
    }
}

#[test]
fn a_record_that_waits_for_the_target_degrades_the_link_and_is_not_called_lost() {
    let mut link = Watched::new();
    let mut told = progress(10);
    told.partitions = vec![stopped(0, StopReason::RecordTooLarge)];
    link.told(10, 100, 40, told);
    let message = link.expect("Stalled", "True", Reason::PartitionStopped);
    assert!(message.contains("RecordTooLarge: raise"), "{message}");
    link.expect("Lossless", "True", Reason::NothingLost);
    link.at(20, 100, 100);
    link.expect("Ready", "True", Reason::Following);
    assert_eq!(link.status().gaps, []);
}

#[test]
fn several_stopped_partitions_are_named_with_their_reasons_up_to_a_bound() {
    let mut link = Watched::new();
    let mut told = progress(10);
    told.partitions = vec![
        stopped(1, StopReason::NotAuthorized),
        stopped(0, StopReason::RecordTooLarge),
    ];
    link.told(10, 100, 40, told.clone());
    let message = link.expect("Ready", "False", Reason::PartitionStopped);
    assert!(
        message.ends_with("; also stopped: telemetry-1 (NotAuthorized)"),
        "{message}"
    );
    told.partitions = (0..9).map(|p| stopped(p, StopReason::RecordRefused)).collect();
    link.told(20, 100, 40, told);
    let message = link.expect("Ready", "False", Reason::PartitionStopped);
    assert!(
        message.ends_with("telemetry-5 (RecordRefused) and 3 more"),
        "{message}"
    );
}

#[test]
fn a_refused_topic_is_told_with_its_reason_while_the_others_go_on() {
    for (word, reason) in [
        ("LoopRefused", Reason::LoopRefused),
        ("NameCollision", Reason::NameCollision),
        ("TopicNotCreated", Reason::TopicNotCreated),
        ("TooFewPartitions", Reason::TopicRefused),
    ] {
        let mut link = Watched::new();
        let mut told = progress(0);
        told.refused = vec![ToldTopic {
            name: "telemetry".into(),
            reason: word.into(),
            message: "replication factor 5 is larger than 1; lower it".into(),
        }];
        link.told(0, 100, 0, told);
        assert_eq!(
            (link.verdict(), link.offsets()),
            (Verdict::InSync, Some(0)),
            "{word}"
        );
        let message = link.expect("Ready", "False", reason);
        assert!(
            message.contains("telemetry") && message.contains('5'),
            "{message}"
        );
        link.expect("Stalled", "True", reason);
        assert_eq!(link.status().refused[0].reason, word);
    }
}

#[test]
fn lost_positions_stop_the_link_and_make_losslessness_unknown() {
    let mut link = Watched::new();
    link.at(0, 100, 100);
    let mut told = progress(10);
    told.stopped = Some(LinkStop {
        reason: LinkStopReason::PositionsLost,
        message: "positions were there once; see the runbook".into(),
        since: at(9),
    });
    let lost = sample(10, Ok(source(200)), Ok(target(10, None)), Some(told));
    link.look(10, &[running()], Some(&lost));
    assert_eq!(link.verdict(), Verdict::Unknown);
    link.expect("Stalled", "True", Reason::PositionsLost);
    link.expect("Lossless", "Unknown", Reason::PositionsLost);
    assert!(
        link.status().effective.as_ref().unwrap().positions_seen,
        "never forgotten"
    );
}

#[test]
fn positions_that_were_seen_are_remembered_by_each_of_four_witnesses() {
    let config = validated(&object()).config;
    let seen = |object: &ReplicationLink, sample: Option<&Sample>, noted: Option<&str>| {
        Identity::of(object, Some(&config), sample, noted).positions_seen
    };
    let mut told = progress(0);
    told.positions_seen = false;
    let nothing = sample(0, Ok(source(0)), Ok(target(0, None)), Some(told));
    assert!(!seen(&object(), Some(&nothing), None));
    let read = Sample {
        target: Ok(target(0, Some(1))),
        ..nothing.clone()
    };
    assert!(seen(&object(), Some(&read), None), "the positions themselves");
    let by_pod = sample(0, Ok(source(0)), Ok(target(0, None)), Some(progress(0)));
    assert!(seen(&object(), Some(&by_pod), None), "a pod");
    assert!(
        seen(&object(), Some(&nothing), Some(ID)),
        "the note, after the status was wiped"
    );
    let mut link = Watched::new();
    link.at(0, 1, 1);
    assert!(seen(&link.object, Some(&nothing), None), "the status");
    let mut other = nothing.clone();
    other.source = Ok(Source {
        cluster_id: "another".into(),
        ..source(0)
    });
    assert!(
        !seen(&link.object, Some(&other), Some(ID)),
        "another source is another link by default"
    );
}

#[test]
fn a_status_that_is_fresh_stands_until_the_first_look_of_a_new_sampler() {
    let link_at = |second, generation, sample: Option<&Sample>| {
        let mut link = Watched::new();
        link.at(0, 100, 100);
        link.object.metadata.generation = Some(generation);
        let good = validated(&link.object);
        let identity = Identity::of(&link.object, Some(&good.config), None, None);
        let look = Look {
            now: at(second),
            validated: Ok((&good, HASH)),
            stopped_by: None,
            pods: &[running()],
            sample,
            identity: &identity,
        };
        soon_known(&link.object, &look)
    };
    assert!(link_at(30, 3, None));
    assert!(!link_at(91, 3, None), "it is too old");
    assert!(!link_at(30, 4, None), "it speaks of another spec");
    let looked = sample(30, Ok(source(1)), Ok(target(30, Some(1))), Some(progress(30)));
    assert!(!link_at(30, 3, Some(&looked)));
}

#[test]
fn a_look_that_changes_nothing_changes_no_byte_of_the_status_at_rest() {
    use crate::controller::Kind;
    let mut link = Watched::new();
    link.at(0, 100, 100).at(10, 120, 120);
    let before = ReplicationLink::at_rest(link.status());
    link.at(20, 190, 180).at(30, 260, 255);
    assert_eq!(ReplicationLink::at_rest(link.status()), before);
}
