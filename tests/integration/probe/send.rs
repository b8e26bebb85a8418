//! What the sender writes down, whatever the MQTT server does.

use serde_json::{Value, json};

use super::{lines, probe, program, sent_file};
use crate::harness::mosquitto::{Mosquitto, Options};
use crate::harness::process::Process;
use crate::harness::wait::{PATIENCE, until};

fn with_config(config: &[&str]) -> Options {
    let mut options = Options::default();
    options
        .config
        .extend(config.iter().map(|line| (*line).to_owned()));
    options
}

/// Messages in the ranges of all lines of a type.
fn count(sent: &std::path::Path, kind: &str) -> u64 {
    let number = |range: &Value, i: usize| range[i].as_u64().expect("a number");
    let ranges = lines(sent, kind)
        .into_iter()
        .flat_map(|line| line["ranges"].as_array().cloned().unwrap_or_default());
    ranges
        .map(|range| number(&range, 2) - number(&range, 1) + 1)
        .sum()
}

#[tokio::test]
async fn every_message_is_acknowledged_across_a_restart_of_the_server() {
    let mut mqtt = Mosquitto::start(&Options::default()).await;
    let sent = sent_file();
    let options = format!(
        "send --mqtt {} --devices 20 --rate 2000 --messages 8000 --connections 4 --sent {} -o json",
        mqtt.url(),
        sent.display()
    );
    let mut sender = Process::start("probe-send", &program(&options));
    until("acknowledgements", PATIENCE, async || count(&sent, "acked") > 0).await;
    mqtt.kill();
    until("the sender to notice", PATIENCE, async || {
        lines(&sent, "connection").len() >= 4
    })
    .await;
    mqtt.start_again().await;
    until("the sender's end", PATIENCE, async || {
        sender.exit_status().is_some()
    })
    .await;
    assert!(sender.exit_status().unwrap().success(), "{}", sender.log_tail());
    let end = lines(&sent, "end").remove(0);
    assert_eq!((&end["acked"], &end["unknown"]), (&json!(8000), &json!([])));
    assert_eq!(
        (count(&sent, "acked"), count(&sent, "resent")),
        (8000, end["resent"].as_u64().unwrap())
    );
}

#[tokio::test]
async fn what_is_never_acknowledged_is_written_down_as_unknown() {
    let mqtt = Mosquitto::start(&Options::default()).await;
    let sent = sent_file();
    let options = format!(
        "send --mqtt {} --devices 2 --rate 500 --duration 10m --window 50 --drain 1s --sent {}",
        mqtt.url(),
        sent.display()
    );
    let mut sender = Process::start("probe-send", &program(&options));
    until("acknowledgements", PATIENCE, async || count(&sent, "acked") > 0).await;
    mqtt.pause();
    // The sender says every few seconds where it stands: the windows are full when nothing moves between two lines.
    until("the windows to fill", PATIENCE, async || {
        let log = sender.log_tail();
        let mut stands = log
            .lines()
            .rev()
            .filter_map(|line| line.split_once(" s  ")?.1.split_once(", "));
        matches!((stands.next(), stands.next()), (Some((now, _)), Some((before, _))) if now == before)
    })
    .await;
    sender.signal("INT");
    until("the sender's end", PATIENCE, async || {
        sender.exit_status().is_some()
    })
    .await;
    mqtt.resume();
    assert_eq!(
        sender.exit_status().unwrap().code(),
        Some(1),
        "{}",
        sender.log_tail()
    );
    let end = lines(&sent, "end").remove(0);
    assert!(!end["unknown"].as_array().unwrap().is_empty(), "{end}");
    assert_eq!(end["acked"].as_u64().unwrap(), count(&sent, "acked"));
}

#[tokio::test]
async fn both_versions_both_qualities_and_a_small_receive_maximum_work() {
    let mqtt = Mosquitto::start(&with_config(&["max_inflight_messages 3"])).await;
    for (protocol, qos) in [("V5", 0), ("V5", 1), ("V311", 0), ("V311", 1)] {
        let sent = sent_file();
        let options = format!(
            "send --mqtt {} --protocol {protocol} --qos {qos} --devices 7 --rate 0 --messages 500 --sent {} -o json",
            mqtt.url(),
            sent.display()
        );
        let summary = probe(options).await.expect(0).json();
        assert_eq!(
            (&summary["acked"], &summary["unknown"]),
            (&json!(500), &json!(0)),
            "{protocol} {qos}"
        );
        assert_eq!(count(&sent, "acked"), 500, "{protocol} {qos}");
        assert_eq!(summary["pubackMs"].is_null(), qos == 0);
    }
}

