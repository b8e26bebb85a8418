//! The sent file: what a run of `probe send` knows for certain, written while it runs. Format 1:
//!
//! One JSON object per line, the first of type `run`; a reader ignores types and fields that it does not know. A range
//! is `[device, first, last]`, both ends included. Every time is nanoseconds since 1970 by the sender's clock.
//!
//! | type | fields | meaning |
//! | --- | --- | --- |
//! | `run` | `format`, `run`, `startedNs`, `devices`, `payloadBytes`, `qos`, `rate`, `messages`, `topicTemplate`, `servers` | what was asked for |
//! | `acked` | `atNs`, `ranges` | acknowledged by the MQTT server (QoS 1), or written to it (QoS 0), since the line before |
//! | `resent` | `atNs`, `ranges` | sent once more after a reconnect: each may arrive twice |
//! | `unheard` | `atNs`, `ranges` | acknowledged although nobody had subscribed (MQTT 5 says so); in `acked` as well |
//! | `refused` | `atNs`, `reason`, `ranges` | acknowledged with an error (MQTT 5): never arrives |
//! | `connection` | `atNs`, `connection`, `event`, `reason` | a connection was `lost` or `restored` |
//! | `end` | `atNs`, `acked`, `refused`, `resent`, `unknown`, `pubackMs` | the run ended in order; `unknown` are ranges sent and never acknowledged, which may or may not arrive |
//!
//! What stands in an `acked` line was acknowledged, always; after a crash of the sender (no `end`, perhaps a torn last
//! line) acknowledgements of the last second may be missing. The sender holds a lock on the file (flock) while it runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::latency::Percentiles;
use super::ranges::RangeSet;
use super::stamp::{MAX_DEVICES, MAX_SEQUENCE, is_run_name};

/// The version of the format.
pub const FORMAT: u32 = 1;
/// A line is at most this long: the reader's bound. The writer splits what is longer.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;
/// Ranges in one line, at most; with three numbers of up to 16 digits each well below the bound above.
pub const MAX_RANGES_PER_LINE: usize = 100_000;

/// `[device, first, last]`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range(pub u32, pub u64, pub u64);

/// The first line: what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// The run's name, in every message.
    pub run: String,
    /// When it started.
    pub started_ns: u64,
    /// Devices, numbered from 0.
    pub devices: u32,
    /// Size of each payload.
    pub payload_bytes: u64,
    /// 0 or 1.
    pub qos: u8,
    /// Messages per second over all devices; absent = as fast as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Messages over all devices; absent = until the duration is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// MQTT topics of the devices.
    pub topic_template: String,
    /// MQTT servers, without credentials.
    pub servers: Vec<String>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[allow(missing_docs)] // the table above
