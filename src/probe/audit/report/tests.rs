use std::collections::BTreeSet;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::probe::audit::tally::Record;
use crate::probe::audit::text::Text;
use crate::probe::sent::{FORMAT, Header, Line, Range};
use crate::probe::stamp::Stamper;

const SECOND: u64 = 1_000_000_000;
const RUN: &str = "r1";

/// A topic that holds these messages, in this order.
fn topic(messages: impl IntoIterator<Item = (u32, u64)>) -> Tally {
    let mut tally = Tally::new(Some(RUN.to_owned()), 0);
    let stamper = Stamper::new(RUN, 200).unwrap();
    for (device, sequence) in messages {
        let value = stamper.payload(device, sequence, SECOND);
        let timestamp = Some((Clock::CreateTime, SECOND + 5_000_000));
        let record = Record {
            partition: 0,
            value: Some(&value),
            timestamp,
            read_ns: SECOND + 20_000_000,
        };
        tally.observe(&record).unwrap();
    }
    tally
}

/// A sent file with these lines behind the first.
fn sent(lines: &[Line]) -> SentFile {
    let header = Header {
        format: FORMAT,
        run: RUN.to_owned(),
        started_ns: 0,
        devices: 2,
        payload_bytes: 200,
        qos: 1,
        rate: None,
        messages: None,
        topic_template: "{device}".to_owned(),
        servers: Vec::new(),
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for line in std::iter::once(&Line::Run(header)).chain(lines) {
        writeln!(file, "{}", serde_json::to_string(line).unwrap()).unwrap();
    }
    file.flush().unwrap();
    SentFile::open(file.path()).unwrap()
}

fn acked(ranges: Vec<Range>) -> Line {
    Line::Acked { at_ns: 1, ranges }
}

fn end(unknown: Vec<Range>) -> Line {
    Line::End {
        at_ns: 1,
        acked: 0,
        refused: 0,
        resent: 0,
        unknown,
        puback_ms: None,
    }
}

fn servers() -> &'static [String] {
    static SERVERS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    SERVERS.get_or_init(|| vec!["kafka:9092".to_owned()])
}

fn read(tally: &Tally) -> Read<'_> {
    Read {
        bootstrap_servers: servers(),
        topic: "telemetry",
        partitions: 1,
        truncated_partitions: 0,
        tally,
    }
}

#[derive(Default)]
struct Case<'a> {
    sent: Option<(&'a SentFile, SenderState)>,
    factory: Option<&'a Tally>,
    dead_letter: Option<&'a Tally>,
}

impl Case<'_> {
    fn report(&self, target: &Tally) -> Report {
        let Case {
            sent,
            factory,
            dead_letter,
        } = *self;
        Report::new(&Evidence {
            run: RUN,
            sent,
            target: read(target),
            factory: factory.map(read),
            dead_letter,
        })
    }
}

fn finished(file: &SentFile) -> Option<(&SentFile, SenderState)> {
    Some((file, SenderState::Finished))
}

#[test]
fn everything_there_is_complete() {
    let file = sent(&[acked(vec![Range(0, 0, 2), Range(1, 0, 0)]), end(vec![])]);
    let target = topic([(0, 0), (1, 0), (0, 1), (0, 2)]);
    let report = Case {
        sent: finished(&file),
        ..Case::default()
    }
    .report(&target);
    assert_eq!(
        (report.verdict, report.verdict.exit_status()),
        (Verdict::Complete, 0)
    );
    assert_eq!(
        (report.acked, report.received, report.lost, report.duplicates),
        (Some(4), 4, 0, 0)
    );
    let text = Text(&report).to_string();
    assert!(
        text.contains("complete: everything acknowledged has arrived"),
        "{text}"
    );
    assert!(
        text.contains("sent to record (producer's clock): p50 5.0 ms"),
        "{text}"
    );
}

#[test]
fn a_missing_message_fails_the_audit_and_is_named() {
    let file = sent(&[acked(vec![Range(0, 0, 9)]), end(vec![])]);
    let target = topic((0..10).filter(|n| *n != 4 && *n != 9).map(|n| (0, n)));
    let report = Case {
        sent: finished(&file),
        ..Case::default()
    }
    .report(&target);
    assert_eq!(
        (report.verdict, report.verdict.exit_status(), report.lost),
        (Verdict::Missing, 1, 2)
    );
    let missing: Vec<_> = report
        .missing
        .iter()
        .map(|m| (m.device, m.first, m.last, m.place))
        .collect();
    assert_eq!(
        missing,
        [(0, 4, 4, Place::BeforeKafka), (0, 9, 9, Place::BeforeKafka)]
    );
    let text = Text(&report).to_string();
    assert!(
        text.contains("LOST") && text.contains("missing: device 0, 4 to 4 (before Kafka)"),
        "{text}"
    );
}