#[tokio::test]
async fn a_server_that_refuses_messages_is_reported() {
    let acl = sent_file().with_file_name("acl");
    std::fs::write(&acl, "topic write factory/line0/#\n").unwrap();
    let mqtt = Mosquitto::start(&with_config(&[&format!("acl_file {}", acl.display())])).await;
    let sent = sent_file();
    let options = format!(
        "send --mqtt {} --devices 4 --lines 2 --rate 0 --messages 40 --sent {} -o json",
        mqtt.url(),
        sent.display()
    );
    let summary = probe(options).await.expect(1).json();
    assert_eq!((&summary["acked"], &summary["refused"]), (&json!(20), &json!(20)));
    let refused = lines(&sent, "refused");
    assert!(
        refused
            .iter()
            .all(|line| line["reason"].as_str().unwrap().contains("NotAuthorized")),
        "{refused:?}"
    );
    assert_eq!(count(&sent, "refused"), 20);
}

#[tokio::test]
async fn a_password_and_tls_are_used_and_a_wrong_password_ends_it_at_once() {
    let options = Options {
        user: Some(("devices".into(), "s3cret".into())),
        tls: true,
        ..Options::default()
    };
    let mqtt = Mosquitto::start(&options).await;
    let sent = sent_file();
    let dir = sent.parent().unwrap().display().to_string();
    std::fs::write(format!("{dir}/ca.pem"), mqtt.authority().pem()).unwrap();
    std::fs::write(format!("{dir}/right"), "s3cret\n").unwrap();
    std::fs::write(format!("{dir}/wrong"), "wr0ng\n").unwrap();
    let send = |password: &str, more: &str, file: &str| {
        probe(format!(
            "send --mqtt {} --username devices --password-file {dir}/{password} {more} --rate 0 --messages 10 \
             --sent {dir}/{file}",
            mqtt.url()
        ))
    };
    let ca = format!("--ca-file {dir}/ca.pem");
    send("right", &ca, "a").await.expect(0);
    let refused = send("wrong", &ca, "b").await.expect(3);
    assert!(
        refused.err.contains("refuses the credentials") && !refused.err.contains("wr0ng"),
        "{refused:?}"
    );
    let untrusted = send("right", "", "c").await.expect(3);
    assert!(untrusted.err.contains("TLS"), "{untrusted:?}");
    assert!(
        !std::path::Path::new(&format!("{dir}/c")).exists(),
        "a run that sent nothing leaves no file"
    );
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_sent() {
    let sent = sent_file();
    let file = sent.display();
    for (options, status, said) in [
        ("--mqtt broker:1883 --messages 1", 64, "the scheme is missing"),
        ("--mqtt mqtt://127.0.0.1:1", 64, "--messages"),
        (
            "--mqtt mqtt://127.0.0.1:1 --messages 1 --payload-size 10",
            3,
            "--payload-size is 10",
        ),
        (
            "--mqtt mqtt://127.0.0.1:1 --messages 1 --topic-template a/{x}",
            3,
            "{x}",
        ),
        (
            "--mqtt mqtt://127.0.0.1:1 --messages 1 --ca-file x",
            3,
            "mqtts://",
        ),
        (
            "--mqtt mqtt://127.0.0.1:1,mqtts://127.0.0.1:1 --messages 1",
            3,
            "mixes",
        ),
        (
            "--mqtt mqtt://127.0.0.1:1 --messages 1 --connect-timeout 1s",
            3,
            "127.0.0.1:1",
        ),
    ] {
        let refused = probe(format!("send {options} --sent {file}"))
            .await
            .expect(status);
        assert!(refused.err.contains(said), "{options}: {refused:?}");
        assert!(!sent.exists(), "{options} left a file");
    }
}
