//! Tributary runs hybrid edge-to-cloud Kafka fleets on Kubernetes: one binary that is the operator, the broker's
//! launcher, the MQTT bridge, the replicator and the commissioning probe.
//!
//! Arrows between the rooms point down only: main -> kinds, bridge, replicator, probe, broker, status -> controller, kafka,
//! mqtt, health, telemetry -> api. `tests/architecture.rs` proves it.

#[deny(missing_docs)]
pub mod api;
pub mod bridge;
pub mod bridge_pipeline;
pub mod broker;
pub mod controller;
pub mod crds;
pub mod edge_cluster;
pub mod health;
pub mod kafka;
pub mod mqtt;
pub mod operator;
pub mod probe;
pub mod replication_link;
pub mod replicator;
pub mod status;
pub mod telemetry;
