//! `tributary probe` as people run it: the program, a real MQTT server, a real Kafka. In the bridge's place stands a
//! [`forwarder`] that loses, repeats and shuffles on command.

mod audit;
mod forwarder;
mod send;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::process::data_dir;

/// What the program said.
#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// `tributary probe …`, ready to be started.
fn program(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    command.arg("probe").args(arguments.split_whitespace());
    command
}

/// Runs `tributary probe …` to its end.
async fn probe(arguments: String) -> Said {
    let run = move || program(&arguments).output().expect("the program starts");
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(run).await.expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said {
        status: status.code().unwrap_or(-1),
        out: text(stdout),
        err: text(stderr),
    }
}

/// A path for a sent file that does not exist yet.
fn sent_file() -> PathBuf {
    data_dir("probe").join("sent.jsonl")
}

/// The lines of a sent file with this type.
fn lines(sent: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(sent).unwrap_or_default();
    let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
    text.lines()
        .filter_map(parse)
        .filter(|line| line["type"] == kind)
        .collect()
}
