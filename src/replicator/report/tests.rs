use super::*;
use crate::replicator::progress::StopReason;

fn report() -> Report {
    let text = "name: a\nsource: {bootstrapServers: ['a:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                target: {bootstrapServers: ['b:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                topics: {include: ['.*'], naming: {type: Identity}}\ndelivery: AtLeastOnce\nstart: Earliest\n";
    Report::new(&ReplicatorConfig::parse(text).unwrap(), 0, "hash".to_owned())
}

fn partition(number: i32, state: PartitionState) -> PartitionProgress {
    PartitionProgress {
        topic: "t".to_owned(),
        topic_id: "id".to_owned(),
        partition: number,
        state,
        reason: (state == PartitionState::Stopped).then_some(StopReason::BelowLogStart),
        message: None,
        position: Some(5),
        stored: Some(4),
        leader_epoch: None,
        last_timestamp: None,
        bytes: 10,
        records: 2,
    }
}

#[test]
fn since_when_is_kept_while_it_lasts() {
    let report = report();
    assert_eq!(report.down_for(Side::Target), None);
    report.disconnected(Side::Target, "KafkaUnreachable", "first");
    assert!(report.down_for(Side::Target).is_some());
    let since = report.progress().target.disconnected_since;
    assert!(since.is_some());
    report.disconnected(Side::Target, "KafkaTimeout", "second");
    let target = report.progress().target;
    assert_eq!(target.disconnected_since, since);
    assert_eq!(target.message.as_deref(), Some("second"));
    report.connected(Side::Target, "T");
    let target = report.progress().target;
    assert!(target.is_connected() && target.disconnected_since.is_none() && target.reason.is_none());
    assert_eq!(report.down_for(Side::Target), None);
}

#[test]
fn a_fault_is_kept_with_its_end() {
    let report = report();
    report.disconnected(Side::Source, "KafkaUnreachable", "no");
    assert_eq!(report.progress().last_error.unwrap().until, None);
    report.connected(Side::Target, "T");
    assert_eq!(
        report.progress().last_error.unwrap().until,
        None,
        "the other side says nothing about it"
    );
    report.connected(Side::Source, "S");
    assert!(report.progress().last_error.unwrap().until.is_some());
}

#[test]
fn it_is_ready_once_both_answered_and_stays_so_when_the_line_is_cut() {
    let report = report();
    report.connected(Side::Source, "S");
    assert!(report.ready().is_err());
    report.connected(Side::Target, "T");
    report.disconnected(Side::Target, "KafkaUnreachable", "cut");
    assert!(report.ready().is_ok());
}

#[test]
fn a_stop_keeps_its_time_until_the_link_goes_on() {
    let report = report();
    report.link_stopped(LinkStopReason::PositionsLost, "gone");
    let since = report.progress().stopped.unwrap().since;
    report.link_stopped(LinkStopReason::PositionsLost, "still gone");
    assert_eq!(report.progress().stopped.unwrap().since, since);
    report.link_goes();
    assert!(report.progress().stopped.is_none());
}

#[test]
fn stopped_partitions_come_first_and_lists_are_bounded() {
    let report = report();
    let many = i32::try_from(MAX_PARTITIONS).unwrap() + 1;
    let mut partitions: Vec<_> = (0..many)
        .map(|n| partition(n, PartitionState::Following))
        .collect();
    partitions.push(partition(many, PartitionState::Stopped));
    report.round(Round {
        partitions,
        ..Round::default()
    });
    let progress = report.progress();
    assert_eq!(progress.partitions.len(), MAX_PARTITIONS);
    assert_eq!(progress.partitions[0].partition, many);
    assert_eq!(
        progress.totals.records,
        2 * (MAX_PARTITIONS as u64 + 2),
        "totals count what the list leaves out"
    );
}

#[test]
fn what_is_written_is_what_is_read() {
    let report = report();
    report.link_stopped(LinkStopReason::LoopRefused, "loop");
    report.disconnected(Side::Target, "KafkaUnreachable", "cut");
    report.round(Round {
        partitions: vec![partition(0, PartitionState::Stopped)],
        ..Round::default()
    });
    let progress = report.progress();
    let text = serde_json::to_string(&progress).unwrap();
    assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
    assert!(text.contains("\"reason\":\"BelowLogStart\""), "{text}");
}
