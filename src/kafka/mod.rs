//! All that speaks Kafka: endpoint to client, administration, positions and lag; `wire` is our own client for what librdkafka lacks.

pub mod connection;
pub mod endpoint;
pub mod eras;
pub mod error;
pub mod offsets;
pub mod positions;
pub mod quiet;
pub mod topic_id;
pub mod wire;

pub use connection::KafkaConnection;
pub use error::{ErrorCode, KafkaError};
pub use topic_id::TopicId;
