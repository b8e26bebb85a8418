//! `probe send`: the load generator.

mod account;
mod args;
mod pacer;
mod plan;
mod progress;
mod publisher;
mod window;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use args::{SendArgs, duration};

pub use account::now_ns;
use account::{Account, Totals};
use plan::{Share, TemplateError, TopicTemplate};
use progress::Progress;
use publisher::{Common, Publisher};

use super::latency::Percentiles;
use super::output::thousands;
use super::sent::{FORMAT, Header, SentError, SentWriter};
use super::stamp::{SizeError, Stamper};
use crate::mqtt::connection::SessionOptions;
use crate::mqtt::error::MqttError;
use crate::telemetry;

/// How often acknowledgements go to the sent file: what a crash may leave out of it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Keep alive of the connections, seconds.
const KEEP_ALIVE: u16 = 30;

/// Why a run was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Options that do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// The payload's size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The topic template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The sent file.
    #[error(transparent)]
    Sent(#[from] SentError),
    /// No connection.
    #[error("{} (gave up after {:.0} s)", if *known { "the MQTT server stays away" } else { "no connection to the MQTT server" }, after.as_secs_f64())]
    Connect {
        /// Whether there was one before.
        known: bool,
        /// How long it was tried.
        after: Duration,
        /// The last failure.
        source: MqttError,
    },
    /// The server knows QoS 0 only.
    #[error("{server} supports no QoS 1; use --qos 0")]
    QosNotSupported {
        /// The server.
        server: String,
    },
    /// The server takes smaller packets only.
    #[error(
        "{server} takes packets of at most {most} bytes, these have up to {packet}; lower --payload-size"
    )]
    PacketTooLarge {
        /// The server.
        server: String,
        /// Ours.
        packet: usize,
        /// Its limit.
        most: u32,
    },
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The result as JSON; stable, fields are only ever added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    schema: u32,
    run: String,
    sent_file: PathBuf,
    qos: u8,
    #[serde(flatten)]
    totals: Totals,
    unknown: u64,
    elapsed_seconds: f64,
    messages_per_second: f64,
    puback_ms: Option<Percentiles>,
    last_reason: String,
}

