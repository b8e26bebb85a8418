//! Reads one topic from a point in time on, in a thread of its own, into a [`Tally`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, Timestamp};

use super::AuditError;
use super::tally::{Clock, Record, Tally};
use crate::kafka::connection::KafkaConnection;
use crate::kafka::error::KafkaError;
use crate::kafka::offsets::TopicPartition;
use crate::kafka::quiet::Quiet;
use crate::kafka::wire::{Admin, Isolation, MAX_CALL, OffsetSpec};
use crate::probe::send::now_ns;

/// How long to wait for Kafka and the topic at the start.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Between two attempts at the start.
const OPEN_RETRY: Duration = Duration::from_millis(500);
/// Between two looks for partitions that were added.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long one poll waits for a message, and so how long stopping takes.
const POLL: Duration = Duration::from_millis(100);
/// Bytes that librdkafka may fetch ahead.
const FETCH_AHEAD_KIB: &str = "16384";

/// What to read.
#[derive(Debug, Clone)]
pub struct Source {
    /// The cluster.
    pub connection: KafkaConnection,
    /// The topic.
    pub topic: String,
}

/// Where a partition is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The first offset to read.
    pub offset: i64,
    /// Everything that is left is read, and something before it was deleted: what is missing may have been there.
    pub truncated: bool,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    tally: Tally,
    /// Partition -> whether its end was reached once.
    ends: BTreeMap<i32, bool>,
    /// When something new of the run arrived last.
    last_new: Instant,
    /// When anything arrived last, the news of an end included.
    last_read: Instant,
    /// What stands in the way now, though it may pass.
    trouble: Option<String>,
    /// What ended the reading.
    failure: Option<AuditError>,
}

/// A topic being read. Dropping it ends the thread.
pub struct Reader {
    source: Source,
    starts: BTreeMap<i32, Start>,
    admin: Admin,
    shared: Arc<Mutex<Shared>>,
    consumer: Arc<BaseConsumer<Quiet>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    looked: Instant,
}

impl Reader {
    /// Finds the topic and begins to read at `from_ms` (milliseconds since 1970; `None` = at the beginning).
    ///
    /// # Errors
    /// When Kafka or the topic is not there within 30 s, or refuses us.
    pub async fn open(source: Source, from_ms: Option<i64>, run: Option<String>) -> Result<Self, AuditError> {
        let failed = |error: KafkaError| AuditError::Kafka {
            topic: source.topic.clone(),
            why: error.explain(),
        };
        let admin = Admin::new(&source.connection).map_err(failed)?;
        let since = Instant::now();
        let starts = loop {
            match find_starts(&admin, &source.topic, from_ms).await {
                Ok(starts) => break starts,
                Err(error) if !may_pass(&error) || since.elapsed() > OPEN_LIMIT => return Err(failed(error)),
                Err(error) => tracing::debug!(topic = source.topic, %error, "not readable yet"),
            }
            tokio::time::sleep(OPEN_RETRY).await;
        };
        let consumer = Arc::new(consumer(&source, &starts)?);
        let shared = Shared {
            tally: Tally::new(run, now_ns()),
            ends: starts.keys().map(|partition| (*partition, false)).collect(),
            last_new: Instant::now(),
            last_read: Instant::now(),
            trouble: None,
            failure: None,
        };
        let (shared, stop) = (Arc::new(Mutex::new(shared)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (consumer, shared, stop) = (Arc::clone(&consumer), Arc::clone(&shared), Arc::clone(&stop));
            let topic = source.topic.clone();
            let name = "audit-reader".to_owned();
            std::thread::Builder::new()
                .name(name)
                .spawn(move || read(&consumer, &topic, &shared, &stop))?
        };
        let looked = Instant::now();
        Ok(Self {
            source,
            starts,
            admin,
            shared,
            consumer,
            stop,
            thread: Some(thread),
            looked,
        })
    }

    /// What is read.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Where each partition was read from.
    #[must_use]
    pub fn starts(&self) -> &BTreeMap<i32, Start> {
        &self.starts
    }

    /// Whether the end of every partition was reached, as it was when reading began or [`Reader::recheck`] was called.
    ///
    /// # Errors
    /// When reading has failed for good.
    pub fn at_end(&self) -> Result<bool, AuditError> {
        let shared = &mut *lock(&self.shared);
        match shared.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(shared.ends.values().all(|end| *end)),
        }
    }

