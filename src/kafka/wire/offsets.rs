//! ListOffsets and OffsetForLeaderEpoch: asked of each partition's leader, in one request per leader.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest};

use super::Admin;
use super::admin::broker_timeout_ms;
use super::deadline::Deadline;
use super::metadata::{Metadata, Topics, topic_name};
use super::pool::At;
use crate::kafka::error::KafkaError;
use crate::kafka::offsets::{LogRange, TopicPartition};
use crate::kafka::topic_id::TopicId;

/// Leaders that are asked at a time.
const CONCURRENCY: usize = 16;
/// How often leaders are looked up again for partitions whose leader moved.
const ROUNDS: usize = 5;
/// Pause before a look-up: an election takes a moment.
const PAUSE: Duration = Duration::from_millis(100);
/// "Not a replica": what consumers and other clients send.
const NO_REPLICA: BrokerId = BrokerId(-1);

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first that is still there.
    Earliest,
    /// The one after the last (see [`Isolation`]).
    Latest,
    /// That of the record with the highest timestamp (Kafka 3.0 or later).
    MaxTimestamp,
    /// The first whose timestamp is at or after this, in milliseconds since 1970.
    Timestamp(i64),
}

impl OffsetSpec {
    const fn protocol(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::Timestamp(ms) => ms,
        }
    }

    /// Lowest version of ListOffsets that knows this.
    const fn lowest_version(self) -> i16 {
        match self {
            Self::MaxTimestamp => 7,
            _ => 4,
        }
    }
}

/// What the latest offset means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The high watermark.
    ReadUncommitted,
    /// The last stable offset: before the first open transaction.
    ReadCommitted,
}

impl Isolation {
    pub(super) const fn protocol(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// An offset, with the topic that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The topic's ID when the leader was looked up: offsets of another ID are another topic's.
    pub topic_id: TopicId,
    /// The offset; `None` if no record fits (an empty partition, no record that late).
    pub offset: Option<i64>,
    /// The record's timestamp, for the two specs that look for one.
    pub timestamp_ms: Option<i64>,
    /// The leader epoch of the record, if known.
    pub leader_epoch: Option<i32>,
}

/// The range of a partition's log, with the topic that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRange {
    /// The topic's ID.
    pub topic_id: TopicId,
    /// Log start and end.
    pub range: LogRange,
    /// The leader epoch of the end, if known.
    pub end_epoch: Option<i32>,
}

/// Where the records of a leader epoch end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch that is not above the one asked for; `None` if there is none.
    pub leader_epoch: Option<i32>,
    /// The first offset after that epoch; `None` likewise. A position beyond it was truncated away.
    pub end_offset: Option<i64>,
}

/// Results by partition.
type PerPartition<T> = BTreeMap<TopicPartition, Result<T, KafkaError>>;

/// A partition to ask a leader about.
struct Asked {
    partition: TopicPartition,
    topic_id: TopicId,
    leader_epoch: Option<i32>,
}

impl Admin {
    /// One offset of each partition.
    ///
    /// # Errors
    /// No broker could be asked where the leaders are; each partition has its own result, also when its leader cannot
    /// be reached.
    pub async fn list_offsets(
        &self,
        partitions: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
        isolation: Isolation,
    ) -> Result<PerPartition<ListedOffset>, KafkaError> {
        let specs: BTreeMap<TopicPartition, OffsetSpec> = partitions.into_iter().collect();
        self.list_offsets_by(&specs, isolation, self.deadline()).await
    }

    async fn list_offsets_by(
        &self,
        specs: &BTreeMap<TopicPartition, OffsetSpec>,
        isolation: Isolation,
        deadline: Deadline,
    ) -> Result<PerPartition<ListedOffset>, KafkaError> {
        let wanted = specs.keys().cloned().collect();
        self.per_leader(wanted, deadline, |leader, asked| {
            self.offsets_from(leader, asked, specs, isolation, deadline)
        })
        .await
    }

    /// Log start and end of every partition of these topics. A topic without metadata has no partitions: its error
    /// is in the second map.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`].
    pub async fn log_ranges(
        &self,
        topics: &[String],
        isolation: Isolation,
    ) -> Result<(PerPartition<TopicRange>, BTreeMap<String, KafkaError>), KafkaError> {
        let deadline = self.deadline();
        let metadata = self.metadata_by(Topics::Named(topics.to_vec()), deadline).await?;
        let (mut partitions, mut failed) = (Vec::new(), BTreeMap::new());
        for (name, topic) in metadata.topics {
            match topic {
                Ok(topic) => partitions.extend(
                    topic
                        .partitions
                        .keys()
                        .map(|index| TopicPartition::new(&name, *index)),
                ),
                Err(error) => drop(failed.insert(name, error)),
            }
        }
        let specs = |spec| {
            partitions
                .iter()
                .cloned()
                .map(|partition| (partition, spec))
                .collect()
        };
        let (first, last) = (specs(OffsetSpec::Earliest), specs(OffsetSpec::Latest));
        let (starts, ends) = tokio::join!(
            self.list_offsets_by(&first, isolation, deadline),
            self.list_offsets_by(&last, isolation, deadline)
        );
        let mut starts = starts?;
        let ranges = ends?.into_iter().map(|(partition, end)| {
            let start = starts.remove(&partition);
            let range = range(&partition, start, end);
            (partition, range)
        });
        Ok((ranges.collect(), failed))
    }

