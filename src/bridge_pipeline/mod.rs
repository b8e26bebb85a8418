//! The BridgePipeline reconciler: an MQTT bridge.
