//! What Kafka, or the bridge itself, refuses: with a dead-letter topic and without.

use super::*;
use crate::mqtt::packet::{Oversize, Properties};

#[test]
fn without_a_dead_letter_topic_the_head_is_named_and_nothing_passes_it() {
    let mut bench = Bench::new(|c| c.dead_letter = None);
    bench.accept(1, "not json");
    bench.accept(2, "{}");
    bench.report(Ok(()));
    assert!(bench.acks.is_empty());
    bench.pass(Duration::from_secs(1));
    let head = bench.board.snapshot().head_of_line.unwrap();
    assert_eq!(
        (head.reason, head.mqtt_topic.as_str()),
        (Reason::InvalidPayload, "factory/l1/m7/telemetry")
    );
    assert!(head.message.contains("set deadLetter.topic"), "{}", head.message);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.board.snapshot().head_of_line.unwrap().since, head.since);
    assert_eq!(bench.problem(Component::Topic).unwrap().0, Reason::InvalidPayload);
}

#[test]
fn a_payload_that_is_too_large_is_buried_in_what_fits_and_called_a_loss() {
    let mut bench = Bench::new(|_| {});
    let large = format!("\"{}\"", "x".repeat(2_999_998));
    bench.accept(1, &large);
    bench.report(Err(Code::MessageSizeTooLarge));
    let (topic, payload, _) = bench.report(Err(Code::MessageSizeTooLarge));
    assert_eq!((topic.as_str(), payload.len()), ("telemetry-dead", 3_000_000));
    let (_, payload, headers) = bench.report(Ok(()));
    assert_eq!(payload.len(), 1_000_000);
    assert!(
        headers.contains(&"tributary.truncated=true".to_owned()),
        "{headers:?}"
    );
    assert!(
        headers.contains(&"tributary.original-size=3000000".to_owned()),
        "{headers:?}"
    );
    assert_eq!(bench.acks, [1]);
    let losses = bench.board.snapshot().losses;
    assert_eq!((losses[0].reason, losses[0].count), (Reason::PayloadTooLarge, 1));
}

#[test]
fn a_payload_beyond_our_own_bound_is_buried_without_asking_kafka() {
    let mut bench = Bench::new(|_| {});
    let oversize = Some(Box::new(Oversize {
        size: 9_000_000,
        sha256: [1; 32],
    }));
    bench.accept_message(Message {
        oversize,
        ..message(1, "{\"cut")
    });
    let (topic, _, headers) = bench.report(Ok(()));
    assert_eq!(topic, "telemetry-dead");
    assert!(
        headers.contains(&"tributary.reason=PayloadTooLarge".to_owned()),
        "{headers:?}"
    );
    assert_eq!(bench.board.snapshot().losses[0].count, 1);
}

#[test]
fn a_dead_letter_topic_that_takes_nothing_blocks_and_is_tried_again() {
    let mut bench = Bench::new(|_| {});
    bench.accept(1, "not json");
    bench.report(Err(Code::InvalidRecord));
    assert_eq!(
        bench.problem(Component::Topic).unwrap().0,
        Reason::DeadLetterFailed
    );
    assert!(bench.acks.is_empty());
    bench.pass(RETRY_HEAD);
    bench.report(Ok(()));
    assert_eq!(bench.acks, [1]);
    assert_eq!(bench.problem(Component::Topic), None);
}

#[test]
fn when_the_cause_is_mended_everything_that_was_refused_follows_at_once_and_in_order() {
    let mut bench = Bench::new(|c| c.dead_letter = None);
    for pkid in 1..=50 {
        bench.accept(pkid, &pkid.to_string());
    }
    bench.refuse_batch(&[Code::InvalidRecord; 50]);
    // The topic refuses them all but two, which were underway behind the first.
    for pkid in 1..=50 {
        bench.report(if [7, 8].contains(&pkid) {
            Ok(())
        } else {
            Err(Code::InvalidRecord)
        });
    }
    bench.accept(51, "51");
    assert_eq!(bench.with_producer(), 0, "nothing passes what is refused");
    bench.pass(Duration::from_secs(1));
    let head = bench.board.snapshot().head_of_line.unwrap();
    assert_eq!(head.reason, Reason::RecordRefused);
    bench.pass(RETRY_HEAD);
    assert_eq!(
        bench.with_producer(),
        1,
        "one is enough to see that nothing has changed"
    );
    bench.report(Err(Code::InvalidRecord));
    assert_eq!(bench.with_producer(), 0);
    bench.pass(RETRY_HEAD);
    let payloads: Vec<_> = (1..=51)
        .map(|_| String::from_utf8(bench.report(Ok(())).1).unwrap())
        .collect();
    let expected: Vec<_> = (1..=51).map(|n| n.to_string()).collect();
    assert_eq!(payloads, expected);
    assert_eq!(bench.acks, (1..=51).collect::<Vec<_>>());
    assert_eq!(bench.problem(Component::Topic), None);
}

