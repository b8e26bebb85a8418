//! `--watch` on a terminal: `script` (util-linux) gives the program one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{Person, ago, condition, factory, write_status};
use crate::harness::apiserver::shared;
use crate::harness::ports::free_port;
use crate::harness::wait::{PATIENCE, eventually, until};

struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program on a terminal of 100 columns, and the file with what is written to that terminal.
fn watched(person: &Person, arguments: &str) -> (Reaped, PathBuf) {
    let line = format!(
        "stty cols 100 rows 30; exec {} status --watch --interval 1 {arguments}",
        env!("CARGO_BIN_EXE_tributary")
    );
    let shown = person.dir.join("terminal");
    let prepared = person.program(Path::new("script"), "");
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .envs(
            prepared
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(File::create(&shown).unwrap());
    let child = Reaped(command.spawn().expect("script of util-linux"));
    (child, shown)
}

#[tokio::test]
async fn a_watched_tree_follows_the_status_and_ctrl_c_gives_the_terminal_back() {
    let server = shared().await;
    let namespace = server.namespace("status-watch").await;
    let client = server.admin();
    factory(&client, &namespace).await;
    let person = Person::new().context("munich", server, server.admin_token(), "default");
    let (mut child, shown) = watched(&person, &format!("-n {namespace}"));
    let screen = || String::from_utf8_lossy(&fs::read(&shown).unwrap()).into_owned();
    until("the tree to be drawn", PATIENCE, async || {
        screen().contains("InSync")
    })
    .await;
    let cut = json!({"observedAt": ago(0), "verdict": "Disconnected", "conditions": [
        condition("Ready", "True", "KafkaUnreachable"), condition("Connected", "False", "KafkaUnreachable")]});
    write_status(&client, &namespace, "ReplicationLink", "to-eu", cut).await;
    until("the cut to be drawn", PATIENCE, async || {
        screen().contains("Disconnected")
    })
    .await;
    let drawn = screen();
    assert!(drawn.contains("\x1b[?1049h"), "{drawn:?}");
    assert!(!drawn.contains("\x1b[?1049l"), "{drawn:?}");
    // Redrawn in place: after the first picture nothing is blanked.
    assert!(
        drawn.matches("\x1b[H").count() > 2 && !drawn.contains("\x1b[2J"),
        "{drawn:?}"
    );

    child.0.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let status = eventually("the end", PATIENCE, async || {
        child.0.try_wait().unwrap().ok_or("it still runs")
    })
    .await;
    assert_eq!(status.code(), Some(0), "{}", screen());
    let drawn = screen();
    let (_, after) = drawn
        .rsplit_once("\x1b[?1049l")
        .expect("the first screen is back");
    assert!(
        after.contains("Disconnected"),
        "the last picture stays: {after:?}"
    );
    assert!(drawn.contains("\x1b[?25h"), "the cursor is back");
}

/// The program itself, below `script`.
fn program_below(child: &Reaped) -> Pid {
    let pid = child.0.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let first = children.split_whitespace().next().expect("it runs");
    Pid::from_raw(first.parse().unwrap()).unwrap()
}

fn is_stopped(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('T'))
}

#[tokio::test]
async fn ctrl_z_gives_the_terminal_back_until_it_goes_on() {
    let person = Person::new().entry(
        "refused",
        &json!({"server": format!("http://127.0.0.1:{}", free_port())}),
        &json!({}),
        "default",
    );
    let (mut child, shown) = watched(&person, "");
    let screen = || String::from_utf8_lossy(&fs::read(&shown).unwrap()).into_owned();
    until("the tree to be drawn", PATIENCE, async || {
        screen().contains("refused")
    })
    .await;
    let pid = program_below(&child);
    child.0.stdin.as_mut().unwrap().write_all(b"\x1a").unwrap();
    until("it to be stopped", PATIENCE, async || is_stopped(pid)).await;
    // `script` stops together with its child, and has not written the last of it yet.
    let script = Pid::from_child(&child.0);
    until("the second screen again", PATIENCE, async || {
        kill_process(script, Signal::CONT).unwrap();
        kill_process(pid, Signal::CONT).unwrap();
        screen().matches("\x1b[?1049h").count() == 2
    })
    .await;
    let drawn = screen();
    let (before, _) = drawn.rsplit_once("\x1b[?1049h").unwrap();
    assert!(before.contains("\x1b[?25h\x1b[?1049l"), "{drawn:?}");
    child.0.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    eventually("the end", PATIENCE, async || {
        child.0.try_wait().unwrap().ok_or("it still runs")
    })
    .await;
}
