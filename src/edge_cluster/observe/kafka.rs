//! What Kafka says of itself, sampled beside the reconciles so that a cluster that does not answer delays none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::super::roll::{KafkaState, Lagging, Unasked, Voter};
use crate::api::{EdgeCluster, PartitionCounts, Reason};
use crate::controller::{Context, Latest, ObjectKey};
use crate::kafka::wire::{Admin, LogDir, Metadata, Quorum, Topics};
use crate::kafka::{KafkaConnection, KafkaError};

/// Interval of samples while something changes.
const BUSY: Duration = Duration::from_secs(2);
/// After so many busy samples in a row without a change, the usual interval is good enough.
const PATIENCE: u32 = 60;

/// One look at Kafka.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// What Kafka said, or why nothing is known.
    pub result: Result<KafkaFacts, Unanswered>,
}

/// Why nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The condition's reason.
    pub reason: Reason,
    /// What happened and what to do.
    pub message: String,
}

/// What Kafka said.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaFacts {
    /// Its cluster ID.
    pub cluster_id: String,
    /// Live brokers.
    pub live: BTreeSet<i32>,
    /// The metadata quorum, or why it is not known.
    pub quorum: Result<(Option<i32>, BTreeMap<i32, Voter>), String>,
    /// Counts over all partitions.
    pub counts: PartitionCounts,
    /// Partitions that lack an in-sync replica.
    pub lagging: Vec<Lagging>,
    /// Topics by name; internal ones are left out.
    pub topics: BTreeMap<String, TopicFacts>,
    /// How full each broker's volume is, percent.
    pub disks: BTreeMap<i32, u8>,
}

/// A topic as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of the partition that has fewest.
    pub replicas: usize,
}

impl Sample {
    /// What the roll needs of it.
    pub fn roll_state(&self) -> Result<KafkaState, Unasked> {
        let facts = self.result.as_ref().map_err(|e| Unasked(e.message.clone()))?;
        let (leader, voters) = facts.quorum.clone().map_err(Unasked)?;
        Ok(KafkaState {
            at: self.at,
            live: facts.live.clone(),
            leader,
            voters,
            lagging: facts.lagging.clone(),
        })
    }

    /// Whether everything is as it should be, so that there is no hurry to look again.
    fn is_calm(&self, brokers: i32) -> bool {
        self.result.as_ref().is_ok_and(|facts| {
            i32::try_from(facts.live.len()) == Ok(brokers)
                && facts.lagging.is_empty()
                && facts.counts.offline == 0
                && facts.quorum.as_ref().is_ok_and(|(leader, _)| leader.is_some())
        })
    }

    /// The sample without what changes at rest: time, disk, how far voters are.
    fn outline(&self) -> impl PartialEq + use<> {
        let facts = self.result.as_ref().ok().map(|f| {
            let leader = f.quorum.as_ref().map(|(leader, _)| *leader).map_err(Clone::clone);
            (
                f.cluster_id.clone(),
                f.live.clone(),
                leader,
                f.counts.clone(),
                f.topics.clone(),
            )
        });
        (facts, self.result.as_ref().err().map(|e| e.reason))
    }
}

/// Samples until the task is dropped. Has the object reconciled when something changed.
pub async fn sample_for_ever(
    ctx: Context,
    key: ObjectKey,
    bootstrap: Vec<String>,
    brokers: i32,
    latest: Latest<Sample>,
) {
    let admin = Admin::new(&KafkaConnection::plaintext(bootstrap));
    let mut busy = 0;
    loop {
        let sample = match &admin {
            Ok(admin) => sample(admin, ctx.now()).await,
            Err(error) => unanswered(ctx.now(), error),
        };
        let changed = latest.get().is_none_or(|old| old.outline() != sample.outline());
        let calm = sample.is_calm(brokers);
        latest.set(sample);
        if changed {
            ctx.trigger::<EdgeCluster>(&key.namespace, &key.name);
        }
        busy = if calm || changed { 0 } else { busy + 1 };
        let usual = ctx.options().sample_interval;
        let wait = if calm || busy > PATIENCE {
            usual
        } else {
            usual.min(BUSY)
        };
        tokio::time::sleep(wait).await;
    }
}

fn unanswered(at: Timestamp, error: &KafkaError) -> Sample {
    let reason = match error {
        KafkaError::NotKafka { .. } => Reason::NotKafka,
        KafkaError::Kafka { .. } => Reason::KafkaError,
        _ => Reason::KafkaUnreachable,
    };
    Sample {
        at,
        result: Err(Unanswered {
            reason,
            message: error.explain(),
        }),
    }
}

/// One look: three calls at once, each with a deadline of 3 s.
pub async fn sample(admin: &Admin, at: Timestamp) -> Sample {
    let (metadata, quorum, disks) = futures::join!(
        admin.metadata(Topics::All),
        admin.describe_quorum(),
        admin.describe_log_dirs(Some(&[]))
    );
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) => return unanswered(at, &error),
    };
    let mut facts = KafkaFacts {
        cluster_id: metadata.cluster.id.clone(),
        live: metadata.cluster.brokers.keys().copied().collect(),
        quorum: quorum.map(|q| voters(&q)).map_err(|e| e.explain()),
        counts: PartitionCounts::default(),
        lagging: Vec::new(),
        topics: BTreeMap::new(),
        disks: disks.map(|d| fullest(&d)).unwrap_or_default(),
    };
    read_topics(&metadata, &mut facts);
    Sample {
        at,
        result: Ok(facts),
    }
}

