//! Tracing, metrics and the health endpoints.
//!
//! Every long-running command does the same three things: [`init_tracing`] once, [`shutdown_token`] once, and one
//! [`HttpServer`] on [`DEFAULT_PORT`] which answers `/metrics`, `/healthz`, `/readyz` and `/progress`.

mod connections;
#[cfg(test)]
pub mod documented;
mod http;
mod logging;
mod process;
mod redacted;
mod shutdown;

pub use http::{DEFAULT_PORT, HttpError, HttpServer, MAX_CONNECTIONS, RunningHttpServer};
pub use logging::{LogFormat, LoggingError, init_tracing};
pub use process::{ProcessMetrics, ProcessUsage};
pub use redacted::Redacted;
pub use shutdown::shutdown_token;
