use super::*;
use crate::bridge::config::tests::example;
use crate::bridge::progress::Reason;
use crate::bridge::window::{Plan, Window};
use crate::mqtt::packet::{Message, Oversize, Topic};
use bytes::Bytes;
use rdkafka::message::Headers;
use std::collections::BTreeMap;
use std::time::Instant;

fn builder() -> RecordBuilder {
    let config = example();
    RecordBuilder::new(
        RouteTable::compile(&config).unwrap(),
        config.dead_letter.map(|d| d.topic),
    )
}

fn message() -> Message {
    Message {
        topic: Topic::from("factory/l1/m7/telemetry"),
        payload: Bytes::from_static(b"{}"),
        qos: 1,
        retain: false,
        dup: false,
        pkid: 1,
        properties: None,
        oversize: None,
    }
}

fn headers(record: &Record<'_>) -> BTreeMap<String, String> {
    let text = |v: Option<&[u8]>| String::from_utf8(v.unwrap().to_vec()).unwrap();
    record
        .headers
        .iter()
        .map(|h| (h.key.to_owned(), text(h.value)))
        .collect()
}

fn build<T>(message: Message, plan: Plan, keep: Option<usize>, check: impl FnOnce(Record<'_>) -> T) -> T {
    let mut window = Window::new(10, 1_000_000);
    window.push(message, plan, true, Instant::now(), 1234);
    let (id, _) = window.next_to_send().unwrap();
    if let Some(keep) = keep {
        window.shorten(id, keep);
    }
    let (id, entry) = window.next_to_send().unwrap();
    check(builder().build(id, entry).unwrap())
}

fn to_route() -> Plan {
    Plan {
        routes: 1,
        refusals: vec![],
    }
}

fn to_dead_letters(slot: Option<u8>, reason: Reason) -> Plan {
    Plan {
        routes: 0,
        refusals: vec![Refusal {
            slot,
            reason,
            text: "because".into(),
        }],
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn a_routes_record_carries_the_payload_unchanged_with_key_and_headers() {
    build(message(), to_route(), None, |record| {
        assert_eq!(
            (record.topic, record.key, record.timestamp),
            ("telemetry", "l1/m7", 1234)
        );
        assert_eq!(record.payload, b"{}");
        let expected = [
            ("mqtt.topic", "factory/l1/m7/telemetry"),
            ("mqtt.qos", "1"),
            ("site", "munich"),
        ];
        assert_eq!(headers(&record), map(&expected));
    });
}

#[test]
fn the_header_tells_each_qos() {
    for (qos, text) in [(0, "0"), (1, "1"), (2, "2")] {
        build(Message { qos, ..message() }, to_route(), None, |record| {
            assert_eq!(headers(&record)["mqtt.qos"], text);
        });
    }
}

#[test]
fn what_is_special_about_a_message_is_in_its_headers() {
    let properties = Properties {
        content_type: Some("application/json".into()),
        response_topic: Some("answers".into()),
        correlation_data: Some(Bytes::from_static(b"7")),
        user: vec![("k".into(), "v".into())],
    };
    let special = Message {
        retain: true,
        dup: true,
        qos: 0,
        properties: Some(Box::new(properties)),
        ..message()
    };
    build(special, to_route(), None, |record| {
        let expected = [
            ("mqtt.topic", "factory/l1/m7/telemetry"),
            ("mqtt.qos", "0"),
            ("mqtt.retain", "true"),
            ("mqtt.dup", "true"),
            ("mqtt.content-type", "application/json"),
            ("mqtt.response-topic", "answers"),
            ("mqtt.correlation-data", "7"),
            ("mqtt.user.k", "v"),
            ("site", "munich"),
        ];
        assert_eq!(headers(&record), map(&expected));
    });
}

#[test]
fn a_dead_letter_says_why_and_what_it_was() {
    build(
        message(),
        to_dead_letters(Some(0), Reason::InvalidPayload),
        None,
        |record| {
            assert_eq!(
                (record.topic, record.key),
                ("telemetry-dead", "factory/l1/m7/telemetry")
            );
            assert_eq!(record.payload, b"{}");
            assert!(!record.truncated);
            let sha256 = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
            let expected = [
                ("mqtt.topic", "factory/l1/m7/telemetry"),
                ("mqtt.qos", "1"),
                ("tributary.reason", "InvalidPayload"),
                ("tributary.message", "because"),
                ("tributary.route", "telemetry"),
                ("tributary.topic", "telemetry"),
                ("tributary.original-size", "2"),
                ("tributary.sha256", sha256),
            ];
            assert_eq!(headers(&record), map(&expected));
        },
    );
    build(
        message(),
        to_dead_letters(None, Reason::NoRoute),
        None,
        |record| {
            let headers = headers(&record);
            assert_eq!(headers["tributary.reason"], "NoRoute");
            assert!(!headers.contains_key("tributary.route"));
        },
    );
}

#[test]
fn a_cut_dead_letter_says_so_and_keeps_the_size_and_hash_of_the_whole() {
    build(
        message(),
        to_dead_letters(Some(0), Reason::PayloadTooLarge),
        Some(1),
        |record| {
            assert_eq!(record.payload, b"{");
            assert!(record.truncated);
            let headers = headers(&record);
            assert_eq!(headers["tributary.original-size"], "2");
            assert_eq!(headers["tributary.truncated"], "true");
            assert!(headers["tributary.sha256"].starts_with("44136fa3"));
        },
    );
    let oversize = Some(Box::new(Oversize {
        size: 9_000_000,
        sha256: [0xAB; 32],
    }));
    let cut = Message {
        oversize,
        ..message()
    };
    build(
        cut,
        to_dead_letters(Some(0), Reason::PayloadTooLarge),
        None,
        |record| {
            let headers = headers(&record);
            assert_eq!(headers["tributary.original-size"], "9000000");
            assert_eq!(headers["tributary.sha256"], "ab".repeat(32));
            assert_eq!(headers["tributary.truncated"], "true");
        },
    );
}

#[test]
fn a_shortened_dead_letter_goes_without_the_properties_that_may_be_large_and_says_so() {
    let with = |properties, keep| {
        let message = Message {
            properties: Some(Box::new(properties)),
            ..message()
        };
        build(
            message,
            to_dead_letters(Some(0), Reason::PayloadTooLarge),
            keep,
            |record| headers(&record),
        )
    };
    let all = Properties {
        content_type: Some("application/json".into()),
        response_topic: Some("answers".into()),
        correlation_data: Some(Bytes::from_static(b"7")),
        user: vec![("k".into(), "v".into())],
    };
    let omitted = "tributary.properties-omitted";
    let whole = with(all.clone(), None);
    assert_eq!(whole["mqtt.user.k"], "v");
    assert!(!whole.contains_key(omitted));
    let shortened = with(all, Some(2));
    let left: Vec<_> = shortened.keys().filter(|k| k.starts_with("mqtt.")).collect();
    assert_eq!(left, ["mqtt.content-type", "mqtt.qos", "mqtt.topic"]);
    assert_eq!(shortened[omitted], "true");
    let typed = |content_type: String| Properties {
        content_type: Some(content_type),
        ..Properties::default()
    };
    assert!(!with(typed("text/plain".into()), Some(2)).contains_key(omitted));
    let endless = with(typed("x".repeat(60_000)), Some(2));
    assert!(!endless.contains_key("mqtt.content-type") && endless.contains_key(omitted));
}

#[test]
fn a_long_sentence_is_cut_between_characters() {
    let long = "ä".repeat(400);
    assert_eq!(cut(&long).len(), 512);
    assert_eq!(cut(&format!("a{long}")).len(), 511);
    assert_eq!(cut("short"), "short");
}
