//! `tributary probe` as people run it: the program, a real MQTT server, a real Kafka. In the bridge's place stands a
//! [`forwarder`] that loses, repeats and shuffles on command.

mod audit;
mod forwarder;
mod send;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::process::data_dir;
use crate::harness::said::Said;

/// `tributary probe …`, ready to be started.
fn program(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    command.arg("probe").args(arguments.split_whitespace());
    command
}

/// Runs `tributary probe …` to its end.
async fn probe(arguments: String) -> Said {
    let run = move || program(&arguments).output().expect("the program starts");
    tokio::task::spawn_blocking(run).await.expect("no panic").into()
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
