//! The operator against a real API server: what the kinds have in common, with BridgePipelines as the example.

mod fixture;
mod leadership;
mod objects;
mod unreadable;

pub(crate) use fixture::{Fixture, PATIENCE, condition, progress_server};