fn voters(quorum: &Quorum) -> (Option<i32>, BTreeMap<i32, Voter>) {
    let voter = |caught_up_ms| Voter { caught_up_ms };
    let voters = quorum.voters.iter().map(|v| (v.id, voter(v.last_caught_up_ms)));
    (quorum.leader_id, voters.collect())
}

/// The fullest directory of each broker that told.
fn fullest(disks: &BTreeMap<i32, Result<Vec<LogDir>, KafkaError>>) -> BTreeMap<i32, u8> {
    let told = disks.iter().filter_map(|(id, dirs)| {
        let dirs = dirs.as_ref().ok()?;
        Some((*id, dirs.iter().filter_map(LogDir::used_percent).max()?))
    });
    told.collect()
}

fn read_topics(metadata: &Metadata, facts: &mut KafkaFacts) {
    for (name, topic) in &metadata.topics {
        // A topic that is just being made or deleted has an error of its own for a moment.
        let Ok(topic) = topic else { continue };
        for (index, partition) in &topic.partitions {
            facts.counts.total += 1;
            facts.counts.offline += i32::from(partition.leader.is_none());
            if partition.is_under_replicated() {
                facts.counts.under_replicated += 1;
                facts.lagging.push(Lagging {
                    name: format!("{name}-{index}"),
                    replicas: partition.replicas.clone(),
                    in_sync: partition.isr.clone(),
                });
            }
        }
    }
    facts.topics = topics_of(metadata);
}

/// The topics that are there, but for internal ones.
pub fn topics_of(metadata: &Metadata) -> BTreeMap<String, TopicFacts> {
    let there = metadata
        .topics
        .iter()
        .filter_map(|(name, topic)| Some((name, topic.as_ref().ok()?)));
    let ours = there.filter(|(_, topic)| !topic.internal);
    ours.map(|(name, topic)| {
        let replicas = topic.partitions.values().map(|p| p.replicas.len()).min();
        let facts = TopicFacts {
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replicas: replicas.unwrap_or(0),
        };
        (name.clone(), facts)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::TopicId;
    use crate::kafka::wire::{Cluster, PartitionMetadata, TopicMetadata};

    fn partition(leader: Option<i32>, replicas: &[i32], isr: &[i32]) -> PartitionMetadata {
        PartitionMetadata {
            leader,
            leader_epoch: None,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            offline: Vec::new(),
            error: None,
        }
    }

    fn topic(internal: bool, partitions: Vec<PartitionMetadata>) -> Result<TopicMetadata, KafkaError> {
        Ok(TopicMetadata {
            id: TopicId::ZERO,
            internal,
            partitions: (0..).zip(partitions).collect(),
        })
    }

    fn facts() -> KafkaFacts {
        let mut facts = KafkaFacts {
            cluster_id: "c".into(),
            live: BTreeSet::from([0]),
            quorum: Ok((Some(0), BTreeMap::new())),
            counts: PartitionCounts::default(),
            lagging: Vec::new(),
            topics: BTreeMap::new(),
            disks: BTreeMap::new(),
        };
        let topics = [
            (
                "__consumer_offsets".to_owned(),
                topic(true, vec![partition(Some(0), &[0], &[0])]),
            ),
            (
                "a-b".to_owned(),
                topic(
                    false,
                    vec![partition(Some(0), &[0, 1], &[0]), partition(None, &[1, 2], &[])],
                ),
            ),
        ];
        let metadata = Metadata {
            cluster: Cluster {
                id: "c".into(),
                brokers: BTreeMap::new(),
                controller: None,
            },
            topics: topics.into(),
            unknown_ids: BTreeMap::new(),
        };
        read_topics(&metadata, &mut facts);
        facts
    }

    #[test]
    fn every_partition_counts_and_internal_topics_are_nobodys_business() {
        let facts = facts();
        let counts = PartitionCounts {
            total: 3,
            under_replicated: 2,
            offline: 1,
        };
        assert_eq!(facts.counts, counts);
        assert_eq!(facts.topics.keys().collect::<Vec<_>>(), ["a-b"]);
        assert_eq!(
            facts.topics["a-b"],
            TopicFacts {
                partitions: 2,
                replicas: 2
            }
        );
        assert_eq!(facts.lagging[1].name, "a-b-1");
    }

    #[test]
    fn time_and_disks_alone_are_no_reason_to_reconcile() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let sample = |second, facts: KafkaFacts| Sample {
            at: at(second),
            result: Ok(facts),
        };
        let mut fuller = facts();
        fuller.disks.insert(0, 90);
        assert!(sample(1, facts()).outline() == sample(2, fuller).outline());
        let mut fewer = facts();
        fewer.live.clear();
        assert!(sample(1, facts()).outline() != sample(1, fewer).outline());
    }

    #[test]
    fn a_quorum_that_is_not_known_proves_nothing_to_the_roll() {
        let mut facts = facts();
        facts.quorum = Err("no answer".into());
        let sample = Sample {
            at: Timestamp::UNIX_EPOCH,
            result: Ok(facts),
        };
        assert_eq!(sample.roll_state(), Err(Unasked("no answer".into())));
    }
}
