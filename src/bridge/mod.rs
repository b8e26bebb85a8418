//! MQTT to Kafka: configuration, routes, pipeline, progress.

pub mod config;
pub mod pattern;
pub mod progress;
pub mod routes;
pub mod validate;
pub mod window;
