//! `tributary replicator`: runs one worker, or (for people) shows and decides positions.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::config::{ConfigError, Invalid, ReplicatorConfig};
use super::decide::{self, DecideError};
use super::link::{self, Context};
use super::metrics::Metrics;
use super::report::Report;
use crate::telemetry::{HttpError, HttpServer, shutdown_token};

/// Copies topics from one Kafka to another.
///
/// Without a verb it runs until SIGTERM. The verbs look at the positions on the target, or decide where a stopped
/// partition goes on; a running replicator acts on a decision within seconds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_REPLICATOR_CONFIG",
        default_value = "/etc/tributary/config/replicator.yaml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print this link's positions as they are stored on the target
    Positions,
    /// Decide where a topic or a partition that stands still goes on
    Resume(decide::Resume),
    /// Withdraw this link's positions, so that others may take its topics over; stop its replicators first
    Forget(decide::Forget),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplicatorError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A field of it.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Metrics and health.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Signals.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// A verb.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// Standard output.
    #[error("cannot print: {0}")]
    Print(#[source] std::io::Error),
}

/// Runs the command.
///
/// # Errors
/// When the configuration cannot work, the port for metrics is taken, or a verb fails. Nothing that a cluster does
/// ends a running worker.
pub async fn run(args: Args) -> Result<ExitCode, ReplicatorError> {
    let (config, hash) = ReplicatorConfig::load(&args.config)?;
    match args.verb {
        None => work(config, hash).await?,
        Some(Verb::Positions) => print(&decide::positions(&config).await?)?,
        Some(Verb::Resume(resume)) => print(&decide::resume(&config, &resume).await?)?,
        Some(Verb::Forget(forget)) => print(&decide::forget(&config, &forget).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn work(config: ReplicatorConfig, hash: String) -> Result<(), ReplicatorError> {
    let selection = config.validate()?;
    let worker = config.worker_index(&host_name())?;
    let report = Arc::new(Report::new(&config, worker, hash));
    let token = shutdown_token().map_err(ReplicatorError::Signals)?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(Arc::clone(&report))));
    let (live, ready, progress) = (Arc::clone(&report), Arc::clone(&report), Arc::clone(&report));
    let server = HttpServer::new(registry)
        .live(move || live.live())
        .ready(move || ready.ready())
        .progress(move || progress.progress())
        .bind(config.telemetry.listen)
        .await?;
    tracing::info!(name = config.name, worker, workers = config.workers, listen = %server.local_addr(), "replicator");
    // The server ends after the link, so that the last state can be read while it shuts down.
    let served = CancellationToken::new();
    let serving = tokio::spawn(server.serve(served.clone()));
    let context = Context {
        config,
        selection,
        worker,
        report,
    };
    link::run(&context, &token).await;
    served.cancel();
    // A server that failed has said so; it is no reason to end differently.
    let _ = serving.await;
    Ok(())
}

/// The pod's name, which ends in its ordinal.
fn host_name() -> String {
    let host_name = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    host_name
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn print(text: &str) -> Result<(), ReplicatorError> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(ReplicatorError::Print)
}
