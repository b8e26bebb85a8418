mod refused;

use super::*;
use crate::mqtt::packet::Topic;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

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
    std::iter::from_fn(|| window.release().map(|r| r.acknowledge)).collect()
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
fn a_redelivered_message_that_is_still_in_flight_is_not_sent_twice() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.connected(true);
    assert_eq!(w.recognise(&message(7, "x")), Recognised::InFlight);
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
    assert_eq!(w.recognise(&message(7, "x")), Recognised::Settled);
    assert_eq!(
        w.recognise(&message(7, "x")),
        Recognised::New,
        "once only: the packet ID is free now"
    );
}

#[test]
fn the_same_packet_id_with_other_content_is_another_message() {
    let mut w = window();
    push(&mut w, 7, 1);
    send(&mut w);
    w.disconnected();
    w.connected(true);
    assert_eq!(w.recognise(&message(7, "y")), Recognised::New);
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
    assert_eq!(w.recognise(&message(7, "x")), Recognised::New);
    assert_eq!(w.recognise(&message(8, "x")), Recognised::New);
    w.delivered(id(1, 0));
    assert_eq!(acks(&mut w), [None]);
}

/// Three routes into two topics: slots 0 and 1 go to topic 0, slot 2 to topic 1, dead letters to topic 9.
fn topic_of(slot: u8) -> u8 {
    match slot {
        0 | 1 => 0,
        2 => 1,
        _ => 9,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Send,
    Deliver(u8),
    Refuse(u8),
    Fail(u8),
    Disconnect(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..8_u64).prop_map(Step::Push),
        4 => Just(Step::Send),
        4 => prop::sample::select(vec![0_u8, 1, 9]).prop_map(Step::Deliver),
        1 => prop::sample::select(vec![0_u8, 1]).prop_map(Step::Refuse),
        1 => prop::sample::select(vec![0_u8, 1, 9]).prop_map(Step::Fail),
        1 => any::<bool>().prop_map(Step::Disconnect),
    ]
}

/// A Kafka that keeps the order of each topic, and a server that sends again what was not acknowledged.
#[derive(Default)]
struct World {
    in_flight: Vec<RecordId>,
    log: BTreeMap<u8, Vec<RecordId>>,
    refused: Vec<RecordId>,
    /// Packet IDs at the server, unacknowledged, in order.
    unacknowledged: Vec<u16>,
    acknowledged: Vec<u16>,
    planned: BTreeMap<u16, u64>,
    number: BTreeMap<u64, u16>,
}

impl World {
    fn oldest(&mut self, topic: u8) -> Option<RecordId> {
        let at = self.in_flight.iter().position(|r| topic_of(r.slot) == topic)?;
        Some(self.in_flight.remove(at))
    }

    fn apply(&mut self, w: &mut Window, step: &Step, pushed: &mut u64) {
        match step {
            Step::Push(routes) => {
                let pkid = u16::try_from(self.planned.len() + 1).unwrap();
                self.planned.insert(pkid, *routes);
                self.unacknowledged.push(pkid);
                self.arrive(w, pkid, pushed);
            }
            Step::Send => {
                if let Some((id, _)) = w.next_to_send() {
                    w.sent(id);
                    self.in_flight.push(id);
                }
            }
            Step::Deliver(topic) => {
                if let Some(id) = self.oldest(*topic) {
                    self.log.entry(*topic).or_default().push(id);
                    w.delivered(id);
                }
            }
            Step::Refuse(topic) => {
                if let Some(id) = self.oldest(*topic) {
                    self.refused.push(id);
                    w.refused(id, Reason::RecordRefused, String::new(), true);
                }
            }
            Step::Fail(topic) => {
                if let Some(id) = self.oldest(*topic) {
                    // Of the others that are in flight some may have arrived, in order.
                    let arrived = self.in_flight.len() / 2;
                    for id in self.in_flight.drain(..).take(arrived).collect::<Vec<_>>() {
                        self.log.entry(topic_of(id.slot)).or_default().push(id);
                    }
                    w.rewind(&[id], topic_of);
                }
            }
            Step::Disconnect(present) => self.reconnect(w, *present, pushed),
        }
        while let Some(released) = w.release() {
            if let Some(pkid) = released.acknowledge {
                assert_eq!(
                    self.unacknowledged.remove(0),
                    pkid,
                    "in the order of receipt, once"
                );
                self.acknowledged.push(pkid);
            }
        }
    }

