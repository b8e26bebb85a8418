//! A `KafkaEndpoint` of a spec, made usable: for the operator in memory, for a pod as files.
//!
//! Secrets are read by name when they are needed; they are neither listed nor watched. What was found is trusted for
//! [`SECRET_TTL`], so that a changed credential reaches the operator's own connections in that time. The pods see it
//! through their mounts.

mod pod;
mod resolve;
mod secrets;

pub use pod::{CREDENTIALS_DIR, PodEndpoint, SecretMounts};
pub use resolve::{KafkaPeer, ResolvedEndpoint, Unresolved, bootstrap_host};
pub(super) use secrets::Credentials;
pub use secrets::SECRET_TTL;