#[test]
fn loss_before_and_after_the_bridge_is_told_apart() {
    let unheard = Line::Unheard {
        at_ns: 1,
        ranges: vec![Range(0, 6, 7)],
    };
    let file = sent(&[acked(vec![Range(0, 0, 9)]), unheard, end(vec![])]);
    let target = topic([(0, 0), (0, 1), (0, 2)]);
    let factory = topic([(0, 0), (0, 1), (0, 3), (0, 4), (0, 5)]);
    let dead_letter = topic([(0, 9)]);
    let case = Case {
        sent: finished(&file),
        factory: Some(&factory),
        dead_letter: Some(&dead_letter),
    };
    let report = case.report(&target);
    assert_eq!((report.lost, report.dead_lettered), (6, 1));
    let places = Places {
        before_bridge: 2,
        before_kafka: 1,
        after_bridge: Some(3),
    };
    assert_eq!(report.lost_at, places);
    let at: BTreeSet<_> = report
        .missing
        .iter()
        .map(|m| (m.place, m.first, m.last))
        .collect();
    let expected = [
        (Place::BeforeBridge, 6, 7),
        (Place::BeforeKafka, 8, 8),
        (Place::AfterBridge, 3, 5),
        (Place::DeadLetter, 9, 9),
    ];
    assert_eq!(at, expected.into());
    let text = Text(&report).to_string();
    assert!(
        text.contains("after the bridge: in the factory's Kafka, not here"),
        "{text}"
    );
    // Missing in the factory's Kafka alone (retention) is no loss: sequence 2 has arrived.
    assert_eq!(report.factory.unwrap().received, 5);
}

#[test]
fn what_is_in_the_dead_letter_topic_is_not_lost_but_has_not_arrived() {
    let file = sent(&[acked(vec![Range(0, 0, 1)]), end(vec![])]);
    let (target, dead_letter) = (topic([(0, 0)]), topic([(0, 1)]));
    let case = Case {
        sent: finished(&file),
        dead_letter: Some(&dead_letter),
        ..Case::default()
    };
    let report = case.report(&target);
    assert_eq!(
        (report.verdict, report.lost, report.dead_lettered),
        (Verdict::Missing, 0, 1)
    );
    assert!(Text(&report).to_string().contains("INCOMPLETE"));
}

#[test]
fn without_the_file_gaps_are_counted_and_the_tail_is_unknown() {
    let report = Case::default().report(&topic([(0, 0), (0, 3), (1, 1)]));
    assert_eq!(
        (report.verdict, report.verdict.exit_status()),
        (Verdict::TailUnknown, 2)
    );
    assert_eq!((report.gaps, report.lost, report.acked), (3, 0, None));
    assert!(Text(&report).to_string().contains("tail unknown: without --sent"));
}

#[test]
fn a_sender_that_crashed_leaves_the_tail_unknown_unless_something_is_missing() {
    let file = sent(&[acked(vec![Range(0, 0, 1)])]);
    let case = Case {
        sent: Some((&file, SenderState::Interrupted)),
        ..Case::default()
    };
    let report = case.report(&topic([(0, 0), (0, 1), (0, 2)]));
    assert_eq!((report.verdict, report.unrecorded), (Verdict::TailUnknown, 1));
    assert_eq!(case.report(&topic([(0, 0)])).verdict, Verdict::Missing);
}

#[test]
fn a_running_sender_is_not_accused_of_loss() {
    let file = sent(&[acked(vec![Range(0, 0, 1)])]);
    let case = Case {
        sent: Some((&file, SenderState::Running)),
        ..Case::default()
    };
    assert_eq!(case.report(&topic([(0, 0)])).verdict, Verdict::TailUnknown);
}

#[test]
fn what_was_never_acknowledged_is_neither_lost_nor_unrecorded() {
    let file = sent(&[acked(vec![Range(0, 0, 0)]), end(vec![Range(0, 1, 2)])]);
    let report = Case {
        sent: finished(&file),
        ..Case::default()
    }
    .report(&topic([(0, 0), (0, 1)]));
    assert_eq!(
        (report.verdict, report.lost, report.unrecorded),
        (Verdict::Complete, 0, 0)
    );
    assert_eq!(report.sender.unwrap().unknown, 2);
}

