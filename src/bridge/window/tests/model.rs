//! The window between a Kafka that keeps the order of each topic, and a server that sends again what was not
//! acknowledged; both fail as they like.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Three routes into two topics: slots 0 and 1 go to topic 0, slot 2 to topic 1, dead letters to topic 9.
fn topic_of(slot: u8) -> u8 {
    match slot {
        0 | 1 => 0,
        2 => 1,
        _ => 9,
    }
}

/// Some have been left by an earlier client with QoS 2.
fn qos_of(pkid: u16) -> u8 {
    if pkid.is_multiple_of(3) { 2 } else { 1 }
}

#[derive(Clone, Debug)]
enum Step {
    /// The server gets a message for these routes.
    Publish(u64),
    /// The server sends, or sends again, the next of what it has.
    Serve,
    Send,
    Deliver(u8),
    /// Kafka refuses a record, which becomes a dead letter.
    Refuse(u8),
    /// Kafka refuses a record, and there is no dead-letter topic, or it is one for that.
    Block(u8),
    Retry,
    /// Kafka does not have a record, for a cause that may pass.
    Fail(u8),
    /// From now on nothing that we say reaches the server, until the connection ends.
    Deafen,
    /// The connection ends; what the server sends now is lost on its way.
    Disconnect,
    /// And begins, with the session or without.
    Connect(bool),
    /// The server gives its oldest message up while nobody is connected, and its packet ID to another one.
    Expire(u64),
    /// The server dies, and knows of the last messages no more that it has sent them.
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..8_u64).prop_map(Step::Publish),
        6 => Just(Step::Serve),
        8 => Just(Step::Send),
        8 => prop::sample::select(vec![0_u8, 1, 9]).prop_map(Step::Deliver),
        2 => prop::sample::select(vec![0_u8, 1]).prop_map(Step::Refuse),
        2 => prop::sample::select(vec![0_u8, 1, 9]).prop_map(Step::Block),
        2 => Just(Step::Retry),
        2 => prop::sample::select(vec![0_u8, 1, 9]).prop_map(Step::Fail),
        1 => Just(Step::Deafen),
        2 => Just(Step::Disconnect),
        3 => prop::bool::weighted(0.8).prop_map(Step::Connect),
        1 => (1..8_u64).prop_map(Step::Expire),
        1 => (0..4_usize).prop_map(Step::Crash),
    ]
}

/// A message at the server.
#[derive(Clone, Copy, Debug)]
struct Held {
    pkid: u16,
    dup: bool,
    /// Whether its packet ID was another one's before.
    reused: bool,
}

#[derive(Debug, Default)]
struct World {
    in_flight: Vec<RecordId>,
    log: BTreeMap<u8, Vec<RecordId>>,
    refused: Vec<RecordId>,
    /// Records of routes that Kafka refused, and has taken none of them since.
    standing: Vec<RecordId>,
    connected: bool,
    /// What the server has not seen acknowledged, in order, and how much of it this connection has brought.
    unacknowledged: Vec<Held>,
    served: usize,
    /// The server hears nothing any more, and how many acknowledgements it has missed.
    deaf: bool,
    missed: usize,
    /// Whether this connection has brought something new.
    fresh: bool,
    acknowledged: Vec<u16>,
    planned: BTreeMap<u16, u64>,
    number: BTreeMap<u64, u16>,
    pushed: u64,
    /// The order in which the server got what its packet IDs stand for.
    order: BTreeMap<u16, usize>,
    published: usize,
}

impl World {
    fn oldest(&mut self, topic: u8) -> Option<RecordId> {
        let at = self.in_flight.iter().position(|r| topic_of(r.slot) == topic)?;
        Some(self.in_flight.remove(at))
    }

