//! All that speaks MQTT: the source and sink traits and the clients behind them.

pub mod endpoint;
pub mod filter;
