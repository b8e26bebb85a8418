//! Which topics are replicated where, and what stands against the others. Pure: clusters and positions in, one decision
//! per topic out.

use std::collections::BTreeMap;

use super::config::{Refusal, Start, TopicSelection, collisions};
use super::progress::RefusalReason;
use super::tracker::Reached;
use super::verdict::{Known, Stored};
use crate::kafka::positions::{Position, PositionKey};
use crate::kafka::topic_id::TopicId;

/// Positions as they are stored, of whatever links.
pub type Positions = BTreeMap<PositionKey, Position>;

/// A topic as its cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its ID.
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: i32,
}

/// Topics by name.
pub type Topics = BTreeMap<String, TopicFacts>;

/// Who we are: the first half of every key of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The positions' link ID.
    pub link_id: String,
    /// The cluster that is read.
    pub source_cluster: String,
    /// The cluster that is written.
    pub target_cluster: String,
}

/// All that decisions are made from.
#[derive(Clone, Copy, Debug)]
pub struct Survey<'a> {
    /// Who we are.
    pub identity: &'a Identity,
    /// Which topics are wanted.
    pub selection: &'a TopicSelection,
    /// The source's topics.
    pub source: &'a Topics,
    /// The target's topics.
    pub target: &'a Topics,
    /// The positions on the target.
    pub positions: &'a Positions,
    /// The positions on the source, of links that write there; `None` when they could not be read.
    pub source_positions: Option<&'a Positions>,
}

/// What to do with one topic of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing; why not, and what to do.
    Refuse(Refusal),
    /// Create it on the target, then follow it.
    Create {
        /// Name on the target.
        target: String,
        /// As many as the source has.
        partitions: i32,
    },
    /// Add partitions on the target, then follow it.
    Grow {
        /// Name on the target.
        target: String,
        /// As many as the source has.
        partitions: i32,
    },
    /// Copy it, as far as its partitions' verdicts allow.
    Follow {
        /// Name on the target.
        target: String,
    },
}

