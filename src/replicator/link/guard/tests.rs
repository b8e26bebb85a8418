use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::kafka::positions::{Position, Unreadable};
use crate::kafka::topic_id::TopicId;

const LINK: &str = "factory/to-eu";

fn key(link: &str, partition: i32) -> PositionKey {
    PositionKey {
        link_id: link.to_owned(),
        source_cluster_id: "S".to_owned(),
        topic_id: TopicId(Uuid::from_u128(1)),
        partition,
    }
}

fn position() -> Position {
    Position {
        next_offset: 5,
        leader_epoch: None,
        source_topic: "t".to_owned(),
        target_topic: "t".to_owned(),
        target_topic_id: None,
        last_record_timestamp_ms: None,
        written_at_ms: 0,
        generation: 1,
    }
}

fn found(positions: &[(PositionKey, Result<Position, PositionError>)]) -> Positions {
    Positions {
        topic_id: TopicId(Uuid::from_u128(7)),
        positions: positions.iter().cloned().collect(),
        unreadable: Vec::new(),
        truncated: BTreeMap::new(),
    }
}

fn future() -> PositionError {
    PositionError::FutureVersion {
        part: "value",
        version: 2,
    }
}

fn malformed() -> PositionError {
    PositionError::Malformed {
        part: "value",
        why: "no".to_owned(),
    }
}

fn reason(seen: bool, stored: &[PositionKey], found: &Positions) -> Option<LinkStopReason> {
    let stored = stored.iter().cloned().collect();
    check_positions(LINK, seen, &stored, found)
        .err()
        .map(|halt| halt.reason)
}

#[test]
fn a_link_that_never_ran_may_start() {
    assert_eq!(reason(false, &[], &found(&[])), None);
    assert_eq!(
        reason(false, &[], &found(&[(key("other", 0), Ok(position()))])),
        None
    );
}

#[test]
fn positions_that_were_seen_and_are_gone_stop_the_link() {
    let others = found(&[(key("other", 0), Ok(position()))]);
    assert_eq!(reason(true, &[], &others), Some(LinkStopReason::PositionsLost));
    let half = found(&[(key(LINK, 0), Ok(position()))]);
    assert_eq!(reason(true, &[], &half), None);
    assert_eq!(
        reason(true, &[key(LINK, 0), key(LINK, 1)], &half),
        Some(LinkStopReason::PositionsLost)
    );
}

#[test]
fn what_a_newer_version_wrote_is_never_taken_for_absent() {
    let value = found(&[(key(LINK, 0), Err(future()))]);
    assert_eq!(reason(false, &[], &value), Some(LinkStopReason::PositionsTooNew));
    let mut keys = found(&[]);
    keys.unreadable.push(Unreadable {
        partition: partition_for(LINK),
        offset: 3,
        error: future(),
    });
    assert_eq!(reason(false, &[], &keys), Some(LinkStopReason::PositionsTooNew));
    keys.unreadable[0].partition = (partition_for(LINK) + 1) % 8;
    assert_eq!(
        reason(false, &[], &keys),
        None,
        "in that partition there is nothing of ours"
    );
}

#[test]
fn a_broken_position_of_ours_stops_and_one_of_others_does_not() {
    assert_eq!(
        reason(false, &[], &found(&[(key(LINK, 0), Err(malformed()))])),
        Some(LinkStopReason::PositionsUnusable)
    );
    assert_eq!(
        reason(false, &[], &found(&[(key("other", 0), Err(malformed()))])),
        None
    );
}

fn timeout() -> KafkaError {
    KafkaError::Timeout {
        address: "a".into(),
        doing: "x".into(),
        after: Duration::from_secs(3),
    }
}

#[test]
fn a_late_answer_is_no_cut_while_the_engine_hears_from_that_side() {
    let late = |heard| is_only_late(&timeout(), heard, None);
    assert!(late(Some(Duration::ZERO)) && late(Some(HEARD_LATELY)));
    assert!(!late(Some(HEARD_LATELY * 2)), "not any more");
    assert!(!late(None), "nothing was ever heard");
    let refused = KafkaError::Unreachable {
        address: "a".into(),
        why: "connection refused".into(),
        advertised_by: None,
    };
    let now = Some(Duration::ZERO);
    assert!(!is_only_late(&refused, now, None), "that is an answer");
}

#[test]
fn what_was_heard_before_a_cut_does_not_end_it_and_what_is_heard_since_does() {
    let seconds = |n| Some(Duration::from_secs(n));
    assert!(!is_only_late(&timeout(), seconds(9), seconds(5)));
    assert!(is_only_late(&timeout(), seconds(2), seconds(5)));
}

