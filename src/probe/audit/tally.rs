//! What one topic holds of the probe's runs, as it is read. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::probe::latency::{Latencies, Percentiles};
use crate::probe::ledger::{Ledger, LedgerFull, Seen};
use crate::probe::stamp::Stamp;

/// Runs that are kept apart in one topic when none was asked for.
pub const MAX_RUNS: usize = 16;

/// Whose clock a record's timestamp is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Clock {
    /// The producer's: for records from MQTT the bridge's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
    /// Both occur: the topic's setting was changed.
    Mixed,
}

/// A record as far as the tally needs it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its timestamp, nanoseconds since 1970, with its clock.
    pub timestamp: Option<(Clock, u64)>,
    /// When it was read, nanoseconds since 1970.
    pub read_ns: u64,
}

/// What is known of one run in one topic.
#[derive(Debug, Default)]
pub struct RunTally {
    /// Per device.
    pub ledger: Ledger,
    /// Records of the run, repetitions included.
    pub records: u64,
    to_record: Latencies,
    to_reader: Latencies,
    clock: Option<Clock>,
}

impl RunTally {
    /// From the sender's stamp to the record's timestamp, and whose clock that is.
    #[must_use]
    pub fn to_record(&self) -> Option<(Clock, Percentiles)> {
        self.clock.zip(self.to_record.summary())
    }

    /// From the sender's stamp to its reading here, of records written while the audit ran.
    #[must_use]
    pub fn to_reader(&self) -> Option<Percentiles> {
        self.to_reader.summary()
    }
}

/// What was read of one topic.
#[derive(Debug)]
pub struct Tally {
    /// The run to look for; `None` = every run.
    wanted: Option<String>,
    /// When reading began, nanoseconds since 1970.
    began_ns: u64,
    runs: BTreeMap<String, RunTally>,
    /// Records that are no probe messages.
    pub foreign: u64,
    /// Probe messages of runs that were not asked for, or beyond [`MAX_RUNS`].
    pub other_runs: u64,
}

impl Tally {
    /// Nothing read yet.
    #[must_use]
    pub fn new(wanted: Option<String>, began_ns: u64) -> Self {
        Self {
            wanted,
            began_ns,
            runs: BTreeMap::new(),
            foreign: 0,
            other_runs: 0,
        }
    }

    /// Enters a record, in the order of its partition. Whether it is the first of its device and sequence.
    ///
    /// # Errors
    /// When a bound of the ledger is reached.
    pub fn observe(&mut self, record: &Record<'_>) -> Result<bool, LedgerFull> {
        let Some(stamp) = record.value.and_then(Stamp::parse) else {
            self.foreign += 1;
            return Ok(false);
        };
        if self.wanted.as_ref().is_some_and(|wanted| wanted != stamp.run) {
            self.other_runs += 1;
            return Ok(false);
        }
        if !self.runs.contains_key(stamp.run) {
            if self.runs.len() == MAX_RUNS {
                self.other_runs += 1;
                return Ok(false);
            }
            self.runs.insert(stamp.run.to_owned(), RunTally::default());
        }
        let Some(run) = self.runs.get_mut(stamp.run) else {
            return Ok(false);
        };
        run.records += 1;
        if run
            .ledger
            .observe(stamp.device, stamp.sequence, record.partition)?
            == Seen::Duplicate
        {
            // A repetition says nothing about how long the first one took.
            return Ok(false);
        }
        if let Some((clock, timestamp)) = record.timestamp {
            run.to_record.record(stamp.sent_ns, timestamp);
            run.clock = Some(
                run.clock
                    .map_or(clock, |c| if c == clock { c } else { Clock::Mixed }),
            );
            if timestamp >= self.began_ns {
                run.to_reader.record(stamp.sent_ns, record.read_ns);
            }
        }
        Ok(true)
    }

    /// The runs found, by name.
    #[must_use]
    pub fn runs(&self) -> Vec<&str> {
        self.runs.keys().map(String::as_str).collect()
    }

    /// What was found of `run`.
    #[must_use]
    pub fn run(&self, run: &str) -> Option<&RunTally> {
        self.runs.get(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::stamp::Stamper;

    const SECOND: u64 = 1_000_000_000;

    fn payload(run: &str, sequence: u64, sent_ns: u64) -> Vec<u8> {
        Stamper::new(run, 200).unwrap().payload(0, sequence, sent_ns)
    }

    fn record(value: &[u8], timestamp: u64) -> Record<'_> {
        let timestamp = Some((Clock::CreateTime, timestamp));
        Record {
            partition: 0,
            value: Some(value),
            timestamp,
            read_ns: 30 * SECOND,
        }
    }

    #[test]
    fn records_are_told_apart_by_run_and_kind() {
        let mut tally = Tally::new(Some("a".to_owned()), 0);
        tally.observe(&record(&payload("a", 0, 1), 2)).unwrap();
        tally.observe(&record(&payload("b", 0, 1), 2)).unwrap();
        tally.observe(&record(b"{\"temperature\":21}", 2)).unwrap();
        tally
            .observe(&Record {
                value: None,
                ..record(b"", 2)
            })
            .unwrap();
        assert_eq!((tally.other_runs, tally.foreign, tally.runs()), (1, 2, vec!["a"]));
        assert_eq!(tally.run("a").unwrap().records, 1);
    }

    #[test]
    fn only_records_written_during_the_audit_count_for_the_time_to_the_reader() {
        let mut tally = Tally::new(None, 20 * SECOND);
        tally
            .observe(&record(&payload("a", 0, 9 * SECOND), 10 * SECOND))
            .unwrap();
        tally
            .observe(&record(&payload("a", 1, 20 * SECOND), 21 * SECOND))
            .unwrap();
        let run = tally.run("a").unwrap();
        assert_eq!(run.to_record().unwrap().1.count, 2);
        let to_reader = run.to_reader().unwrap();
        assert_eq!(to_reader.count, 1);
        assert!((9_990.0..10_010.0).contains(&to_reader.max), "{to_reader:?}");
    }

    #[test]
    fn a_repetition_does_not_count_for_latency() {
        let mut tally = Tally::new(None, 0);
        let value = payload("a", 0, SECOND);
        assert_eq!(tally.observe(&record(&value, 2 * SECOND)), Ok(true));
        assert_eq!(tally.observe(&record(&value, 900 * SECOND)), Ok(false));
        let (clock, percentiles) = tally.run("a").unwrap().to_record().unwrap();
        assert_eq!((clock, percentiles.count), (Clock::CreateTime, 1));
    }

    #[test]
    fn clocks_that_change_are_told() {
        let mut tally = Tally::new(None, 0);
        let (first, second) = (payload("a", 0, 1), payload("a", 1, 1));
        tally.observe(&record(&first, 2)).unwrap();
        let appended = Record {
            timestamp: Some((Clock::LogAppendTime, 2)),
            ..record(&second, 2)
        };
        tally.observe(&appended).unwrap();
        assert_eq!(tally.run("a").unwrap().to_record().unwrap().0, Clock::Mixed);
    }

    #[test]
    fn runs_beyond_the_bound_are_counted_only() {
        let mut tally = Tally::new(None, 0);
        for n in 0..=MAX_RUNS {
            tally
                .observe(&record(&payload(&format!("run{n}"), 0, 1), 2))
                .unwrap();
        }
        assert_eq!((tally.runs().len(), tally.other_runs), (MAX_RUNS, 1));
    }
}
