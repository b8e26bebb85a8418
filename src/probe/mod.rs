//! The commissioning test: [`send`] publishes stamped messages over MQTT and writes down what was acknowledged, [`audit`]
//! reads Kafka and tells what was lost, duplicated, out of order and late. Works with any MQTT server and any Kafka.

pub mod audit;
mod latency;
mod ledger;
mod output;
mod ranges;
pub mod send;
mod sent;
mod stamp;

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

/// Send test messages over MQTT, and audit what arrived in Kafka
#[derive(Debug, ClapArgs)]
#[command(after_help = "A commissioning test in two commands:\n  \
    tributary probe send  --mqtt mqtt://BROKER --devices 50 --rate 1000 --duration 1m --sent run.jsonl\n  \
    tributary probe audit --sent run.jsonl --kafka KAFKA:9092 --topic telemetry --until-complete")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(Box<send::SendArgs>),
    Audit(Box<audit::AuditArgs>),
}

/// Why the probe could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// See [`send::SendError`].
    #[error(transparent)]
    Send(#[from] send::SendError),
    /// See [`audit::AuditError`].
    #[error(transparent)]
    Audit(#[from] audit::AuditError),
}

/// Runs `probe`. The exit status is documented with each command.
///
/// # Errors
/// When the work cannot be done at all.
pub async fn run(args: Args) -> Result<ExitCode, ProbeError> {
    match args.command {
        Command::Send(args) => Ok(send::run(*args).await?),
        Command::Audit(args) => Ok(audit::run(*args).await?),
    }
}
