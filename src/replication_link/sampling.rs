//! Reads Kafka and the pods for one link, beside the reconciles: source ends, positions on the target, progress.
//!
//! The order is: positions first, ends last. So an idle link shows no lag, and the lag of one that moves is an upper
//! bound that is off by what was carried within seconds. Ends are last stable offsets (`read_committed`), because that
//! is what the replicator can carry: records of an open transaction are not yet anybody's, and a transaction's markers
//! at the end of a log count as passed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{Reason, ReplicationLink};
use crate::controller::{
    BrokerPorts, Context, KafkaPeer, ObjectKey, PodRun, PodView, ResolvedEndpoint, read_progress,
};
use crate::kafka::offsets::TopicPartition;
use crate::kafka::positions::{Position, PositionError, PositionsError, PositionsReader, Scope};
use crate::kafka::wire::{Admin, Isolation, TopicRange, Topics};
use crate::kafka::{KafkaConnection, KafkaError, TopicId};
use crate::replicator::config::{ReplicatorConfig, TopicSelection};
use crate::replicator::progress::Progress;

/// How often the target is asked who it is; the source says it with its topics.
const IDENTITY_REFRESH: Duration = Duration::from_secs(60);

/// What was read in one round.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When the source's ends were read, or could not be.
    pub(super) at: Timestamp,
    /// The source.
    pub(super) source: Result<Source, Fault>,
    /// The target.
    pub(super) target: Result<Target, Fault>,
    /// The pods that run, by name; or why a pod did not tell.
    pub(super) workers: BTreeMap<String, Result<Progress, String>>,
    /// Which run of each of these pods it was.
    pub(super) runs: BTreeMap<String, PodRun>,
    /// Ports of brokers elsewhere, as far as they are known.
    pub(super) broker_ports: BTreeSet<u16>,
}

/// The topics of the source that the link takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub(super) cluster_id: String,
    /// Log starts and last stable offsets; of a partition whose leader did not answer, as last read.
    pub(super) ranges: BTreeMap<TopicPartition, TopicRange>,
}

/// The positions of the link.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    pub(super) cluster_id: String,
    /// When they were read.
    pub(super) at: Timestamp,
    /// From this source, by topic ID and partition. An error is one that this version cannot read.
    pub(super) positions: BTreeMap<(TopicId, i32), Result<Position, PositionError>>,
    /// The link has some position, from whatever source.
    pub(super) any: bool,
}

/// Why a side could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// No connection, as far as the operator can tell.
    pub(super) down: bool,
    /// A deadline passed: the line may be cut, or full.
    pub(super) late: bool,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl From<&KafkaError> for Fault {
    fn from(error: &KafkaError) -> Self {
        let reason = match error {
            KafkaError::Unreachable { .. } | KafkaError::Timeout { .. } => Reason::KafkaUnreachable,
            KafkaError::Tls { .. } => Reason::TlsFailed,
            KafkaError::Refused { .. } => Reason::KafkaAuthenticationFailed,
            KafkaError::NotKafka { .. } => Reason::NotKafka,
            KafkaError::Misconfigured { .. } => Reason::InvalidSpec,
            KafkaError::Unsupported { .. } | KafkaError::Kafka { .. } | KafkaError::Protocol { .. } => {
                Reason::KafkaError
            }
        };
        Self {
            down: !matches!(reason, Reason::KafkaError | Reason::InvalidSpec),
            late: matches!(error, KafkaError::Timeout { .. }),
            reason,
            message: error.explain(),
        }
    }
}

impl From<&PositionsError> for Fault {
    fn from(error: &PositionsError) -> Self {
        match error {
            PositionsError::Kafka(error) => error.into(),
            other => Self {
                down: false,
                late: false,
                reason: Reason::KafkaError,
                message: other.to_string(),
            },
        }
    }
}

/// Looks in quick succession while the target is late: the line is cut, or full, and the pods will know soon.
#[derive(Debug, Default)]
pub(super) struct Pace {
    late: u32,
}

/// Between a late look and the next; and how many such looks in a row: a line that is full stays so, and must not be
/// filled by questions.
const SOON: Duration = Duration::from_secs(1);
const SOON_AT_MOST: u32 = 3;

