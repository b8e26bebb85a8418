//! Formats a volume by Kafka's own tool, atomically: see [`super::volume`].

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::config::{BrokerConfig, Identity};
use super::jvm::Jvm;
use super::properties::{self, Node, PropertiesError};
use super::volume::{self, DATA, Decision, FORMATTING};

#[cfg(test)]
mod tests;

/// The tool takes about two seconds; a slow machine under load gets this long.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often the tool is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of the tool's output that an error shows.
const SHOWN: usize = 1500;

/// Why a volume is not formatted. It is then as empty as before.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The volume cannot be written.
    #[error("cannot write {}: {source}; check the volume and its free space", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another launcher is at work on it.
    #[error("the volume {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Kafka's tool failed.
    #[error("Kafka's storage tool ended with {status}: {output}")]
    Tool {
        /// Its exit status.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// Kafka's tool did not end.
    #[error("Kafka's storage tool did not end within {} s", DEADLINE.as_secs())]
    TooSlow,
    /// We were told to stop.
    #[error("told to stop while formatting; the next start formats anew")]
    Cancelled,
    /// The tool ended well, but the result is not what was asked for.
    #[error("Kafka's storage tool left something unexpected: {0}")]
    Unexpected(String),
    /// The properties cannot be rendered.
    #[error(transparent)]
    Properties(#[from] PropertiesError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FormatError + use<> {
    let path = path.to_owned();
    |source| FormatError::Io { path, source }
}

/// The value of `--initial-controllers`, the same on every node (KIP-853): `id@host:port:directoryId`.
///
/// # Errors
/// The ID of a voter that the record does not know.
pub fn initial_controllers(config: &BrokerConfig, identity: &Identity) -> Result<String, i32> {
    let voters: Result<Vec<String>, i32> = config
        .controllers
        .iter()
        .map(|c| {
            let broker = identity.broker(c.id).ok_or(c.id)?;
            let address = properties::address(&c.host, c.port);
            Ok(format!("{}@{address}:{}", c.id, broker.directory_id))
        })
        .collect();
    Ok(voters?.join(","))
}

/// Formats the volume for `node`. When it returns, the result is durable.
///
/// # Errors
/// When it cannot be done; what was begun is thrown away by the next attempt.
pub async fn format(
    config: &BrokerConfig,
    identity: &Identity,
    node: Node,
    jvm: &Jvm,
    log4j2: &Path,
    stop: &CancellationToken,
) -> Result<(), FormatError> {
    let volume = &config.directories.volume;
    let (target, work) = (volume.join(DATA), volume.join(FORMATTING));
    let _lock = lock(volume)?;
    remove(&work)?;
    std::fs::create_dir(&work).map_err(at(&work))?;

    let text = properties::render(config, node, &work)?;
    let file = config.directories.scratch.join("format.properties");
    std::fs::write(&file, text).map_err(at(&file))?;
    let voters = initial_controllers(config, identity)
        .map_err(|id| FormatError::Unexpected(format!("the identity record has no entry for voter {id}")))?;
    let mut command = Command::new(&jvm.java);
    command
        .args(jvm.tool_arguments(log4j2))
        .args(["kafka.tools.StorageTool", "format"])
        // IDs may start with "-": only this form of an option takes them.
        .arg(format!("--cluster-id={}", identity.cluster_id))
        .arg(format!("--config={}", file.display()))
        .arg(format!("--initial-controllers={voters}"));
    run_tool(command, &config.directories.scratch.join("format.log"), stop).await?;

    verify(&work, identity, node)?;
    volume::sync_tree(&work).map_err(at(&work))?;
    // Only an empty directory, or one with nothing but Kafka's lock, may stand there: `inspect` said so.
    match std::fs::remove_file(target.join(".lock")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at(&target)(e)),
        _ => {}
    }
    std::fs::rename(&work, &target).map_err(at(&target))?;
    volume::sync_directory(volume).map_err(at(volume))
}

/// What the tool made must be what the next start will accept.
fn verify(work: &Path, identity: &Identity, node: Node) -> Result<(), FormatError> {
    let state = volume::inspect_data(work).map_err(at(work))?;
    match volume::decide(&state, identity, node.id, None) {
        Decision::Start => Ok(()),
        Decision::Format => Err(FormatError::Unexpected("nothing was formatted".to_owned())),
        Decision::Refuse(refusal) => Err(FormatError::Unexpected(refusal.to_string())),
    }
}

/// Two launchers on one volume would format it twice; the lock goes with the process.
fn lock(volume: &Path) -> Result<std::fs::File, FormatError> {
    let path = volume.join(".tributary.lock");
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(FormatError::InUse(volume.to_owned())),
        Err(std::fs::TryLockError::Error(e)) => Err(at(&path)(e)),
    }
}

fn remove(directory: &Path) -> Result<(), FormatError> {
    match std::fs::remove_dir_all(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(directory)(e)),
        _ => Ok(()),
    }
}

async fn run_tool(mut command: Command, log: &Path, stop: &CancellationToken) -> Result<(), FormatError> {
    let out = std::fs::File::create(log).map_err(at(log))?;
    let err = out.try_clone().map_err(at(log))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(at(Path::new(command.get_program())))?;
    let status = match wait(&mut child, stop).await {
        Ok(status) => status,
        Err(e) => {
            // It may have ended meanwhile; what counts is that it does not write on.
            let _ = child.kill();
            let _ = child.wait();
            return Err(e);
        }
    };
    if status.success() {
        return Ok(());
    }
    let output = std::fs::read(log).unwrap_or_default();
    let tail = String::from_utf8_lossy(&output[output.len().saturating_sub(SHOWN)..]).into_owned();
    Err(FormatError::Tool {
        status: status.to_string(),
        output: tail.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

async fn wait(child: &mut Child, stop: &CancellationToken) -> Result<ExitStatus, FormatError> {
    let deadline = tokio::time::sleep(DEADLINE);
    tokio::pin!(deadline);
    loop {
        if let Some(status) = child.try_wait().map_err(at(Path::new("java")))? {
            return Ok(status);
        }
        tokio::select! {
            () = stop.cancelled() => return Err(FormatError::Cancelled),
            () = &mut deadline => return Err(FormatError::TooSlow),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}
