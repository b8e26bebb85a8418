//! `tributary broker` runs in the broker's pod: it checks the volume against the identity record (law 3), formats it
//! where that is permitted, renders the properties, and replaces itself by Kafka.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub mod config;
mod format;
mod install;
mod jvm;
mod launch;
pub mod progress;
mod properties;
mod volume;

use config::{ConfigError, IdentityError};
use format::FormatError;
pub use install::InstallError;
use jvm::JvmError;
use progress::{LastWords, LaunchReason};
use properties::PropertiesError;
use volume::Refusal;

/// Exit status when the volume or the identity record is not what it should be (`EX_DATAERR` of sysexits.h).
pub const EXIT_REFUSED: u8 = 65;

/// Runs one Kafka broker on a volume that is its own
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Step>,
    #[command(flatten)]
    start: Option<StartArgs>,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Copy this program into a directory, for a container that has Kafka but not us
    Install {
        /// The directory
        #[arg(long)]
        to: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    /// The configuration, a YAML file
    #[arg(long)]
    config: PathBuf,
    /// This broker's ID; without it, the number at the end of the pod's name
    #[arg(long, env = "NODE_ID", value_parser = clap::value_parser!(i32).range(0..))]
    node_id: Option<i32>,
    /// The pod's name
    #[arg(long, env = "POD_NAME")]
    pod_name: Option<String>,
    /// The machine's IP, for listeners that advertise it
    #[arg(long, env = "HOST_IP")]
    host_ip: Option<IpAddr>,
    /// Where the reason is written when the broker does not start
    #[arg(long, default_value = "/dev/termination-log")]
    termination_log: PathBuf,
    /// Prepare the volume, render the properties, and end without starting Kafka
    #[arg(long)]
    prepare_only: bool,
}

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The program was not copied.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration does not fit this node.
    #[error(transparent)]
    Properties(#[from] PropertiesError),
    /// Which broker this is, is not known.
    #[error("which broker this is, is not known: {0}; give --node-id, or --pod-name ending with -<number>")]
    NoNodeId(String),
    /// The identity record cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The volume may be neither used nor formatted.
    #[error("{cluster}, broker {node}, volume {}: {refusal}", volume.display())]
    Refused {
        /// The cluster.
        cluster: String,
        /// The broker's ID.
        node: i32,
        /// The volume's mount point.
        volume: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// No space is left.
    #[error(
        "the volume {} has {free} bytes left of {total}: Kafka cannot start on it; grow storage.size or free space", volume.display()
    )]
    DiskFull {
        /// The volume's mount point.
        volume: PathBuf,
        /// Free bytes.
        free: u64,
        /// All bytes.
        total: u64,
    },
    /// Formatting failed.
    #[error("broker {node} cannot format its volume: {source}")]
    Format {
        /// The broker's ID.
        node: i32,
        /// Why.
        source: FormatError,
    },
    /// No Java or no Kafka.
    #[error(transparent)]
    Jvm(#[from] JvmError),
    /// A file or directory cannot be used.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl BrokerError {
    fn reason(&self) -> LaunchReason {
        match self {
            Self::Refused {
                refusal: Refusal::UnknownNode,
                ..
            }
            | Self::Identity(_) => LaunchReason::IdentityRefused,
            Self::Refused { .. } => LaunchReason::VolumeRefused,
            Self::DiskFull { .. } => LaunchReason::DiskFull,
            Self::Format { .. } => LaunchReason::FormatFailed,
            Self::Config(_) | Self::Properties(_) | Self::NoNodeId(_) => LaunchReason::InvalidConfig,
            Self::Install(_) | Self::Jvm(_) | Self::Io { .. } => LaunchReason::StartFailed,
        }
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

/// Runs the command. On success the process has become Kafka, or the program is installed.
///
/// # Errors
/// Why the broker does not start; the same line stands in the container's termination message. A refused volume or
/// identity is [`EXIT_REFUSED`] rather than an error, after it was logged.
pub async fn run(args: Args) -> Result<ExitCode, BrokerError> {
    let start = match (args.command, args.start) {
        (Some(Step::Install { to }), _) => {
            let own = std::env::current_exe().map_err(BrokerError::io(
                "cannot find this program",
                Path::new("/proc/self/exe"),
            ))?;
            let target = install::install(&own, &to)?;
            tracing::info!(target = %target.display(), "installed");
            return Ok(ExitCode::SUCCESS);
        }
        (None, Some(start)) => start,
        (None, None) => {
            return Err(BrokerError::Config(ConfigError::Field {
                field: "--config".to_owned(),
                why: "is missing".to_owned(),
            }));
        }
    };
    let error = match launch::launch(&start).await {
        Ok(()) => return Ok(ExitCode::SUCCESS),
        Err(e) => e,
    };
    let words = LastWords {
        reason: error.reason(),
        message: error.to_string(),
    };
    say(&start.termination_log, &words);
    match words.reason {
        LaunchReason::VolumeRefused | LaunchReason::IdentityRefused => {
            tracing::error!(reason = words.reason.as_str(), "{error}");
            Ok(ExitCode::from(EXIT_REFUSED))
        }
        _ => Err(error),
    }
}

/// Writes the termination message; outside a pod there is no such file, and nobody to read it.
fn say(termination_log: &Path, words: &LastWords) {
    if termination_log.exists()
        && let Err(e) = std::fs::write(termination_log, words.to_string())
    {
        tracing::warn!(file = %termination_log.display(), "cannot write the termination message: {e}");
    }
}