/// Sends, and prints a summary.
///
/// # Errors
/// When the run cannot be done. What was acknowledged until then is in the sent file.
pub async fn run(args: SendArgs) -> Result<ExitCode, SendError> {
    let started = Instant::now();
    let (header, common) = prepare(&args)?;
    let mut writer = SentWriter::create(&args.sent, &header)?;
    let common = Arc::new(common);
    let interrupted = telemetry::shutdown_token()?;
    let publishers = spawn(&args, &common);
    let progress = Progress::new(&args, &header.run);
    let outcome = drive(&args, &common, &mut writer, publishers, &progress, interrupted).await;
    progress.finish();
    // Whatever happened: what is known goes to the file.
    flush(&common.account, &mut writer)?;
    writer.finish(&common.account.end())?;
    if outcome.is_err() && common.account.totals().sent == 0 {
        // Nothing was sent: the same command may be given again once the cause is mended.
        std::fs::remove_file(&args.sent)?;
    }
    outcome?;
    let summary = summarize(&args, &header, &common.account, started.elapsed());
    args.output.print(&summary, &summary.text())?;
    let whole = summary.unknown == 0 && summary.totals.refused == 0;
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn prepare(args: &SendArgs) -> Result<(Header, Common), SendError> {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let run = args.run.clone().unwrap_or_else(|| {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S");
        format!("{now}-{}", &random[..6])
    });
    let header = Header {
        format: FORMAT,
        run: run.clone(),
        started_ns: now_ns(),
        devices: args.devices,
        payload_bytes: args.payload_size as u64,
        qos: args.qos,
        rate: (args.rate > 0).then_some(args.rate),
        messages: args.messages,
        topic_template: args.topic_template.clone(),
        servers: args.mqtt.iter().map(ToString::to_string).collect(),
    };
    let common = Common {
        servers: args.mqtt.clone(),
        authentication: args.authentication(),
        tls: args.tls().map_err(SendError::Options)?,
        session: SessionOptions {
            protocol: args.protocol.into(),
            // At most 18 bytes with the connection's number: 3.1.1 promises 23 only.
            client_id: format!("probe-{}", &random[..8]),
            keep_alive: KEEP_ALIVE,
            session_expiry: 0,
            receive_maximum: 1,
            max_payload: 1024,
            clean: true,
        },
        stamper: Stamper::new(&run, args.payload_size)?,
        payload_bytes: args.payload_size,
        template: TopicTemplate::parse(&args.topic_template, args.lines, args.devices)?,
        qos: args.qos,
        window: args.window,
        connect_limit: args.connect_timeout,
        give_up: args.give_up,
        drain: args.drain,
        account: Account::default(),
        stop: CancellationToken::new(),
    };
    Ok((header, common))
}

fn spawn(args: &SendArgs, common: &Arc<Common>) -> JoinSet<Result<(), SendError>> {
    let mut publishers = JoinSet::new();
    let shares = Share::divide(args.devices, args.connections, args.messages);
    for (id, share) in (0..).zip(shares) {
        // Below 10^7, exact as f64.
        #[allow(clippy::cast_precision_loss)]
        let rate =
            (args.rate > 0).then(|| args.rate as f64 * f64::from(share.devices()) / f64::from(args.devices));
        publishers.spawn(Publisher::new(Arc::clone(common), id, share, rate).run());
    }
    publishers
}

/// Writes the account down every second until all publishers are done. The first failure ends the run for all.
async fn drive(
    args: &SendArgs,
    common: &Common,
    writer: &mut SentWriter,
    mut publishers: JoinSet<Result<(), SendError>>,
    progress: &Progress,
    interrupted: CancellationToken,
) -> Result<(), SendError> {
    let mut tick = interval(FLUSH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = args.duration.map(|d| Instant::now() + d);
    let mut failure = None;
    loop {
        tokio::select! {
            finished = publishers.join_next() => match finished {
                None => return failure.map_or(Ok(()), Err),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    common.stop.cancel();
                    failure.get_or_insert(error);
                }
                Some(Err(panicked)) => {
                    common.stop.cancel();
                    failure.get_or_insert(SendError::Io(io::Error::other(panicked)));
                }
            },
            _ = tick.tick() => {
                if let Err(error) = flush(&common.account, writer) {
                    // What cannot be written down must not be sent.
                    publishers.abort_all();
                    return Err(error);
                }
                progress.show(&common.account);
            }
            () = interrupted.cancelled(), if !common.stop.is_cancelled() => common.stop.cancel(),
            () = until(end), if !common.stop.is_cancelled() => common.stop.cancel(),
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn flush(account: &Account, writer: &mut SentWriter) -> Result<(), SendError> {
    for line in account.take_lines() {
        writer.write(&line)?;
    }
    Ok(())
}

fn summarize(args: &SendArgs, header: &Header, account: &Account, elapsed: Duration) -> Summary {
    let totals = account.totals();
    // Far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let rate = totals.acked as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    Summary {
        schema: 1,
        run: header.run.clone(),
        sent_file: args.sent.clone(),
        qos: args.qos,
        totals,
        unknown: account.unknown_count(),
        elapsed_seconds: elapsed.as_secs_f64(),
        messages_per_second: rate,
        puback_ms: account.puback_ms().filter(|_| args.qos > 0),
        last_reason: account.last_reason(),
    }
}

impl Summary {
    fn text(&self) -> String {
        use std::fmt::Write as _;
        let done = if self.qos == 0 {
            "written (QoS 0: nobody acknowledges)"
        } else {
            "acknowledged"
        };
        let mut text = format!(
            "run {}\n  sent          {:>12}\n  {:<13} {:>12}   in {:.1} s, {:.0} per second\n",
            self.run,
            thousands(self.totals.sent),
            done,
            thousands(self.totals.acked),
            self.elapsed_seconds,
            self.messages_per_second,
        );
        // Writing into a String cannot fail.
        let mut line = |name: &str, count: u64, why: &str| {
            if count > 0 {
                let _ = writeln!(text, "  {name:<13} {:>12}   {why}", thousands(count));
            }
        };
        line(
            "unheard",
            self.totals.unheard,
            "acknowledged, but nobody had subscribed: is the bridge connected, and do its subscriptions match?",
        );
        line("refused", self.totals.refused, &self.last_reason);
        line(
            "unknown",
            self.unknown,
            "never acknowledged; may or may not arrive",
        );
        line(
            "resent",
            self.totals.resent,
            "after a reconnect; each may arrive twice",
        );
        line("disconnects", self.totals.disconnects, &self.last_reason);
        if let Some(p) = self.puback_ms {
            let _ = writeln!(
                text,
                "  acknowledged after: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                p.p50, p.p90, p.p99, p.max
            );
        }
        let _ = writeln!(
            text,
            "next: tributary probe audit --sent {} --kafka HOST:PORT --topic TOPIC",
            self.sent_file.display()
        );
        text
    }
}
