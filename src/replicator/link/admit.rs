//! From a survey to partitions that are copied: topics are created and grown, positions are judged, and what stands is
//! followed.
//!
//! A partition is followed only on the strength of a position that was read from the target. So a new one takes two
//! surveys: the first registers its start, the second, which has looked again for rivals, follows it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kafka_protocol::error::ResponseError;

use super::session::Session;
use super::survey::{Failure, Seen};
use crate::kafka::offsets::TopicPartition;
use crate::kafka::positions::POSITIONS_TOPIC;
use crate::replicator::assign::worker_of;
use crate::replicator::book::{Route, Stop};
use crate::replicator::plan::{Decision, Survey};
use crate::replicator::progress::{RefusalReason, RefusedTopic, StopReason};
use crate::replicator::verdict::{Missing, Stored};

/// The worker that creates topics and registers partitions, for all workers: two would race.
pub(super) const REGISTRAR: u32 = 0;

/// A partition that is wanted and not copied.
pub(super) struct Candidate {
    pub(super) partition: TopicPartition,
    pub(super) route: Route,
    /// What is known of its position.
    pub(super) stored: Stored,
    /// What the positions topic says, when that belongs to the present topic.
    pub(super) read: Option<i64>,
}

/// What a survey comes to.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) wanted: BTreeSet<TopicPartition>,
    pub(super) refused: BTreeMap<String, RefusedTopic>,
    candidates: Vec<Candidate>,
    /// Something was created or registered: look again soon.
    pub(super) changed: bool,
}

impl Outcome {
    pub(super) fn refuse(&mut self, name: &str, reason: RefusalReason, message: String) {
        let refused = RefusedTopic {
            name: name.to_owned(),
            reason: reason.as_str().to_owned(),
            message,
        };
        self.refused.insert(name.to_owned(), refused);
    }
}

