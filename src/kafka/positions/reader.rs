//! Reads the positions topic: once from its start, then what was added since; always up to a known end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use tokio::time::Instant;

use super::shard::Shard;
use super::topic::{check_partitions, find};
use super::{
    POSITIONS_PARTITIONS, POSITIONS_TOPIC, Position, PositionError, PositionKey, PositionsError,
    partition_for,
};
use crate::kafka::error::KafkaError;
use crate::kafka::offsets::TopicPartition;
use crate::kafka::topic_id::TopicId;
use crate::kafka::wire::{
    Admin, Deadline, FetchFrom, Fetched, Isolation, MAX_CALL, OffsetSpec, PartitionMetadata, TopicMetadata,
};

/// Positions (and records that cannot be read) that a reader holds at most; about 100 MB.
pub const MAX_POSITIONS: usize = 200_000;

/// What was read longer ago than this is read again from the start: compaction may have removed tombstones meanwhile
/// (Kafka keeps them for 24 hours).
const MAX_AGE: Duration = Duration::from_secs(12 * 3600);

/// Bytes per fetch, shared among the partitions: less when a fetch does not end in time, as over a slow line.
const FETCH_BYTES: std::ops::RangeInclusive<i32> = 32 * 1024..=1024 * 1024;

/// Pause before asking again for records that an open transaction holds back.
const PAUSE: Duration = Duration::from_millis(50);

/// Whose positions are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every link's: to find out who feeds this cluster.
    All,
    /// These links' only; reads only the partitions that hold them.
    Links(BTreeSet<String>),
}

impl Scope {
    /// One link's positions.
    pub fn link(link_id: impl Into<String>) -> Self {
        Self::Links([link_id.into()].into())
    }

    pub(super) fn includes(&self, link_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Links(links) => links.contains(link_id),
        }
    }

    fn partitions(&self) -> BTreeSet<i32> {
        match self {
            Self::All => (0..POSITIONS_PARTITIONS).collect(),
            Self::Links(links) => links.iter().map(|link| partition_for(link)).collect(),
        }
    }
}

/// All that the topic says, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// The positions topic's own ID: another one than last time means that it was deleted and created again.
    pub topic_id: TopicId,
    /// The last record of each key. An error is a value that this version cannot read: the link must not be treated
    /// as one without a position.
    pub positions: BTreeMap<PositionKey, Result<Position, PositionError>>,
    /// Records whose key this version cannot read. [`PositionError::FutureVersion`] may concern any link.
    pub unreadable: Vec<Unreadable>,
    /// Partitions whose log no longer starts at 0: somebody deleted records, and positions may be missing.
    pub truncated: BTreeMap<i32, i64>,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Partition of the positions topic.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Why not.
    pub error: PositionError,
}

/// Reads the positions topic of one cluster and follows it. No consumer group, no background thread; between calls it
/// holds the positions in scope, [`MAX_POSITIONS`] at most.
#[derive(Debug)]
pub struct PositionsReader {
    admin: Admin,
    scope: Scope,
    topic_id: TopicId,
    shards: BTreeMap<i32, Shard>,
    log_starts: BTreeMap<i32, i64>,
    fetch_bytes: i32,
    last_complete: Option<Instant>,
}

impl PositionsReader {
    /// A reader that has read nothing yet.
    pub fn new(admin: Admin, scope: Scope) -> Self {
        Self {
            admin,
            scope,
            topic_id: TopicId::ZERO,
            shards: BTreeMap::new(),
            log_starts: BTreeMap::new(),
            fetch_bytes: *FETCH_BYTES.end(),
            last_complete: None,
        }
    }

    /// Reads up to the high watermark that each partition had when it was asked in this round, then tells all.
    ///
    /// Ends within [`MAX_CALL`]. What a round has read is kept when it does not get to the end, so that the next one
    /// goes on from there.
    ///
    /// # Errors
    /// [`PositionsError`]; never a part of the positions taken for the whole.
    pub async fn read(&mut self) -> Result<Positions, PositionsError> {
        if self.last_complete.is_some_and(|at| at.elapsed() > MAX_AGE) {
            self.forget();
        }
        let deadline = Deadline::after(MAX_CALL);
        let Some(topic) = find(&self.admin).await? else {
            self.forget();
            return Err(PositionsError::TopicMissing);
        };
        check_partitions(&topic)?;
        if topic.id != self.topic_id {
            self.forget();
            self.topic_id = topic.id;
        }
        let outcome = self.read_to_end(topic, deadline).await;
        if let Err(PositionsError::Kafka(KafkaError::Timeout { .. })) = outcome {
            self.fetch_bytes = (self.fetch_bytes / 4).max(*FETCH_BYTES.start());
        }
        outcome?;
        self.fetch_bytes = self.fetch_bytes.saturating_mul(2).min(*FETCH_BYTES.end());
        self.last_complete = Some(Instant::now());
        Ok(self.positions())
    }

    /// Forgets what was read: the next read is of everything.
    pub fn forget(&mut self) {
        self.shards.clear();
        self.log_starts.clear();
        self.topic_id = TopicId::ZERO;
        self.last_complete = None;
    }

