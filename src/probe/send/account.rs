//! What the publishers report, kept until it is written to the sent file.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::window::{Flight, ranges};
use crate::mqtt::packet::Accepted;
use crate::probe::latency::Latencies;
use crate::probe::latency::Percentiles;
use crate::probe::ranges::RangeSet;
use crate::probe::sent::{ConnectionEvent, Line, MAX_RANGES_PER_LINE, Range};

/// Reasons of refusals that are told apart; more are counted under the last.
const MAX_REASONS: usize = 16;
/// Bytes of a reason, at most.
const MAX_REASON_BYTES: usize = 200;

/// Nanoseconds since 1970.
#[must_use]
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Running totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Different messages handed to the network.
    pub sent: u64,
    /// Acknowledged (QoS 1), or written to the network (QoS 0).
    pub acked: u64,
    /// Of `acked`: the server says that nobody had subscribed (MQTT 5).
    pub unheard: u64,
    /// Refused by the server (MQTT 5).
    pub refused: u64,
    /// Repeats after a reconnect.
    pub resent: u64,
    /// Times that a connection was lost.
    pub disconnects: u64,
    /// Connections that stand now.
    #[serde(skip)]
    pub connected: u32,
}

#[derive(Debug, Default)]
struct Inner {
    totals: Totals,
    latencies: Latencies,
    acked: BTreeMap<u32, RangeSet>,
    unheard: BTreeMap<u32, RangeSet>,
    refused: BTreeMap<String, BTreeMap<u32, RangeSet>>,
    unknown: BTreeMap<u32, RangeSet>,
    /// Lines that are ready: repeats and connection events, in their order.
    lines: Vec<Line>,
    last_reason: String,
}

/// Shared by all publishers. Memory: what happened since the last [`Account::take_lines`].
#[derive(Debug, Default)]
pub struct Account(Mutex<Inner>);

impl Account {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way; were it so, the figures would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages were handed to the network for the first time.
    pub fn sent(&self, count: u64) {
        self.lock().totals.sent += count;
    }

    /// The server took a message.
    pub fn acked(&self, flight: Flight, accepted: Accepted) {
        let now = now_ns();
        let inner = &mut *self.lock();
        inner.latencies.record(flight.sent_ns, now);
        inner.enter(flight);
        if accepted == Accepted::NoSubscriber {
            inner.totals.unheard += 1;
            inner
                .unheard
                .entry(flight.device)
                .or_default()
                .insert(flight.sequence);
        }
    }

    /// Messages at QoS 0 were written to the network.
    pub fn written(&self, flights: impl IntoIterator<Item = Flight>) {
        let inner = &mut *self.lock();
        for flight in flights {
            inner.enter(flight);
        }
    }

    /// The server refused a message.
    pub fn refused(&self, flight: Flight, mut reason: String) {
        let inner = &mut *self.lock();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        if inner.refused.len() >= MAX_REASONS && !inner.refused.contains_key(&reason) {
            reason = "other reasons".to_owned();
        }
        inner.totals.refused += 1;
        inner.last_reason.clone_from(&reason);
        inner
            .refused
            .entry(reason)
            .or_default()
            .entry(flight.device)
            .or_default()
            .insert(flight.sequence);
    }

    /// Messages are being sent once more.
    pub fn resent(&self, ranges: Vec<Range>) {
        let inner = &mut *self.lock();
        inner.totals.resent += ranges
            .iter()
            .map(|Range(_, first, last)| last - first + 1)
            .sum::<u64>();
        if !ranges.is_empty() {
            inner.lines.push(Line::Resent {
                at_ns: now_ns(),
                ranges,
            });
        }
    }

    /// Messages that will not be acknowledged any more, at the end of a run.
    pub fn unknown(&self, flights: impl IntoIterator<Item = Flight>) {
        let inner = &mut *self.lock();
        for flight in flights {
            inner
                .unknown
                .entry(flight.device)
                .or_default()
                .insert(flight.sequence);
        }
    }

    /// A connection stands. `again` = it stood before.
    pub fn connected(&self, connection: u32, again: bool) {
        let inner = &mut *self.lock();
        inner.totals.connected += 1;
        if again {
            inner.event(connection, ConnectionEvent::Restored, String::new());
        }
    }

    /// A connection broke.
    pub fn lost(&self, connection: u32, reason: String) {
        let inner = &mut *self.lock();
        inner.totals.connected = inner.totals.connected.saturating_sub(1);
        inner.totals.disconnects += 1;
        inner.last_reason.clone_from(&reason);
        inner.event(connection, ConnectionEvent::Lost, reason);
    }

    /// A connection was closed in order.
    pub fn closed(&self) {
        let inner = &mut *self.lock();
        inner.totals.connected = inner.totals.connected.saturating_sub(1);
    }

    /// Totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// Why something was lost or refused last; empty if nothing was.
    #[must_use]
    pub fn last_reason(&self) -> String {
        self.lock().last_reason.clone()
    }

    /// From sending to the acknowledgement.
    #[must_use]
    pub fn puback_ms(&self) -> Option<Percentiles> {
        self.lock().latencies.summary()
    }

