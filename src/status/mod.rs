//! `tributary status` and `tributary explain`: what the API servers say about a fleet, as a tree in the terminal.
//!
//! [`fetch`] asks, [`model`] makes a tree of the answers, [`rows`] and [`render`] draw it; all but the asking is pure.
//! Only reads, and only what the user's own kubeconfig permits.

mod cache;
mod client;
mod context;
mod explain;
mod fetch;
mod figures;
mod file;
mod item;
mod model;
mod note;
mod object;
mod person;
mod proxy;
mod render;
mod rows;
mod style;
mod watch;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use console::Term;
use futures::future::join_all;
use jiff::Timestamp;

use cache::Cache;
use fetch::Source;
use model::{Answer, Fleet};
use style::{Colour, Look};

pub use explain::{Args as ExplainArgs, run as explain};

/// Something needs a person.
const EXIT_PERSON: u8 = 1;

/// Show the fleet: what is behind, by how much, since when, and whether anything is lost
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 nothing needs a person; 1 something does, a context that does not answer included; \
                  3 failed, the reason is on standard error; 64 the command line is wrong."
)]
pub struct Args {
    /// Contexts of the kubeconfig, several with commas or by repeating; without it, the current one
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    context: Vec<String>,
    /// Only this namespace; without it, all
    #[arg(short, long, value_name = "NAME", value_parser = dns_label)]
    namespace: Option<String>,
    /// All namespaces, which is what happens anyway
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// A kubeconfig instead of $KUBECONFIG and ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Redraw until Ctrl-C
    #[arg(short, long, conflicts_with = "from")]
    watch: bool,
    /// With --watch: seconds between two questions
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// The form of the result; the schema of json and yaml is stable
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// When colours are used
    #[arg(long, value_enum, default_value_t)]
    color: Colour,
    /// Show objects from a file instead of a cluster, - for standard input: what `kubectl get ec,bp,rl -A -o json` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["context", "kubeconfig"])]
    from: Option<PathBuf>,
}

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Output {
    /// A tree for people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// One YAML document
    Yaml,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// There is no kubeconfig.
    #[error("there is no kubeconfig (looked for: {looked}); name one by --kubeconfig or KUBECONFIG")]
    NoKubeconfig {
        /// Where it was looked for.
        looked: String,
    },
    /// The kubeconfig cannot be read.
    #[error("the kubeconfig {path} cannot be used: {why}")]
    BadKubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// No context is named, and none is current.
    #[error("the kubeconfig has no current context; choose by --context one of: {known}")]
    NoContext {
        /// Those it has.
        known: String,
    },
    /// None of the named contexts exists.
    #[error("the kubeconfig has no context {names}; it has: {known}")]
    UnknownContexts {
        /// Those that were named.
        names: String,
        /// Those it has.
        known: String,
    },
    /// A file of objects cannot be read.
    #[error("{path} cannot be read: {why}; give what `kubectl get ec,bp,rl -A -o json` writes")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing has this name.
    #[error("{name} is no reason, condition or verdict: {similar}")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// What was perhaps meant.
        similar: String,
    },
    /// `--watch` without a terminal, or with another form of the result.
    #[error("--watch draws on a terminal: leave out -o, or leave out --watch and ask again and again")]
    NoTerminal,
    /// The document cannot be written; a fault of this program.
    #[error("the document cannot be written: {0}")]
    Document(String),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for: {0}")]
    Signals(#[source] io::Error),
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Write(#[source] io::Error),
}

/// Shows what the command line asks for.
///
/// # Errors
/// When nothing can be shown. What keeps a part from being shown stands beside the rest instead.
pub async fn run(args: Args) -> Result<ExitCode, StatusError> {
    let terminal = io::stdout().is_terminal();
    if args.watch && (!terminal || args.output != Output::Text) {
        return Err(StatusError::NoTerminal);
    }
    let look = || {
        let columns = Term::stdout()
            .size_checked()
            .map(|(_, columns)| usize::from(columns));
        Look::decide(args.color, terminal, columns, variable)
    };
    let fleet = if args.watch {
        let interval = Duration::from_secs(args.interval);
        // In the last column a terminal may already be about to wrap.
        let narrower = || {
            let look = look();
            Look {
                width: look.width.map(|width| width.saturating_sub(1)),
                ..look
            }
        };
        watch::watch(sources(&args)?, interval, narrower).await?
    } else {
        Fleet::build(&answers(&args).await?, Timestamp::now())
    };
    print(&document(&fleet, args.output, look())?)?;
    Ok(if fleet.needs_person {
        EXIT_PERSON.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn sources(args: &Args) -> Result<Vec<Source>, StatusError> {
    let wanted: Vec<String> = args.context.iter().filter(|c| !c.is_empty()).cloned().collect();
    let contexts = context::contexts(args.kubeconfig.as_deref(), &wanted)?;
    let cache = Cache::of_user(variable);
    let namespace = args.namespace.as_ref().filter(|_| !args.all_namespaces);
    let source = |context| Source::new(context, namespace.cloned(), cache.clone());
    Ok(contexts.into_iter().map(source).collect())
}

async fn answers(args: &Args) -> Result<Vec<Answer>, StatusError> {
    if let Some(path) = &args.from {
        return Ok(vec![file::read(path, args.namespace.as_deref())?]);
    }
    let mut sources = sources(args)?;
    Ok(join_all(sources.iter_mut().map(Source::ask)).await)
}

fn document(fleet: &Fleet, output: Output, look: Look) -> Result<String, StatusError> {
    match output {
        Output::Text => Ok(render::picture(fleet, look).join("\n") + "\n"),
        Output::Json => serde_json::to_string_pretty(fleet)
            .map(|text| text + "\n")
            .map_err(|e| StatusError::Document(e.to_string())),
        Output::Yaml => serde_yaml::to_string(fleet).map_err(|e| StatusError::Document(e.to_string())),
    }
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<(), StatusError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(StatusError::Write(e)),
        _ => Ok(()),
    }
}

/// A namespace's name goes into a URL: nothing else may.
fn dns_label(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(allowed) {
        return Err("a namespace has 1 to 63 lower-case letters, digits and hyphens".to_owned());
    }
    Ok(text.to_owned())
}
