//! Judges partitions that are not copied, registers what is new, follows what stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use kafka_protocol::error::ResponseError;

use super::admit::{Candidate, Outcome, REGISTRAR};
use super::explain::{explain, not_empty};
use super::guard::RefusedRecord;
use super::session::Session;
use super::survey::Failure;
use crate::kafka::error::KafkaError;
use crate::kafka::offsets::TopicPartition;
use crate::kafka::positions::{Position, PositionKey, PositionsError};
use crate::kafka::wire::{EpochEnd as ToldEnd, Isolation, OffsetSpec};
use crate::replicator::book::{Book, Route};
use crate::replicator::engine::{Engine, Follow};
use crate::replicator::progress::{RefusalReason, Side, StopReason};
use crate::replicator::store::StoreError;
use crate::replicator::tracker::Reached;
use crate::replicator::verdict::{EpochEnd, SourceFacts, Stored, TargetFacts, Verdict, judge};

/// Results by partition of the source.
type PerPartition<T> = BTreeMap<TopicPartition, Result<T, KafkaError>>;

impl Session<'_> {
    /// Judges what is not copied, registers what is new, follows what stands.
    pub(super) async fn judge_all(
        &mut self,
        candidates: Vec<Candidate>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let candidates = self.ripe(candidates);
        if candidates.is_empty() {
            return Ok(());
        }
        let mut sources = self.source_facts(&candidates).await?;
        let mut targets = self.target_facts(&candidates).await?;
        self.look_at_refusals(&candidates).await?;
        let (mut register, mut follow) = (Vec::new(), Vec::new());
        for candidate in candidates {
            let Candidate {
                partition,
                route,
                stored,
                ..
            } = &candidate;
            let told = both(sources.remove(partition), targets.remove(partition));
            let (source, target) = match told.unwrap_or_else(|| Err(untold(partition))) {
                Ok(told) => told,
                Err(error) => {
                    self.cannot_judge(partition, route, &error);
                    continue;
                }
            };
            match judge(*stored, source, target) {
                Verdict::Resume(start) => {
                    if !self.is_held_back(&candidate, start) {
                        follow.push((candidate, start));
                    }
                }
                Verdict::Begin(start) => register.push((candidate, start)),
                Verdict::Stop {
                    reason: StopReason::TargetNotEmpty,
                    ..
                } if !matches!(stored, Stored::NewPartition) => {
                    outcome.wanted.retain(|wanted| wanted.topic != partition.topic);
                    outcome.refuse(&partition.topic, RefusalReason::NameCollision, not_empty(route));
                }
                Verdict::Stop { reason, missing } => {
                    let message = explain(reason, &candidate, &source, missing.as_ref());
                    if self.is_mine(partition) {
                        self.memory.book.met(partition, route, candidate.read);
                        self.stop(partition, Some(route), reason, message, missing);
                    }
                }
            }
        }
        register.retain(|(candidate, _)| !outcome.refused.contains_key(&candidate.partition.topic));
        outcome.changed |= self.register(register).await?;
        self.follow(follow, outcome.wanted.len()).await
    }

    /// Leaves out what another worker has to register first.
    fn ripe(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut ripe = Vec::new();
        for candidate in candidates {
            if self.is_registrar() || matches!(candidate.stored, Stored::Known(_)) {
                ripe.push(candidate);
                continue;
            }
            let why = format!("worker {REGISTRAR} of the link has to register it first");
            self.memory
                .book
                .waiting(&candidate.partition, &candidate.route, Some(why));
        }
        ripe
    }

    /// Whether a record that the target refused keeps a position from being followed, though it is good as it stands.
    /// Asked only then: while the record waits, the source may lose it, and that must be told.
    fn is_held_back(&mut self, candidate: &Candidate, start: Reached) -> bool {
        let Candidate { partition, route, .. } = candidate;
        let Some(refused) = self.memory.refused.get(partition).cloned() else {
            return false;
        };
        if !refused.is_at(start.next_offset) {
            tracing::info!(%partition, offset = refused.offset, "the refused record is passed over by decision");
            self.memory.refused.remove(partition);
            return false;
        }
        let limits = self.limits.get(&route.target).cloned().unwrap_or_default();
        if refused.is_due(&limits, Instant::now()) {
            tracing::info!(%partition, offset = refused.offset, "trying the refused record again");
            if refused.settings != limits.fingerprint {
                self.memory.refused.remove(partition);
            }
            return false;
        }
        // Nothing is missing yet: what was refused is on the source, and so is what comes behind it.
        self.stop(partition, Some(route), refused.reason, refused.message, None);
        true
    }

    /// Reads anew what the topics take of which a record was refused: once for all of them, whatever their number.
    async fn look_at_refusals(&mut self, candidates: &[Candidate]) -> Result<(), Failure> {
        let refused = |partition: &TopicPartition| self.memory.refused.get(partition);
        let topics = held_back(candidates, refused);
        self.limits.retain(|topic, _| !topics.contains(topic));
        self.describe_limits(topics).await
    }

    async fn source_facts(&self, candidates: &[Candidate]) -> Result<PerPartition<SourceFacts>, Failure> {
        let failure = |error| Failure::Side(Side::Source, error);
        let admin = &self.surveyor.source;
        let specs = |spec| {
            candidates
                .iter()
                .map(move |candidate| (candidate.partition.clone(), spec))
        };
        let epochs: BTreeMap<TopicPartition, i32> = candidates
            .iter()
            .filter_map(|candidate| match candidate.stored {
                Stored::Known(known) if known.topic_id == candidate.route.topic_id => {
                    Some((candidate.partition.clone(), known.position.leader_epoch?))
                }
                _ => None,
            })
            .collect();
        let starts = admin
            .list_offsets(specs(OffsetSpec::Earliest), Isolation::ReadUncommitted)
            .await
            .map_err(failure)?;
        let mut ends = admin
            .list_offsets(specs(OffsetSpec::Latest), Isolation::ReadUncommitted)
            .await
            .map_err(failure)?;
        let mut epoch_ends = if epochs.is_empty() {
            BTreeMap::new()
        } else {
            admin.offset_for_leader_epoch(&epochs).await.map_err(failure)?
        };
        let facts = starts.into_iter().map(|(partition, start)| {
            let end = ends.remove(&partition).unwrap_or_else(|| Err(untold(&partition)));
            let epoch_end = epoch_ends.remove(&partition).transpose();
            let facts = (|| {
                let (start, end, epoch_end) = (start?, end?, epoch_end?);
                let (Some(log_start), Some(log_end)) = (start.offset, end.offset) else {
                    return Err(untold(&partition));
                };
                if start.topic_id != end.topic_id {
                    return Err(untold(&partition));
                }
                Ok(SourceFacts {
                    topic_id: end.topic_id,
                    log_start,
                    log_end,
                    epoch_end: epoch_end.map(told),
                })
            })();
            (partition, facts)
        });
        Ok(facts.collect())
    }

    /// What the target has of each candidate: absent is not there at all. Its end is asked for only where it counts.
    async fn target_facts(
        &self,
        candidates: &[Candidate],
    ) -> Result<PerPartition<Option<TargetFacts>>, Failure> {
        let target = |candidate: &Candidate| {
            TopicPartition::new(&candidate.route.target, candidate.partition.partition)
        };
        let there = candidates
            .iter()
            .filter(|candidate| candidate.route.target_topic_id.is_set());
        let fresh = there.filter(|candidate| !matches!(candidate.stored, Stored::Known(_)));
        let specs: Vec<_> = fresh
            .map(|candidate| (target(candidate), OffsetSpec::Latest))
            .collect();
        let mut ends = if specs.is_empty() {
            BTreeMap::new()
        } else {
            let ends = self
                .surveyor
                .target
                .list_offsets(specs, Isolation::ReadUncommitted)
                .await;
            ends.map_err(|error| Failure::Side(Side::Target, error))?
        };
        let facts = candidates.iter().map(|candidate| {
            let topic_id = candidate.route.target_topic_id;
            let facts = match ends.remove(&target(candidate)) {
                _ if !topic_id.is_set() => Ok(None),
                None => Ok(Some(TargetFacts { topic_id, log_end: 0 })),
                Some(end) => end.map(|end| {
                    Some(TargetFacts {
                        topic_id,
                        log_end: end.offset.unwrap_or(0),
                    })
                }),
            };
            (candidate.partition.clone(), facts)
        });
        Ok(facts.collect())
    }

    fn cannot_judge(&mut self, partition: &TopicPartition, route: &Route, error: &KafkaError) {
        if !self.is_mine(partition) {
            return;
        }
        if error.is(ResponseError::TopicAuthorizationFailed) {
            self.stop(
                partition,
                Some(route),
                StopReason::NotAuthorized,
                error.explain(),
                None,
            );
        } else if !self.memory.book.is_stopped(partition) {
            self.memory.book.waiting(partition, route, Some(error.explain()));
        }
    }

    /// Stores where new partitions start, before anything of them is copied; whether there were any.
    async fn register(&mut self, begin: Vec<(Candidate, Reached)>) -> Result<bool, Failure> {
        if begin.is_empty() {
            return Ok(false);
        }
        let mut records: Vec<(PositionKey, Option<Position>)> = begin
            .iter()
            .map(|(candidate, start)| {
                let Candidate { partition, route, .. } = candidate;
                let (key, position) =
                    Book::registration(&self.identity, self.generation, partition, route, *start);
                (key, Some(position))
            })
            .collect();
        // Highest partition first: after a crash in between, a partition below a registered one is not taken for one
        // by which the topic has grown.
        records.sort_by_key(|(key, _)| (key.topic_id, std::cmp::Reverse(key.partition)));
        self.store.write(&records).await.map_err(|error| {
            let why = error.to_string();
            if matches!(error, StoreError::Broken(_)) {
                self.context
                    .report
                    .fault(Side::Target, "PositionsNotStored", &why);
                return Failure::Again;
            }
            let error = KafkaError::Protocol {
                address: "the target".into(),
                why,
            };
            Failure::Positions(Side::Target, PositionsError::Kafka(error))
        })?;
        for (candidate, start) in &begin {
            tracing::info!(partition = %candidate.partition, offset = start.next_offset, "partition registered");
        }
        Ok(true)
    }

    /// Follows what this worker copies, one of `wanted` partitions.
    async fn follow(&mut self, follow: Vec<(Candidate, Reached)>, wanted: usize) -> Result<(), Failure> {
        let follow: Vec<_> = follow
            .into_iter()
            .filter(|(Candidate { partition, route, .. }, start)| {
                self.is_mine(partition) && !self.waits_for_source(partition, route, *start)
            })
            .collect();
        if follow.is_empty() {
            return Ok(());
        }
        self.describe_limits(
            follow
                .iter()
                .map(|(candidate, _)| candidate.route.target.clone())
                .collect(),
        )
        .await?;
        self.fit_engine(follow.len(), wanted)?;
        let mut slots = Vec::new();
        for (
            Candidate {
                partition,
                route,
                read,
                ..
            },
            start,
        ) in follow
        {
            let slot = self.next_slot;
            self.next_slot += 1;
            slots.push(Follow {
                slot,
                topic: partition.topic.clone(),
                partition: partition.partition,
                target_topic: route.target.clone(),
                start,
            });
            tracing::info!(%partition, target = route.target, offset = start.next_offset, "partition is followed");
            self.handed.insert(partition.topic.clone());
            self.memory.book.read(&partition, &route, read);
            self.memory.book.following(&partition, route, slot, start);
        }
        if let Some(engine) = &self.engine {
            engine.follow(slots);
        }
        Ok(())
    }

    /// Sees to an engine whose clients suit `new` more partitions: what they may hold is fixed when they are made.
    fn fit_engine(&mut self, new: usize, wanted: usize) -> Result<(), Failure> {
        let smallest = self.smallest_batch();
        if let Some(engine) = &self.engine {
            let partitions = self.memory.book.slots().len() + new;
            if smallest < self.batch_limit {
                tracing::info!(
                    limit = smallest,
                    "a topic takes smaller batches only: the clients are built anew"
                );
                return Err(Failure::Again);
            }
            if engine.is_outgrown(partitions) {
                tracing::info!(
                    partitions,
                    "more partitions share the memory: the clients are built anew"
                );
                return Err(Failure::Again);
            }
            return Ok(());
        }
        let (source, target) = (&self.connections.source, &self.connections.target);
        let tuning = &self.context.config.tuning;
        let meters = self.context.report.meters();
        // Those that are registered now join a moment later.
        let partitions = new.max(wanted);
        let engine = Engine::start(source, target, tuning, partitions, smallest, meters);
        self.engine = Some(engine.map_err(|error| {
            let why = error.to_string();
            Failure::Side(Side::Local, KafkaError::Misconfigured { why })
        })?);
        self.batch_limit = smallest;
        Ok(())
    }
}

