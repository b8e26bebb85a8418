mod model;
mod redelivered;
mod refused;

use super::*;
use crate::mqtt::packet::{Properties, Topic};
use bytes::Bytes;

fn message(pkid: u16, payload: &str) -> Message {
    Message {
        topic: Topic::from("t"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: u8::from(pkid > 0),
        retain: false,
        dup: false,
        pkid,
        properties: None,
        oversize: None,
    }
}

fn window() -> Window {
    Window::new(1000, 1_000_000)
}

fn push(window: &mut Window, pkid: u16, routes: u64) {
    window.push(
        message(pkid, "x"),
        Plan {
            routes,
            refusals: vec![],
        },
        true,
        Instant::now(),
        0,
    );
}

fn send(window: &mut Window) -> RecordId {
    let (id, _) = window.next_to_send().expect("something to send");
    window.sent(id);
    id
}

fn id(message: u64, slot: u8) -> RecordId {
    RecordId { message, slot }
}

fn acks(window: &mut Window) -> Vec<Option<u16>> {
    std::iter::from_fn(|| {
        window
            .release()
            .map(|r| r.acknowledge.map(|receipt| receipt.pkid))
    })
    .collect()
}

fn refusal(slot: Option<u8>, reason: Reason) -> Refusal {
    Refusal {
        slot,
        reason,
        text: "because".into(),
    }
}

#[test]
fn a_record_survives_its_way_through_a_number() {
    for id in [id(0, 0), id(1, 127), id(1 << 40, 64)] {
        assert_eq!(RecordId::unpack(id.pack()), id);
    }
}

#[test]
fn acknowledgements_keep_the_order_of_receipt_whatever_kafkas_order() {
    let mut w = window();
    for pkid in [10, 11, 12] {
        push(&mut w, pkid, 1);
        send(&mut w);
    }
    w.delivered(id(2, 0));
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), []);
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [Some(10), Some(11), Some(12)]);
    assert!(w.is_empty());
    assert_eq!(w.bytes(), 0);
}

#[test]
fn a_message_is_acknowledged_after_the_records_of_all_its_routes() {
    let mut w = window();
    push(&mut w, 1, 0b101);
    assert_eq!([send(&mut w), send(&mut w)], [id(0, 0), id(0, 2)]);
    w.delivered(id(0, 2));
    assert_eq!(acks(&mut w), []);
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [Some(1)]);
}

#[test]
fn bounds_are_by_count_and_by_bytes() {
    let mut w = Window::new(2, 1000);
    push(&mut w, 1, 1);
    assert!(!w.full());
    push(&mut w, 2, 1);
    assert!(w.full());
    let mut w = Window::new(10, 1000);
    w.push(
        message(1, &"x".repeat(2000)),
        Plan {
            routes: 1,
            refusals: vec![],
        },
        true,
        Instant::now(),
        0,
    );
    assert!(w.full());
}

#[test]
fn what_a_route_refuses_becomes_a_dead_letter_and_waits_for_it() {
    let mut w = window();
    push(&mut w, 1, 0b11);
    send(&mut w);
    send(&mut w);
    w.delivered(id(0, 1));
    w.refused(id(0, 0), Reason::RecordRefused, "no".into(), true);
    assert_eq!(acks(&mut w), []);
    assert_eq!(send(&mut w), id(0, DEAD_LETTER));
    assert_eq!(
        w.get(0).unwrap().refusals,
        [Refusal {
            slot: Some(0),
            reason: Reason::RecordRefused,
            text: "no".into()
        }]
    );
    w.delivered(id(0, DEAD_LETTER));
    assert_eq!(acks(&mut w), [Some(1)]);
}

#[test]
fn what_is_refused_on_arrival_is_a_dead_letter_at_once() {
    let mut w = window();
    let plan = Plan {
        routes: 1,
        refusals: vec![refusal(Some(1), Reason::InvalidPayload)],
    };
    w.push(message(1, "x"), plan, true, Instant::now(), 0);
    assert_eq!([send(&mut w), send(&mut w)], [id(0, 0), id(0, DEAD_LETTER)]);
}

