//! The command line, nothing else.
//!
//! Each command lives in its room, which exposes an `Args` (clap) and a `run(args) -> Result<ExitCode, …Error>`. To
//! add one: a variant in [`Command`], an arm in [`dispatch`]; nothing more happens here.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use tributary::telemetry::{self, LogFormat};

/// The command could not do its work; standard error says why.
const EXIT_FAILED: u8 = 3;
/// The command line is wrong (`EX_USAGE` of sysexits.h); 1 and 2 are verdicts of `probe audit`, 1 also one of `status`.
const EXIT_USAGE: u8 = 64;
/// The program's other name: kubectl finds a plugin by it.
const PLUGIN: &str = "kubectl-tributary";

/// Hybrid edge-to-cloud Kafka fleets on Kubernetes.
#[derive(Debug, Parser)]
#[command(
    name = "tributary",
    version,
    after_help = "Exit status: 0 done; 3 failed, the reason is on standard error; 64 the command line is wrong.\n\
                  `probe audit` also: 1 messages are lost; 2 no loss seen, but the tail is unknown.\n\
                  `status` also: 1 something needs a person."
)]
struct Cli {
    /// How log lines (standard error) look: auto is text on a terminal, else JSON
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bridge(tributary::bridge::Args),
    Broker(tributary::broker::Args),
    /// Write the custom resource definitions and their reference
    Crds(tributary::crds::Args),
    Explain(tributary::status::ExplainArgs),
    Operator(tributary::operator::Args),
    Probe(tributary::probe::Args),
    Replicator(tributary::replicator::Args),
    Status(tributary::status::Args),
}

impl Command {
    /// What is logged when `RUST_LOG` says nothing.
    fn default_filter(&self) -> &'static str {
        match self {
            // Its results and its progress are for people: only what is wrong belongs between them.
            Self::Probe(_) => "warn",
            // It says on its screen what is wrong, and a line between would spoil that.
            Self::Status(_) | Self::Explain(_) => "off",
            _ => "info",
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Bridge(args) => on_runtime(tributary::bridge::run(args)),
        Command::Broker(args) => on_runtime(tributary::broker::run(args)),
        Command::Crds(args) => Ok(tributary::crds::run(&args)?),
        Command::Explain(args) => Ok(tributary::status::explain(&args)?),
        Command::Operator(args) => on_runtime(tributary::operator::run(args)),
        Command::Probe(args) => on_runtime(tributary::probe::run(args)),
        Command::Replicator(args) => on_runtime(tributary::replicator::run(args)),
        Command::Status(args) => on_hasty_runtime(tributary::status::run(args)),
    }
}

/// Runs a room's async `run` on a runtime made for it.
fn on_runtime<E: Error + 'static>(
    room: impl Future<Output = Result<ExitCode, E>>,
) -> Result<ExitCode, Box<dyn Error>> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(room)?)
}

/// As [`on_runtime`], but does not wait for what is still blocked at the end, such as a resolver whose server is away.
fn on_hasty_runtime<E: Error + 'static>(
    room: impl Future<Output = Result<ExitCode, E>>,
) -> Result<ExitCode, Box<dyn Error>> {
    // Renewing credentials may block a worker: on one core, too, another must be there for the deadline.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    let result = runtime.block_on(room);
    runtime.shutdown_background();
    Ok(result?)
}

/// The command line as it is meant: under the name `kubectl-tributary`, which is how kubectl starts a plugin, it is
/// `tributary status` unless another command is named.
fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.into_iter().collect();
    let name = given.first().map(Path::new).and_then(Path::file_stem);
    if name != Some(OsStr::new(PLUGIN)) {
        return given;
    }
    let command = Cli::command();
    let known = |word: &OsString| {
        ["help", "--help", "-h", "--version", "-V"]
            .iter()
            .any(|w| word == w)
            || command.get_subcommands().any(|c| word == c.get_name())
    };
    if !given.get(1).is_some_and(known) {
        given.insert(1, "status".into());
    }
    given
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    // rustls asks for one process-wide provider; an error means that one is set already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let logging = telemetry::init_tracing(cli.log_format.is_json(), cli.command.default_filter());
    match logging.map_err(Into::into).and_then(|()| dispatch(cli.command)) {
        Ok(code) => code,
        Err(e) => {
            #[allow(clippy::print_stderr)] // the one message of a failed command, for people and scripts
            {
                eprintln!("tributary: {}", printable(&chain(e.as_ref())));
            }
            EXIT_FAILED.into()
        }
    }
}

/// `--help` and `--version` also come as an "error" from clap.
fn usage(e: &clap::Error) -> ExitCode {
    // A closed standard output or error is no reason to fail.
    let _ = e.print();
    match e.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => EXIT_USAGE.into(),
    }
}

/// A message may quote a file or an argument: it must not move the cursor.
fn printable(message: &str) -> String {
    let keeps = |c: char| !c.is_control() || c == '\n' || c == '\t';
    message.chars().map(|c| if keeps(c) { c } else { ' ' }).collect()
}

/// One line: the error and what caused it, without repeating a cause that the text above it already names.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        let message = c.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = c.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn under_the_plugins_name_it_is_status_unless_another_command_is_named() {
        for (given, meant) in [
            ("/krew/bin/kubectl-tributary", "status"),
            ("kubectl-tributary --context a -w", "status --context a -w"),
            ("kubectl-tributary status -n x", "status -n x"),
            ("kubectl-tributary explain NotMoving", "explain NotMoving"),
            ("kubectl-tributary --help", "--help"),
            ("/usr/bin/tributary --version", "--version"),
            ("tributary", ""),
        ] {
            let words = arguments(given.split(' ').map(OsString::from));
            let words: Vec<_> = words[1..].iter().map(|w| w.to_string_lossy()).collect();
            assert_eq!(words.join(" "), meant, "{given}");
        }
    }

    #[test]
    fn a_message_cannot_write_to_the_terminal() {
        assert_eq!(
            printable("no context evil\x1b[2J\x07\nKöln"),
            "no context evil [2J \nKöln"
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn causes_are_told_once() {
        let inner = Layer("refused", None);
        let middle = Layer("cannot connect: refused", Some(Box::new(inner)));
        assert_eq!(
            chain(&Layer("step 2", Some(Box::new(middle)))),
            "step 2: cannot connect: refused"
        );
    }
}
