//! EdgeCluster: a factory's own Kafka cluster.

mod build;
mod defaults;
mod names;
mod roll;
mod validate;