#[test]
fn without_a_dead_letter_topic_the_message_blocks_and_nothing_passes_it() {
    let mut w = window();
    let plan = Plan {
        routes: 0,
        refusals: vec![refusal(None, Reason::NoRoute)],
    };
    w.push(message(1, "x"), plan, false, Instant::now(), 0);
    push(&mut w, 2, 1);
    assert_eq!(send(&mut w), id(1, 0));
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), []);
    assert_eq!(w.head().unwrap().blocked().unwrap().reason, Reason::NoRoute);
    w.retry_head();
    assert!(w.next_to_send().is_none(), "what no route takes stays so");
    assert_eq!(w.head().unwrap().blocked().unwrap().reason, Reason::NoRoute);
}

#[test]
fn every_route_that_kafka_refused_is_tried_again_and_none_is_forgotten() {
    let mut w = window();
    push(&mut w, 1, 0b11);
    for slot in [0, 1] {
        send(&mut w);
        w.refused(id(0, slot), Reason::PayloadTooLarge, "no".into(), false);
    }
    assert_eq!(acks(&mut w), []);
    w.retry_head();
    assert_eq!([send(&mut w), send(&mut w)], [id(0, 0), id(0, 1)]);
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), []);
    w.delivered(id(0, 1));
    assert_eq!(acks(&mut w), [Some(1)]);
}

#[test]
fn a_refused_dead_letter_blocks_and_can_be_shortened_or_tried_again() {
    let mut w = window();
    push(&mut w, 1, 1);
    send(&mut w);
    w.refused(id(0, 0), Reason::PayloadTooLarge, "no".into(), true);
    send(&mut w);
    w.shorten(id(0, DEAD_LETTER), 500);
    assert_eq!(w.get(0).unwrap().keep, Some(500));
    assert_eq!(send(&mut w), id(0, DEAD_LETTER));
    w.refused(id(0, DEAD_LETTER), Reason::DeadLetterFailed, "no".into(), true);
    assert_eq!(
        w.head().unwrap().blocked().unwrap().reason,
        Reason::DeadLetterFailed
    );
    assert_eq!(acks(&mut w), []);
    w.retry_head();
    assert_eq!(send(&mut w), id(0, DEAD_LETTER));
    w.delivered(id(0, DEAD_LETTER));
    assert_eq!(acks(&mut w), [Some(1)]);
}

#[test]
fn after_a_failure_what_followed_in_the_same_topic_is_sent_again() {
    let mut w = window();
    for pkid in 1..=3 {
        push(&mut w, pkid, 0b11);
    }
    for _ in 0..6 {
        send(&mut w);
    }
    // Message 0: both delivered. Message 1: topic 0 failed, topic 1 delivered. Message 2: both delivered.
    for delivered in [id(0, 0), id(0, 1), id(1, 1), id(2, 0), id(2, 1)] {
        w.delivered(delivered);
    }
    w.rewind(&[id(1, 0)], |slot| slot);
    assert_eq!([send(&mut w), send(&mut w)], [id(1, 0), id(2, 0)]);
    assert!(w.next_to_send().is_none());
}

#[test]
fn properties_count_against_the_bound() {
    let with = |properties| {
        let mut w = window();
        let properties = Some(Box::new(properties));
        w.push(
            Message {
                properties,
                ..message(1, "x")
            },
            Plan::default(),
            true,
            Instant::now(),
            0,
        );
        w.bytes()
    };
    let text = || Some("x".repeat(1000));
    let none = with(Properties::default());
    let user = with(Properties {
        user: vec![("k".repeat(1000), "v".repeat(1000)); 10],
        ..Properties::default()
    });
    assert!(user - none >= 20_000, "{none} {user}");
    let empty = with(Properties {
        user: vec![(String::new(), String::new()); 1000],
        ..Properties::default()
    });
    assert!(empty - none >= 48_000, "{none} {empty}");
    let others = with(Properties {
        content_type: text(),
        response_topic: text(),
        correlation_data: Some(Bytes::from_static(&[0; 1000])),
        user: vec![],
    });
    assert!(others - none >= 3000, "{none} {others}");
}