    fn apply(&mut self, w: &mut Window, step: &Step) {
        match step {
            Step::Publish(routes) => {
                let pkid = u16::try_from(self.planned.len() + 1).unwrap();
                self.publish(pkid, *routes, false);
            }
            Step::Serve => self.serve(w),
            Step::Deafen => self.deaf = self.connected,
            Step::Disconnect => self.disconnect(w),
            Step::Connect(present) => self.connect(w, *present),
            Step::Expire(routes) => self.expire(*routes),
            Step::Crash(last) => {
                self.disconnect(w);
                for held in self.unacknowledged.iter_mut().rev().take(*last) {
                    held.dup = false;
                }
            }
            step => self.kafka(w, step),
        }
        while let Some(released) = w.release() {
            if let Some(receipt) = released.acknowledge {
                let pkid = receipt.pkid;
                assert_eq!(receipt.qos, qos_of(pkid), "PUBACK or PUBREC");
                let held = self.unacknowledged[self.missed];
                assert_eq!(held.pkid, pkid, "in the order of receipt, once");
                if self.deaf {
                    self.missed += 1;
                    assert!(self.missed <= self.served);
                } else {
                    self.unacknowledged.remove(0);
                    // Underflows if it was not served in this connection.
                    self.served -= 1;
                }
                self.acknowledged.push(pkid);
            }
        }
    }

    fn kafka(&mut self, w: &mut Window, step: &Step) {
        match step {
            Step::Send => {
                if let Some((id, _)) = w.next_to_send() {
                    w.sent(id);
                    self.in_flight.push(id);
                    let passed = self
                        .standing
                        .iter()
                        .any(|r| id.slot < DEAD_LETTER && r.message < id.message);
                    assert!(!passed, "{id:?} goes past {:?}", self.standing);
                }
            }
            Step::Deliver(topic) => {
                if let Some(id) = self.oldest(*topic) {
                    self.log.entry(*topic).or_default().push(id);
                    if w.delivered(id) {
                        w.resume(topic_of);
                        self.standing.clear();
                    }
                }
            }
            Step::Refuse(topic) => {
                if let Some(id) = self.oldest(*topic) {
                    self.refused.push(id);
                    self.standing.retain(|r| *r != id);
                    w.refused(id, Reason::RecordRefused, String::new(), true);
                }
            }
            Step::Block(topic) => {
                if let Some(id) = self.oldest(*topic) {
                    if id.slot < DEAD_LETTER {
                        self.standing.push(id);
                    }
                    w.refused(id, Reason::RecordRefused, String::new(), false);
                }
            }
            Step::Retry => w.retry_head(),
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
            other => panic!("{other:?} is not Kafka's"),
        }
    }

    fn publish(&mut self, pkid: u16, routes: u64, reused: bool) {
        self.planned.insert(pkid, routes);
        self.published += 1;
        self.order.insert(pkid, self.published);
        self.unacknowledged.push(Held {
            pkid,
            dup: false,
            reused,
        });
    }

    fn serve(&mut self, w: &mut Window) {
        if !self.connected || self.served == self.unacknowledged.len() {
            return;
        }
        let Held { pkid, dup, .. } = self.unacknowledged[self.served];
        self.unacknowledged[self.served].dup = true;
        self.served += 1;
        self.fresh |= !dup;
        let text = pkid.to_string();
        let message = Message {
            qos: qos_of(pkid),
            dup,
            ..message(pkid, &text)
        };
        match w.recognise(&message) {
            Recognised::InFlight => return,
            Recognised::Settled => {
                let queued = w.len();
                w.push_settled(message, Instant::now(), 0);
                if w.len() == queued {
                    return;
                }
            }
            Recognised::New => {
                let plan = Plan {
                    routes: self.planned[&pkid],
                    refusals: vec![],
                };
                w.push(message, plan, true, Instant::now(), 0);
            }
        }
        self.number.insert(self.pushed, pkid);
        self.pushed += 1;
    }

    fn disconnect(&mut self, w: &mut Window) {
        if !std::mem::take(&mut self.connected) {
            return;
        }
        (self.deaf, self.missed) = (false, 0);
        // A packet ID comes round again only after all the others have been received in between.
        if let Some(next) = self.unacknowledged.get_mut(self.served)
            && (self.fresh || !next.reused)
        {
            next.dup = true;
        }
        w.disconnected();
    }

