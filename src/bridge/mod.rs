//! MQTT to Kafka: configuration, routes, pipeline, progress.