    /// Where the records of these leader epochs end (KIP-320): how a reader finds that its position was truncated away.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`].
    pub async fn offset_for_leader_epoch(
        &self,
        epochs: &BTreeMap<TopicPartition, i32>,
    ) -> Result<PerPartition<EpochEnd>, KafkaError> {
        let deadline = self.deadline();
        let wanted = epochs.keys().cloned().collect();
        self.per_leader(wanted, deadline, |leader, asked| {
            self.epochs_from(leader, asked, epochs, deadline)
        })
        .await
    }

    /// Asks every partition's leader, and asks again where leaders have moved.
    async fn per_leader<T, F, Fut>(
        &self,
        wanted: BTreeSet<TopicPartition>,
        deadline: Deadline,
        ask: F,
    ) -> Result<PerPartition<T>, KafkaError>
    where
        F: Fn(i32, Vec<Asked>) -> Fut,
        Fut: Future<Output = PerPartition<T>>,
    {
        let mut results = PerPartition::new();
        let mut open = wanted;
        for round in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            if round > 0 && deadline.bound(tokio::time::sleep(PAUSE)).await.is_none() {
                break;
            }
            let topics: BTreeSet<&String> = open.iter().map(|partition| &partition.topic).collect();
            let topics = Topics::Named(topics.into_iter().cloned().collect());
            let metadata = match self.metadata_by(topics, deadline).await {
                Ok(metadata) => metadata,
                // A later round only: the first round's results stand.
                Err(_) if round > 0 => break,
                Err(error) => return Err(error),
            };
            let (leaders, leaderless) = group(&open, &metadata);
            results.extend(leaderless);
            let calls = leaders.into_iter().map(|(leader, asked)| ask(leader, asked));
            let answers: Vec<PerPartition<T>> = futures::stream::iter(calls)
                .buffer_unordered(CONCURRENCY)
                .collect()
                .await;
            results.extend(answers.into_iter().flatten());
            open.retain(|partition| match results.get(partition) {
                Some(Ok(_)) => false,
                Some(Err(error)) => {
                    error.leader_may_have_moved() || matches!(error, KafkaError::Unreachable { .. })
                }
                None => true,
            });
        }
        for partition in open {
            results.entry(partition.clone()).or_insert_with(|| {
                Err(KafkaError::Protocol {
                    address: "the leader".into(),
                    why: format!("the answer lacks {partition}"),
                })
            });
        }
        Ok(results)
    }

    async fn offsets_from(
        &self,
        leader: i32,
        asked: Vec<Asked>,
        specs: &BTreeMap<TopicPartition, OffsetSpec>,
        isolation: Isolation,
        deadline: Deadline,
    ) -> PerPartition<ListedOffset> {
        let spec = |partition: &TopicPartition| specs.get(partition).copied().unwrap_or(OffsetSpec::Latest);
        let lowest = asked
            .iter()
            .map(|asked| spec(&asked.partition).lowest_version())
            .max()
            .unwrap_or(4);
        let topics = by_topic(&asked, |asked| {
            ListOffsetsPartition::default()
                .with_partition_index(asked.partition.partition)
                .with_current_leader_epoch(asked.leader_epoch.unwrap_or(-1))
                .with_timestamp(spec(&asked.partition).protocol())
        });
        let topics = topics.into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(NO_REPLICA)
            .with_isolation_level(isolation.protocol())
            .with_topics(topics.collect());
        let build = |version: i16| match version {
            10.. => request.clone().with_timeout_ms(broker_timeout_ms(deadline)),
            _ => request.clone(),
        };
        let answer = match self
            .read(At::Broker(leader), lowest..=i16::MAX, deadline, build)
            .await
        {
            Ok(answer) => answer,
            Err(error) => return all_failed(asked, &error),
        };
        let ids: BTreeMap<&str, TopicId> = asked
            .iter()
            .map(|a| (a.partition.topic.as_str(), a.topic_id))
            .collect();
        let known = |value: i64| (value >= 0).then_some(value);
        let results = answer.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let key = TopicPartition::new(topic.name.0.to_string(), partition.partition_index);
                let listed = ListedOffset {
                    topic_id: ids.get(key.topic.as_str()).copied().unwrap_or_default(),
                    offset: known(partition.offset),
                    timestamp_ms: known(partition.timestamp),
                    leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
                };
                let error = KafkaError::from_code(format!("partition {key}"), partition.error_code, None);
                (key, error.map_or(Ok(listed), Err))
            })
        });
        results.collect()
    }

    async fn epochs_from(
        &self,
        leader: i32,
        asked: Vec<Asked>,
        epochs: &BTreeMap<TopicPartition, i32>,
        deadline: Deadline,
    ) -> PerPartition<EpochEnd> {
        let topics = by_topic(&asked, |asked| {
            OffsetForLeaderPartition::default()
                .with_partition(asked.partition.partition)
                .with_current_leader_epoch(asked.leader_epoch.unwrap_or(-1))
                .with_leader_epoch(epochs.get(&asked.partition).copied().unwrap_or(-1))
        });
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetForLeaderTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions)
        });
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(NO_REPLICA)
            .with_topics(topics.collect());
        let answer = match self
            .read(At::Broker(leader), 3..=i16::MAX, deadline, |_| request.clone())
            .await
        {
            Ok(answer) => answer,
            Err(error) => return all_failed(asked, &error),
        };
        let results = answer.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let key = TopicPartition::new(topic.topic.0.to_string(), partition.partition);
                let end = EpochEnd {
                    leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
                    end_offset: (partition.end_offset >= 0).then_some(partition.end_offset),
                };
                let error = KafkaError::from_code(format!("partition {key}"), partition.error_code, None);
                (key, error.map_or(Ok(end), Err))
            })
        });
        results.collect()
    }
}

