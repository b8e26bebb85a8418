//! `tributary bridge`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Subcommand;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::config::{BridgeConfig, LoadError};
use super::dial::{Dialer, EndSessionError, end_session};
use super::engine::Engine;
use super::files::FileWatch;
use super::metrics::Metrics;
use super::record::RecordBuilder;
use super::routes::{RouteError, RouteTable};
use super::session::{Session, Signals};
use super::sink::KafkaSinks;
use super::watch::{KafkaView, Way, Ways, look};
use crate::kafka::endpoint::KafkaEndpointFile;
use crate::mqtt::endpoint::ServerAddressError;
use crate::telemetry::{HttpError, HttpServer, shutdown_token};

/// How long a session is tried to be ended.
const END_SESSION_LIMIT: Duration = Duration::from_secs(10);
/// A session that shows no sign of life for so long is stuck in a way that only a restart mends.
const HEART_LIMIT: Duration = Duration::from_secs(60);

/// Carry messages from an MQTT server to Kafka, acknowledged when Kafka has them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration: YAML, see the reference
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// End the session at the MQTT server, with what it still holds for it; the bridge must have stopped
    EndSession,
}

/// Why the bridge does not run. What may pass by itself is not among it: that is told at `/progress`.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// A route cannot be used.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A server's address cannot be used.
    #[error("mqtt.servers {0}")]
    Server(#[from] ServerAddressError),
    /// The port for metrics and health cannot be used.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
    /// The session could not be ended.
    #[error(transparent)]
    EndSession(#[from] EndSessionError),
    /// A signal came before the session was ended.
    #[error("told to stop; the session is not ended, as far as is known")]
    NotEnded,
}

/// Runs the command.
///
/// # Errors
/// When it cannot begin.
pub async fn run(args: Args) -> Result<ExitCode, BridgeError> {
    // First of all: the first process of a container that does not listen to a signal ignores it.
    let token = shutdown_token().map_err(BridgeError::Signals)?;
    let (config, hash) = BridgeConfig::load(&args.config)?;
    match args.action {
        // At once: the session may be another bridge's by now.
        Some(Action::EndSession) => tokio::select! {
            biased;
            () = token.cancelled() => return Err(BridgeError::NotEnded),
            ended = end_session(&config, END_SESSION_LIMIT) => ended?,
        },
        None => bridge(config, hash, token).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn bridge(config: BridgeConfig, hash: String, token: CancellationToken) -> Result<(), BridgeError> {
    let table = RouteTable::compile(&config)?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, &table);
    let board = Arc::new(Board::new(&config, hash));
    let (heart, beats) = watch::channel(Instant::now());
    // The port outlives the session: the last figures can be read while it ends.
    let serving = CancellationToken::new();
    let server = http_server(registry, &board, beats)
        .bind(config.telemetry.listen)
        .await?;
    tracing::info!(address = %server.local_addr(), client_id = config.mqtt.client_id, "bridge begins");
    let http = tokio::spawn(server.serve(serving.clone()));

    let (way, signals) = listen(&config, &token).await;
    let limits = config.limits;
    let sinks = move |way: Way| KafkaSinks {
        way,
        max_record_bytes: limits.max_payload_bytes as usize,
        // Room for what is in flight, for one message beyond the bound, and for the overhead of small records.
        queue_bytes: 2 * (limits.max_in_flight_bytes as usize + limits.max_payload_bytes as usize),
    };
    let builder = RecordBuilder::new(table, config.dead_letter.as_ref().map(|d| d.topic.clone()));
    let engine = Engine::new(
        builder,
        limits,
        sinks(way),
        Arc::clone(&board),
        metrics.clone(),
        Instant::now(),
    );
    let session = Session {
        dialer: Dialer::new(&config)?,
        engine,
        sinks: Box::new(sinks),
        config: config.mqtt,
        board,
        metrics,
        signals,
        had_session: false,
        closed_young: 0,
        unreadable: None,
        heart,
    };
    session.run().await;
    serving.cancel();
    if let Ok(Err(error)) = http.await {
        tracing::warn!(%error, "metrics and health ended early");
    }
    tracing::info!("bridge ended");
    Ok(())
}

fn http_server(registry: Registry, board: &Arc<Board>, beats: watch::Receiver<Instant>) -> HttpServer {
    let (for_ready, for_progress) = (Arc::clone(board), Arc::clone(board));
    HttpServer::new(registry)
        .live(move || {
            let silent = beats.borrow().elapsed();
            if silent < HEART_LIMIT {
                Ok(())
            } else {
                Err(format!("stuck for {} s", silent.as_secs()))
            }
        })
        .ready(move || {
            let progress = for_ready.snapshot();
            if progress.subscribed() {
                return Ok(());
            }
            let why = progress
                .problems
                .first()
                .map(|p| format!("{:?}: {}", p.reason, p.message));
            Err(why.unwrap_or_else(|| "not subscribed yet".to_owned()))
        })
        .progress(move || for_progress.snapshot())
}

/// Starts what looks at files and at Kafka; yields the way to Kafka as it is now, and what the session listens to.
async fn listen(config: &BridgeConfig, token: &CancellationToken) -> (Way, Signals) {
    let (mqtt_sender, mqtt_files) = watch::channel(0);
    let watched = FileWatch::new(config.mqtt.files()).await;
    tokio::spawn(watched.run(mqtt_sender, token.clone()));

    let watched = FileWatch::new(config.kafka.files()).await;
    let way = load(&config.kafka, &config.mqtt.client_id);
    let (way_sender, way_receiver) = watch::channel(way.clone());
    let (unreadable_sender, unreadable) = watch::channel(None);
    tokio::spawn(keep_way(
        watched,
        config.kafka.clone(),
        config.mqtt.client_id.clone(),
        Ways {
            way: way_sender,
            unreadable: unreadable_sender,
        },
        token.clone(),
    ));

    let mut topics: Vec<String> = config.routes.iter().map(|r| r.topic.clone()).collect();
    topics.extend(config.dead_letter.iter().map(|d| d.topic.clone()));
    topics.sort();
    topics.dedup();
    let (view_sender, view) = watch::channel(KafkaView::default());
    tokio::spawn(look(
        way_receiver.clone(),
        unreadable,
        topics,
        view_sender,
        token.clone(),
    ));
    (
        way,
        Signals {
            shutdown: token.clone(),
            mqtt_files,
            way: way_receiver,
            view,
        },
    )
}

fn load(endpoint: &KafkaEndpointFile, client_id: &str) -> Way {
    match endpoint.load() {
        Ok(connection) => Ok(connection.with_client_id(client_id)),
        Err(error) => Err(format!("kafka.{error}")),
    }
}

/// Reads the way to Kafka anew whenever one of its files changes.
async fn keep_way(
    watched: FileWatch,
    endpoint: KafkaEndpointFile,
    client_id: String,
    ways: Ways,
    token: CancellationToken,
) {
    let (sender, mut changes) = watch::channel(0);
    tokio::spawn(watched.run(sender, token.clone()));
    while changes.changed().await.is_ok() {
        changes.borrow_and_update();
        ways.tell(load(&endpoint, &client_id));
    }
    // Nothing is watched. The way stays as it is, and nobody must take our end for a change.
    token.cancelled().await;
}
