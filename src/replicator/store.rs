//! Writes positions to the target.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::kafka::connection::KafkaConnection;
use crate::kafka::positions::{POSITIONS_TOPIC, Position, PositionKey, partition_for};
use crate::kafka::quiet::Quiet;

/// How long a position may wait to be written before the attempt counts as failed; a younger one follows anyway.
const ATTEMPT: Duration = Duration::from_secs(10);

/// A producer for the positions topic alone: what waits for a slow data topic does not delay positions.
pub(super) struct Store {
    producer: FutureProducer<Quiet>,
}

/// Why positions were not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// This time; the next attempt may succeed.
    #[error("positions were not stored: {0}")]
    NotStored(#[source] KafkaError),
    /// This client never writes again: it takes another.
    #[error("positions were not stored: the client gave up: {0}")]
    Broken(String),
}

impl Store {
    /// Builds the client; no broker is asked for anything yet.
    pub(super) fn new(target: &KafkaConnection) -> Result<Self, StoreError> {
        let mut config = target.client_config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", ATTEMPT.as_millis().to_string())
            .set("linger.ms", "5")
            // The format says so: readers need no codec.
            .set("compression.type", "none")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("log_level", "0");
        config
            .create_with_context(Quiet("positions"))
            .map(|producer| Self { producer })
            .map_err(StoreError::NotStored)
    }

    /// Writes positions (or withdraws them) and waits until the target has all of them.
    ///
    /// In the order given: after a crash in between, what is stored is a beginning of the list.
    pub(super) async fn write(
        &self,
        positions: &[(PositionKey, Option<Position>)],
    ) -> Result<(), StoreError> {
        let mut waiting = Vec::with_capacity(positions.len());
        for (key, position) in positions {
            let (encoded, value) = (key.encode(), position.as_ref().map(Position::encode));
            let mut record = FutureRecord::to(POSITIONS_TOPIC)
                .partition(partition_for(&key.link_id))
                .key(&encoded);
            record.payload = value.as_ref();
            // Two steps, so that all are on their way before the first is waited for.
            waiting.push(self.queue(record).await?);
        }
        for delivery in waiting {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(self.failed(error)),
                Err(_) => return Err(self.failed(KafkaError::Canceled)),
            }
        }
        Ok(())
    }

    /// An idempotent producer that can no longer tell what was written refuses everything from then on; the failure at
    /// hand need not be the one that says so.
    fn failed(&self, error: KafkaError) -> StoreError {
        match self.producer.client().fatal_error() {
            Some((code, message)) => StoreError::Broken(format!("{code}: {message}")),
            None => StoreError::NotStored(error),
        }
    }

    async fn queue(
        &self,
        mut record: FutureRecord<'_, Vec<u8>, Vec<u8>>,
    ) -> Result<rdkafka::producer::DeliveryFuture, StoreError> {
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err((error, _)) => return Err(self.failed(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::kafka::topic_id::TopicId;

    fn withdrawal() -> [(PositionKey, Option<Position>); 1] {
        let key = PositionKey {
            link_id: "link".to_owned(),
            source_cluster_id: "S".to_owned(),
            topic_id: TopicId(Uuid::from_u128(1)),
            partition: 0,
        };
        [(key, None)]
    }

    #[tokio::test]
    #[allow(unsafe_code)] // the only way to a fatal error without a broker; see the SAFETY comment
    async fn a_client_that_gave_up_is_told_from_one_that_may_yet_succeed() {
        let store = Store::new(&KafkaConnection::plaintext(["127.0.0.1:1"])).unwrap();
        let passing = store.failed(KafkaError::Canceled);
        assert!(matches!(passing, StoreError::NotStored(_)), "{passing}");
        // SAFETY: the client lives as long as `store`; the reason is a C string that the call copies.
        unsafe {
            rdkafka::bindings::rd_kafka_test_fatal_error(
                store.producer.client().native_ptr(),
                rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                c"a hole in the sequence".as_ptr(),
            );
        }
        let broken = store.write(&withdrawal()).await.unwrap_err();
        assert!(matches!(broken, StoreError::Broken(_)), "{broken}");
    }
}
