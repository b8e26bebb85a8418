//! Whether what a client has learnt of topics can still be true: their IDs and leader epochs over time. Pure.
//!
//! librdkafka remembers the highest leader epoch of a partition under the topic's name, and believes no leader of a
//! lower one (its issue 4898). When a topic was deleted and created anew, or a cluster restored from an older copy, it
//! may ask for ever who leads no more, and says nothing. A new client has learnt nothing yet, and is right.

use std::collections::BTreeMap;

use super::topic_id::TopicId;
use super::wire::TopicMetadata;

/// Looks in a row that must show a lower epoch: one broker's view may lag behind another's.
const LOOKS: u32 = 2;

/// What clients may have learnt of topics that were looked at while they lived.
#[derive(Clone, Debug, Default)]
pub struct Eras {
    topics: BTreeMap<String, Era>,
}

#[derive(Clone, Debug)]
struct Era {
    id: TopicId,
    /// The highest epoch of each partition.
    epochs: BTreeMap<i32, i32>,
    /// Looks in a row with a lower one.
    lower: u32,
    /// It has just begun: a client that was made at once may have asked a broker that had not heard of it.
    young: bool,
}

impl Eras {
    /// Takes a look at a topic. Whether clients made before it must be made anew; for those made after it, the look is
    /// the first. When the topic is another one, the next look says so once more.
    pub fn is_over(&mut self, name: &str, seen: &TopicMetadata) -> bool {
        let epochs = || {
            let told = seen.partitions.iter();
            told.filter_map(|(index, partition)| Some((*index, partition.leader_epoch?)))
        };
        let era = self.topics.entry(name.to_owned()).or_insert_with(|| Era {
            id: seen.id,
            epochs: BTreeMap::new(),
            lower: 0,
            young: false,
        });
        let lower = epochs().any(|(index, epoch)| era.epochs.get(&index).is_some_and(|known| epoch < *known));
        era.lower = if lower { era.lower + 1 } else { 0 };
        let other = era.id != seen.id;
        let over = other || era.lower >= LOOKS || era.young;
        if over {
            *era = Era {
                id: seen.id,
                epochs: epochs().collect(),
                lower: 0,
                young: other,
            };
        }
        for (index, epoch) in epochs() {
            let known = era.epochs.entry(index).or_insert(epoch);
            *known = epoch.max(*known);
        }
        over
    }

    /// Forgets the other topics.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.topics.retain(|name, _| keep(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire::PartitionMetadata;
    use uuid::Uuid;

    fn topic(id: u128, epochs: &[Option<i32>]) -> TopicMetadata {
        let partition = |leader_epoch: &Option<i32>| PartitionMetadata {
            leader: Some(0),
            leader_epoch: *leader_epoch,
            replicas: vec![0],
            isr: vec![0],
            offline: Vec::new(),
            error: None,
        };
        TopicMetadata {
            id: TopicId(Uuid::from_u128(id)),
            internal: false,
            partitions: (0..).zip(epochs.iter().map(partition)).collect(),
        }
    }

    #[test]
    fn a_topic_that_grows_and_whose_leaders_move_is_the_same() {
        let mut eras = Eras::default();
        for epochs in [
            &[Some(0)][..],
            &[Some(3)],
            &[Some(3), Some(0)],
            &[None, Some(1)],
            &[],
        ] {
            assert!(!eras.is_over("t", &topic(1, epochs)), "{epochs:?}");
        }
        assert!(!eras.is_over("t", &topic(1, &[Some(3), Some(1)])));
    }

    #[test]
    fn another_id_ends_it_at_this_look_and_the_next_and_each_topic_by_itself() {
        let mut eras = Eras::default();
        assert!(!eras.is_over("t", &topic(1, &[Some(5)])));
        assert!(!eras.is_over("u", &topic(2, &[Some(0)])));
        assert!(eras.is_over("t", &topic(3, &[Some(0)])));
        assert!(
            eras.is_over("t", &topic(3, &[Some(0)])),
            "now every broker knows it"
        );
        for _ in 0..3 {
            assert!(
                !eras.is_over("t", &topic(3, &[Some(0)])),
                "the epochs of the former do not count"
            );
            assert!(!eras.is_over("u", &topic(2, &[Some(0)])));
        }
    }

    #[test]
    fn a_topic_that_is_forgotten_begins_anew() {
        let mut eras = Eras::default();
        for name in ["t", "u"] {
            assert!(!eras.is_over(name, &topic(1, &[Some(5)])));
        }
        eras.retain(|name| name == "u");
        assert!(!eras.is_over("t", &topic(2, &[Some(0)])));
        assert!(eras.is_over("u", &topic(2, &[Some(0)])));
    }

    #[test]
    fn epochs_that_fell_end_it_when_two_looks_in_a_row_show_it() {
        let mut eras = Eras::default();
        let (high, low) = (topic(1, &[Some(1), Some(7)]), topic(1, &[Some(1), Some(4)]));
        assert!(!eras.is_over("t", &high));
        assert!(!eras.is_over("t", &low));
        assert!(!eras.is_over("t", &high), "a broker that lagged behind");
        assert!(!eras.is_over("t", &low));
        assert!(eras.is_over("t", &low));
        assert!(!eras.is_over("t", &low));
        assert!(!eras.is_over("t", &topic(1, &[Some(1), Some(5)])));
    }
}
