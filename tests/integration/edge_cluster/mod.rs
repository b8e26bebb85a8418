//! EdgeClusters against a real API server and a real Kafka. No kubelet: the test plays the StatefulSet's controller,
//! the kubelet and the garbage collector.

mod identity;
mod objects;
mod roll;
mod topics;
mod world;
