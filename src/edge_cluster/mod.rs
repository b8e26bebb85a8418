//! The EdgeCluster reconciler: a factory's Kafka cluster.