#[test]
fn one_bad_record_of_a_batch_is_found_by_itself_and_the_others_arrive_in_order() {
    let different = Code::InvalidDifferentRecord;
    // With one at fault all have its code, with several the others have one that says so.
    for codes in [
        [Code::InvalidTimestamp; 4],
        [different, Code::InvalidRecord, different, Code::InvalidRecord],
    ] {
        let mut bench = Bench::new(|_| {});
        for pkid in 1..=4 {
            bench.accept(pkid, &pkid.to_string());
        }
        bench.refuse_batch(&codes);
        assert_eq!(
            bench.problem(Component::Topic),
            None,
            "nothing is known to be wrong"
        );
        assert!(bench.acks.is_empty());
        let outcomes = [Ok(()), Err(Code::InvalidTimestamp), Ok(()), Ok(())];
        let sent: Vec<_> = outcomes.map(|outcome| bench.report(outcome)).into();
        assert!(sent.iter().all(|(topic, ..)| topic == "telemetry"), "{sent:?}");
        let payloads: Vec<_> = sent.iter().map(|(_, payload, _)| &payload[..]).collect();
        assert_eq!(payloads, [b"1", b"2", b"3", b"4"]);
        assert_eq!(bench.acks, [1], "its dead letter is still to arrive");
        let (topic, payload, headers) = bench.report(Ok(()));
        assert_eq!((topic.as_str(), &payload[..]), ("telemetry-dead", &b"2"[..]));
        assert!(
            headers.contains(&"tributary.reason=RecordRefused".to_owned()),
            "{headers:?}"
        );
        assert_eq!(bench.acks, [1, 2, 3, 4]);
        for _ in 0..4 {
            bench.pass(Duration::ZERO);
        }
        assert_eq!(bench.board.snapshot().counters.dead_lettered, 1);
        let batching = *bench.kafka.0.lock().unwrap().opened.last().unwrap();
        assert_eq!((batching.single, batching.bytes), (false, 1_000_000));
    }
}

#[test]
fn what_went_to_the_topic_behind_a_refused_batch_is_sent_again_behind_it() {
    let mut bench = Bench::new(|_| {});
    for pkid in 1..=3 {
        bench.accept(pkid, &pkid.to_string());
    }
    // Two batches: the first is refused, the second arrives.
    for outcome in [Err(Code::InvalidTimestamp), Err(Code::InvalidTimestamp), Ok(())] {
        bench.report(outcome);
    }
    for _ in 0..2 {
        bench.pass(Duration::ZERO);
    }
    assert!(bench.acks.is_empty());
    let outcomes = [Err(Code::InvalidTimestamp), Ok(()), Ok(()), Ok(())];
    let payloads = outcomes.map(|outcome| bench.report(outcome).1);
    assert_eq!(payloads, [b"1", b"2", b"3", b"1"], "the last is the dead letter");
    assert_eq!(bench.acks, [1, 2, 3]);
}

#[test]
fn a_record_that_was_underway_alone_is_judged_at_once() {
    let mut bench = Bench::new(|_| {});
    bench.accept(1, "1");
    bench.report(Err(Code::InvalidTimestamp));
    assert_eq!(bench.report(Ok(())).0, "telemetry-dead");
    assert_eq!(bench.acks, [1]);
    bench.pass(Duration::ZERO);
    assert_eq!(
        bench.kafka.0.lock().unwrap().opened.len(),
        1,
        "no other producer is needed"
    );
}

#[test]
fn a_payload_beyond_our_own_bound_is_never_a_routes_record() {
    let mut bench = Bench::new(|c| c.dead_letter = None);
    let oversize = Some(Box::new(Oversize {
        size: 9_000_000,
        sha256: [1; 32],
    }));
    bench.accept_message(Message {
        oversize,
        ..message(1, "\"cut\"")
    });
    for _ in 0..3 {
        bench.pass(RETRY_HEAD);
        assert_eq!(bench.with_producer(), 0);
    }
    assert_eq!(
        bench.problem(Component::Topic).unwrap().0,
        Reason::PayloadTooLarge
    );
}

#[test]
fn properties_that_no_topic_takes_are_left_out_of_the_dead_letter_before_the_payload_is_cut() {
    let mut bench = Bench::new(|_| {});
    let properties = Properties {
        content_type: Some("application/json".into()),
        user: vec![("k".into(), "v".repeat(2_000_000))],
        ..Properties::default()
    };
    bench.accept_message(Message {
        properties: Some(Box::new(properties)),
        ..message(1, "{}")
    });
    // It may have been the batch: sent once more by itself, then as a dead letter.
    bench.report(Err(Code::MessageSizeTooLarge));
    bench.pass(Duration::ZERO);
    bench.pass(Duration::ZERO);
    bench.report(Err(Code::MessageSizeTooLarge));
    let (topic, _, headers) = bench.report(Err(Code::MessageSizeTooLarge));
    assert_eq!(topic, "telemetry-dead");
    assert!(headers.iter().any(|h| h.starts_with("mqtt.user.k=")));
    let (_, payload, headers) = bench.report(Ok(()));
    assert_eq!(payload, b"{}");
    assert!(
        !headers.iter().any(|h| h.starts_with("mqtt.user.")),
        "{headers:?}"
    );
    for expected in [
        "tributary.properties-omitted=true",
        "mqtt.content-type=application/json",
    ] {
        assert!(headers.contains(&expected.to_owned()), "{headers:?}");
    }
    assert!(!headers.iter().any(|h| h.starts_with("tributary.truncated")));
    assert_eq!(bench.acks, [1]);
    let losses = bench.board.snapshot().losses;
    assert_eq!((losses[0].reason, losses[0].count), (Reason::PayloadTooLarge, 1));
    assert!(losses[0].message.contains("MQTT properties"), "{losses:?}");
}