#[test]
fn a_cluster_out_of_reach_is_no_reason_to_stand_still_for_good_and_a_refusal_is() {
    let code = |code| PositionsError::Kafka(KafkaError::from_code("topic", code, None).unwrap());
    assert_eq!(unreadable(&PositionsError::Kafka(timeout())), None);
    assert_eq!(unreadable(&code(6)), None, "NOT_LEADER_OR_FOLLOWER passes");
    assert_eq!(
        unreadable(&code(29)).map(|halt| halt.reason),
        Some(LinkStopReason::PositionsUnusable)
    );
    assert!(unreadable(&PositionsError::WrongPartitions { found: 1 }).is_some());
}

fn limits(largest_batch: Option<u64>) -> Limits {
    Limits {
        largest_batch,
        fingerprint: format!("max.message.bytes={largest_batch:?}"),
    }
}

fn refused(code: RDKafkaErrorCode, before: Option<&RefusedRecord>) -> Option<RefusedRecord> {
    RefusedRecord::new(&Refusal::new(7, 2000, code), &limits(Some(1000)), before)
}

#[test]
fn only_what_is_the_records_own_fault_stops_its_partition() {
    let stops = |code| refused(code, None).map(|refused| refused.reason);
    assert_eq!(
        stops(RDKafkaErrorCode::MessageSizeTooLarge),
        Some(StopReason::RecordTooLarge)
    );
    assert_eq!(
        stops(RDKafkaErrorCode::InvalidRecord),
        Some(StopReason::RecordRefused)
    );
    assert_eq!(
        stops(RDKafkaErrorCode::InvalidDifferentRecord),
        Some(StopReason::RecordRefused),
        "whichever record of the batch it is"
    );
    assert_eq!(
        stops(RDKafkaErrorCode::TopicAuthorizationFailed),
        Some(StopReason::NotAuthorized)
    );
    for passing in [
        RDKafkaErrorCode::UnknownTopicOrPartition,
        RDKafkaErrorCode::PurgeInflight,
        RDKafkaErrorCode::Fatal,
        RDKafkaErrorCode::InvalidMessage,
    ] {
        assert_eq!(stops(passing), None, "{passing}");
    }
}

#[test]
fn a_record_that_is_not_the_first_of_its_batch_is_named_with_what_waits_for_it() {
    let mut refusal = Refusal::new(7, 10, RDKafkaErrorCode::InvalidDifferentRecord);
    let told = |refusal: &Refusal| {
        RefusedRecord::new(refusal, &limits(Some(1000)), None).map(|told| (told.offset, told.message))
    };
    let (offset, message) = told(&refusal).unwrap();
    assert!(
        offset == 7 && message.contains("the batch that begins at source offset 7"),
        "{message}"
    );
    refusal.add(9, 10, RDKafkaErrorCode::InvalidRecord);
    let (offset, message) = told(&refusal).unwrap();
    assert!(
        offset == 9 && message.contains("source offset 9 (those from 7 on"),
        "{message}"
    );
    let mut first = Refusal::new(7, 10, RDKafkaErrorCode::InvalidRecord);
    first.add(8, 10, RDKafkaErrorCode::InvalidDifferentRecord);
    let (offset, message) = told(&first).unwrap();
    assert!(
        offset == 7 && message.contains("the record at source offset 7:"),
        "{message}"
    );
}

#[test]
fn a_refused_record_is_tried_again_when_the_topic_changed() {
    let refused = refused(RDKafkaErrorCode::MessageSizeTooLarge, None).unwrap();
    let much_later = Instant::now() + Duration::from_secs(1_000_000);
    assert!(
        !refused.is_due(&limits(Some(1000)), much_later),
        "a larger record does not shrink"
    );
    assert!(refused.is_due(&limits(Some(5000)), Instant::now()));
    assert!(
        refused.message.contains("max.message.bytes 1000"),
        "{}",
        refused.message
    );
}

#[test]
fn a_refused_record_is_met_up_to_its_offset_and_missing_rights_are_met_anywhere() {
    let record = refused(RDKafkaErrorCode::MessageSizeTooLarge, None).unwrap();
    assert!(record.is_at(3) && record.is_at(7));
    assert!(!record.is_at(8), "somebody decided to go on behind it");
    let rights = refused(RDKafkaErrorCode::TopicAuthorizationFailed, None).unwrap();
    assert!(rights.is_at(7) && rights.is_at(8));
}