    /// What happened since the last call, as lines of the sent file.
    #[must_use]
    pub fn take_lines(&self) -> Vec<Line> {
        let at_ns = now_ns();
        let inner = &mut *self.lock();
        let mut lines = std::mem::take(&mut inner.lines);
        let chunks = |sets: &mut BTreeMap<u32, RangeSet>| -> Vec<Vec<Range>> {
            ranges(&std::mem::take(sets))
                .chunks(MAX_RANGES_PER_LINE)
                .map(<[Range]>::to_vec)
                .collect()
        };
        lines.extend(
            chunks(&mut inner.acked)
                .into_iter()
                .map(|ranges| Line::Acked { at_ns, ranges }),
        );
        lines.extend(
            chunks(&mut inner.unheard)
                .into_iter()
                .map(|ranges| Line::Unheard { at_ns, ranges }),
        );
        for (reason, sets) in &mut inner.refused {
            let refused = |ranges| Line::Refused {
                at_ns,
                reason: reason.clone(),
                ranges,
            };
            lines.extend(chunks(sets).into_iter().map(refused));
        }
        lines
    }

    /// The last line of the sent file.
    #[must_use]
    pub fn end(&self) -> Line {
        let puback_ms = self.puback_ms();
        let inner = self.lock();
        let Totals {
            acked,
            refused,
            resent,
            ..
        } = inner.totals;
        Line::End {
            at_ns: now_ns(),
            acked,
            refused,
            resent,
            unknown: ranges(&inner.unknown),
            puback_ms,
        }
    }

    /// Messages that will stay unknown.
    #[must_use]
    pub fn unknown_count(&self) -> u64 {
        self.lock().unknown.values().map(RangeSet::len).sum()
    }
}

impl Inner {
    fn enter(&mut self, flight: Flight) {
        self.totals.acked += 1;
        self.acked
            .entry(flight.device)
            .or_default()
            .insert(flight.sequence);
    }

    fn event(&mut self, connection: u32, event: ConnectionEvent, reason: String) {
        self.lines.push(Line::Connection {
            at_ns: now_ns(),
            connection,
            event,
            reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(device: u32, sequence: u64) -> Flight {
        Flight {
            device,
            sequence,
            sent_ns: now_ns(),
        }
    }

    fn line<'a>(lines: &'a [Line], of: impl Fn(&'a Line) -> Option<&'a Vec<Range>>) -> Vec<Range> {
        lines.iter().filter_map(of).flatten().copied().collect()
    }

    #[test]
    fn lines_hold_what_happened_since_the_last_ones() {
        let account = Account::default();
        for sequence in 0..3 {
            account.acked(flight(0, sequence), Accepted::Taken);
        }
        account.acked(flight(1, 0), Accepted::NoSubscriber);
        account.refused(flight(2, 0), "NotAuthorized".to_owned());
        let lines = account.take_lines();
        let acked = line(&lines, |l| {
            if let Line::Acked { ranges, .. } = l {
                Some(ranges)
            } else {
                None
            }
        });
        assert_eq!(acked, [Range(0, 0, 2), Range(1, 0, 0)]);
        let unheard = line(&lines, |l| {
            if let Line::Unheard { ranges, .. } = l {
                Some(ranges)
            } else {
                None
            }
        });
        assert_eq!(unheard, [Range(1, 0, 0)]);
        let refused = line(&lines, |l| {
            if let Line::Refused { ranges, .. } = l {
                Some(ranges)
            } else {
                None
            }
        });
        assert_eq!(refused, [Range(2, 0, 0)]);
        assert_eq!(account.take_lines(), []);
        account.acked(flight(0, 3), Accepted::Taken);
        assert_eq!(account.take_lines().len(), 1);
        let Totals {
            acked,
            unheard,
            refused,
            ..
        } = account.totals();
        assert_eq!((acked, unheard, refused), (5, 1, 1));
    }

    #[test]
    fn a_server_that_invents_reasons_does_not_fill_the_memory() {
        let account = Account::default();
        for n in 0..100 {
            account.refused(flight(0, n), format!("reason {n} {}", "ä".repeat(500)));
        }
        let inner = account.lock();
        assert!(inner.refused.len() <= MAX_REASONS + 1);
        assert!(
            inner
                .refused
                .keys()
                .all(|reason| reason.len() <= MAX_REASON_BYTES)
        );
    }

    #[test]
    fn many_ranges_are_split_over_lines() {
        let account = Account::default();
        let count = MAX_RANGES_PER_LINE as u64 + 1;
        account.written((0..count).map(|n| flight(0, n * 2)));
        let sizes: Vec<usize> = account
            .take_lines()
            .iter()
            .map(|l| {
                if let Line::Acked { ranges, .. } = l {
                    ranges.len()
                } else {
                    0
                }
            })
            .collect();
        assert_eq!(sizes, [MAX_RANGES_PER_LINE, 1]);
    }

    #[test]
    fn the_end_names_what_stays_unknown() {
        let account = Account::default();
        account.unknown([flight(4, 7), flight(4, 8)]);
        let Line::End { unknown, .. } = account.end() else {
            panic!()
        };
        assert_eq!((unknown, account.unknown_count()), (vec![Range(4, 7, 8)], 2));
    }
}