    fn arrive(&mut self, w: &mut Window, pkid: u16, pushed: &mut u64) {
        let message = message(pkid, &pkid.to_string());
        let plan = match w.recognise(&message) {
            Recognised::InFlight => return,
            Recognised::Settled => Plan::default(),
            Recognised::New => Plan {
                routes: self.planned[&pkid],
                refusals: vec![],
            },
        };
        w.push(message, plan, true, Instant::now(), 0);
        self.number.insert(*pushed, pkid);
        *pushed += 1;
    }

    fn reconnect(&mut self, w: &mut Window, present: bool, pushed: &mut u64) {
        w.disconnected();
        w.connected(present);
        if present {
            for pkid in self.unacknowledged.clone() {
                self.arrive(w, pkid, pushed);
            }
        } else {
            // The server has forgotten them: nobody will ask for them again.
            self.unacknowledged.clear();
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_acknowledged_before_kafka_has_it_and_order_is_kept(steps in prop::collection::vec(step(), 0..120)) {
        let (mut w, mut world, mut pushed) = (window(), World::default(), 0);
        for step in &steps {
            world.apply(&mut w, step, &mut pushed);
            for pkid in &world.acknowledged {
                check_settled(&world, *pkid)?;
            }
        }
        // Drained, everything that the server still remembers is acknowledged.
        while !w.is_empty() {
            world.apply(&mut w, &Step::Send, &mut pushed);
            for topic in [0, 1, 9] {
                world.apply(&mut w, &Step::Deliver(topic), &mut pushed);
            }
        }
        if !steps.iter().any(|s| matches!(s, Step::Disconnect(_))) {
            prop_assert_eq!(&world.unacknowledged, &[] as &[u16]);
        }
        // The last record of each message and slot is in the order of receipt, in each topic.
        for (topic, log) in &world.log {
            if *topic == 9 { continue; }
            let mut last = BTreeMap::new();
            // One that arrived unnoticed and was refused when sent again has no place in the order any more.
            for (position, id) in log.iter().enumerate().filter(|(_, id)| !world.refused.contains(id)) {
                last.insert((id.message, id.slot), position);
            }
            let positions: Vec<_> = last.values().collect();
            prop_assert!(positions.is_sorted(), "topic {}: {:?}", topic, log);
        }
        prop_assert_eq!(w.bytes(), 0);
    }
}

/// Every planned slot of an acknowledged message is in Kafka, as record or as dead letter.
fn check_settled(world: &World, pkid: u16) -> Result<(), TestCaseError> {
    let numbers: Vec<u64> = world
        .number
        .iter()
        .filter(|(_, p)| **p == pkid)
        .map(|(n, _)| *n)
        .collect();
    let dead = world.log.get(&9).map_or(&[][..], Vec::as_slice);
    for slot in (0..3_u8).filter(|slot| world.planned[&pkid] & (1 << slot) != 0) {
        let log = world.log.get(&topic_of(slot)).map_or(&[][..], Vec::as_slice);
        let there = log
            .iter()
            .any(|id| id.slot == slot && numbers.contains(&id.message));
        let refused = world
            .refused
            .iter()
            .any(|id| id.slot == slot && numbers.contains(&id.message));
        let buried = dead.iter().any(|id| numbers.contains(&id.message));
        prop_assert!(there || (refused && buried), "packet {} slot {}", pkid, slot);
    }
    Ok(())
}