/// Topics on the target that refused a record at which a candidate still stands.
fn held_back<'a>(
    candidates: &[Candidate],
    refused: impl Fn(&TopicPartition) -> Option<&'a RefusedRecord>,
) -> BTreeSet<String> {
    let stands = |candidate: &&Candidate| match candidate.stored {
        Stored::Known(known) => {
            refused(&candidate.partition).is_some_and(|r| r.is_at(known.position.next_offset))
        }
        _ => false,
    };
    let topics = candidates.iter().filter(stands);
    topics.map(|candidate| candidate.route.target.clone()).collect()
}

/// What both sides told; `None` where one told nothing.
fn both<A, B>(
    source: Option<Result<A, KafkaError>>,
    target: Option<Result<B, KafkaError>>,
) -> Option<Result<(A, B), KafkaError>> {
    match (source, target) {
        (Some(Err(error)), _) | (_, Some(Err(error))) => Some(Err(error)),
        (Some(Ok(source)), Some(Ok(target))) => Some(Ok((source, target))),
        _ => None,
    }
}

fn told(end: ToldEnd) -> EpochEnd {
    match (end.leader_epoch, end.end_offset) {
        (Some(_), Some(offset)) => EpochEnd::Offset(offset),
        _ => EpochEnd::Unknown,
    }
}