pub enum Line {
    Run(Header),
    Acked {
        at_ns: u64,
        ranges: Vec<Range>,
    },
    Resent {
        at_ns: u64,
        ranges: Vec<Range>,
    },
    Unheard {
        at_ns: u64,
        ranges: Vec<Range>,
    },
    Refused {
        at_ns: u64,
        reason: String,
        ranges: Vec<Range>,
    },
    Connection {
        at_ns: u64,
        connection: u32,
        event: ConnectionEvent,
        #[serde(default)]
        reason: String,
    },
    End {
        at_ns: u64,
        acked: u64,
        refused: u64,
        resent: u64,
        unknown: Vec<Range>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        puback_ms: Option<Percentiles>,
    },
    /// A type of a later version.
    #[serde(other)]
    Unknown,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionEvent {
    /// It broke.
    Lost,
    /// It stands again.
    Restored,
}

/// What is wrong with a sent file, or with reaching it.
#[derive(Debug, thiserror::Error)]
pub enum SentError {
    /// The system refuses.
    #[error("sent file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another sender writes it.
    #[error("sent file {} belongs to a probe that is still running; give another --sent", .0.display())]
    Locked(PathBuf),
    /// There is a run in it already.
    #[error("sent file {} exists already; one file holds one run, so give another --sent or remove it", .0.display())]
    Exists(PathBuf),
    /// A line that is none.
    #[error("sent file {}, line {line}: {why}; is it a file that `tributary probe send` wrote?", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// The file has no complete first line.
    #[error("sent file {} is empty: its sender has not started or did not get that far", .0.display())]
    Empty(PathBuf),
}

/// Writes the file. Every line is handed to the system whole; [`SentWriter::finish`] makes all of it durable.
#[derive(Debug)]
pub struct SentWriter {
    file: File,
    path: PathBuf,
}

impl SentWriter {
    /// Creates the file, locks it, and writes the first line durably.
    ///
    /// # Errors
    /// When it exists, is locked, or cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, SentError> {
        let io = |source| SentError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::options().write(true).create_new(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SentError::Exists(path.to_owned()));
            }
            other => other.map_err(io)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(SentError::Locked(path.to_owned())),
            // A file system without locks: only "is it still running?" cannot be answered then.
            Err(std::fs::TryLockError::Error(error)) => {
                tracing::warn!(%error, "the sent file cannot be locked");
            }
        }
        let mut writer = Self {
            file,
            path: path.to_owned(),
        };
        writer.write(&Line::Run(header.clone()))?;
        writer.sync()?;
        Ok(writer)
    }

    /// Appends one line.
    ///
    /// # Errors
    /// When the system refuses, for example on a full disk.
    pub fn write(&mut self, line: &Line) -> Result<(), SentError> {
        let mut text = serde_json::to_vec(line).map_err(|e| self.io(e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|e| self.io(e))
    }

    /// Writes the last line and makes the file durable.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn finish(mut self, end: &Line) -> Result<(), SentError> {
        self.write(end)?;
        self.sync()
    }

    fn sync(&mut self) -> Result<(), SentError> {
        self.file.sync_all().map_err(|e| self.io(e))
    }

    fn io(&self, source: io::Error) -> SentError {
        SentError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// One device's side of the sender's account.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceSent {
    /// Acknowledged.
    pub acked: RangeSet,
    /// Sent more than once.
    pub resent: RangeSet,
    /// Acknowledged without a subscriber.
    pub unheard: RangeSet,
    /// Refused by the server.
    pub refused: RangeSet,
    /// Sent, never acknowledged; known at the end of a run only.
    pub unknown: RangeSet,
}

/// Where the sender is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SenderState {
    /// It ended in order; the account is complete.
    Finished,
    /// It holds the file's lock.
    Running,
    /// No end and no lock: it crashed, or the file is a copy of an unfinished one.
    Interrupted,
}

/// The content of a sent file, as far as it was read.
#[derive(Debug)]
pub struct SentFile {
    /// What was asked for.
    pub header: Header,
    /// Devices with at least one entry.
    pub devices: BTreeMap<u32, DeviceSent>,
    /// Repeats by the sender, each counted.
    pub resent: u64,
    /// Times that a connection was lost.
    pub disconnects: u64,
    /// Latencies from sending to the server's acknowledgement, when the run has ended.
    pub puback_ms: Option<Percentiles>,
    ended: bool,
    torn: bool,
    reader: LineReader,
}

impl SentFile {
    /// Reads what is there.
    ///
    /// # Errors
    /// When the file cannot be read, has no first line, or holds what is no sent file. A torn last line is no error.
    pub fn open(path: &Path) -> Result<Self, SentError> {
        let mut reader = LineReader::open(path)?;
        let header = match reader.next()? {
            Some(Line::Run(header)) if header.format != FORMAT => {
                return Err(reader.error(format!("format {}, this program reads {FORMAT}", header.format)));
            }
            Some(Line::Run(header)) if !is_run_name(&header.run) => {
                return Err(reader.error(format!("{:?} is not a run's name", header.run)));
            }
            Some(Line::Run(header)) => header,
            Some(_) => return Err(reader.error("the first line is not of type run".to_owned())),
            None => return Err(SentError::Empty(path.to_owned())),
        };
        let mut sent = Self {
            header,
            devices: BTreeMap::new(),
            resent: 0,
            disconnects: 0,
            puback_ms: None,
            ended: false,
            torn: false,
            reader,
        };
        sent.refresh()?;
        Ok(sent)
    }

