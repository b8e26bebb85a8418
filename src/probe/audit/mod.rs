//! `probe audit`: what became of a run.

mod args;
mod reader;
mod report;
mod tally;
mod text;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

pub use args::AuditArgs;

use args::FromTime;
use reader::{Reader, Source};
use report::{Evidence, Read, Report};
use tally::MAX_RUNS;
use text::Text;

use super::ledger::LedgerFull;
use super::output::{progress_line, thousands};
use super::send::now_ns;
use super::sent::{SenderState, SentError, SentFile};
use crate::kafka::endpoint::EndpointError;

/// Records are read from this long before the run's start: clocks differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);
/// How often the accounts are compared.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The sent file.
    #[error(transparent)]
    Sent(#[from] SentError),
    /// Options or files for Kafka.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A file with an endpoint.
    #[error("{}: {why}; write bootstrapServers, tls and authentication as in a bridge's file", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Kafka, or what it says of the topic.
    #[error("topic {topic}: {why}")]
    Kafka {
        /// The topic.
        topic: String,
        /// What is wrong, with a remedy.
        why: String,
    },
    /// The end of the topic is out of reach.
    #[error(
        "topic {topic}: the end was not reached, nothing came for {quiet} s ({trouble}); check the line to Kafka"
    )]
    Stuck {
        /// The topic.
        topic: String,
        /// For how long.
        quiet: u64,
        /// What the client says.
        trouble: String,
    },
    /// The account's bound.
    #[error(transparent)]
    Full(#[from] LedgerFull),
    /// Nothing says which run is meant.
    #[error("the topic holds several runs ({0}); name one with --run, or give its --sent file")]
    SeveralRuns(String),
    /// No run at all.
    #[error(
        "the topic holds no message of the probe since the time given; check --topic and --from-time, or give --run"
    )]
    NoRun,
    /// The file is another run's.
    #[error("--run {wanted} is not the sent file's run {in_file}; give one of the two")]
    OtherRun {
        /// Asked for.
        wanted: String,
        /// In the file.
        in_file: String,
    },
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// All that is read.
struct Readers {
    target: Reader,
    factory: Option<Reader>,
    dead_letter: Option<Reader>,
}

impl Readers {
    async fn open(args: &AuditArgs, from_ms: Option<i64>, run: Option<&String>) -> Result<Self, AuditError> {
        let connection = args.target()?.with_client_id("tributary-probe");
        let factory = args.factory()?.map(|c| c.with_client_id("tributary-probe"));
        // The bridge writes its dead letters where it writes.
        let near = factory.clone().unwrap_or_else(|| connection.clone());
        let open = |connection, topic: &String| {
            Reader::open(
                Source {
                    connection,
                    topic: topic.clone(),
                },
                from_ms,
                run.cloned(),
            )
        };
        Ok(Self {
            target: open(connection, &args.topic).await?,
            factory: match factory.zip(args.factory_topic.as_ref()) {
                Some((connection, topic)) => Some(open(connection, topic).await?),
                None => None,
            },
            dead_letter: match &args.dead_letter {
                Some(topic) => Some(open(near, topic).await?),
                None => None,
            },
        })
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Reader> {
        std::iter::once(&mut self.target)
            .chain(self.factory.as_mut())
            .chain(self.dead_letter.as_mut())
    }
}

/// Audits, and prints the report.
///
/// # Errors
/// When the audit cannot be made.
pub async fn run(args: AuditArgs) -> Result<ExitCode, AuditError> {
    let mut sent = args.sent.as_deref().map(SentFile::open).transpose()?;
    let wanted = wanted_run(&args, sent.as_ref())?;
    let mut readers = Readers::open(&args, from_ms(&args, sent.as_ref()), wanted.as_ref()).await?;
    let state = follow(&args, &mut readers, sent.as_mut()).await?;
    for reader in readers.all() {
        reader.stop();
    }
    let run = match wanted {
        Some(run) => run,
        None => readers.target.look(|tally| only_run(&tally.runs()))?,
    };
    let report = report(&run, &readers, sent.as_ref().zip(state));
    args.output.print(&report, &Text(&report).to_string())?;
    Ok(ExitCode::from(report.verdict.exit_status()))
}

fn wanted_run(args: &AuditArgs, sent: Option<&SentFile>) -> Result<Option<String>, AuditError> {
    match (&args.run, sent) {
        (Some(wanted), Some(file)) if *wanted != file.header.run => Err(AuditError::OtherRun {
            wanted: wanted.clone(),
            in_file: file.header.run.clone(),
        }),
        (_, Some(file)) => Ok(Some(file.header.run.clone())),
        (run, None) => Ok(run.clone()),
    }
}

fn only_run(runs: &[&str]) -> Result<String, AuditError> {
    match runs {
        [] => Err(AuditError::NoRun),
        [run] => Ok((*run).to_owned()),
        _ => {
            let more = if runs.len() == MAX_RUNS { ", …" } else { "" };
            Err(AuditError::SeveralRuns(runs.join(", ") + more))
        }
    }
}

/// Where to begin, milliseconds since 1970.
fn from_ms(args: &AuditArgs, sent: Option<&SentFile>) -> Option<i64> {
    let before = |ns: u64, ago: Duration| {
        let ms = u128::from(ns) / 1_000_000;
        i64::try_from(ms.saturating_sub(ago.as_millis())).ok()
    };
    match (args.from_time, sent) {
        (Some(FromTime::At(ms)), _) => Some(ms),
        (Some(FromTime::Ago(ago)), _) => before(now_ns(), ago),
        (None, Some(file)) => before(file.header.started_ns, CLOCK_TOLERANCE),
        (None, None) => None,
    }
}

/// Reads until there is nothing left to wait for; where the sender is by then.
async fn follow(
    args: &AuditArgs,
    readers: &mut Readers,
    mut sent: Option<&mut SentFile>,
) -> Result<Option<SenderState>, AuditError> {
    let progress = Progress::new();
    let mut sender_ran = Instant::now();
    let mut rechecked = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let state = sent.as_mut().map(|file| file.refresh()).transpose()?;
        if state == Some(SenderState::Running) {
            sender_ran = Instant::now();
        }
        let mut at_end = true;
        for reader in readers.all() {
            reader.follow_growth().await?;
            at_end &= reader.at_end()?;
        }
        let missing = sent.as_deref().map(|file| missing(file, &readers.target));
        progress.show(&readers.target, sent.as_deref(), missing);
        let complete = match missing {
            Some(missing) if args.until_complete => missing == 0 && state != Some(SenderState::Running),
            _ => true,
        };
        if at_end && (complete || rechecked) {
            return Ok(state);
        }
        if let Some(stuck) = readers.all().find_map(|reader| stuck(reader, args.timeout)) {
            return Err(stuck);
        }
        let quiet = readers.target.quiet().0.min(sender_ran.elapsed());
        if rechecked && quiet < args.timeout {
            rechecked = false;
        } else if at_end && quiet > args.timeout {
            for reader in readers.all() {
                reader.recheck()?;
            }
            rechecked = true;
        }
    }
}

