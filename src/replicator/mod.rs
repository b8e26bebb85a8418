//! Kafka to Kafka: configuration, plan, engine, positions, progress.

pub mod config;
pub mod progress;