    /// Reads what was added since; tells whether the sender has ended, runs, or vanished.
    ///
    /// # Errors
    /// As [`SentFile::open`].
    pub fn refresh(&mut self) -> Result<SenderState, SentError> {
        // The lock first, then the lines: a sender that gave it back by now has written all of them.
        let locked = self.is_locked();
        while let Some(line) = self.reader.next()? {
            self.take(line).map_err(|why| self.reader.error(why))?;
        }
        self.torn = self.reader.torn;
        Ok(match (self.ended, locked) {
            (true, _) => SenderState::Finished,
            (false, true) => SenderState::Running,
            (false, false) => SenderState::Interrupted,
        })
    }

    fn is_locked(&self) -> bool {
        let file = self.reader.file.get_ref();
        match file.try_lock_shared() {
            Err(std::fs::TryLockError::WouldBlock) => true,
            Ok(()) => {
                // Only a look: a sender that starts now must not find our lock.
                let _ = file.unlock();
                false
            }
            Err(std::fs::TryLockError::Error(_)) => false,
        }
    }

    /// Whether the last line is incomplete, as a crash leaves it.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Messages acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.devices.values().map(|d| d.acked.len()).sum()
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Acked { ranges, .. } => self.add(&ranges, |d| &mut d.acked),
            Line::Unheard { ranges, .. } => self.add(&ranges, |d| &mut d.unheard),
            Line::Refused { ranges, .. } => self.add(&ranges, |d| &mut d.refused),
            Line::Resent { ranges, .. } => {
                self.resent += ranges
                    .iter()
                    .map(|Range(_, first, last)| last.saturating_sub(*first) + 1)
                    .sum::<u64>();
                self.add(&ranges, |d| &mut d.resent)
            }
            Line::End {
                unknown, puback_ms, ..
            } => {
                self.ended = true;
                self.puback_ms = puback_ms;
                self.add(&unknown, |d| &mut d.unknown)
            }
            Line::Connection { event, .. } => {
                self.disconnects += u64::from(event == ConnectionEvent::Lost);
                Ok(())
            }
            Line::Run(_) => Err("a second run in one file".to_owned()),
            Line::Unknown => Ok(()),
        }
    }

    fn add(
        &mut self,
        ranges: &[Range],
        which: impl Fn(&mut DeviceSent) -> &mut RangeSet,
    ) -> Result<(), String> {
        for Range(device, first, last) in ranges.iter().copied() {
            if device >= MAX_DEVICES || last >= MAX_SEQUENCE || first > last {
                return Err(format!("[{device},{first},{last}] is not a range"));
            }
            which(self.devices.entry(device).or_default()).insert_range(first..=last);
        }
        Ok(())
    }
}

/// Complete lines of a file that may still grow.
#[derive(Debug)]
struct LineReader {
    file: BufReader<File>,
    path: PathBuf,
    /// Bytes of complete lines so far.
    offset: u64,
    line: u64,
    torn: bool,
}

impl LineReader {
    fn open(path: &Path) -> Result<Self, SentError> {
        let file = File::open(path).map_err(|source| SentError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            offset: 0,
            line: 0,
            torn: false,
        })
    }

    /// The next complete line; `None` at the end, also before an incomplete one.
    fn next(&mut self) -> Result<Option<Line>, SentError> {
        let mut text = Vec::new();
        let mut limited = io::Read::take(&mut self.file, MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut text);
        if let Err(source) = read {
            return Err(SentError::Io {
                path: self.path.clone(),
                source,
            });
        }
        if text.last() != Some(&b'\n') {
            if text.len() as u64 == MAX_LINE_BYTES {
                self.line += 1;
                return Err(self.error(format!("longer than {MAX_LINE_BYTES} bytes")));
            }
            self.torn = !text.is_empty();
            // It may be completed later: read it again then.
            let back = self.file.seek(SeekFrom::Start(self.offset));
            back.map_err(|source| SentError::Io {
                path: self.path.clone(),
                source,
            })?;
            return Ok(None);
        }
        self.line += 1;
        let line = serde_json::from_slice(&text).map_err(|e| self.error(e.to_string()))?;
        self.offset += text.len() as u64;
        Ok(Some(line))
    }

    fn error(&self, why: String) -> SentError {
        SentError::Line {
            path: self.path.clone(),
            line: self.line,
            why,
        }
    }
}

#[cfg(test)]
mod tests;