impl Session<'_> {
    /// Acts on a survey; whether the next should come soon.
    pub(super) async fn admit(&mut self, seen: &Seen) -> Result<bool, Failure> {
        self.advance();
        self.leave_changed(seen)?;
        self.renew_clients(seen)?;
        let identity = self.identity.clone();
        let survey = Survey {
            identity: &identity,
            selection: &self.context.selection,
            source: &seen.source,
            target: &seen.target,
            positions: &seen.positions,
            source_positions: seen.source_positions.as_ref(),
        };
        if !survey.is_first_run() {
            self.memory.positions_seen = true;
            self.context.report.positions_seen();
        }
        let decisions = survey.decide();
        let mut outcome = Outcome::default();
        self.note_missing(seen, &mut outcome);
        self.place_topics(&decisions, &mut outcome).await?;
        for (name, decision) in &decisions {
            match decision {
                Decision::Refuse(refusal) => outcome.refuse(name, refusal.reason, refusal.message.clone()),
                Decision::Follow { target } | Decision::Grow { target, .. }
                    if !outcome.refused.contains_key(name) =>
                {
                    self.list(&survey, name, target, &mut outcome);
                }
                // Worker 0 creates it; until then this worker's partitions wait, and say so.
                Decision::Create { target, .. } if !self.is_registrar() => {
                    self.list(&survey, name, target, &mut outcome);
                }
                _ => {}
            }
        }
        self.keep_unclear(seen, &mut outcome);
        let left = self.memory.book.retain(&outcome.wanted);
        if let (Some(engine), false) = (&self.engine, left.is_empty()) {
            engine.leave(left);
        }
        let candidates = std::mem::take(&mut outcome.candidates);
        self.judge_all(candidates, &mut outcome).await?;
        self.memory.book.refuse(outcome.refused);
        Ok(outcome.changed)
    }

    pub(super) fn is_registrar(&self) -> bool {
        self.context.worker == REGISTRAR
    }

    pub(super) fn is_mine(&self, partition: &TopicPartition) -> bool {
        worker_of(&partition.topic, partition.partition, self.context.config.workers) == self.context.worker
    }

    /// Lists a topic's partitions: this worker's, and for the registrar also those that nobody has registered.
    fn list(&mut self, survey: &Survey<'_>, name: &str, target: &str, outcome: &mut Outcome) {
        let Some(source) = survey.source.get(name) else {
            return;
        };
        let there = survey.target.get(target);
        let route = Route {
            topic_id: source.id,
            target: target.to_owned(),
            target_topic_id: there.map(|there| there.id).unwrap_or_default(),
        };
        self.memory.book.topic(name, target, source.partitions);
        // What the target has no partition for yet is listed by the survey after it has grown.
        let partitions = there.map_or(source.partitions, |there| there.partitions.min(source.partitions));
        for number in 0..partitions {
            let partition = TopicPartition::new(name, number);
            let mine = self.is_mine(&partition);
            if mine {
                outcome.wanted.insert(partition.clone());
                if self.memory.book.is_following(&partition) {
                    continue;
                }
            }
            let stored = survey.stored(name, number, self.context.config.start);
            let registered = matches!(stored, Stored::Known(_));
            if mine || self.is_registrar() && !registered {
                let read = match stored {
                    Stored::Known(known) if known.topic_id == route.topic_id => {
                        Some(known.position.next_offset)
                    }
                    _ => None,
                };
                let stored = self.memory.book.known(&partition, stored);
                outcome.candidates.push(Candidate {
                    partition,
                    route: route.clone(),
                    stored,
                    read,
                });
            }
        }
    }

    /// A topic about which a cluster gives an error is neither gone nor new.
    fn keep_unclear(&self, seen: &Seen, outcome: &mut Outcome) {
        for (name, error) in &seen.unclear {
            let known = self.memory.book.partitions_of(name);
            outcome
                .candidates
                .retain(|candidate| candidate.partition.topic != *name);
            outcome.wanted.extend(known);
            outcome.refused.remove(name);
            if error.is(ResponseError::TopicAuthorizationFailed) {
                outcome.refuse(name, RefusalReason::NotAuthorized, error.explain());
            }
        }
    }

    /// Topics that were copied and that the source no longer has.
    fn note_missing(&mut self, seen: &Seen, outcome: &mut Outcome) {
        for partition in self.memory.book.partitions() {
            let absent =
                !seen.source.contains_key(&partition.topic) && !seen.unclear.contains_key(&partition.topic);
            if !absent || !self.context.selection.matches(&partition.topic) {
                continue;
            }
            outcome.wanted.insert(partition.clone());
            let message = "the topic is gone from the source, or this link's user may no longer see it; when it is back \
                           as it was, copying goes on by itself; when it is gone for good, nothing is left to do"
                .to_owned();
            self.stop(&partition, None, StopReason::SourceTopicMissing, message, None);
        }
    }

    /// Partitions that are copied although a topic on one side is no longer the one they belong to.
    fn leave_changed(&mut self, seen: &Seen) -> Result<(), Failure> {
        let mut again = false;
        for (slot, partition) in self.memory.book.slots() {
            let Some(route) = self.memory.book.route(&partition).cloned() else {
                continue;
            };
            // The target is asked for topics that the source has.
            let Some(facts) = seen.source.get(&partition.topic) else {
                continue;
            };
            let source = facts.id != route.topic_id;
            let unclear = seen.unclear.contains_key(&partition.topic);
            let target = seen
                .target
                .get(&route.target)
                .is_none_or(|facts| facts.id != route.target_topic_id);
            if unclear || !source && !target {
                continue;
            }
            self.leave(
                &[slot],
                &partition,
                "the topic is no longer the one that was copied".to_owned(),
            );
            // What waits in the producer for a topic that is gone must not reach its successor.
            again |= target;
        }
        if again { Err(Failure::Again) } else { Ok(()) }
    }

    /// Ends the session, and its clients with it, when one of their topics is another by now, or its cluster an older one:
    /// they would believe what they have learnt before.
    fn renew_clients(&mut self, seen: &Seen) -> Result<(), Failure> {
        let selection = &self.context.selection;
        let written = self.handed.iter().map(|name| selection.target_name(name));
        let written: BTreeSet<String> = written.chain([POSITIONS_TOPIC.to_owned()]).collect();
        let mut over = None;
        for ((eras, told), used) in self.eras.iter_mut().zip(&seen.told).zip([&self.handed, &written]) {
            for (name, topic) in told {
                // What is not used yet is looked at as well: it may be by the time it changes.
                if let Ok(topic) = topic
                    && eras.is_over(name, topic)
                    && used.contains(name)
                {
                    over = Some(name);
                }
            }
            eras.retain(|name| told.contains_key(name) || used.contains(name));
        }
        let Some(topic) = over else { return Ok(()) };
        tracing::info!(
            topic,
            "it was created anew, or its leaders' epochs fell: the clients are built anew"
        );
        Err(Failure::Again)
    }

    /// Stops a partition, and its slot if it has one.
    pub(super) fn stop(
        &mut self,
        partition: &TopicPartition,
        route: Option<&Route>,
        reason: StopReason,
        message: String,
        missing: Option<Missing>,
    ) {
        let Some(route) = route.or(self.memory.book.route(partition)).cloned() else {
            return;
        };
        let slot = self.memory.book.slot(partition);
        let stop = Stop {
            reason,
            message,
            missing,
            seen_at: Timestamp::now(),
        };
        self.memory.book.stopped(partition, &route, stop);
        if let (Some(engine), Some(slot)) = (&self.engine, slot) {
            engine.leave(vec![slot]);
        }
    }
}