impl Pace {
    /// How long to wait after this look, if not the usual time.
    pub(super) fn soon(&mut self, sample: &Sample) -> Option<Duration> {
        if !sample.target.as_ref().is_err_and(|fault| fault.late) {
            self.late = 0;
            return None;
        }
        self.late = self.late.saturating_add(1);
        (self.late <= SOON_AT_MOST).then_some(SOON)
    }
}

/// One side's client.
#[derive(Debug)]
struct Side {
    connection: KafkaConnection,
    admin: Option<Admin>,
    /// For a Kafka elsewhere: a NetworkPolicy must know them.
    ports: Option<BrokerPorts>,
}

impl Side {
    fn new(endpoint: &ResolvedEndpoint) -> Self {
        let external = matches!(endpoint.peer, KafkaPeer::External { .. });
        Self {
            connection: endpoint.connection.clone(),
            admin: None,
            ports: external.then(|| BrokerPorts::new(endpoint.connection.clone())),
        }
    }

    fn admin(&mut self) -> Result<Admin, KafkaError> {
        if let Some(admin) = &self.admin {
            return Ok(admin.clone());
        }
        let admin = Admin::new(&self.connection)?;
        self.admin = Some(admin.clone());
        Ok(admin)
    }

    fn note(&mut self, ports: impl IntoIterator<Item = u16>) {
        if let Some(known) = &mut self.ports {
            known.note(ports);
        }
    }

    fn ports(&self) -> BTreeSet<u16> {
        self.ports
            .as_ref()
            .map(|ports| ports.known().clone())
            .unwrap_or_default()
    }
}

/// Reads one link's clusters again and again. Between rounds it holds both clients, the link's positions and the last
/// ranges of its partitions.
#[derive(Debug)]
pub(super) struct Sampler {
    config: ReplicatorConfig,
    selection: TopicSelection,
    source: Side,
    target: Side,
    source_cluster: Option<String>,
    target_cluster: Option<(String, Instant)>,
    reader: Option<(String, PositionsReader)>,
    ranges: BTreeMap<TopicPartition, TopicRange>,
}

impl Sampler {
    /// A sampler that has read nothing yet. `source_cluster` is the source's cluster ID as it was last known.
    pub(super) fn new(
        config: ReplicatorConfig,
        selection: TopicSelection,
        source: &ResolvedEndpoint,
        target: &ResolvedEndpoint,
        source_cluster: Option<String>,
    ) -> Self {
        Self {
            config,
            selection,
            source: Side::new(source),
            target: Side::new(target),
            source_cluster,
            target_cluster: None,
            reader: None,
            ranges: BTreeMap::new(),
        }
    }

    /// One round. Ends within 15 s whatever the clusters do, and within 9 s when one side is out of reach.
    pub(super) async fn take(&mut self, ctx: &Context, key: &ObjectKey) -> Sample {
        if self.source_cluster.is_none()
            && let Ok(admin) = self.source.admin()
            && let Ok(cluster) = admin.cluster().await
        {
            self.source_cluster = Some(cluster.id);
        }
        let pods = ctx.caches().pods_of::<ReplicationLink>(&key.namespace, &key.name);
        let mut pods: Vec<_> = pods.iter().map(|pod| PodView::of(pod)).collect();
        pods.retain(|pod| pod.ip().is_some());
        let (target, mut workers) = tokio::join!(self.read_target(ctx), read_workers(&pods));
        if target.as_ref().is_err_and(|fault| fault.late) {
            // While the operator waited, the pods may have noticed that the line is cut.
            workers = read_workers(&pods).await;
        }
        let source = self.read_source().await.map_err(|error| Fault::from(&error));
        Sample {
            at: ctx.now(),
            source,
            target,
            workers,
            runs: pods.iter().map(|pod| (pod.name.clone(), pod.run())).collect(),
            broker_ports: self.source.ports().union(&self.target.ports()).copied().collect(),
        }
    }