fn range(
    partition: &TopicPartition,
    start: Option<Result<ListedOffset, KafkaError>>,
    end: Result<ListedOffset, KafkaError>,
) -> Result<TopicRange, KafkaError> {
    let lacking = |what| KafkaError::Protocol {
        address: "the leader".into(),
        why: format!("{partition} has no {what}"),
    };
    let end = end?;
    let start = start.unwrap_or_else(|| Err(lacking("log start")))?;
    if start.topic_id != end.topic_id {
        return Err(KafkaError::Kafka {
            what: format!("partition {partition}"),
            code: ResponseError::InconsistentTopicId.into(),
            message: Some("the topic was re-created while it was asked for".into()),
        });
    }
    let range = LogRange {
        start: start.offset.ok_or_else(|| lacking("log start"))?,
        end: end.offset.ok_or_else(|| lacking("log end"))?,
    };
    Ok(TopicRange {
        topic_id: end.topic_id,
        range,
        end_epoch: end.leader_epoch,
    })
}

/// The partitions by leader, and an error for each that has none.
fn group<T>(
    wanted: &BTreeSet<TopicPartition>,
    metadata: &Metadata,
) -> (BTreeMap<i32, Vec<Asked>>, PerPartition<T>) {
    let (mut leaders, mut failed) = (BTreeMap::<i32, Vec<Asked>>::new(), PerPartition::new());
    for partition in wanted {
        let code = |kind: ResponseError| KafkaError::Kafka {
            what: format!("partition {partition}"),
            code: kind.into(),
            message: None,
        };
        let topic = match metadata.topics.get(&partition.topic) {
            Some(Ok(topic)) => topic,
            Some(Err(error)) => {
                failed.insert(partition.clone(), Err(error.clone()));
                continue;
            }
            None => {
                failed.insert(
                    partition.clone(),
                    Err(code(ResponseError::UnknownTopicOrPartition)),
                );
                continue;
            }
        };
        let asked = |leader_epoch| Asked {
            partition: partition.clone(),
            topic_id: topic.id,
            leader_epoch,
        };
        match topic.partitions.get(&partition.partition) {
            None => drop(failed.insert(
                partition.clone(),
                Err(code(ResponseError::UnknownTopicOrPartition)),
            )),
            Some(found) => match found.leader {
                Some(leader) => leaders.entry(leader).or_default().push(asked(found.leader_epoch)),
                None => drop(failed.insert(partition.clone(), Err(code(ResponseError::LeaderNotAvailable)))),
            },
        }
    }
    (leaders, failed)
}

fn by_topic<P>(asked: &[Asked], make: impl Fn(&Asked) -> P) -> BTreeMap<&str, Vec<P>> {
    let mut topics: BTreeMap<&str, Vec<P>> = BTreeMap::new();
    for one in asked {
        topics.entry(&one.partition.topic).or_default().push(make(one));
    }
    topics
}

fn all_failed<T>(asked: Vec<Asked>, error: &KafkaError) -> PerPartition<T> {
    asked
        .into_iter()
        .map(|asked| (asked.partition, Err(error.clone())))
        .collect()
}
