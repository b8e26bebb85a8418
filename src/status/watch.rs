//! The tree as it changes: redrawn in place, on a screen of its own that the end gives back.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use console::Term;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::StatusError;
use super::fetch::Source;
use super::figures::whole_seconds;
use super::model::{Answer, Fleet};
use super::note::{Note, NoteKind};
use super::render::{cut, tree};
use super::rows;
use super::style::{Ink, Look};

/// Ages move even when nobody answers.
const REDRAW: Duration = Duration::from_secs(1);
/// Of a terminal that does not tell.
const ROWS: usize = 24;

/// Draws until a signal ends it; returns the last picture. `look` is asked again for each picture: terminals change
/// their size.
pub(super) async fn watch(
    sources: Vec<Source>,
    interval: Duration,
    look: impl Fn() -> Look,
) -> Result<Fleet, StatusError> {
    let mut answers: Vec<(Answer, Instant)> = sources.iter().map(asking).collect();
    let (tell, mut told) = mpsc::channel(answers.len().max(1));
    let mut tasks = JoinSet::new();
    for (index, source) in sources.into_iter().enumerate() {
        tasks.spawn(keep_asking(index, source, interval, tell.clone()));
    }
    let mut ends = Ends::new()?;
    let mut resized = signal(SignalKind::window_change()).map_err(StatusError::Signals)?;
    let suspend = SignalKind::from_raw(Number::TSTP.as_raw());
    let mut suspended = signal(suspend).map_err(StatusError::Signals)?;
    let mut second = tokio::time::interval(REDRAW);
    let mut screen = Screen::enter()?;
    loop {
        tokio::select! {
            () = ends.come() => break,
            Some((index, answer)) = told.recv() => answers[index] = (answer, Instant::now()),
            _ = suspended.recv() => {
                drop(screen);
                stop()?;
                screen = Screen::enter()?;
            }
            _ = resized.recv() => {}
            _ = second.tick() => {}
        }
        let rows = Term::stdout()
            .size_checked()
            .map_or(ROWS, |(rows, _)| usize::from(rows));
        let lines = page(&current(&answers), interval, look());
        if screen.draw(&frame(&lines, rows, look())).is_err() {
            // The terminal is gone.
            break;
        }
    }
    Ok(current(&answers))
}

fn asking(source: &Source) -> (Answer, Instant) {
    let note = Note::new(NoteKind::Asking, "asking");
    let context = &source.context;
    let answer = Answer::empty(&context.name, context.server.as_deref(), source.now(), vec![note]);
    (answer, Instant::now())
}

