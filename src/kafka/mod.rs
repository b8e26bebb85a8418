//! All that speaks Kafka: endpoint to client, administration, positions and lag; `wire` is our own client for what librdkafka lacks.

pub mod connection;
pub mod endpoint;
