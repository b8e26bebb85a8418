//! From the sender's and the readers' accounts to a verdict. Pure.
//!
//! The JSON form is stable: fields are only ever added, `schema` changes otherwise.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tally::{Clock, RunTally, Tally};
use crate::probe::latency::Percentiles;
use crate::probe::ranges::RangeSet;
use crate::probe::sent::{DeviceSent, SenderState, SentFile};

/// Ranges of missing messages that are listed, at most.
const MAX_LISTED: usize = 200;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Everything acknowledged is in the topic.
    Complete,
    /// Something acknowledged is not.
    Missing,
    /// Nothing seen missing, but what was sent last is not known for certain.
    TailUnknown,
}

impl Verdict {
    /// The process's exit status.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Missing => 1,
            Self::TailUnknown => 2,
        }
    }
}

/// Where a message was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Place {
    /// Before the bridge: the MQTT server acknowledged it and said that nobody had subscribed.
    BeforeBridge,
    /// Before the factory's Kafka, by the MQTT server or by the bridge; without a factory's Kafka: before the topic.
    BeforeKafka,
    /// Behind the bridge: it is in the factory's Kafka and not in the topic.
    AfterBridge,
    /// The bridge refused it: it is in the dead-letter topic.
    DeadLetter,
}

/// A range of missing messages of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRange {
    /// The device.
    pub device: u32,
    /// First sequence.
    pub first: u64,
    /// Last sequence.
    pub last: u64,
    /// Where.
    pub place: Place,
}

/// Missing messages by place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Places {
    /// See [`Place::BeforeBridge`].
    pub before_bridge: u64,
    /// See [`Place::BeforeKafka`].
    pub before_kafka: u64,
    /// See [`Place::AfterBridge`]; absent without the factory's Kafka.
    pub after_bridge: Option<u64>,
}

/// The sender's account.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// Where it is.
    pub state: SenderState,
    /// The sent file ends in the middle of a line, as a crash leaves it.
    pub torn: bool,
    /// Sent and never acknowledged: may or may not have arrived, counts nowhere else.
    pub unknown: u64,
    /// Refused by the MQTT server.
    pub refused: u64,
    /// Sent again after a reconnect: as many duplicates are its own.
    pub resent: u64,
    /// Times a connection was lost.
    pub disconnects: u64,
    /// QoS of the messages.
    pub qos: u8,
    /// From sending to the MQTT server's acknowledgement, milliseconds.
    pub puback_ms: Option<Percentiles>,
}

/// One topic's account.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicAccount {
    /// Kafka's addresses.
    pub bootstrap_servers: Vec<String>,
    /// The topic.
    pub topic: String,
    /// Partitions read.
    pub partitions: usize,
    /// Partitions of which older records were deleted: what is missing may have been there.
    pub truncated_partitions: usize,
    /// Different messages of the run.
    pub received: u64,
    /// Records beyond the first of a message.
    pub duplicates: u64,
    /// First occurrences behind a higher sequence of the same device and partition.
    pub out_of_order: u64,
    /// Devices whose records lie in more than one partition: their order cannot be kept.
    pub scattered_devices: u64,
    /// Records that are no probe messages, and probe messages of other runs.
    pub other_records: u64,
    /// From the sender's stamp to the record's timestamp, milliseconds.
    pub to_record: Option<ToRecord>,
    /// From the sender's stamp to reading it here, of records written while the audit ran, milliseconds.
    pub to_reader: Option<Percentiles>,
}

/// Latency to a record's timestamp.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToRecord {
    /// Whose clock the timestamp is.
    pub clock: Clock,
    /// The figures.
    #[serde(flatten)]
    pub percentiles: Percentiles,
}

