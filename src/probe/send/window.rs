//! The messages of one connection that were sent and not yet acknowledged. Pure.

use std::collections::{HashMap, VecDeque};

use crate::probe::ranges::RangeSet;
use crate::probe::sent::Range;

/// A message in flight. Its payload follows from these, so it need not be kept for a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// Which device.
    pub device: u32,
    /// Its place among the device's messages.
    pub sequence: u64,
    /// When it was first sent, nanoseconds since 1970.
    pub sent_ns: u64,
}

/// Messages in flight, oldest first, at most `limit` from the oldest unacknowledged one to the newest.
#[derive(Debug)]
pub struct Window {
    flights: VecDeque<(Flight, bool)>,
    /// Packet ID -> how many flights had left the window at its front before this one entered, plus its index.
    by_packet: HashMap<u16, u64>,
    left: u64,
    limit: usize,
}

impl Window {
    /// Empty, for at most `limit` messages, 1 to 65535.
    #[must_use]
    pub fn new(limit: u16) -> Self {
        let limit = usize::from(limit.max(1));
        Self {
            flights: VecDeque::new(),
            by_packet: HashMap::new(),
            left: 0,
            limit,
        }
    }

    /// Whether one more may be sent.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.flights.len() < self.limit
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Enters a message sent under `packet`.
    pub fn push(&mut self, packet: u16, flight: Flight) {
        self.by_packet
            .insert(packet, self.left + self.flights.len() as u64);
        self.flights.push_back((flight, false));
    }

    /// The message that `packet` acknowledges; `None` if there is none.
    pub fn acknowledge(&mut self, packet: u16) -> Option<Flight> {
        let place = self.by_packet.remove(&packet)?.checked_sub(self.left)?;
        let entry = self.flights.get_mut(usize::try_from(place).ok()?)?;
        entry.1 = true;
        let flight = entry.0;
        while self.flights.front().is_some_and(|(_, done)| *done) {
            self.flights.pop_front();
            self.left += 1;
        }
        Some(flight)
    }

    /// Empties the window for another connection with another limit: what was not acknowledged, in the order it was
    /// sent, to be sent and pushed again before anything else.
    #[must_use]
    pub fn restart(&mut self, limit: u16) -> Vec<Flight> {
        self.limit = usize::from(limit.max(1));
        self.by_packet.clear();
        self.left = 0;
        self.flights
            .drain(..)
            .filter(|(_, done)| !done)
            .map(|(flight, _)| flight)
            .collect()
    }

    /// What was not acknowledged.
    pub fn unacknowledged(&self) -> impl Iterator<Item = Flight> + '_ {
        self.flights
            .iter()
            .filter(|(_, done)| !done)
            .map(|(flight, _)| *flight)
    }
}

/// Single messages as ranges for the sent file, by device.
#[must_use]
pub fn ranges_of(flights: impl IntoIterator<Item = Flight>) -> Vec<Range> {
    let mut sets: std::collections::BTreeMap<u32, RangeSet> = std::collections::BTreeMap::new();
    for flight in flights {
        sets.entry(flight.device).or_default().insert(flight.sequence);
    }
    ranges(&sets)
}

/// Sets by device as ranges for the sent file.
#[must_use]
pub fn ranges(sets: &std::collections::BTreeMap<u32, RangeSet>) -> Vec<Range> {
    sets.iter()
        .flat_map(|(device, set)| set.iter().map(|r| Range(*device, *r.start(), *r.end())))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flight(sequence: u64) -> Flight {
        Flight {
            device: 0,
            sequence,
            sent_ns: sequence,
        }
    }

    fn unacknowledged(window: &Window) -> Vec<u64> {
        window.unacknowledged().map(|f| f.sequence).collect()
    }

    proptest! {
        /// Against a plain list: pushes while there is room, acknowledges in any order, restarts now and then.
        #[test]
        fn behaves_like_a_list_of_what_is_open(
            steps in prop::collection::vec((0u8..10, any::<prop::sample::Index>()), 0..300), limit in 1u16..20,
        ) {
            let mut window = Window::new(limit);
            let mut open: Vec<(u16, u64)> = Vec::new();
            let (mut sequence, mut packet) = (0u64, 0u16);
            for (kind, index) in steps {
                match kind {
                    0..5 if window.has_room() => {
                        packet = packet.checked_add(1).unwrap_or(1);
                        window.push(packet, flight(sequence));
                        open.push((packet, sequence));
                        sequence += 1;
                    }
                    5..9 if !open.is_empty() => {
                        let (packet, expected) = open.remove(index.index(open.len()));
                        prop_assert_eq!(window.acknowledge(packet), Some(flight(expected)));
                        prop_assert_eq!(window.acknowledge(packet), None, "acknowledged twice");
                    }
                    9 => {
                        let again = window.restart(limit);
                        let expected: Vec<u64> = open.iter().map(|(_, s)| *s).collect();
                        prop_assert_eq!(again.iter().map(|f| f.sequence).collect::<Vec<_>>(), expected);
                        packet = 0;
                        open.clear();
                        for flight in again {
                            packet += 1;
                            window.push(packet, flight);
                            open.push((packet, flight.sequence));
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(unacknowledged(&window), open.iter().map(|(_, s)| *s).collect::<Vec<_>>());
                prop_assert_eq!(window.is_empty(), open.is_empty());
            }
        }
    }

    #[test]
    fn one_missing_acknowledgement_bounds_the_window_so_that_packet_ids_stay_unique() {
        let mut window = Window::new(3);
        for packet in 1..=3 {
            assert!(window.has_room());
            window.push(packet, flight(u64::from(packet)));
        }
        window.acknowledge(2);
        window.acknowledge(3);
        assert!(!window.has_room());
        window.acknowledge(1);
        assert!(window.has_room() && window.is_empty());
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_ignored() {
        let mut window = Window::new(3);
        window.push(1, flight(1));
        assert_eq!(window.acknowledge(9), None);
        assert_eq!(unacknowledged(&window), [1]);
    }

    #[test]
    fn ranges_join_neighbours_of_one_device() {
        let flights = [(1, 5), (0, 1), (0, 2), (1, 6), (0, 4)];
        let flights = flights.map(|(device, sequence)| Flight {
            device,
            sequence,
            sent_ns: 0,
        });
        assert_eq!(
            ranges_of(flights),
            [Range(0, 1, 2), Range(0, 4, 4), Range(1, 5, 6)]
        );
    }
}
