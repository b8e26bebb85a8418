//! Kafka to Kafka: configuration, plan, engine, positions, progress.

pub mod assign;
pub mod config;
mod credentials;
pub mod engine;
mod metrics;
pub mod plan;
pub mod progress;
mod report;
pub mod settings;
mod store;
pub mod tracker;
pub mod verdict;
