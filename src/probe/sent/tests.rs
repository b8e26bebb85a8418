use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn header() -> Header {
    Header {
        format: FORMAT,
        run: "r1".to_owned(),
        started_ns: 1_000,
        devices: 2,
        payload_bytes: 256,
        qos: 1,
        rate: Some(1000),
        messages: None,
        topic_template: "a/{device}".to_owned(),
        servers: vec!["mqtt://broker:1883".to_owned()],
    }
}

fn acked(ranges: &[(u32, u64, u64)]) -> Line {
    Line::Acked {
        at_ns: 5,
        ranges: ranges.iter().map(|(d, f, l)| Range(*d, *f, *l)).collect(),
    }
}

fn end(unknown: Vec<Range>) -> Line {
    Line::End {
        at_ns: 9,
        acked: 0,
        refused: 0,
        resent: 0,
        unknown,
        puback_ms: None,
    }
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("sent.jsonl")
    }

    fn with(&self, text: &str) -> Result<SentFile, SentError> {
        std::fs::write(self.path(), text).unwrap();
        SentFile::open(&self.path())
    }
}

#[test]
fn what_is_written_is_read() {
    let dir = Dir::new();
    let mut writer = SentWriter::create(&dir.path(), &header()).unwrap();
    writer.write(&acked(&[(0, 0, 9), (1, 0, 4)])).unwrap();
    writer.write(&acked(&[(1, 6, 6), (1, 5, 5)])).unwrap();
    writer
        .write(&Line::Resent {
            at_ns: 6,
            ranges: vec![Range(0, 8, 9), Range(0, 9, 9)],
        })
        .unwrap();
    writer
        .write(&Line::Refused {
            at_ns: 6,
            reason: "NotAuthorized".into(),
            ranges: vec![Range(1, 7, 7)],
        })
        .unwrap();
    let event = ConnectionEvent::Lost;
    writer
        .write(&Line::Connection {
            at_ns: 7,
            connection: 0,
            event,
            reason: "reset".into(),
        })
        .unwrap();
    writer.finish(&end(vec![Range(0, 10, 11)])).unwrap();

    let mut sent = SentFile::open(&dir.path()).unwrap();
    assert_eq!(
        (sent.header.clone(), sent.refresh().unwrap()),
        (header(), SenderState::Finished)
    );
    assert_eq!((sent.acked(), sent.resent, sent.disconnects), (17, 3, 1));
    assert_eq!(sent.devices[&1].acked.iter().collect::<Vec<_>>(), [0..=6]);
    assert_eq!(sent.devices[&1].refused.iter().collect::<Vec<_>>(), [7..=7]);
    assert_eq!(sent.devices[&0].unknown.iter().collect::<Vec<_>>(), [10..=11]);
}

#[test]
fn a_running_sender_is_told_from_a_crashed_one() {
    let dir = Dir::new();
    let mut writer = SentWriter::create(&dir.path(), &header()).unwrap();
    writer.write(&acked(&[(0, 0, 0)])).unwrap();
    let mut sent = SentFile::open(&dir.path()).unwrap();
    assert_eq!(sent.refresh().unwrap(), SenderState::Running);
    writer.write(&acked(&[(0, 1, 5)])).unwrap();
    assert_eq!(sent.refresh().unwrap(), SenderState::Running);
    assert_eq!(sent.acked(), 6);
    drop(writer);
    assert_eq!(sent.refresh().unwrap(), SenderState::Interrupted);
}

#[test]
fn a_second_sender_does_not_overwrite_a_run() {
    let dir = Dir::new();
    drop(SentWriter::create(&dir.path(), &header()).unwrap());
    assert!(matches!(
        SentWriter::create(&dir.path(), &header()),
        Err(SentError::Exists(_))
    ));
}

#[test]
fn later_types_and_fields_are_ignored() {
    let dir = Dir::new();
    let first = serde_json::to_string(&Line::Run(header()))
        .unwrap()
        .replace("\"run\":\"r1\"", "\"run\":\"r1\",\"new\":1");
    let sent = dir
        .with(&format!("{first}\n{{\"type\":\"weather\",\"rain\":true}}\n"))
        .unwrap();
    assert_eq!(sent.acked(), 0);
}

#[test]
fn what_is_no_sent_file_is_refused_with_its_line() {
    let dir = Dir::new();
    let first = serde_json::to_string(&Line::Run(header())).unwrap();
    let cases = [
        ("hello\n".to_owned(), "line 1"),
        (
            serde_json::to_string(&acked(&[(0, 0, 1)])).unwrap() + "\n",
            "not of type run",
        ),
        (first.replace("\"format\":1", "\"format\":2") + "\n", "format 2"),
        (first.replace("\"r1\"", "\"a b\"") + "\n", "not a run's name"),
        (format!("{first}\ngarbage\n{first}\n"), "line 2"),
        (format!("{first}\n{first}\n"), "a second run"),
        (
            format!("{first}\n{{\"type\":\"acked\",\"atNs\":1,\"ranges\":[[0,5,4]]}}\n"),
            "[0,5,4] is not a range",
        ),
        (
            format!("{first}\n{{\"type\":\"acked\",\"atNs\":1,\"ranges\":[[0,0,18446744073709551615]]}}\n"),
            "is not a range",
        ),
    ];
    for (text, expected) in cases {
        let message = dir.with(&text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(matches!(dir.with(""), Err(SentError::Empty(_))));
    assert!(
        matches!(dir.with(&first), Err(SentError::Empty(_))),
        "a torn first line is no run yet"
    );
}

proptest! {
    /// Wherever a crash cuts the file, everything before the torn line counts and nothing else does.
    #[test]
    fn a_file_cut_anywhere_keeps_its_complete_lines(cut in 0.0f64..1.0) {
        let lines: Vec<String> = std::iter::once(Line::Run(header()))
            .chain((0..20).map(|n| acked(&[(0, n * 10, n * 10 + 9), (1, n, n)])))
            .map(|line| serde_json::to_string(&line).unwrap() + "\n")
            .collect();
        let whole = lines.concat();
        let first = lines[0].len();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let end = first + ((whole.len() - first) as f64 * cut) as usize;
        let dir = Dir::new();
        let sent = dir.with(&whole[..end]).unwrap();
        let complete = whole[..end].matches('\n').count() as u64 - 1;
        prop_assert_eq!(sent.acked(), complete * 11);
        prop_assert_eq!(sent.is_torn(), !whole[..end].ends_with('\n'));

        // The rest arrives later, as from a sender that was only in the middle of a write.
        let mut sent = sent;
        std::fs::write(dir.path(), &whole).unwrap();
        sent.refresh().unwrap();
        prop_assert_eq!(sent.acked(), 20 * 11);
    }
}
