//! One small HTTP server per process: `/metrics`, `/healthz`, `/readyz`, `/progress`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ProcessMetrics;
use super::connections::LimitedListener;

/// The port every long-running command listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 9404;
/// Connections served at once; more wait in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 64;
/// A connection on which nothing moved for this long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// How long open requests may take to finish at shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;
type Document = Box<dyn Fn() -> serde_json::Result<Vec<u8>> + Send + Sync>;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be bound.
    #[error(
        "cannot listen on {addr} for metrics and health: {source}; choose another address or end what uses it"
    )]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("the metrics and health server ended: {0}")]
    Serve(#[source] std::io::Error),
}

/// What is to be served. Without further ado: metrics, `/healthz` and `/readyz` with 200, no `/progress` (404).
///
/// ```no_run
/// # use tributary::telemetry::{HttpServer, DEFAULT_PORT};
/// # async fn f(token: tokio_util::sync::CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
/// let mut registry = prometheus_client::registry::Registry::default();
/// let server = HttpServer::new(registry)
///     .ready(|| Err("not subscribed yet".to_owned()))
///     .progress(|| serde_json::json!({"connected": false}))
///     .bind(([0, 0, 0, 0], DEFAULT_PORT).into())
///     .await?;
/// let task = tokio::spawn(server.serve(token));
/// # Ok(()) }
/// ```
pub struct HttpServer {
    registry: Registry,
    live: Check,
    ready: Check,
    progress: Option<Document>,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("progress", &self.progress.is_some())
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Serves `registry`, to which the `process_*` metrics and the version are added.
    #[must_use]
    pub fn new(mut registry: Registry) -> Self {
        registry.register_collector(Box::new(ProcessMetrics));
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("tributary_build", "The version of this program", version);
        Self {
            registry,
            live: Box::new(|| Ok(())),
            ready: Box::new(|| Ok(())),
            progress: None,
        }
    }

    /// `/healthz`: `Err(reason)` is answered as 503 and makes the kubelet restart the container. It must say nothing
    /// about peers: a dead broker is no reason to restart.
    #[must_use]
    pub fn live(mut self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.live = Box::new(check);
        self
    }

    /// `/readyz`: `Err(reason)` is answered as 503 with the reason as text. Must not block.
    #[must_use]
    pub fn ready(mut self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.ready = Box::new(check);
        self
    }

    /// `/progress`: what `document` yields, as JSON. Must not block.
    #[must_use]
    pub fn progress<T: Serialize>(mut self, document: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.progress = Some(Box::new(move || serde_json::to_vec(&document())));
        self
    }

    /// Binds `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(self, addr: SocketAddr) -> Result<RunningHttpServer, HttpError> {
        let bind = |source| HttpError::Bind { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        let listener = LimitedListener::new(listener, MAX_CONNECTIONS, IDLE_LIMIT);
        Ok(RunningHttpServer {
            listener,
            local_addr,
            router: router(self),
        })
    }
}

/// A bound server, ready to [`serve`](Self::serve).
pub struct RunningHttpServer {
    listener: LimitedListener,
    local_addr: SocketAddr,
    router: Router,
}

impl fmt::Debug for RunningHttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningHttpServer")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

impl RunningHttpServer {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `token` is cancelled; then open requests get two seconds to finish.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(self, token: CancellationToken) -> Result<(), HttpError> {
        let stop = token.clone().cancelled_owned();
        let serving = axum::serve(self.listener, self.router)
            .with_graceful_shutdown(stop)
            .into_future();
        let drained = async {
            token.cancelled().await;
            tokio::time::sleep(DRAIN_LIMIT).await;
        };
        tokio::select! {
            ended = serving => ended.map_err(HttpError::Serve),
            () = drained => Ok(()),
        }
    }
}

fn router(server: HttpServer) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route(
            "/healthz",
            get(|State(s): State<Arc<HttpServer>>| async move { answer(&s.live) }),
        )
        .route(
            "/readyz",
            get(|State(s): State<Arc<HttpServer>>| async move { answer(&s.ready) }),
        )
        .route("/progress", get(progress))
        .with_state(Arc::new(server))
}

fn answer(check: &Check) -> Response {
    match check() {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(server): State<Arc<HttpServer>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &server.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(e) => failed(&format!("metrics cannot be written: {e}")),
    }
}

async fn progress(State(server): State<Arc<HttpServer>>) -> Response {
    match server.progress.as_ref().map(|document| document()) {
        None => (StatusCode::NOT_FOUND, "this command has no progress\n").into_response(),
        Some(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Some(Err(e)) => failed(&format!("progress cannot be written: {e}")),
    }
}

fn failed(reason: &str) -> Response {
    tracing::error!(reason, "request failed");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")).into_response()
}

#[cfg(test)]
mod tests;