/// One device's account in the audited topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceAccount {
    /// The device.
    pub device: u32,
    /// Acknowledged; absent without a sent file.
    pub acked: Option<u64>,
    /// Different messages received.
    pub received: u64,
    /// Acknowledged, and nowhere.
    pub lost: u64,
    /// Acknowledged, and in the dead-letter topic.
    pub dead_lettered: u64,
    /// Records beyond the first of a message.
    pub duplicates: u64,
    /// First occurrences behind a higher sequence.
    pub out_of_order: u64,
    /// Sequences that are missing below the highest received.
    pub gaps: u64,
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// The run.
    pub run: String,
    /// The answer; the exit status follows from it.
    pub verdict: Verdict,
    /// Acknowledged by the MQTT server; absent without a sent file.
    pub acked: Option<u64>,
    /// Different messages in the audited topic.
    pub received: u64,
    /// Acknowledged, and nowhere.
    pub lost: u64,
    /// Acknowledged, and in the dead-letter topic.
    pub dead_lettered: u64,
    /// Records beyond the first of a message.
    pub duplicates: u64,
    /// First occurrences behind a higher sequence of the same device and partition.
    pub out_of_order: u64,
    /// Sequences missing below the highest received of each device; includes what was never acknowledged.
    pub gaps: u64,
    /// Received without being acknowledged as far as the file knows; no fault.
    pub unrecorded: u64,
    /// Where what is lost was lost.
    pub lost_at: Places,
    /// The sender's account; absent without a sent file.
    pub sender: Option<Sender>,
    /// The audited topic.
    pub topic: TopicAccount,
    /// The factory's topic, if it was given.
    pub factory: Option<TopicAccount>,
    /// Missing messages, the first 200 ranges.
    pub missing: Vec<MissingRange>,
    /// Every device.
    pub devices: Vec<DeviceAccount>,
}

/// One topic as it was read.
#[derive(Debug)]
pub struct Read<'a> {
    /// Kafka's addresses.
    pub bootstrap_servers: &'a [String],
    /// The topic.
    pub topic: &'a str,
    /// Partitions read.
    pub partitions: usize,
    /// Of which older records are gone.
    pub truncated_partitions: usize,
    /// What was found.
    pub tally: &'a Tally,
}

/// What a report is made of.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The run to report on.
    pub run: &'a str,
    /// The sender's file and where the sender is.
    pub sent: Option<(&'a SentFile, SenderState)>,
    /// The audited topic.
    pub target: Read<'a>,
    /// The factory's.
    pub factory: Option<Read<'a>>,
    /// The dead-letter topic.
    pub dead_letter: Option<&'a Tally>,
}

impl Report {
    /// Compares the accounts.
    #[must_use]
    pub fn new(evidence: &Evidence<'_>) -> Self {
        let Evidence {
            run,
            sent,
            target,
            factory,
            dead_letter,
        } = evidence;
        let empty = RunTally::default();
        let in_target = target.tally.run(run).unwrap_or(&empty);
        let in_factory = factory.as_ref().map(|f| f.tally.run(run).unwrap_or(&empty));
        let in_dead_letter = dead_letter.and_then(|d| d.run(run)).unwrap_or(&empty);
        let nothing = BTreeMap::new();
        let by_device = sent.map_or(&nothing, |(file, _)| &file.devices);

        let mut report = Self::blank(evidence, in_target, in_factory);
        let mut all: Vec<u32> = by_device.keys().copied().collect();
        all.extend(in_target.ledger.devices().map(|(device, _)| device));
        all.sort_unstable();
        all.dedup();
        for device in all {
            let default = DeviceSent::default();
            let sent = by_device.get(&device).unwrap_or(&default);
            let place = |ledger: &RunTally| {
                ledger
                    .ledger
                    .device(device)
                    .map(|d| d.received.clone())
                    .unwrap_or_default()
            };
            report.add_device(&Device {
                device,
                sent,
                with_file: evidence.sent.is_some(),
                in_target,
                in_factory: in_factory.map(place),
                in_dead_letter: place(in_dead_letter),
            });
        }
        report.verdict = match evidence.sent {
            _ if report.sender_runs() => Verdict::TailUnknown,
            _ if report.lost + report.dead_lettered > 0 => Verdict::Missing,
            Some((_, SenderState::Finished)) => Verdict::Complete,
            _ => Verdict::TailUnknown,
        };
        report
    }

