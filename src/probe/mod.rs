//! The load generator and auditor: finds loss, duplicates, disorder, latency.
