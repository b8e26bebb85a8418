//! Integration tests: the real Kafka, mosquitto and API server, started by the harness. One binary, so that everything
//! links once; each room has its module.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests

mod bridge;
mod edge_cluster;
mod harness;
mod kafka;
mod operator;
mod probe;
mod replication_link;
mod replicator;
mod rules;
mod status;
