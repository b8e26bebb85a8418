//! What a server sends again is recognised, or taken for new; never the other way round.

use super::*;

/// The same, as a server sends it again.
pub(super) fn again(pkid: u16, payload: &str) -> Message {
    Message {
        dup: true,
        ..message(pkid, payload)
    }
}

#[test]
fn a_redelivered_message_that_is_still_in_flight_is_not_sent_twice() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.connected(true);
    assert_eq!(w.recognise(&again(7, "x")), Recognised::InFlight);
    assert_eq!(w.len(), 1);
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [Some(7)]);
}

#[test]
fn a_redelivered_message_that_was_settled_meanwhile_is_only_acknowledged() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [None], "no connection, no acknowledgement");
    w.connected(true);
    assert_eq!(w.recognise(&again(7, "x")), Recognised::Settled);
    assert_eq!(
        w.recognise(&again(7, "x")),
        Recognised::New,
        "once only: the packet ID is free now"
    );
}

#[test]
fn what_came_at_qos_2_is_recognised_and_acknowledged_as_such() {
    let at_qos_2 = |dup| Message {
        qos: 2,
        dup,
        ..message(7, "x")
    };
    let push = |w: &mut Window| {
        let plan = Plan {
            routes: 1,
            refusals: vec![],
        };
        w.push(at_qos_2(false), plan, true, Instant::now(), 0);
    };
    let received = Some(Receipt { pkid: 7, qos: 2 });
    let mut w = window();
    push(&mut w);
    send(&mut w);
    assert!(w.release().is_none(), "Kafka does not have it yet");
    w.disconnected();
    w.connected(true);
    assert_eq!(w.recognise(&at_qos_2(true)), Recognised::InFlight);
    w.delivered(id(0, 0));
    assert_eq!(w.release().unwrap().acknowledge, received);
    // Its packet ID is free after PUBCOMP: another one, which Kafka gets while no connection stands.
    push(&mut w);
    send(&mut w);
    w.disconnected();
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), [None]);
    w.connected(true);
    assert_eq!(w.recognise(&at_qos_2(true)), Recognised::Settled);
    w.push_settled(at_qos_2(true), Instant::now(), 0);
    assert_eq!(w.release().unwrap().acknowledge, received);
}

#[test]
fn a_message_of_another_qos_is_another_message() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.connected(true);
    let other = Message {
        qos: 2,
        ..again(7, "x")
    };
    assert_eq!(w.recognise(&other), Recognised::New);
}

#[test]
fn the_same_packet_id_with_other_content_is_another_message() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.connected(true);
    assert_eq!(w.recognise(&again(7, "y")), Recognised::New);
    push(&mut w, 7, 1);
    w.delivered(id(0, 0));
    assert_eq!(
        acks(&mut w),
        [None],
        "the old one must not acknowledge the new one"
    );
}

#[test]
fn without_the_old_session_nothing_is_recognised() {
    let mut w = window();
    push(&mut w, 7, 1);
    push(&mut w, 8, 1);
    send(&mut w);
    send(&mut w);
    w.disconnected();
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [None]);
    w.connected(false);
    assert_eq!(w.recognise(&again(7, "x")), Recognised::New);
    assert_eq!(w.recognise(&again(8, "x")), Recognised::New);
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), [None]);
}

#[test]
fn without_dup_it_is_another_message_whatever_its_packet_id_and_content() {
    let mut w = window();
    push(&mut w, 7, 1);
    push(&mut w, 8, 1);
    send(&mut w);
    send(&mut w);
    w.disconnected();
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [None]);
    w.connected(true);
    for pkid in [7, 8] {
        assert_eq!(w.recognise(&message(pkid, "x")), Recognised::New);
        assert_eq!(
            w.recognise(&again(pkid, "x")),
            Recognised::New,
            "the old one is forgotten"
        );
    }
    w.delivered(id(1, 0));
    assert_eq!(
        acks(&mut w),
        [None],
        "the old one must not acknowledge the new one"
    );
}

#[test]
fn what_a_connection_with_new_messages_did_not_bring_again_is_forgotten_with_it() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.connected(true);
    w.disconnected();
    w.connected(true);
    assert_eq!(
        w.recognise(&message(9, "y")),
        Recognised::New,
        "the server has nothing to send again any more"
    );
    w.disconnected();
    w.connected(true);
    // Message 7 had expired at the server. This is another one, which the last connection lost on its way.
    assert_eq!(w.recognise(&again(7, "x")), Recognised::New);
}

#[test]
fn what_kafka_has_already_is_acknowledged_before_what_came_after_it() {
    let mut w = window();
    for pkid in [7, 8, 9] {
        push(&mut w, pkid, 1);
        send(&mut w);
    }
    w.disconnected();
    w.delivered(id(0, 0));
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), [None, None]);
    w.connected(true);
    for pkid in [7, 8] {
        assert_eq!(w.recognise(&again(pkid, "x")), Recognised::Settled);
        w.push_settled(again(pkid, "x"), Instant::now(), 0);
    }
    assert_eq!(w.recognise(&again(9, "x")), Recognised::InFlight);
    w.delivered(id(2, 0));
    assert_eq!(acks(&mut w), [Some(7), Some(8), Some(9)]);
}

#[test]
fn what_kafka_has_already_is_acknowledged_after_what_came_before_it() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [None]);
    w.connected(true);
    // A server that does not keep its order, or had forgotten that it has sent this one before.
    push(&mut w, 5, 1);
    send(&mut w);
    assert_eq!(w.recognise(&again(7, "x")), Recognised::Settled);
    w.push_settled(again(7, "x"), Instant::now(), 0);
    assert_eq!(acks(&mut w), []);
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), [Some(5), Some(7)]);
}

#[test]
fn when_an_acknowledgement_was_lost_the_last_record_of_a_key_stays_the_last() {
    let mut w = window();
    for pkid in [7, 8, 9] {
        push(&mut w, pkid, 1);
        send(&mut w);
    }
    w.delivered(id(0, 0));
    assert_eq!(acks(&mut w), [Some(7)], "which the server does not see");
    w.disconnected();
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), [None]);
    w.connected(true);
    for pkid in [7, 8, 9] {
        assert_eq!(w.recognise(&again(pkid, "x")), Recognised::New, "{pkid}");
    }
}
