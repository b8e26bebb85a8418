//! The load generator and auditor: finds loss, duplicates, disorder, latency.

mod latency;
mod ledger;
mod ranges;
mod sent;
mod stamp;
