//! From the configuration to a running Kafka, step by step.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tokio_util::sync::CancellationToken;

use super::config::{BrokerConfig, Identity};
use super::jvm::{self, Jvm};
use super::progress::{LastWords, LaunchReason};
use super::properties::{self, Node};
use super::volume::{self, Decision};
use super::{BrokerError, StartArgs, format, say};
use crate::telemetry;

/// Below this much free space, bytes, Kafka cannot even open its log.
const TOO_LITTLE_SPACE: u64 = 4 * 1024 * 1024;
/// Below this share of the volume, percent, the termination message says so in advance.
const LOW_SPACE_PERCENT: u64 = 5;

/// Prepares everything and becomes Kafka; returns without an error only for `--prepare-only`.
pub(super) async fn launch(args: &StartArgs) -> Result<(), BrokerError> {
    let stop = telemetry::shutdown_token().map_err(BrokerError::io(
        "cannot listen for signals in",
        Path::new("this process"),
    ))?;
    let config = BrokerConfig::load(&args.config)?;
    let node = Node {
        id: node_id(args)?,
        host_ip: args.host_ip,
    };
    let scratch = &config.directories.scratch;
    std::fs::create_dir_all(scratch).map_err(BrokerError::io("cannot make", scratch))?;
    let log4j2 = scratch.join("log4j2.yaml");
    std::fs::write(&log4j2, jvm::LOG4J2).map_err(BrokerError::io("cannot write", &log4j2))?;
    let properties = scratch.join("server.properties");
    let text = properties::render(&config, node, &config.log_dir())?;
    std::fs::write(&properties, text).map_err(BrokerError::io("cannot write", &properties))?;

    let jvm = Jvm::find(&config.kafka_home)?;
    prepare_volume(&config, node, &jvm, &log4j2, &stop).await?;
    check_space(args, &config)?;
    // A signal that came so far was caught by us, and Kafka would never learn of it.
    if args.prepare_only || stop.is_cancelled() {
        return Ok(());
    }
    let mut kafka = Command::new(&jvm.java);
    kafka
        .args(jvm.broker_arguments(config.heap_mib, &log4j2, scratch))
        .arg("kafka.Kafka")
        .arg(&properties)
        .current_dir(scratch);
    tracing::info!(cluster = %config.cluster, node = node.id, java = %jvm.java.display(), "becoming Kafka");
    become_it(kafka).map(|never| match never {})
}

fn become_it(mut program: Command) -> Result<Infallible, BrokerError> {
    let path = Path::new(program.get_program()).to_owned();
    let error = program.exec();
    Err(BrokerError::io("cannot run", &path)(error))
}

fn node_id(args: &StartArgs) -> Result<i32, BrokerError> {
    if let Some(id) = args.node_id {
        return Ok(id);
    }
    let name = args.pod_name.as_deref();
    name.and_then(|n| n.rsplit_once('-')?.1.parse().ok())
        .filter(|id| *id >= 0)
        .ok_or_else(|| {
            BrokerError::NoNodeId(name.map_or("no pod name".to_owned(), |n| format!("pod name {n:?}")))
        })
}

/// Law 3: starts only on this broker's own volume, formats only what may be empty.
async fn prepare_volume(
    config: &BrokerConfig,
    node: Node,
    jvm: &Jvm,
    log4j2: &Path,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let identity = Identity::load(&config.identity_file)?;
    let (volume, state) = (&config.directories.volume, &config.directories.state);
    let found = volume::inspect(volume).map_err(BrokerError::io("cannot read the volume", volume))?;
    let seen = volume::marker(state).map_err(BrokerError::io("cannot read", state))?;
    match volume::decide(&found, &identity, node.id, seen.as_deref()) {
        Decision::Start => {}
        Decision::Format => {
            tracing::info!(cluster = %config.cluster, node = node.id, volume = %volume.display(), "formatting");
            format::format(config, &identity, node, jvm, log4j2, stop)
                .await
                .map_err(|source| BrokerError::Format {
                    node: node.id,
                    source,
                })?;
        }
        Decision::Refuse(refusal) => {
            return Err(BrokerError::Refused {
                cluster: config.cluster.clone(),
                node: node.id,
                volume: volume.clone(),
                refusal,
            });
        }
    }
    let Some(own) = identity.broker(node.id) else {
        return Ok(()); // `decide` refused such a node.
    };
    volume::mark(state, &own.directory_id.to_string()).map_err(BrokerError::io("cannot write", state))
}

/// A broker without space dies at its first append: better said before than guessed after.
fn check_space(args: &StartArgs, config: &BrokerConfig) -> Result<(), BrokerError> {
    let volume = &config.directories.volume;
    let stat = rustix::fs::statvfs(volume)
        .map_err(|e| BrokerError::io("cannot read the size of", volume)(e.into()))?;
    let (free, total) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    if free < TOO_LITTLE_SPACE {
        return Err(BrokerError::DiskFull {
            volume: volume.clone(),
            free,
            total,
        });
    }
    if free * 100 < total * LOW_SPACE_PERCENT {
        let words = LastWords {
            reason: LaunchReason::DiskLow,
            message: format!(
                "the volume {} had {free} bytes left of {total} when Kafka started; grow storage.size or lower retention",
                volume.display()
            ),
        };
        tracing::warn!("{words}");
        say(&args.termination_log, &words);
    }
    Ok(())
}
