//! Kafka to Kafka: configuration, plan, engine, positions, progress.

pub mod assign;
mod book;
mod command;
pub mod config;
mod credentials;
mod decide;
pub mod engine;
mod link;
mod metrics;
pub mod plan;
pub mod progress;
mod report;
pub mod settings;
mod store;
pub mod tracker;
pub mod verdict;

pub use command::{Args, ReplicatorError, run};
