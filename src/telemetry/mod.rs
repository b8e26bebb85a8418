//! Tracing, metrics and the health endpoints.