impl Survey<'_> {
    /// One decision for each topic of the source that is wanted.
    #[must_use]
    pub fn decide(&self) -> BTreeMap<String, Decision> {
        let wanted: Vec<(&str, String)> = self
            .source
            .keys()
            .filter(|name| self.selection.matches(name))
            .map(|name| (name.as_str(), self.selection.target_name(name)))
            .collect();
        let colliding = collisions(wanted.iter().map(|(source, target)| (*source, target.as_str())));
        wanted
            .iter()
            .map(|(name, target)| {
                let decision = match self.refuse(name, target, &colliding) {
                    Some(refusal) => Decision::Refuse(refusal),
                    None => self.place(name, target),
                };
                ((*name).to_owned(), decision)
            })
            .collect()
    }

    /// What is stored for one partition of a topic that exists on the source.
    #[must_use]
    pub fn stored(&self, topic: &str, partition: i32, start: Start) -> Stored {
        let Some(facts) = self.source.get(topic) else {
            return Stored::NewTopic;
        };
        let exact = PositionKey {
            link_id: self.identity.link_id.clone(),
            source_cluster_id: self.identity.source_cluster.clone(),
            topic_id: facts.id,
            partition,
        };
        if let Some(position) = self.positions.get(&exact) {
            return Stored::Known(known(facts.id, position));
        }
        // A position under the same name and another ID: the topic was created anew.
        let former = self.ours(topic).filter(|(key, _)| key.partition == partition);
        if let Some((key, position)) = former.max_by_key(|(_, position)| position.written_at_ms) {
            return Stored::Known(known(key.topic_id, position));
        }
        // Topics grow at the end. One below a registered partition is left over from a registration that broke off.
        let highest = self.ours(topic).map(|(key, _)| key.partition).max();
        if highest.is_some_and(|highest| highest < partition) {
            Stored::NewPartition
        } else if highest.is_some() {
            Stored::NewTopic
        } else if self.is_first_run() {
            Stored::FirstRun(start)
        } else {
            Stored::NewTopic
        }
    }

    /// Whether the target holds no position of this link at all.
    #[must_use]
    pub fn is_first_run(&self) -> bool {
        !self
            .positions
            .keys()
            .any(|key| key.link_id == self.identity.link_id)
    }

    /// Positions of this link for a topic's name, whatever its ID was.
    fn ours<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a PositionKey, &'a Position)> {
        self.positions
            .iter()
            .filter(move |(key, position)| self.is_ours(key) && position.source_topic == topic)
    }

    fn is_ours(&self, key: &PositionKey) -> bool {
        key.link_id == self.identity.link_id && key.source_cluster_id == self.identity.source_cluster
    }

    /// Whether we go before a rival that also has a position. A link that finds a rival's position never stores one of
    /// its own, so both have one only when both looked before either stored: then the lesser identity goes on.
    fn was_first(&self, name: &str, rival: &PositionKey) -> bool {
        let ours = (&self.identity.link_id, &self.identity.source_cluster);
        self.ours(name).next().is_some() && ours < (&rival.link_id, &rival.source_cluster_id)
    }

    fn refuse(&self, name: &str, target: &str, colliding: &BTreeMap<String, Vec<&str>>) -> Option<Refusal> {
        if let Err(refusal) = self.selection.check_target_name(name) {
            return Some(refusal);
        }
        let rivals = colliding.values().find(|sources| sources.contains(&name));
        if let Some(rivals) = rivals.filter(|_| self.ours(name).next().is_none()) {
            let message = format!(
                "topics {} would share one name on the target (Kafka takes '.' and '_' for the same); deny all but one",
                rivals.join(", ")
            );
            return Some(Refusal {
                reason: RefusalReason::NameCollision,
                message,
            });
        }
        self.refuse_loop(name)
            .or_else(|| self.refuse_foreign(name, target))
    }

    /// A topic which a link from our target feeds would run in a circle.
    fn refuse_loop(&self, name: &str) -> Option<Refusal> {
        let Some(positions) = self.source_positions else {
            let message =
                "the positions on the source cannot be read, so a loop cannot be ruled out; allow Describe \
                           and Read on topic __tributary_positions there"
                    .to_owned();
            return Some(Refusal {
                reason: RefusalReason::LoopUnknown,
                message,
            });
        };
        let id = self.source.get(name).map(|facts| facts.id);
        let feeder = positions.iter().find(|(key, position)| {
            position.target_topic == name
                && key.source_cluster_id == self.identity.target_cluster
                && position.target_topic_id.is_none_or(|fed| Some(fed) == id)
                && !self.was_first(name, key)
        });
        feeder.map(|(key, position)| Refusal {
            reason: RefusalReason::LoopRefused,
            message: format!(
                "link {} already feeds it from topic {} of this link's target (cluster {}); deny it, or use a prefix \
                 in one direction; when that link is gone for good: tributary replicator forget",
                key.link_id, position.source_topic, key.source_cluster_id
            ),
        })
    }

    /// A target topic that another link, or this link from another cluster, feeds.
    fn refuse_foreign(&self, name: &str, target: &str) -> Option<Refusal> {
        let id = self.target.get(target).map(|facts| facts.id);
        let feeder = self.positions.iter().find(|(key, position)| {
            position.target_topic == target
                && !self.is_ours(key)
                && position.target_topic_id.is_none_or(|fed| Some(fed) == id)
                && !self.was_first(name, key)
        });
        feeder.map(|(key, position)| Refusal {
            reason: RefusalReason::NameCollision,
            message: format!(
                "topic {target} on the target is fed by link {} from topic {} of cluster {}; use a prefix, deny the \
                 topic, or {}",
                key.link_id,
                position.source_topic,
                key.source_cluster_id,
                self.succeed(key)
            ),
        })
    }

    /// How this link takes over what a rival fed: positions of another source's offsets are of no use to it.
    fn succeed(&self, rival: &PositionKey) -> String {
        if rival.source_cluster_id == self.identity.source_cluster {
            return "set linkId to that link's if this one replaces it".to_owned();
        }
        let resume = "if that cluster is gone for good: tributary replicator resume";
        if rival.link_id == self.identity.link_id {
            // What is stored for a former topic of the name goes with it; forget would take the other topics' positions too.
            return resume.to_owned();
        }
        format!("{resume}, then forget --link {}", rival.link_id)
    }

    fn place(&self, name: &str, target: &str) -> Decision {
        let partitions = self.source.get(name).map_or(0, |facts| facts.partitions);
        let fed = self.ours(name).next().is_some();
        let target = target.to_owned();
        match self.target.get(&target) {
            // Records went there and the topic is gone: creating it anew would hide that.
            None if fed => Decision::Follow { target },
            None => Decision::Create { target, partitions },
            Some(there) if there.partitions >= partitions => Decision::Follow { target },
            Some(_) if fed => Decision::Grow { target, partitions },
            Some(there) => Decision::Refuse(Refusal {
                reason: RefusalReason::TooFewPartitions,
                message: format!(
                    "topic {target} exists on the target with {} partitions, the source has {partitions}, and records \
                     keep their partition; give it {partitions} partitions, or delete it to have it created",
                    there.partitions
                ),
            }),
        }
    }
}

fn known(topic_id: TopicId, position: &Position) -> Known {
    Known {
        topic_id,
        target_topic_id: position.target_topic_id,
        position: Reached {
            next_offset: position.next_offset,
            leader_epoch: position.leader_epoch,
            timestamp: position.last_record_timestamp_ms,
        },
    }
}

#[cfg(test)]
mod tests;
