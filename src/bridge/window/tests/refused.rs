//! What Kafka refuses, where no dead-letter topic takes it.

use super::*;
use crate::mqtt::packet::Oversize;

/// Kafka refuses a record, and there is no dead-letter topic.
fn block(w: &mut Window, id: RecordId) {
    w.refused(id, Reason::RecordRefused, "no".into(), false);
}

#[test]
fn a_refused_record_holds_what_is_behind_it_until_kafka_takes_it() {
    let mut w = window();
    for pkid in 1..=3 {
        push(&mut w, pkid, 1);
    }
    send(&mut w);
    block(&mut w, id(0, 0));
    assert!(w.next_to_send().is_none());
    w.retry_head();
    assert_eq!(send(&mut w), id(0, 0));
    assert!(w.next_to_send().is_none(), "it is not there yet");
    w.rewind(&[id(0, 0)], |slot| slot);
    assert_eq!(send(&mut w), id(0, 0));
    assert!(w.next_to_send().is_none());
    assert!(w.delivered(id(0, 0)));
    w.resume(|slot| slot);
    assert_eq!([send(&mut w), send(&mut w)], [id(1, 0), id(2, 0)]);
}

#[test]
fn when_one_refused_record_is_taken_all_others_are_tried_at_once() {
    let mut w = window();
    for pkid in 1..=4 {
        push(&mut w, pkid, 0b11);
    }
    for _ in 0..8 {
        send(&mut w);
    }
    for message in 0..4 {
        block(&mut w, id(message, 0));
        assert!(!w.delivered(id(message, 1)));
    }
    w.retry_head();
    assert_eq!(send(&mut w), id(0, 0));
    assert!(w.next_to_send().is_none());
    assert!(w.delivered(id(0, 0)));
    w.resume(|slot| slot);
    for message in 1..4 {
        assert_eq!(send(&mut w), id(message, 0));
    }
    assert!(w.next_to_send().is_none(), "the other topic has what it needs");
    for message in 1..4 {
        assert!(!w.delivered(id(message, 0)));
    }
    assert_eq!(acks(&mut w), [Some(1), Some(2), Some(3), Some(4)]);
}

#[test]
fn what_went_behind_a_refused_record_is_sent_again_after_it() {
    let mut w = window();
    for pkid in 1..=3 {
        push(&mut w, pkid, 1);
    }
    for _ in 0..3 {
        send(&mut w);
    }
    block(&mut w, id(0, 0));
    w.delivered(id(1, 0));
    w.retry_head();
    send(&mut w);
    assert!(w.delivered(id(0, 0)));
    w.resume(|slot| slot);
    assert_eq!(acks(&mut w), [Some(1)]);
    assert_eq!(send(&mut w), id(1, 0));
    assert!(
        w.next_to_send().is_none(),
        "the last one is still underway for the first time"
    );
    w.delivered(id(2, 0));
    assert_eq!(send(&mut w), id(2, 0));
    w.delivered(id(1, 0));
    w.delivered(id(2, 0));
    assert_eq!(acks(&mut w), [Some(2), Some(3)]);
}

#[test]
fn what_is_tried_again_together_is_sent_once_each() {
    let mut w = window();
    push(&mut w, 1, 0b11);
    for slot in [0, 1] {
        send(&mut w);
        block(&mut w, id(0, slot));
    }
    w.retry_head();
    assert_eq!([send(&mut w), send(&mut w)], [id(0, 0), id(0, 1)]);
    assert!(w.delivered(id(0, 0)));
    w.resume(|_| "one topic");
    w.delivered(id(0, 1));
    assert_eq!(acks(&mut w), [Some(1)]);
}

#[test]
fn a_payload_that_was_cut_is_never_tried_again_as_a_routes_record() {
    let mut w = window();
    let oversize = Some(Box::new(Oversize {
        size: 9_000_000,
        sha256: [0; 32],
    }));
    let plan = Plan {
        routes: 0,
        refusals: vec![refusal(Some(0), Reason::PayloadTooLarge)],
    };
    let cut = Message {
        oversize,
        ..message(1, "the beginning")
    };
    w.push(cut, plan, false, Instant::now(), 0);
    w.retry_head();
    assert!(w.next_to_send().is_none());
    assert_eq!(
        w.head().unwrap().blocked().unwrap().reason,
        Reason::PayloadTooLarge
    );
}