    /// Whether an end is still to be reached.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        lock(&self.shared).ends.values().any(|end| !end)
    }

    /// How long nothing new of the run has arrived, and how long nothing at all.
    #[must_use]
    pub fn quiet(&self) -> (Duration, Duration) {
        let shared = lock(&self.shared);
        (shared.last_new.elapsed(), shared.last_read.elapsed())
    }

    /// What stands in the way, though it may pass.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        lock(&self.shared).trouble.clone()
    }

    /// Asks the brokers once more where the ends are: [`Reader::at_end`] is true again only after each has answered. A
    /// silent line looks like an end otherwise.
    ///
    /// # Errors
    /// When the consumer cannot be moved.
    pub fn recheck(&self) -> Result<(), AuditError> {
        let failed = |e: ClientError| client_error(&self.source.topic, &e);
        let mut list = TopicPartitionList::new();
        for position in self.consumer.position().map_err(failed)?.elements() {
            let start = self.starts.get(&position.partition()).copied();
            // Nothing read from it yet: still where it began.
            let offset = match (position.offset(), start) {
                (Offset::Offset(offset), _) => offset,
                (_, Some(start)) => start.offset,
                _ => continue,
            };
            add(
                &mut list,
                &self.source.topic,
                position.partition(),
                Start {
                    offset,
                    truncated: false,
                },
            )?;
        }
        {
            let shared = &mut *lock(&self.shared);
            shared.ends.values_mut().for_each(|end| *end = false);
            shared.last_read = Instant::now();
        }
        self.consumer
            .seek_partitions(list, MAX_CALL)
            .map(drop)
            .map_err(failed)
    }

    /// Looks at what was found so far; keep it short, reading waits meanwhile.
    pub fn look<T>(&self, at: impl FnOnce(&Tally) -> T) -> T {
        at(&lock(&self.shared).tally)
    }

    /// Reads partitions too that were added meanwhile. Does nothing when it was called less than 10 s ago.
    ///
    /// # Errors
    /// When the consumer refuses the partitions.
    pub async fn follow_growth(&mut self) -> Result<(), AuditError> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        // Not reachable now: later, then.
        let Ok(all) = find_starts(&self.admin, &self.source.topic, None).await else {
            return Ok(());
        };
        let mut added = TopicPartitionList::new();
        for (partition, start) in all {
            if !self.starts.contains_key(&partition) {
                add(&mut added, &self.source.topic, partition, start)?;
                self.starts.insert(partition, start);
                lock(&self.shared).ends.insert(partition, false);
            }
        }
        if added.count() > 0 {
            self.consumer
                .incremental_assign(&added)
                .map_err(|e| client_error(&self.source.topic, &e))?;
        }
        Ok(())
    }

    /// Ends the reading.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has reported whatever there was to report.
            let _ = thread.join();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing in here panics half-way; were it so, the figures would still be whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A topic may be created by the first record, a broker may be starting.
fn may_pass(error: &KafkaError) -> bool {
    use kafka_protocol::error::ResponseError as Error;
    error.is_unreachable()
        || matches!(
            error.code(),
            Some(Error::UnknownTopicOrPartition | Error::LeaderNotAvailable | Error::NotLeaderOrFollower)
        )
}

/// The first offsets to read.
async fn find_starts(
    admin: &Admin,
    topic: &str,
    from_ms: Option<i64>,
) -> Result<BTreeMap<i32, Start>, KafkaError> {
    // The ends first: what is written while we ask lies behind them.
    let (ranges, mut failed) = admin
        .log_ranges(&[topic.to_owned()], Isolation::ReadCommitted)
        .await?;
    if let Some(error) = failed.remove(topic) {
        return Err(error);
    }
    let mut starts = BTreeMap::new();
    let at = |ms| ranges.keys().map(move |p| (p.clone(), OffsetSpec::Timestamp(ms)));
    let mut later = match from_ms {
        Some(ms) => admin.list_offsets(at(ms), Isolation::ReadCommitted).await?,
        None => BTreeMap::new(),
    };
    for (TopicPartition { topic, partition }, range) in ranges {
        let range = range?.range;
        let offset = match from_ms {
            None => range.start,
            Some(_) => {
                let found = later.remove(&TopicPartition::new(topic, partition));
                // No record that late yet: the next one will be.
                found
                    .transpose()?
                    .and_then(|listed| listed.offset)
                    .unwrap_or(range.end)
            }
        };
        starts.insert(
            partition,
            Start {
                offset,
                truncated: range.start > 0 && offset <= range.start,
            },
        );
    }
    Ok(starts)
}

