//! Runs in the broker's pod: prepares the volume, renders the properties, becomes Kafka.
