//! Progress of a run: a bar on a terminal, else a line every few seconds.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::SendArgs;
use super::account::Account;
use crate::probe::output::{progress_line, thousands};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is shown while a run goes on, on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    length: Option<Duration>,
    messages: Option<u64>,
    /// When the last line was written and how many were acknowledged then.
    last: Cell<(Instant, u64)>,
}

impl Progress {
    /// Begins.
    #[must_use]
    pub fn new(args: &SendArgs, run: &str) -> Self {
        let template = "{prefix} [{elapsed_precise}] {wide_bar} {percent}% {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Thousandths: the bar follows messages or time, whatever is further.
        let bar = ProgressBar::new(1000)
            .with_style(style)
            .with_prefix(run.to_owned());
        let now = Instant::now();
        if bar.is_hidden() {
            progress_line(&format!("run {run}: {} devices, QoS {}", args.devices, args.qos));
        }
        Self {
            bar,
            started: now,
            length: args.duration,
            messages: args.messages,
            last: Cell::new((now, 0)),
        }
    }

    /// Brings it up to date; cheap enough for once a second.
    pub fn show(&self, account: &Account) {
        let totals = account.totals();
        let (when, acked) = self.last.get();
        let due = if self.bar.is_hidden() {
            LINE_EVERY
        } else {
            Duration::ZERO
        };
        if when.elapsed() < due {
            return;
        }
        self.last.set((Instant::now(), totals.acked));
        // Differences of message counts, far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        let rate = (totals.acked - acked) as f64 / when.elapsed().as_secs_f64().max(0.001);
        let open = totals.sent.saturating_sub(totals.acked + totals.refused);
        let mut text = format!(
            "{} acknowledged, {rate:.0}/s, {} in flight, {} connections",
            thousands(totals.acked),
            thousands(open),
            totals.connected
        );
        if totals.connected == 0 && totals.disconnects > 0 {
            text = format!("{text}; reconnecting: {}", account.last_reason());
        }
        if self.bar.is_hidden() {
            progress_line(&format!(
                "{:>6.0} s  {text}",
                self.started.elapsed().as_secs_f64()
            ));
        } else {
            self.bar.set_position(self.thousandths(totals.acked));
            self.bar.set_message(text);
        }
    }

    fn thousandths(&self, acked: u64) -> u64 {
        let messages = self
            .messages
            .map_or(0, |all| acked.saturating_mul(1000) / all.max(1));
        let time = self.length.map_or(0, |all| {
            u64::try_from(self.started.elapsed().as_millis() * 1000 / all.as_millis().max(1)).unwrap_or(1000)
        });
        messages.max(time).min(1000)
    }

    /// Ends it.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
