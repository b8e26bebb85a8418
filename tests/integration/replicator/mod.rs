//! `tributary replicator`, the real binary, between real Kafka clusters.

mod copying;
mod decisions;
mod faults;
mod growth;
mod kills;
mod loops;
mod records;
mod refused;
mod world;