/// An answer without what was asked for, or about a topic that changed meanwhile: the next survey asks again.
fn untold(partition: &TopicPartition) -> KafkaError {
    KafkaError::Protocol {
        address: "the cluster".into(),
        why: format!("nothing certain about {partition}"),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;
    use uuid::Uuid;

    use super::*;
    use crate::kafka::topic_id::TopicId;
    use crate::replicator::engine::Refusal;
    use crate::replicator::settings::Limits;
    use crate::replicator::verdict::Known;

    fn candidate(topic: &str, partition: i32, next_offset: i64) -> Candidate {
        let topic_id = TopicId(Uuid::from_u128(1));
        let position = Reached {
            next_offset,
            leader_epoch: None,
            timestamp: None,
        };
        Candidate {
            partition: TopicPartition::new(topic, partition),
            route: Route {
                topic_id,
                target: format!("munich.{topic}"),
                target_topic_id: topic_id,
            },
            stored: Stored::Known(Known {
                topic_id,
                target_topic_id: None,
                position,
            }),
            read: Some(next_offset),
        }
    }

    #[test]
    fn each_topic_that_holds_partitions_back_is_looked_at_once() {
        let refusal = Refusal::new(7, 100, RDKafkaErrorCode::MessageSizeTooLarge);
        let refused = RefusedRecord::new(&refusal, &Limits::default(), None).unwrap();
        let candidates = [
            candidate("a", 0, 7),
            candidate("a", 1, 7),
            candidate("passed", 0, 8),
            candidate("b", 0, 5),
            candidate("never", 0, 7),
        ];
        let topics = held_back(&candidates, |p| (p.topic != "never").then_some(&refused));
        assert_eq!(topics, ["munich.a".to_owned(), "munich.b".to_owned()].into());
    }
}