    fn blank(evidence: &Evidence<'_>, in_target: &RunTally, in_factory: Option<&RunTally>) -> Self {
        let count = |which: fn(&DeviceSent) -> &RangeSet, file: &SentFile| {
            file.devices.values().map(|d| which(d).len()).sum()
        };
        let topic = TopicAccount::new(&evidence.target, in_target);
        Self {
            schema: 1,
            run: evidence.run.to_owned(),
            verdict: Verdict::TailUnknown,
            acked: evidence.sent.map(|(file, _)| file.acked()),
            received: topic.received,
            lost: 0,
            dead_lettered: 0,
            duplicates: topic.duplicates,
            out_of_order: topic.out_of_order,
            gaps: 0,
            unrecorded: 0,
            lost_at: Places {
                after_bridge: in_factory.map(|_| 0),
                ..Places::default()
            },
            sender: evidence.sent.map(|(file, state)| Sender {
                state,
                torn: file.is_torn(),
                unknown: count(|d| &d.unknown, file),
                refused: count(|d| &d.refused, file),
                resent: file.resent,
                disconnects: file.disconnects,
                qos: file.header.qos,
                puback_ms: file.puback_ms,
            }),
            topic,
            factory: evidence
                .factory
                .as_ref()
                .zip(in_factory)
                .map(|(read, run)| TopicAccount::new(read, run)),
            missing: Vec::new(),
            devices: Vec::new(),
        }
    }

    fn add_device(&mut self, d: &Device<'_>) {
        let none = RangeSet::default();
        let account = d.in_target.ledger.device(d.device);
        let received = account.map_or(&none, |a| &a.received);
        let missing = d.sent.acked.difference(received);
        let lost = missing.difference(&d.in_dead_letter);
        self.list(d.device, Place::DeadLetter, &missing.difference(&lost));

        let (present, absent) = match &d.in_factory {
            Some(factory) => {
                let absent = lost.difference(factory);
                (lost.difference(&absent), absent)
            }
            None => (RangeSet::default(), lost.clone()),
        };
        let heard = absent.difference(&d.sent.unheard);
        let unheard = absent.difference(&heard);
        self.list(d.device, Place::BeforeBridge, &unheard);
        self.list(d.device, Place::BeforeKafka, &heard);
        self.list(d.device, Place::AfterBridge, &present);
        self.lost_at.before_bridge += unheard.len();
        self.lost_at.before_kafka += heard.len();
        if let Some(after) = &mut self.lost_at.after_bridge {
            *after += present.len();
        }

        let gaps = received.last().map_or(0, |last| last + 1 - received.len());
        self.lost += lost.len();
        self.dead_lettered += missing.len() - lost.len();
        self.gaps += gaps;
        if d.with_file {
            self.unrecorded += received
                .difference(&d.sent.acked)
                .difference(&d.sent.unknown)
                .len();
        }
        self.devices.push(DeviceAccount {
            device: d.device,
            acked: d.with_file.then(|| d.sent.acked.len()),
            received: received.len(),
            lost: lost.len(),
            dead_lettered: missing.len() - lost.len(),
            duplicates: account.map_or(0, |a| a.duplicated),
            out_of_order: account.map_or(0, |a| a.out_of_order),
            gaps,
        });
    }

    fn list(&mut self, device: u32, place: Place, set: &RangeSet) {
        for range in set.iter().take(MAX_LISTED.saturating_sub(self.missing.len())) {
            self.missing.push(MissingRange {
                device,
                first: *range.start(),
                last: *range.end(),
                place,
            });
        }
    }

    /// Whether what is missing may still be on its way from a sender at work.
    #[must_use]
    pub fn sender_runs(&self) -> bool {
        self.sender
            .as_ref()
            .is_some_and(|s| s.state == SenderState::Running)
    }
}

/// One device's evidence.
struct Device<'a> {
    device: u32,
    sent: &'a DeviceSent,
    with_file: bool,
    in_target: &'a RunTally,
    in_factory: Option<RangeSet>,
    in_dead_letter: RangeSet,
}

impl TopicAccount {
    fn new(read: &Read<'_>, run: &RunTally) -> Self {
        let sum = |of: fn(&crate::probe::ledger::DeviceLedger) -> u64| {
            run.ledger.devices().map(|(_, d)| of(d)).sum()
        };
        Self {
            bootstrap_servers: read.bootstrap_servers.to_vec(),
            topic: read.topic.to_owned(),
            partitions: read.partitions,
            truncated_partitions: read.truncated_partitions,
            received: run.ledger.received(),
            duplicates: sum(|d| d.duplicated),
            out_of_order: sum(|d| d.out_of_order),
            scattered_devices: sum(|d| u64::from(d.partitions() > 1)),
            other_records: read.tally.foreign + read.tally.other_runs,
            to_record: run
                .to_record()
                .map(|(clock, percentiles)| ToRecord { clock, percentiles }),
            to_reader: run.to_reader(),
        }
    }
}

#[cfg(test)]
mod tests;