/// One context at its own pace: one that does not answer delays no other.
async fn keep_asking(
    index: usize,
    mut source: Source,
    interval: Duration,
    tell: mpsc::Sender<(usize, Answer)>,
) {
    loop {
        let answer = source.ask().await;
        if tell.send((index, answer)).await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

/// The tree as of now: time goes on at each site since it answered.
fn current(answers: &[(Answer, Instant)]) -> Fleet {
    let aged: Vec<Answer> = answers
        .iter()
        .map(|(answer, since)| {
            let passed = SignedDuration::try_from(since.elapsed()).unwrap_or_default();
            let now = answer.now.checked_add(passed).unwrap_or(answer.now);
            Answer {
                now,
                ..answer.clone()
            }
        })
        .collect();
    Fleet::build(&aged, Timestamp::now())
}

fn page(fleet: &Fleet, interval: Duration, look: Look) -> Vec<String> {
    let time = whole_seconds(fleet.generated_at);
    let title = format!(
        "tributary status, every {} s, {time}, Ctrl-C ends",
        interval.as_secs()
    );
    let mut lines = vec![cut(&look.paint(Ink::Dim, &title), look), String::new()];
    lines.extend(tree(fleet, look));
    // One line, however narrow: when the page is cut, it stays.
    let (summary, ink) = rows::summary(fleet);
    lines.extend([String::new(), cut(&look.paint(ink, &summary), look)]);
    lines
}

/// One picture as it is sent: from the top left, each line cleared behind its text, the rest cleared below. Nothing is
/// blanked first, so nothing flickers; terminals that can, show it at once (mode 2026).
fn frame(lines: &[String], rows: usize, look: Look) -> String {
    let mut shown: Vec<String> = lines.to_vec();
    if lines.len() > rows && rows > 2 {
        let hidden = lines.len() - (rows - 2) - 1;
        shown.truncate(rows - 2);
        let more = format!("{} {hidden} more lines; the worst stand first", look.ellipsis());
        shown.push(cut(&look.paint(Ink::Dim, &more), look));
        shown.extend(lines.last().cloned());
    }
    shown.truncate(rows);
    format!(
        "\x1b[?2026h\x1b[H{}\x1b[K\x1b[J\x1b[?2026l",
        shown.join("\x1b[K\r\n")
    )
}

/// Ctrl-Z, once the terminal is as the shell wants it; returns when somebody says `fg`.
fn stop() -> Result<(), StatusError> {
    kill_process(getpid(), Number::STOP).map_err(|e| StatusError::Signals(e.into()))
}

/// The terminal's second screen, without a cursor; dropped, the first one is back as it was.
struct Screen;

impl Screen {
    fn enter() -> Result<Self, StatusError> {
        let screen = Self;
        screen
            .draw("\x1b[?1049h\x1b[?25l\x1b[H\x1b[J")
            .map_err(StatusError::Write)?;
        Ok(screen)
    }

    #[allow(clippy::unused_self)] // only who holds the screen draws on it
    fn draw(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = self.draw("\x1b[?25h\x1b[?1049l");
    }
}

/// The signals that end it.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> Result<Self, StatusError> {
        let one = |kind| signal(kind).map_err(StatusError::Signals);
        Ok(Self([
            one(SignalKind::interrupt())?,
            one(SignalKind::terminate())?,
            one(SignalKind::hangup())?,
        ]))
    }

    async fn come(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Make, answer, fleet};
    use super::*;

    const LOOK: Look = Look {
        width: Some(80),
        colour: false,
        unicode: true,
    };

    fn lines(count: usize) -> Vec<String> {
        (1..=count).map(|i| format!("line {i}")).collect()
    }

    #[test]
    fn a_picture_is_written_over_the_last_one_without_blanking_the_screen() {
        let text = frame(&lines(2), 10, LOOK);
        assert_eq!(
            text,
            "\x1b[?2026h\x1b[Hline 1\x1b[K\r\nline 2\x1b[K\x1b[J\x1b[?2026l"
        );
        assert!(!text.contains("\x1b[2J"));
    }

    #[test]
    fn no_line_of_a_page_is_wider_than_the_terminal_however_narrow() {
        let troubled =
            Make::cluster("factory", "munich", 1).condition("Stalled", "True", "QuorumLost", "gone", 900);
        let fleet = fleet(&[answer("factory-munich", vec![troubled])]);
        for width in 1..130 {
            let look = Look {
                width: Some(width),
                ..LOOK
            };
            let page = page(&fleet, Duration::from_secs(5), look);
            for rows in [3, 4, 24] {
                let frame = frame(&page, rows, look);
                let frame = console::strip_ansi_codes(&frame);
                let lines: Vec<&str> = frame.split("\r\n").collect();
                assert!(lines.len() <= rows, "{width}x{rows}: {frame}");
                assert!(
                    lines
                        .iter()
                        .all(|line| console::measure_text_width(line) <= width),
                    "{width}: {frame}"
                );
            }
        }
    }

    #[test]
    fn a_picture_never_has_more_lines_than_the_terminal_and_keeps_the_summary() {
        for rows in 1..8 {
            let text = frame(&lines(9), rows, LOOK);
            assert!(text.split("\r\n").count() <= rows, "{rows}: {text:?}");
        }
        let text = frame(&lines(9), 5, LOOK);
        assert!(
            text.contains("line 3") && !text.contains("line 4") && text.contains("5 more lines"),
            "{text:?}"
        );
        assert!(text.contains("line 9"), "{text:?}");
    }
}
