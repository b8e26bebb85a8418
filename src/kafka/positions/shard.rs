//! What one partition of the positions topic says, built record by record. Pure.

use std::collections::BTreeMap;

use super::{Position, PositionError, PositionKey, Scope};

/// What has been read of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shard {
    /// The next offset to read; `None` before the first record was asked for.
    pub(super) next_offset: Option<i64>,
    /// The last record of each key in scope.
    pub(super) positions: BTreeMap<PositionKey, Result<Position, PositionError>>,
    /// Records whose key says nothing to this version, by the key's bytes.
    pub(super) unreadable: BTreeMap<Vec<u8>, (i64, PositionError)>,
}

impl Shard {
    /// Entries of both kinds: what a bound applies to.
    pub(super) fn len(&self) -> usize {
        self.positions.len() + self.unreadable.len()
    }

    /// Takes the next record. The last record of a key counts, and a null value withdraws it.
    pub(super) fn apply(&mut self, scope: &Scope, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let bytes = key.unwrap_or_default();
        match PositionKey::decode(bytes) {
            Err(error) => {
                match value {
                    Some(_) => self.unreadable.insert(bytes.to_vec(), (offset, error)),
                    None => self.unreadable.remove(bytes),
                };
            }
            Ok(key) if !scope.includes(&key.link_id) => {}
            Ok(key) => {
                match value {
                    Some(value) => self.positions.insert(key, Position::decode(value)),
                    None => self.positions.remove(&key),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::kafka::topic_id::TopicId;

    fn key(link: &str, partition: i32) -> PositionKey {
        PositionKey {
            link_id: link.into(),
            source_cluster_id: "source".into(),
            topic_id: TopicId(Uuid::from_u128(1)),
            partition,
        }
    }

    fn position(next_offset: i64) -> Position {
        Position {
            next_offset,
            leader_epoch: None,
            source_topic: "a".into(),
            target_topic: "a".into(),
            target_topic_id: None,
            last_record_timestamp_ms: None,
            written_at_ms: 0,
            generation: 0,
        }
    }

    fn only(link: &str) -> Scope {
        Scope::Links([link.to_owned()].into())
    }

    #[test]
    fn the_last_record_of_a_key_counts_and_a_tombstone_withdraws_it() {
        let mut shard = Shard::default();
        let (a, b) = (key("link", 0), key("link", 1));
        shard.apply(&Scope::All, 0, Some(&a.encode()), Some(&position(5).encode()));
        shard.apply(&Scope::All, 1, Some(&b.encode()), Some(&position(6).encode()));
        shard.apply(&Scope::All, 2, Some(&a.encode()), Some(&position(7).encode()));
        assert_eq!(
            shard.positions,
            BTreeMap::from([(a.clone(), Ok(position(7))), (b.clone(), Ok(position(6)))])
        );
        shard.apply(&Scope::All, 3, Some(&a.encode()), None);
        assert_eq!(shard.positions, BTreeMap::from([(b, Ok(position(6)))]));
    }

    #[test]
    fn other_links_in_the_same_partition_are_left_out() {
        let mut shard = Shard::default();
        shard.apply(
            &only("mine"),
            0,
            Some(&key("other", 0).encode()),
            Some(&position(5).encode()),
        );
        shard.apply(
            &only("mine"),
            1,
            Some(&key("mine", 0).encode()),
            Some(&position(6).encode()),
        );
        assert_eq!(shard.positions.keys().collect::<Vec<_>>(), [&key("mine", 0)]);
    }

    #[test]
    fn a_value_of_a_future_version_stands_as_an_error_until_it_is_replaced() {
        let mut shard = Shard::default();
        let mine = key("mine", 0);
        shard.apply(
            &only("mine"),
            0,
            Some(&mine.encode()),
            Some(&position(5).encode()),
        );
        shard.apply(&only("mine"), 1, Some(&mine.encode()), Some(br#"{"v":2}"#));
        assert_eq!(
            shard.positions[&mine],
            Err(PositionError::FutureVersion {
                part: "value",
                version: 2
            })
        );
        shard.apply(
            &only("mine"),
            2,
            Some(&mine.encode()),
            Some(&position(9).encode()),
        );
        assert_eq!(shard.positions[&mine], Ok(position(9)));
    }

    #[test]
    fn keys_that_say_nothing_are_kept_until_their_tombstone_whatever_the_scope() {
        let mut shard = Shard::default();
        shard.apply(&only("mine"), 4, Some(br#"{"v":2}"#), Some(b"x"));
        shard.apply(&only("mine"), 5, Some(b"junk"), Some(b"x"));
        shard.apply(&only("mine"), 6, None, Some(b"x"));
        assert_eq!(shard.unreadable.len(), 3);
        let (offset, error) = &shard.unreadable[&br#"{"v":2}"#.to_vec()];
        assert_eq!(
            (*offset, error),
            (
                4,
                &PositionError::FutureVersion {
                    part: "key",
                    version: 2
                }
            )
        );
        shard.apply(&only("mine"), 7, Some(br#"{"v":2}"#), None);
        shard.apply(&only("mine"), 8, Some(b"junk"), None);
        shard.apply(&only("mine"), 9, None, None);
        assert_eq!(shard.len(), 0);
    }

    proptest! {
        /// Compaction keeps the last record of each key: whoever reads the compacted log learns the same.
        #[test]
        fn a_compacted_log_says_what_the_whole_log_says(
            records in prop::collection::vec((0..5_i32, prop::option::of(0..100_i64)), 0..60)
        ) {
            let (mut whole, mut compacted) = (Shard::default(), Shard::default());
            let log: Vec<_> = records
                .iter()
                .enumerate()
                .map(|(offset, (partition, next))| {
                    let offset = i64::try_from(offset).expect("small");
                    (offset, key("link", *partition).encode(), next.map(|next| position(next).encode()))
                })
                .collect();
            for (index, (offset, key, value)) in log.iter().enumerate() {
                whole.apply(&Scope::All, *offset, Some(key), value.as_deref());
                if !log[index + 1..].iter().any(|(_, later, _)| later == key) {
                    compacted.apply(&Scope::All, *offset, Some(key), value.as_deref());
                }
            }
            prop_assert_eq!(whole, compacted);
        }
    }
}
