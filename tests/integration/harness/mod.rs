//! Starts what the tests talk to, on free ports of 127.0.0.1, and leaves nothing behind: processes die with the test
//! process, however it ends, and their data goes with them. Logs stay until five later runs (see [`process`]).
//!
//! A part that is missing on this machine is a failure which says what installs it, never a skipped test.

pub(crate) mod acls;
pub(crate) mod apiserver;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod fake_server;
pub(crate) mod kafka;
pub(crate) mod mosquitto;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod said;
pub(crate) mod tls_server;
pub(crate) mod tools;
pub(crate) mod wait;

use std::future::Future;
use std::sync::OnceLock;

/// Runs a future on a runtime that lives as long as the test process: what is shared between tests must not be tied
/// to the runtime of the test that happened to start it.
pub(crate) fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    });
    runtime.spawn(future)
}
