//! Kafka to Kafka: configuration, plan, engine, positions, progress.