/// A reader that has not reached the end and hears nothing.
fn stuck(reader: &Reader, limit: Duration) -> Option<AuditError> {
    let (_, quiet) = reader.quiet();
    (reader.is_waiting() && quiet > limit).then(|| AuditError::Stuck {
        topic: reader.source().topic.clone(),
        quiet: quiet.as_secs(),
        trouble: reader.trouble().unwrap_or_else(|| "no error".to_owned()),
    })
}

/// Messages that are acknowledged and not in the topic, so far.
fn missing(sent: &SentFile, target: &Reader) -> u64 {
    target.look(|tally| {
        let run = tally.run(&sent.header.run);
        let of = |device, acked: &super::ranges::RangeSet| {
            let received = run.and_then(|run| run.ledger.device(device)).map(|d| &d.received);
            received.map_or(acked.len(), |received| acked.difference(received).len())
        };
        sent.devices.iter().map(|(device, d)| of(*device, &d.acked)).sum()
    })
}

fn report(run: &str, readers: &Readers, sent: Option<(&SentFile, SenderState)>) -> Report {
    readers.target.look(|target| {
        let make = |factory: Option<Read<'_>>, dead_letter: Option<&tally::Tally>| {
            Report::new(&Evidence {
                run,
                sent,
                target: read(&readers.target, target),
                factory,
                dead_letter,
            })
        };
        let with_factory = |dead_letter: Option<&tally::Tally>| match &readers.factory {
            Some(factory) => factory.look(|tally| make(Some(read(factory, tally)), dead_letter)),
            None => make(None, dead_letter),
        };
        match &readers.dead_letter {
            Some(reader) => reader.look(|tally| with_factory(Some(tally))),
            None => with_factory(None),
        }
    })
}

fn read<'a>(reader: &'a Reader, tally: &'a tally::Tally) -> Read<'a> {
    Read {
        bootstrap_servers: &reader.source().connection.bootstrap_servers,
        topic: &reader.source().topic,
        partitions: reader.starts().len(),
        truncated_partitions: reader.starts().values().filter(|start| start.truncated).count(),
        tally,
    }
}

/// Progress on standard error: a spinner on a terminal, else a line every few seconds.
struct Progress {
    bar: ProgressBar,
    last: std::cell::Cell<Instant>,
}

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {msg}");
        let bar =
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self {
            bar,
            last: std::cell::Cell::new(Instant::now()),
        }
    }

    fn show(&self, target: &Reader, sent: Option<&SentFile>, missing: Option<u64>) {
        let hidden = self.bar.is_hidden();
        if hidden && self.last.get().elapsed() < LINE_EVERY {
            return;
        }
        self.last.set(Instant::now());
        let received: u64 = target.look(|tally| {
            tally
                .runs()
                .iter()
                .filter_map(|run| tally.run(run))
                .map(|run| run.ledger.received())
                .sum()
        });
        let mut text = format!("{} received", thousands(received));
        if let Some((sent, missing)) = sent.zip(missing) {
            text = format!(
                "{text} of {} acknowledged, {} missing",
                thousands(sent.acked()),
                thousands(missing)
            );
        }
        if let Some(trouble) = target.trouble() {
            text = format!("{text}; {trouble}");
        }
        if hidden {
            progress_line(&text);
        } else {
            self.bar.set_message(text);
            self.bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
