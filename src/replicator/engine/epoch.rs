//! The leader epoch of a fetched record, which the safe wrapper does not show.

use rdkafka::message::BorrowedMessage;

/// Leader epoch of the batch that a record was fetched in (KIP-320); `None` from brokers that do not tell.
#[allow(unsafe_code)] // librdkafka's accessor has no safe wrapper; see the SAFETY comment
pub(super) fn leader_epoch(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: `ptr` is the live message that `message` borrows from its client; the function only reads a field of it
    // (rdkafka.h: "May be called on messages returned by consumer", no thread or ownership condition).
    let epoch = unsafe { rdkafka::bindings::rd_kafka_message_leader_epoch(message.ptr()) };
    (epoch >= 0).then_some(epoch)
}
