//! The ReplicationLink reconciler: replication between two Kafka clusters.