fn consumer(source: &Source, starts: &BTreeMap<i32, Start>) -> Result<BaseConsumer<Quiet>, AuditError> {
    let failed = |e: ClientError| client_error(&source.topic, &e);
    let consumer: BaseConsumer<Quiet> = source
        .connection
        .client_config()
        // librdkafka wants a name although no group is joined and nothing is committed.
        .set("group.id", "tributary-probe")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        // What is deleted while we read must not look like a loss on the way.
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", FETCH_AHEAD_KIB)
        .create_with_context(Quiet("audit"))
        .map_err(failed)?;
    let mut list = TopicPartitionList::new();
    for (partition, start) in starts {
        add(&mut list, &source.topic, *partition, *start)?;
    }
    consumer.assign(&list).map_err(failed)?;
    Ok(consumer)
}

fn add(list: &mut TopicPartitionList, topic: &str, partition: i32, start: Start) -> Result<(), AuditError> {
    let offset = Offset::Offset(start.offset);
    list.add_partition_offset(topic, partition, offset)
        .map_err(|e| client_error(topic, &e))
}

fn client_error(topic: &str, error: &ClientError) -> AuditError {
    AuditError::Kafka {
        topic: topic.to_owned(),
        why: error.to_string(),
    }
}

/// The thread: reads until it is stopped or cannot go on.
fn read(consumer: &BaseConsumer<Quiet>, topic: &str, shared: &Mutex<Shared>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let failure = match consumer.poll(POLL) {
            None => None,
            Some(Ok(message)) => take(&message, shared),
            Some(Err(ClientError::PartitionEOF(partition))) => {
                let shared = &mut *lock(shared);
                shared.ends.insert(partition, true);
                shared.last_read = Instant::now();
                shared.trouble = None;
                None
            }
            Some(Err(error)) => stumble(topic, &error, shared),
        };
        if failure.is_some() {
            lock(shared).failure = failure;
            return;
        }
    }
}

fn take(message: &BorrowedMessage<'_>, shared: &Mutex<Shared>) -> Option<AuditError> {
    let ms = |ms: i64| u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000);
    let record = Record {
        partition: message.partition(),
        value: message.payload(),
        timestamp: match message.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(time) => Some((Clock::CreateTime, ms(time))),
            Timestamp::LogAppendTime(time) => Some((Clock::LogAppendTime, ms(time))),
        },
        read_ns: now_ns(),
    };
    let shared = &mut *lock(shared);
    shared.last_read = Instant::now();
    match shared.tally.observe(&record) {
        Ok(true) => shared.last_new = Instant::now(),
        Ok(false) => {}
        Err(full) => return Some(full.into()),
    }
    shared.trouble = None;
    None
}

/// What may pass is remembered, what cannot ends the reading.
fn stumble(topic: &str, error: &ClientError, shared: &Mutex<Shared>) -> Option<AuditError> {
    let why = match error.rdkafka_error_code() {
        // Nothing is asked of the group.
        Some(Code::GroupAuthorizationFailed | Code::CoordinatorNotAvailable | Code::NotCoordinator) => {
            return None;
        }
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
            "records were deleted (retention) while they were being read; audit sooner, or keep them longer"
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            "the topic was deleted while it was being read"
        }
        Some(Code::TopicAuthorizationFailed) => {
            "this user may not read the topic; grant it READ and DESCRIBE"
        }
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => "the broker refuses the credentials",
        _ => {
            tracing::debug!(topic, %error, "reading stumbles");
            lock(shared).trouble = Some(error.to_string());
            return None;
        }
    };
    Some(AuditError::Kafka {
        topic: topic.to_owned(),
        why: why.to_owned(),
    })
}
