//! The command `tributary operator`: elects a leader, which reconciles all three kinds.

mod args;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use kube::{Client, Config};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::bridge_pipeline::BridgePipelines;
use crate::controller::{
    Clock, Election, ElectionTiming, Leadership, Metrics, Options, RunError, Runtime, SystemClock,
};
use crate::edge_cluster::EdgeClusters;
use crate::replication_link::ReplicationLinks;
use crate::telemetry::{HttpError, HttpServer, shutdown_token};

pub use args::Args;

/// The Lease's name.
pub const LEASE: &str = "tributary-operator";

/// Why the operator does not run.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Neither in a pod nor with a kubeconfig.
    #[error("no Kubernetes to work for: {0}; run it in a pod with a service account, or set KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    /// The client cannot be made from the configuration.
    #[error("the Kubernetes client cannot be set up: {0}")]
    Client(#[source] kube::Error),
    /// The port for metrics and health cannot be used.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] std::io::Error),
    /// Reconciling ended by itself.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// One process of the operator, apart from command line and HTTP: what tests run, too.
pub struct Operator {
    /// The client of the API server.
    pub client: Client,
    /// Settings.
    pub options: Options,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Metrics,
    /// Differs between processes; the pod's name.
    pub identity: String,
    /// The election's periods.
    pub timing: ElectionTiming,
    /// Set while this process stands by, or leads with its caches filled.
    pub ready: Arc<AtomicBool>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("identity", &self.identity)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Operator {
    /// Stands by and leads, turn by turn, until `stop` is cancelled.
    ///
    /// # Errors
    /// [`OperatorError::Run`] when reconciling ended by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<(), OperatorError> {
        let election = Election::new(
            self.client.clone(),
            &self.options.operator_namespace,
            LEASE,
            &self.identity,
            self.timing,
        );
        while !stop.is_cancelled() {
            self.ready.store(true, Ordering::Relaxed);
            let failed = OnceLock::new();
            let term = || async {
                self.ready.store(false, Ordering::Relaxed);
                self.metrics.leader(true);
                let runtime = Runtime {
                    client: self.client.clone(),
                    options: self.options.clone(),
                    clock: Arc::clone(&self.clock),
                    metrics: self.metrics.clone(),
                    instance: self.identity.clone(),
                    ready: Arc::clone(&self.ready),
                };
                let (edge, bridges, links) = (
                    EdgeClusters::new(),
                    BridgePipelines::default(),
                    ReplicationLinks::default(),
                );
                let reconciling = crate::controller::run(runtime, edge, bridges, links, stop.clone());
                if let Err(error) = Box::pin(reconciling).await {
                    let _ = failed.set(error);
                }
            };
            let ended = Box::pin(election.lead(&stop, term)).await;
            // Whoever leads next shows the figures.
            self.metrics.leader(false);
            if ended == Leadership::Ended
                && let Some(error) = failed.into_inner()
            {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// When it cannot begin, or a controller ended by itself.
pub async fn run(args: Args) -> Result<ExitCode, OperatorError> {
    let stop = shutdown_token().map_err(OperatorError::Signals)?;
    let config = Config::infer().await?;
    let options = args.options(&config.default_namespace);
    let identity = args.identity();
    tracing::info!(api_server = %config.cluster_url, identity, ?options, "operator starting");
    let client = Client::try_from(config).map_err(OperatorError::Client)?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ready = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&ready);
    let server = HttpServer::new(registry)
        .ready(move || match shown.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("the caches are being filled".to_owned()),
        })
        .bind(args.listen)
        .await?;
    // The port outlives the work: the last figures can be read while it ends.
    let serving = CancellationToken::new();
    let http = tokio::spawn(server.serve(serving.clone()));
    let operator = Operator {
        client,
        options,
        clock: Arc::new(SystemClock),
        metrics,
        identity,
        timing: ElectionTiming::default(),
        ready,
    };
    let result = operator.run(stop).await;
    serving.cancel();
    // A server that failed to serve is told in its own error; the work is what counts.
    if let Ok(Err(error)) = http.await {
        tracing::warn!(%error, "metrics and health ended early");
    }
    tracing::info!("operator ended");
    result.map(|()| ExitCode::SUCCESS)
}