#[test]
fn a_topic_without_any_message_loses_all() {
    let file = sent(&[acked(vec![Range(0, 0, 9), Range(1, 0, 9)]), end(vec![])]);
    let report = Case {
        sent: finished(&file),
        ..Case::default()
    }
    .report(&topic([]));
    assert_eq!(
        (report.verdict, report.lost, report.received),
        (Verdict::Missing, 20, 0)
    );
}

#[test]
fn the_list_of_missing_ranges_is_bounded() {
    let file = sent(&[acked(vec![Range(0, 0, 2000)]), end(vec![])]);
    let report = Case {
        sent: finished(&file),
        ..Case::default()
    }
    .report(&topic((0..1000).map(|n| (0, n * 2))));
    assert_eq!((report.missing.len(), report.lost), (MAX_LISTED, 1001));
    assert!(Text(&report).to_string().contains("and more"));
}

/// Scripts read these; a renamed field breaks them.
#[test]
fn the_json_fields_are_stable() {
    let file = sent(&[acked(vec![Range(0, 0, 1)]), end(vec![])]);
    let target = topic([(0, 0)]);
    let report = Case {
        sent: finished(&file),
        factory: Some(&target),
        ..Case::default()
    }
    .report(&target);
    let json = serde_json::to_value(&report).unwrap();
    let keys = |value: &serde_json::Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        keys(&json),
        "acked deadLettered devices duplicates factory gaps lost lostAt missing outOfOrder received run schema sender \
         topic unrecorded verdict"
    );
    assert_eq!(keys(&json["lostAt"]), "afterBridge beforeBridge beforeKafka");
    assert_eq!(
        keys(&json["sender"]),
        "disconnects pubackMs qos refused resent state torn unknown"
    );
    assert_eq!(
        keys(&json["topic"]),
        "bootstrapServers duplicates otherRecords outOfOrder partitions received scatteredDevices toReader toRecord \
         topic truncatedPartitions"
    );
    assert_eq!(
        keys(&json["topic"]["toRecord"]),
        "clock count max negative p50 p90 p99"
    );
    assert_eq!(keys(&json["missing"][0]), "device first last place");
    assert_eq!(
        keys(&json["devices"][0]),
        "acked deadLettered device duplicates gaps lost outOfOrder received"
    );
    assert_eq!(
        (json["verdict"].as_str(), json["schema"].as_u64()),
        (Some("Missing"), Some(1))
    );
}

proptest! {
    /// Whatever arrived where: every acknowledged message is received, dead-lettered or lost in exactly one place.
    #[test]
    fn every_acknowledged_message_is_accounted_for_once(
        acknowledged in prop::collection::btree_set((0u32..3, 0u64..20), 0..40),
        here in prop::collection::vec((0u32..3, 0u64..20), 0..60),
        factory in prop::collection::vec((0u32..3, 0u64..20), 0..60),
        dead in prop::collection::vec((0u32..3, 0u64..20), 0..20),
    ) {
        let ranges = acknowledged.iter().map(|(d, s)| Range(*d, *s, *s)).collect();
        let file = sent(&[acked(ranges), end(vec![])]);
        let (target, in_factory, in_dead) = (topic(here.clone()), topic(factory), topic(dead));
        let case = Case { sent: finished(&file), factory: Some(&in_factory), dead_letter: Some(&in_dead) };
        let report = case.report(&target);
        let received: BTreeSet<_> = here.iter().copied().collect();
        prop_assert_eq!(report.received, received.len() as u64);
        prop_assert_eq!(report.duplicates, (here.len() - received.len()) as u64);
        let arrived = acknowledged.intersection(&received).count() as u64;
        prop_assert_eq!(report.acked, Some(arrived + report.lost + report.dead_lettered));
        let Places { before_bridge, before_kafka, after_bridge } = report.lost_at;
        prop_assert_eq!(report.lost, before_bridge + before_kafka + after_bridge.unwrap());
        prop_assert_eq!(report.unrecorded, report.received - arrived);
        let sum = |of: fn(&DeviceAccount) -> u64| report.devices.iter().map(of).sum::<u64>();
        prop_assert_eq!(sum(|d| d.lost), report.lost);
        prop_assert_eq!(sum(|d| d.received), report.received);
        prop_assert_eq!(sum(|d| d.dead_lettered), report.dead_lettered);
        let complete = report.lost + report.dead_lettered == 0;
        prop_assert_eq!(report.verdict, if complete { Verdict::Complete } else { Verdict::Missing });
    }
}