    async fn read_to_end(
        &mut self,
        mut topic: TopicMetadata,
        deadline: Deadline,
    ) -> Result<(), PositionsError> {
        // The end of each partition, as its first answer in this round has it.
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        let mut open = self.scope.partitions();
        let mut holding = None;
        loop {
            let from = self.froms(&open, &topic)?;
            let share = i32::try_from(open.len()).unwrap_or(1).max(1);
            let bytes = (self.fetch_bytes / share).max(1);
            let answers = self
                .admin
                .fetch(POSITIONS_TOPIC, topic.id, &from, bytes, deadline)
                .await;
            let held = match self.take_all(answers, &mut open, &mut ends, deadline).await {
                // The deadline passed while it was asked once more: what held it all the time says more.
                Err(PositionsError::Kafka(error @ KafkaError::Timeout { .. })) => {
                    return Err(holding.unwrap_or(error.into()));
                }
                outcome => outcome?,
            };
            if open.is_empty() {
                return Ok(());
            }
            let Some(held) = held else { continue };
            if deadline.bound(tokio::time::sleep(PAUSE)).await.is_none() {
                return Err(held);
            }
            if matches!(held, PositionsError::Kafka(_)) {
                // A leader moved, or does not know it yet.
                match find(&self.admin.with_deadline(deadline.remaining())).await? {
                    Some(found) if found.id == topic.id => topic = found,
                    _ => return Err(held),
                }
            }
            holding = Some(held);
        }
    }

    /// Takes the answers of one fetch. `None` when it went on; else why it did not, which may pass.
    async fn take_all(
        &mut self,
        answers: BTreeMap<i32, Result<Fetched, KafkaError>>,
        open: &mut BTreeSet<i32>,
        ends: &mut BTreeMap<i32, i64>,
        deadline: Deadline,
    ) -> Result<Option<PositionsError>, PositionsError> {
        let (mut moved, mut held) = (false, None);
        for (partition, answer) in answers {
            let fetched = match answer {
                Ok(fetched) => fetched,
                Err(error) if error.is(ResponseError::OffsetOutOfRange) => {
                    self.restart(partition, deadline).await?;
                    ends.remove(&partition);
                    moved = true;
                    continue;
                }
                Err(error) if error.leader_may_have_moved() || error.is(ResponseError::UnknownTopicId) => {
                    held = Some(error.into());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let end = *ends.entry(partition).or_insert(fetched.high_watermark);
            moved |= self.take(partition, &fetched)?;
            if fetched.next_offset >= end {
                open.remove(&partition);
            } else if held.is_none() {
                // Records are there and none may be read: a transaction is open. It ends, or its time-out ends it.
                held = Some(PositionsError::OpenTransaction {
                    partition,
                    at: fetched.next_offset,
                    end,
                });
            }
        }
        Ok(held.filter(|_| !moved))
    }

    fn froms(
        &self,
        open: &BTreeSet<i32>,
        topic: &TopicMetadata,
    ) -> Result<BTreeMap<i32, FetchFrom>, PositionsError> {
        let from = |partition: i32| {
            let PartitionMetadata {
                leader: Some(leader),
                leader_epoch,
                ..
            } = topic.partitions.get(&partition)?
            else {
                return None;
            };
            let offset = self
                .shards
                .get(&partition)
                .and_then(|shard| shard.next_offset)
                .unwrap_or(0);
            Some(FetchFrom {
                leader: *leader,
                leader_epoch: *leader_epoch,
                offset,
            })
        };
        let froms = open.iter().map(|partition| {
            let leaderless = || KafkaError::Kafka {
                what: format!("partition {POSITIONS_TOPIC}-{partition}"),
                code: ResponseError::LeaderNotAvailable.into(),
                message: None,
            };
            Ok((*partition, from(*partition).ok_or_else(leaderless)?))
        });
        froms.collect()
    }

    /// Takes what a fetch gave; whether it gave anything.
    fn take(&mut self, partition: i32, fetched: &Fetched) -> Result<bool, PositionsError> {
        let shard = self.shards.entry(partition).or_default();
        for record in &fetched.records {
            shard.apply(
                &self.scope,
                record.offset,
                record.key.as_deref(),
                record.value.as_deref(),
            );
        }
        let moved = shard.next_offset.unwrap_or(0) != fetched.next_offset;
        shard.next_offset = Some(fetched.next_offset);
        self.log_starts.insert(partition, fetched.log_start);
        let held = self.shards.values().map(Shard::len).sum::<usize>();
        if held > MAX_POSITIONS {
            self.forget();
            return Err(PositionsError::TooMany { bound: MAX_POSITIONS });
        }
        Ok(moved)
    }

    /// Our offset lies outside the log: records were deleted below us, or lost above. What counts is what is there.
    async fn restart(&mut self, partition: i32, deadline: Deadline) -> Result<(), PositionsError> {
        let admin = self.admin.with_deadline(deadline.remaining());
        let wanted = TopicPartition::new(POSITIONS_TOPIC, partition);
        let asked = [(wanted.clone(), OffsetSpec::Earliest)];
        let mut answer = admin.list_offsets(asked, Isolation::ReadUncommitted).await?;
        let start = answer
            .remove(&wanted)
            .transpose()?
            .and_then(|listed| listed.offset)
            .unwrap_or(0);
        self.shards.insert(
            partition,
            Shard {
                next_offset: Some(start),
                ..Shard::default()
            },
        );
        Ok(())
    }

    fn positions(&self) -> Positions {
        let unreadable = self.shards.iter().flat_map(|(partition, shard)| {
            shard.unreadable.values().map(|(offset, error)| Unreadable {
                partition: *partition,
                offset: *offset,
                error: error.clone(),
            })
        });
        let positions = self.shards.values().flat_map(|shard| shard.positions.clone());
        Positions {
            topic_id: self.topic_id,
            positions: positions.collect(),
            unreadable: unreadable.collect(),
            truncated: self
                .log_starts
                .iter()
                .filter(|(_, start)| **start > 0)
                .map(|(p, s)| (*p, *s))
                .collect(),
        }
    }
}
