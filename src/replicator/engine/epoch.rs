//! Leader epochs (KIP-320), which the safe wrapper does not show: of a fetched record, of the consumer's position, and of
//! where it is to begin.

use std::ffi::CString;

use rdkafka::bindings;
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::replicator::tracker::Reached;

/// Leader epoch of the batch that a record was fetched in; `None` from brokers that do not tell.
#[allow(unsafe_code)] // librdkafka's accessor has no safe wrapper; see the SAFETY comment
pub(super) fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: `ptr` is the live message that `message` borrows from its client; the function only reads a field of it
    // (rdkafka.h: "May be called on messages returned by consumer", no thread or ownership condition).
    let epoch = unsafe { bindings::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}

/// A partition's offset in a list of the consumer's positions, and the leader epoch of what is right before it, markers
/// included; `None` where the list has no offset.
#[allow(unsafe_code)] // librdkafka's accessor has no safe wrapper; see the SAFETY comment
pub(super) fn position(
    positions: &TopicPartitionList,
    topic: &str,
    partition: i32,
) -> Option<(i64, Option<i32>)> {
    let topic = CString::new(topic).ok()?;
    // SAFETY: `positions` is borrowed, so its list and the found element live until the end of this function; all three
    // only read, and an element that is not found is null, which `as_ref` tells.
    let (next, epoch) = unsafe {
        let found = bindings::rd_kafka_topic_partition_list_find(positions.ptr(), topic.as_ptr(), partition);
        let element = found.as_ref()?;
        (
            element.offset,
            bindings::rd_kafka_topic_partition_get_leader_epoch(element),
        )
    };
    // Offsets below 0 are librdkafka's words for "none", "beginning" and the like.
    (next >= 0).then_some((next, (epoch >= 0).then_some(epoch)))
}

/// Adds where a partition is to be read from, with the leader epoch of what is right before it: the consumer then asks the
/// leader whether its log still holds that before it fetches anything, and not only after the first record.
#[allow(unsafe_code)] // librdkafka's accessor has no safe wrapper; see the SAFETY comment
pub(super) fn add_start(
    list: &mut TopicPartitionList,
    topic: &str,
    partition: i32,
    start: Reached,
) -> KafkaResult<()> {
    list.add_partition_offset(topic, partition, Offset::Offset(start.next_offset))?;
    let (Ok(topic), Some(epoch)) = (CString::new(topic), start.leader_epoch) else {
        return Ok(());
    };
    // SAFETY: `list` is borrowed for writing, so its elements live and nobody else holds one; an element that is not found
    // is null, which `as_mut` tells; the setter keeps no pointer, and what it allocates is the element's, freed with the list.
    unsafe {
        let found = bindings::rd_kafka_topic_partition_list_find(list.ptr(), topic.as_ptr(), partition);
        if let Some(element) = found.as_mut() {
            bindings::rd_kafka_topic_partition_set_leader_epoch(element, epoch);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_carries_its_epoch_into_the_list_that_the_consumer_is_given() {
        let mut list = TopicPartitionList::new();
        for (partition, next_offset, leader_epoch) in [(0, 5, Some(4)), (1, 7, None), (2, 9, Some(0))] {
            let start = Reached {
                next_offset,
                leader_epoch,
                timestamp: None,
            };
            add_start(&mut list, "t", partition, start).unwrap();
            assert_eq!(position(&list, "t", partition), Some((next_offset, leader_epoch)));
        }
        assert_eq!(
            position(&list.clone(), "t", 0),
            Some((5, Some(4))),
            "copies keep it"
        );
        assert_eq!(list.count(), 3);
    }

    #[test]
    #[allow(unsafe_code)] // only librdkafka itself sets epochs; see the SAFETY comment
    fn a_position_comes_with_its_epoch_if_there_is_one() {
        let mut positions = TopicPartitionList::new();
        positions.add_partition_offset("t", 0, Offset::Offset(5)).unwrap();
        positions.add_partition_offset("t", 1, Offset::Offset(7)).unwrap();
        positions.add_partition_offset("t", 2, Offset::Invalid).unwrap();
        // SAFETY: the list lives, and has a second element.
        unsafe {
            let second = (*positions.ptr()).elems.add(1);
            bindings::rd_kafka_topic_partition_set_leader_epoch(second, 4);
        }
        assert_eq!(position(&positions, "t", 0), Some((5, None)));
        assert_eq!(position(&positions, "t", 1), Some((7, Some(4))));
        assert_eq!(position(&positions, "t", 2), None);
        assert_eq!(position(&positions, "u", 0), None);
    }
}
