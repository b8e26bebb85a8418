//! MQTT to Kafka: configuration, routes, pipeline, progress.
//!
//! A message is taken from MQTT into the [`window`], becomes records by the [`routes`], goes to Kafka through the
//! [`producer`], and is acknowledged to MQTT when Kafka has acknowledged all of them, in the order of receipt. The
//! [`engine`] is all of that without I/O; the [`session`] drives it between two connections.

pub mod board;
pub mod config;
pub mod dial;
pub mod engine;
pub mod files;
pub mod metrics;
pub mod pattern;
pub mod producer;
pub mod progress;
pub mod record;
pub mod routes;
pub mod run;
pub mod session;
pub mod sink;
pub mod subscribing;
pub mod validate;
pub mod verdict;
pub mod watch;
pub mod window;

pub use dial::end_session;
pub use run::{Args, BridgeError, run};