#[test]
fn a_record_too_large_for_a_limit_that_cannot_be_read_is_tried_again_less_and_less_often() {
    let refusal = Refusal::new(7, 2000, RDKafkaErrorCode::MessageSizeTooLarge);
    let again = |before| RefusedRecord::new(&refusal, &limits(None), before).unwrap();
    let first = again(None);
    let second = again(Some(&first));
    let due = |refused: &RefusedRecord, after| refused.is_due(&limits(None), refused.since + after);
    assert!(!due(&first, RETRY_FIRST / 2) && due(&first, RETRY_FIRST));
    assert!(!due(&second, RETRY_FIRST) && due(&second, RETRY_FIRST * 2));
    assert!(
        first.is_due(&limits(Some(1000)), first.since),
        "the right to read it was granted"
    );
    assert!(
        first.message.contains("grant DescribeConfigs"),
        "{}",
        first.message
    );
}

#[test]
fn what_may_pass_by_itself_is_tried_again_less_and_less_often() {
    let first = refused(RDKafkaErrorCode::TopicAuthorizationFailed, None).unwrap();
    let second = refused(RDKafkaErrorCode::TopicAuthorizationFailed, Some(&first)).unwrap();
    let due =
        |refused: &RefusedRecord, after: Duration| refused.is_due(&limits(Some(1000)), refused.since + after);
    assert!(!due(&first, RETRY_FIRST / 2) && due(&first, RETRY_FIRST));
    assert!(!due(&second, RETRY_FIRST) && due(&second, RETRY_FIRST * 2));
    let mut last = second;
    for _ in 0..100 {
        last = refused(RDKafkaErrorCode::TopicAuthorizationFailed, Some(&last)).unwrap();
    }
    assert!(due(&last, RETRY_LONGEST));
}

const UNREADABLE: RDKafkaErrorCode = RDKafkaErrorCode::BadMessage;
const FORBIDDEN: RDKafkaErrorCode = RDKafkaErrorCode::TopicAuthorizationFailed;

/// The same fault again and again, each time as soon as it is tried again.
fn lasting(code: RDKafkaErrorCode, times: u32, begun: Instant) -> SourceFault {
    let mut fault = SourceFault::new(code, 7, None, begun);
    for _ in 1..times {
        let again = fault.since + fault.pause() + Duration::from_secs(5);
        fault = SourceFault::new(code, 7, Some(&fault), again);
    }
    fault
}

#[test]
fn a_source_fault_is_tried_again_at_once_then_less_and_less_often_and_told_once() {
    let pauses = [0, 60, 120, 240, 480, 960, 1920, 3600, 3600];
    for (times, pause) in (1..).zip(pauses) {
        let fault = lasting(UNREADABLE, times, Instant::now());
        assert_eq!(fault.is_first(), times == 1, "{times}");
        let after = |seconds| fault.since + Duration::from_secs(seconds);
        assert!(pause == 0 || fault.holds(7, after(pause - 1)), "{times}");
        assert!(!fault.holds(7, after(pause)), "{times}");
    }
    assert_eq!(lasting(UNREADABLE, 5, Instant::now()).stops(), None);
}

#[test]
fn a_source_fault_holds_only_the_position_where_it_was() {
    let begun = Instant::now();
    let fault = lasting(UNREADABLE, 3, begun);
    assert!(fault.holds(7, fault.since));
    assert!(
        !fault.holds(8, fault.since),
        "somebody decided to go on behind it"
    );
    assert!(SourceFault::new(UNREADABLE, 8, Some(&fault), fault.since).is_first());
    let other = RDKafkaErrorCode::OffsetOutOfRange;
    assert!(SourceFault::new(other, 7, Some(&fault), fault.since).is_first());
    let much_later = fault.since + Duration::from_secs(86_400);
    assert!(
        SourceFault::new(UNREADABLE, 7, Some(&fault), much_later).is_first(),
        "a partition may stand at one offset for long without a fault"
    );
}

#[test]
fn a_missing_right_to_read_stops_wherever_the_partition_is() {
    let begun = Instant::now();
    let first = lasting(FORBIDDEN, 1, begun);
    assert_eq!(first.stops(), Some(StopReason::NotAuthorized));
    assert!(first.to_string().contains("grant Read"), "{first}");
    assert!(first.holds(7, begun) && first.holds(3, begun));
    assert!(!first.holds(7, begun + RETRY_FIRST));
    let second = lasting(FORBIDDEN, 2, begun);
    assert!(!second.is_first() && second.holds(7, second.since + RETRY_FIRST));
    assert!(!second.holds(7, second.since + RETRY_FIRST * 2));
}