    fn connect(&mut self, w: &mut Window, present: bool) {
        self.disconnect(w);
        (self.connected, self.served, self.fresh) = (true, 0, false);
        if !present {
            // The server has forgotten them, perhaps when it had sent again only some: they have no place in an order.
            for held in self.unacknowledged.drain(..) {
                self.order.remove(&held.pkid);
            }
        }
        w.connected(present);
    }

    fn expire(&mut self, routes: u64) {
        if self.connected || self.unacknowledged.is_empty() {
            return;
        }
        let Held { pkid, .. } = self.unacknowledged.remove(0);
        self.number.retain(|_, of| *of != pkid);
        // An acknowledgement that it missed was not for what has the packet ID now.
        self.acknowledged.retain(|of| *of != pkid);
        self.publish(pkid, routes, true);
    }

    /// Everything works from now on.
    fn settle(&mut self, w: &mut Window) {
        if !self.connected || self.deaf {
            self.connect(w, true);
        }
        let mut rounds = 0;
        while !w.is_empty() || self.served < self.unacknowledged.len() {
            rounds += 1;
            assert!(rounds < 10_000, "it does not come to an end: {self:?} {w:?}");
            for step in [Step::Serve, Step::Send, Step::Retry] {
                self.apply(w, &step);
            }
            for topic in [0, 1, 9] {
                self.apply(w, &Step::Deliver(topic));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn nothing_is_acknowledged_before_kafka_has_it_and_order_is_kept(steps in prop::collection::vec(step(), 0..120)) {
        let (mut w, mut world) = (window(), World::default());
        world.connect(&mut w, false);
        for step in &steps {
            world.apply(&mut w, step);
            for pkid in &world.acknowledged {
                check_settled(&world, *pkid)?;
            }
        }
        world.settle(&mut w);
        for pkid in &world.acknowledged {
            check_settled(&world, *pkid)?;
        }
        // Drained, everything that the server still remembers is acknowledged.
        prop_assert!(world.unacknowledged.is_empty(), "{:?}", world.unacknowledged);
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
            let positions = last_of_each(&world, log);
            prop_assert!(positions.is_sorted(), "topic {}, as the server has it: {:?}", topic, world);
        }
        prop_assert_eq!(w.bytes(), 0);
    }
}

/// Where the last record of each of the server's messages is, in the server's order: a message that was sent again after
/// its acknowledgement was lost is still the same.
fn last_of_each(world: &World, log: &[RecordId]) -> Vec<usize> {
    let mut last = BTreeMap::new();
    let which = |id: &RecordId| Some((*world.order.get(world.number.get(&id.message)?)?, id.slot));
    for (position, id) in log.iter().enumerate() {
        which(id).map(|which| last.insert(which, position));
    }
    // One that was refused when it was sent again has no place in the order any more.
    for refused in world.refused.iter().filter_map(which) {
        last.remove(&refused);
    }
    last.into_values().collect()
}

/// Every planned slot of an acknowledged message is in Kafka, as record or as dead letter.
fn check_settled(world: &World, pkid: u16) -> Result<(), TestCaseError> {
    let of = |id: &RecordId| world.number.get(&id.message) == Some(&pkid);
    let dead = world.log.get(&9).map_or(&[][..], Vec::as_slice);
    for slot in (0..3_u8).filter(|slot| world.planned[&pkid] & (1 << slot) != 0) {
        let log = world.log.get(&topic_of(slot)).map_or(&[][..], Vec::as_slice);
        let there = log.iter().any(|id| id.slot == slot && of(id));
        let refused = world.refused.iter().any(|id| id.slot == slot && of(id));
        let buried = dead.iter().any(of);
        prop_assert!(there || (refused && buried), "packet {} slot {}", pkid, slot);
    }
    Ok(())
}
