use uuid::Uuid;

use super::*;
use crate::replicator::plan::Positions;
use crate::replicator::progress::PartitionState;

fn id(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

fn identity() -> Identity {
    Identity {
        link_id: "link".into(),
        source_cluster: "S".into(),
        target_cluster: "T".into(),
    }
}

fn route() -> Route {
    Route {
        topic_id: id(1),
        target: "munich.t".into(),
        target_topic_id: id(9),
    }
}

fn t(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn at(next_offset: i64) -> Reached {
    Reached {
        next_offset,
        leader_epoch: Some(2),
        timestamp: Some(7),
    }
}

fn slot(next_offset: i64, records: u64) -> SlotState {
    SlotState {
        reached: at(next_offset),
        records,
        bytes: records * 100,
        idle: true,
    }
}

fn read(next_offset: i64) -> Stored {
    Stored::Known(Known {
        topic_id: id(1),
        target_topic_id: Some(id(9)),
        position: at(next_offset),
    })
}

fn stop(reason: StopReason) -> Stop {
    let missing = Some(Missing {
        topic_id: id(1),
        from: 5,
        to: Some(10),
    });
    Stop {
        reason,
        message: "why".into(),
        missing,
        seen_at: Timestamp::UNIX_EPOCH,
    }
}

fn following(start: i64) -> Book {
    let mut book = Book::default();
    book.read(&t(0), &route(), Some(start));
    book.following(&t(0), route(), 0, at(start));
    book
}

#[test]
fn a_position_is_stored_once_it_moved_and_not_again() {
    let mut book = following(5);
    assert!(book.unstored(&identity(), 3).is_empty());
    book.advance(&[(0, slot(8, 3))].into());
    let unstored = book.unstored(&identity(), 3);
    let (partition, key, position) = &unstored[0];
    assert_eq!((partition, key.topic_id, key.partition), (&t(0), id(1), 0));
    assert_eq!(
        (position.next_offset, position.leader_epoch, position.generation),
        (8, Some(2), 3)
    );
    assert_eq!(
        (position.target_topic.as_str(), position.target_topic_id),
        ("munich.t", Some(id(9)))
    );
    book.stored(&t(0), 8, 0);
    assert!(book.unstored(&identity(), 3).is_empty());
}

#[test]
fn after_a_session_what_was_acknowledged_counts_although_it_was_not_stored() {
    let mut book = following(5);
    book.advance(&[(0, slot(8, 3))].into());
    book.session_ended();
    assert_eq!(book.known(&t(0), read(5)), read(8));
    assert_eq!(
        book.unstored(&identity(), 1).len(),
        1,
        "and it can still be stored"
    );
}

#[test]
fn a_position_that_somebody_else_stored_counts_above_our_own() {
    let mut book = following(5);
    book.advance(&[(0, slot(8, 3))].into());
    book.session_ended();
    for theirs in [2, 6, 20] {
        assert_eq!(book.known(&t(0), read(theirs)), read(theirs));
    }
    let anew = Stored::Known(Known {
        topic_id: id(2),
        target_topic_id: Some(id(9)),
        position: at(5),
    });
    assert_eq!(book.known(&t(0), anew), anew);
    assert_eq!(book.known(&t(0), Stored::NewTopic), Stored::NewTopic);
    book.read(&t(0), &route(), Some(2));
    assert!(
        book.unstored(&identity(), 1).is_empty(),
        "ours no longer overwrites it"
    );
}

#[test]
fn a_stopped_partition_stores_what_was_acknowledged_once_and_shows_its_gap_since_it_was_seen() {
    let mut book = following(5);
    book.advance(&[(0, slot(8, 3))].into());
    assert!(book.stopped(&t(0), &route(), stop(StopReason::BelowLogStart)));
    let later = Stop {
        seen_at: Timestamp::now(),
        message: "again".into(),
        ..stop(StopReason::BelowLogStart)
    };
    assert!(!book.stopped(&t(0), &route(), later), "the same stop is not news");
    assert_eq!(book.unstored(&identity(), 1).len(), 1);
    book.stored(&t(0), 8, 0);
    assert!(book.unstored(&identity(), 1).is_empty());
    let position = Reached {
        next_offset: 8,
        leader_epoch: None,
        timestamp: None,
    };
    let decided = Stored::Known(Known {
        topic_id: id(1),
        target_topic_id: Some(id(9)),
        position,
    });
    assert_eq!(
        book.known(&t(0), decided),
        decided,
        "a decision may repeat the offset"
    );
    let round = book.round();
    assert_eq!(
        (round.gaps[0].from, round.gaps[0].to, round.gaps[0].seen_at),
        (5, Some(10), Timestamp::UNIX_EPOCH)
    );
    assert_eq!(round.partitions[0].state, PartitionState::Stopped);
    assert_eq!(round.partitions[0].message.as_deref(), Some("again"));
    assert!(
        book.stopped(&t(0), &route(), stop(StopReason::TopicRecreated)),
        "another reason is"
    );
}

#[test]
fn totals_go_on_across_slots_and_give_the_mean_size() {
    let mut book = following(0);
    book.topic("t", "munich.t", 1);
    book.advance(&[(0, slot(4, 2))].into());
    book.session_ended();
    book.following(&t(0), route(), 0, at(4));
    book.advance(&[(0, slot(6, 2))].into());
    let round = book.round();
    assert_eq!((round.partitions[0].records, round.partitions[0].bytes), (4, 400));
    assert_eq!(
        round.topics[0].mean_record_bytes,
        Some(400.0 / 6.0),
        "per offset, holes included"
    );
}

#[test]
fn what_is_no_longer_wanted_is_left_and_disturbs_nothing_else() {
    let mut book = following(0);
    book.following(&t(1), route(), 1, at(0));
    assert_eq!(book.retain(&[t(1)].into()), [0]);
    assert_eq!(book.slots(), [(1, t(1))].into());
}

#[test]
fn what_a_partition_carried_still_counts_when_it_is_no_longer_wanted() {
    let mut book = following(0);
    book.advance(&[(0, slot(4, 2))].into());
    book.session_ended();
    book.following(&t(0), route(), 0, at(4));
    book.advance(&[(0, slot(6, 1))].into());
    book.retain(&BTreeSet::new());
    let round = book.round();
    assert_eq!((round.partitions.len(), round.left), (0, (3, 300)));
}

/// What the target says of partition 0.
fn found(next_offset: i64, written_at_ms: i64) -> Positions {
    let (key, position) = Book::registration(&identity(), 1, &t(0), &route(), at(next_offset));
    [(
        key,
        Position {
            written_at_ms,
            ..position
        },
    )]
    .into()
}

#[test]
fn a_position_that_is_lower_and_older_than_what_was_acknowledged_fell_back() {
    let mut book = following(5);
    let fell_back = |book: &Book, next, at| book.fell_back(&identity(), &found(next, at)).is_some();
    assert!(!fell_back(&book, 3, 50), "when ours was written is not known yet");
    book.date(&identity(), &found(5, 100));
    for (next, written, fell) in [(5, 100, false), (3, 50, true), (6, 101, false), (5, 50, false)] {
        assert_eq!(fell_back(&book, next, written), fell, "{next} {written}");
    }
    book.advance(&[(0, slot(8, 3))].into());
    book.stored(&t(0), 8, 200);
    assert!(fell_back(&book, 5, 100));
    book.session_ended();
    assert!(fell_back(&book, 5, 100), "also between sessions");
    book.forget_stored();
    assert!(!fell_back(&book, 5, 100), "from now on only what is read counts");
    assert!(book.unstored(&identity(), 1).is_empty());
}

#[test]
fn a_lower_position_that_was_decided_later_is_no_restored_target() {
    let mut book = following(5);
    book.date(&identity(), &found(5, 100));
    for _ in 0..2 {
        assert_eq!(book.fell_back(&identity(), &found(0, 300)), None);
        book.date(&identity(), &found(0, 300));
    }
}

#[test]
fn a_store_that_the_survey_did_not_see_is_not_missed() {
    let mut book = following(5);
    book.date(&identity(), &found(5, 100));
    // A store of 8 runs while the survey reads: it may or may not see it, and nobody has acknowledged it to us.
    book.advance(&[(0, slot(8, 3))].into());
    for (next, written) in [(5, 100), (8, 200)] {
        assert_eq!(book.fell_back(&identity(), &found(next, written)), None);
    }
}

#[test]
fn what_is_stored_for_a_partition_that_stands_still_is_nobodys_loss() {
    let mut book = following(5);
    book.date(&identity(), &found(5, 100));
    book.stopped(&t(0), &route(), stop(StopReason::BelowLogStart));
    assert_eq!(book.fell_back(&identity(), &found(3, 50)), None);
}

#[test]
fn only_what_is_copied_must_be_in_the_positions_topic() {
    let mut book = following(0);
    book.read(&t(1), &route(), Some(3));
    book.stopped(&t(1), &route(), stop(StopReason::BelowLogStart));
    book.waiting(&t(2), &route(), None);
    let keys = book.stored_keys(&identity());
    assert_eq!(keys.iter().map(|key| key.partition).collect::<Vec<_>>(), [0]);
    book.session_ended();
    assert_eq!(book.stored_keys(&identity()).len(), 1, "also between sessions");
}

#[test]
fn a_partition_that_stands_still_from_the_start_shows_where() {
    let mut book = Book::default();
    book.met(&t(0), &route(), Some(5));
    book.stopped(&t(0), &route(), stop(StopReason::BelowLogStart));
    let shown = book.round().partitions.remove(0);
    assert_eq!((shown.position, shown.stored), (Some(5), Some(5)));
    // What this process knows better stays: it is yet to be stored.
    let mut book = following(0);
    book.advance(&[(0, slot(8, 3))].into());
    book.met(&t(0), &route(), Some(5));
    book.stopped(&t(0), &route(), stop(StopReason::BelowLogStart));
    assert_eq!(book.round().partitions[0].position, Some(8));
}
