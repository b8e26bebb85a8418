//! `tributary bridge` as a process, between a real mosquitto and a real Kafka.

mod connection;
mod delivery;
mod qos2;
mod refusals;
mod sessions;
mod setup;
