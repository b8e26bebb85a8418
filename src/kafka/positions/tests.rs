use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn key() -> PositionKey {
    PositionKey {
        link_id: "munich/factory/to-region".into(),
        source_cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".into(),
        topic_id: TopicId(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)),
        partition: 3,
    }
}

fn position() -> Position {
    Position {
        next_offset: 42,
        leader_epoch: Some(3),
        source_topic: "telemetry".into(),
        target_topic: "munich.telemetry".into(),
        target_topic_id: Some(TopicId(Uuid::from_u128(1))),
        last_record_timestamp_ms: Some(1_767_225_600_000),
        written_at_ms: 1_767_225_600_123,
        generation: 7,
    }
}

#[test]
fn version_one_is_written_exactly_as_documented() {
    assert_eq!(
        String::from_utf8(key().encode()).expect("UTF-8"),
        r#"{"v":1,"link":"munich/factory/to-region","sourceCluster":"MkU3OEVBNTcwNTJENDM2Qg","topicId":"ASNFZ4mrze8BI0VniavN7w","partition":3}"#
    );
    assert_eq!(
        String::from_utf8(position().encode()).expect("UTF-8"),
        r#"{"v":1,"nextOffset":42,"leaderEpoch":3,"sourceTopic":"telemetry","targetTopic":"munich.telemetry","targetTopicId":"AAAAAAAAAAAAAAAAAAAAAQ","lastRecordTimestampMs":1767225600000,"writtenAtMs":1767225600123,"generation":7}"#
    );
}

#[test]
fn a_links_partition_never_changes() {
    // The first bytes of the SHA-256 of "a" and of nothing, computed with sha256sum.
    assert_eq!(
        partition_for("a"),
        i32::try_from(0xca97_8112_u32 % 8).expect("small")
    );
    assert_eq!(
        partition_for(""),
        i32::try_from(0xe3b0_c442_u32 % 8).expect("small")
    );
}

#[test]
fn absent_optional_members_read_as_none() {
    let value =
        br#"{"v":1,"nextOffset":0,"sourceTopic":"a","targetTopic":"b","writtenAtMs":5,"generation":0}"#;
    let position = Position::decode(value).expect("decodes");
    assert_eq!(
        (
            position.leader_epoch,
            position.target_topic_id,
            position.last_record_timestamp_ms
        ),
        (None, None, None)
    );
}

#[test]
fn a_future_version_is_an_error_however_different_it_is() {
    assert_eq!(
        PositionKey::decode(br#"{"v":2,"who":"knows"}"#),
        Err(PositionError::FutureVersion {
            part: "key",
            version: 2
        })
    );
    assert_eq!(
        Position::decode(br#"{"nextOffset":"forty-two","v":99}"#),
        Err(PositionError::FutureVersion {
            part: "value",
            version: 99
        })
    );
}

#[test]
fn members_added_to_a_value_within_the_version_are_ignored_but_not_in_a_key() {
    let value = br#"{"v":1,"nextOffset":1,"sourceTopic":"a","targetTopic":"b","writtenAtMs":5,"generation":0,"later":{"x":1}}"#;
    assert_eq!(Position::decode(value).expect("decodes").next_offset, 1);
    let key = br#"{"v":1,"link":"a","sourceCluster":"b","topicId":"AAAAAAAAAAAAAAAAAAAAAQ","partition":0,"later":1}"#;
    assert!(matches!(
        PositionKey::decode(key),
        Err(PositionError::Malformed { part: "key", .. })
    ));
}

#[test]
fn what_is_not_ours_is_malformed() {
    for bytes in [
        &b""[..],
        b"hello",
        b"{}",
        b"[]",
        b"null",
        br#"{"v":0}"#,
        br#"{"v":1}"#,
        br#"{"v":-1}"#,
        b"\xff",
    ] {
        assert!(
            matches!(PositionKey::decode(bytes), Err(PositionError::Malformed { .. })),
            "{bytes:?}"
        );
        assert!(
            matches!(Position::decode(bytes), Err(PositionError::Malformed { .. })),
            "{bytes:?}"
        );
    }
    let negative =
        br#"{"v":1,"link":"a","sourceCluster":"b","topicId":"AAAAAAAAAAAAAAAAAAAAAQ","partition":-1}"#;
    assert!(PositionKey::decode(negative).is_err());
    let negative =
        br#"{"v":1,"nextOffset":-1,"sourceTopic":"a","targetTopic":"b","writtenAtMs":5,"generation":0}"#;
    assert!(Position::decode(negative).is_err());
}

fn any_key() -> impl Strategy<Value = PositionKey> {
    (".+", ".*", any::<u128>(), 0..=i32::MAX).prop_map(|(link_id, source_cluster_id, id, partition)| {
        PositionKey {
            link_id,
            source_cluster_id,
            topic_id: TopicId(Uuid::from_u128(id)),
            partition,
        }
    })
}

fn any_position() -> impl Strategy<Value = Position> {
    (
        0..=i64::MAX,
        any::<Option<i32>>(),
        ".*",
        ".*",
        any::<Option<u128>>(),
        any::<Option<i64>>(),
        any::<i64>(),
        any::<u64>(),
    )
        .prop_map(
            |(
                next_offset,
                leader_epoch,
                source_topic,
                target_topic,
                id,
                timestamp,
                written_at_ms,
                generation,
            )| {
                Position {
                    next_offset,
                    leader_epoch,
                    source_topic,
                    target_topic,
                    target_topic_id: id.map(|id| TopicId(Uuid::from_u128(id))),
                    last_record_timestamp_ms: timestamp,
                    written_at_ms,
                    generation,
                }
            },
        )
}

proptest! {
    #[test]
    fn keys_read_back_as_written(key in any_key()) {
        prop_assert_eq!(PositionKey::decode(&key.encode()), Ok(key));
    }

    #[test]
    fn different_keys_give_different_bytes(a in any_key(), b in any_key()) {
        prop_assert_eq!(a == b, a.encode() == b.encode());
    }

    #[test]
    fn values_read_back_as_written(position in any_position()) {
        prop_assert_eq!(Position::decode(&position.encode()), Ok(position));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = PositionKey::decode(&bytes);
        let _ = Position::decode(&bytes);
    }

    #[test]
    fn every_link_has_a_partition(link in ".*") {
        prop_assert!((0..POSITIONS_PARTITIONS).contains(&partition_for(&link)));
    }
}