    async fn read_source(&mut self) -> Result<Source, KafkaError> {
        let admin = self.source.admin()?;
        let metadata = admin.metadata(Topics::All).await?;
        self.source
            .note(metadata.cluster.brokers.values().map(|b| b.address.port));
        self.source_cluster = Some(metadata.cluster.id.clone());
        let taken = metadata.topics.iter().filter(|(name, topic)| {
            self.selection.matches(name) && topic.as_ref().is_ok_and(|t| !t.internal)
        });
        let names: Vec<String> = taken.map(|(name, _)| name.clone()).collect();
        let mut ranges = BTreeMap::new();
        if !names.is_empty() {
            let (read, _) = admin.log_ranges(&names, Isolation::ReadCommitted).await?;
            let (mut good, mut error) = (false, None);
            for (partition, range) in read {
                match range {
                    Ok(range) => {
                        good = true;
                        ranges.insert(partition, range);
                    }
                    // One leader that is down must not blind the link: what was last read there is a lower bound.
                    Err(e) => {
                        error.get_or_insert(e);
                        if let Some(known) = self.ranges.get(&partition) {
                            ranges.insert(partition, *known);
                        }
                    }
                }
            }
            if let (false, Some(error)) = (good, error) {
                return Err(error);
            }
        }
        self.ranges.clone_from(&ranges);
        Ok(Source {
            cluster_id: metadata.cluster.id,
            ranges,
        })
    }

    async fn read_target(&mut self, ctx: &Context) -> Result<Target, Fault> {
        let cluster_id = self
            .identify_target()
            .await
            .map_err(|error| Fault::from(&error))?;
        let Some(source_cluster) = &self.source_cluster else {
            return Err(Fault {
                down: false,
                late: false,
                reason: Reason::KafkaUnknown,
                message: "the link's ID is not known before the source has answered once".to_owned(),
            });
        };
        let link_id = self.config.effective_link_id(source_cluster);
        let reader = match &mut self.reader {
            Some((id, reader)) if *id == link_id => reader,
            _ => {
                let admin = self.target.admin().map_err(|error| Fault::from(&error))?;
                let reader = PositionsReader::new(admin, Scope::link(&link_id));
                &mut self.reader.insert((link_id, reader)).1
            }
        };
        let read = match reader.read().await {
            Ok(read) => read.positions,
            // No link has run towards this cluster yet.
            Err(PositionsError::TopicMissing) => BTreeMap::new(),
            Err(error) => return Err(Fault::from(&error)),
        };
        let any = !read.is_empty();
        let ours = read
            .into_iter()
            .filter(|(key, _)| key.source_cluster_id == *source_cluster);
        Ok(Target {
            cluster_id,
            at: ctx.now(),
            positions: ours
                .map(|(key, position)| ((key.topic_id, key.partition), position))
                .collect(),
            any,
        })
    }

    async fn identify_target(&mut self) -> Result<String, KafkaError> {
        if let Some((id, at)) = &self.target_cluster
            && at.elapsed() < IDENTITY_REFRESH
        {
            return Ok(id.clone());
        }
        let cluster = self.target.admin()?.cluster().await?;
        self.target.note(cluster.brokers.values().map(|b| b.address.port));
        self.target_cluster = Some((cluster.id.clone(), Instant::now()));
        Ok(cluster.id)
    }
}

async fn read_workers(pods: &[PodView]) -> BTreeMap<String, Result<Progress, String>> {
    let running = pods.iter().filter_map(|pod| {
        let ip = pod.ip()?;
        Some(async move {
            let read = read_progress::<Progress>(ip).await;
            (pod.name.clone(), read.map_err(|e| e.to_string()))
        })
    });
    join_all(running).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(target: Result<Target, Fault>) -> Sample {
        Sample {
            at: Timestamp::UNIX_EPOCH,
            source: Ok(Source::default()),
            target,
            workers: BTreeMap::new(),
            runs: BTreeMap::new(),
            broker_ports: BTreeSet::new(),
        }
    }

    fn failed(late: bool) -> Sample {
        sample(Err(Fault {
            down: true,
            late,
            reason: Reason::KafkaUnreachable,
            message: String::new(),
        }))
    }

    #[test]
    fn a_target_that_is_late_is_looked_at_again_soon_but_not_for_ever() {
        let mut pace = Pace::default();
        assert_eq!(pace.soon(&sample(Ok(Target::default()))), None);
        for _ in 0..SOON_AT_MOST {
            assert_eq!(pace.soon(&failed(true)), Some(SOON));
        }
        assert_eq!(
            pace.soon(&failed(true)),
            None,
            "a full line is not filled by questions"
        );
        assert_eq!(
            pace.soon(&failed(false)),
            None,
            "what is known to be away is no question"
        );
        assert_eq!(pace.soon(&failed(true)), Some(SOON), "another outage");
    }
}
