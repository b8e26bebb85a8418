//! Kafka to Kafka: configuration, plan, engine, positions, progress.

pub mod assign;
pub mod config;
pub mod progress;
pub mod tracker;
pub mod verdict;
