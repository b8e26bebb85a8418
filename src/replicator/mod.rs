//! Kafka to Kafka: configuration, plan, engine, positions, progress.

pub mod assign;
pub mod config;
pub mod engine;
pub mod plan;
pub mod progress;
pub mod tracker;
pub mod verdict;
