//! Reads both clusters: topics with their IDs, and the positions on either side. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;

use super::guard::{Halt, unreadable};
use crate::kafka::error::KafkaError;
use crate::kafka::offsets::TopicPartition;
use crate::kafka::positions::{self, PositionError, PositionsError, PositionsReader, Scope};
use crate::kafka::wire::{Admin, Cluster, Metadata, TopicMetadata, Topics as Wanted};
use crate::replicator::config::TopicSelection;
use crate::replicator::plan::{Positions, TopicFacts, Topics};
use crate::replicator::progress::Side;

/// Topics as a broker told of them, by name.
pub(super) type Told = BTreeMap<String, Result<TopicMetadata, KafkaError>>;

/// Both clusters as they were a moment ago.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) source: Topics,
    pub(super) target: Topics,
    /// Topics of either side about which nothing can be said: what is copied of them goes on, nothing is begun. By
    /// their name on the source.
    pub(super) unclear: BTreeMap<String, KafkaError>,
    /// Both sides' topics as the brokers told of them: those that this link reads, and those that it writes to.
    pub(super) told: [Told; 2],
    /// The target's positions as they were read, for [`super::guard::check_positions`].
    pub(super) found: positions::Positions,
    /// Those of them that can be read.
    pub(super) positions: Positions,
    /// The source's positions; `None` when this user may not read them.
    pub(super) source_positions: Option<Positions>,
}

/// Why a survey came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// A cluster did not answer, or not as it should.
    Side(Side, KafkaError),
    /// A cluster answered, and its positions cannot be read for now.
    Positions(Side, PositionsError),
    /// The target has no positions topic.
    NoPositions,
    /// The whole link has to stand still.
    Halt(Halt),
    /// The target holds an older position of this partition than it acknowledged.
    Restored(TopicPartition),
    /// The session has to be begun anew.
    Again,
}

/// The clients that surveys use.
#[derive(Debug)]
pub(super) struct Surveyor {
    pub(super) source: Admin,
    pub(super) target: Admin,
    source_positions: PositionsReader,
    target_positions: PositionsReader,
}

impl Surveyor {
    pub(super) fn new(source: Admin, target: Admin) -> Self {
        Self {
            source_positions: PositionsReader::new(source.clone(), Scope::All),
            target_positions: PositionsReader::new(target.clone(), Scope::All),
            source,
            target,
        }
    }

    /// Who both clusters are. Each side's answer on its own, so that each side's state can be told.
    pub(super) async fn clusters(&self) -> (Result<Cluster, KafkaError>, Result<Cluster, KafkaError>) {
        tokio::join!(self.source.cluster(), self.target.cluster())
    }

    /// Has the target's positions read from their beginning the next time.
    pub(super) fn read_anew(&mut self) {
        self.target_positions.forget();
    }

    /// Reads everything, once it is known that both clusters answer.
    pub(super) async fn survey(&mut self, selection: &TopicSelection) -> Result<Seen, Failure> {
        let source = self
            .source
            .metadata(Wanted::All)
            .await
            .map_err(|e| Failure::Side(Side::Source, e))?;
        let names: BTreeMap<String, String> = source
            .topics
            .keys()
            .filter(|name| selection.matches(name))
            .map(|name| (name.clone(), selection.target_name(name)))
            .collect();
        let written = names.values().cloned();
        let wanted = Wanted::Named(written.chain([positions::POSITIONS_TOPIC.to_owned()]).collect());
        let (target, found, source_positions) = tokio::join!(
            self.target.metadata(wanted),
            self.target_positions.read(),
            self.source_positions.read()
        );
        let target = target.map_err(|e| Failure::Side(Side::Target, e))?;
        let found = found.map_err(target_failure)?;
        let source_positions = readable_source(source_positions)?;
        let mut unclear = BTreeMap::new();
        let source_facts = facts(&source, |name| Some(name.clone()), &mut unclear);
        let by_target: BTreeMap<&String, &String> =
            names.iter().map(|(source, target)| (target, source)).collect();
        let target_facts = facts(
            &target,
            |name| by_target.get(name).map(|name| (*name).clone()),
            &mut unclear,
        );
        unclear.retain(|name, _| names.contains_key(name));
        let positions = readable(&found.positions);
        let mut selected = source.topics;
        selected.retain(|name, _| names.contains_key(name));
        Ok(Seen {
            source: source_facts,
            target: target_facts,
            unclear,
            told: [selected, target.topics],
            found,
            positions,
            source_positions,
        })
    }

    /// The target's positions alone.
    pub(super) async fn positions(&mut self) -> Result<positions::Positions, Failure> {
        self.target_positions.read().await.map_err(target_failure)
    }
}

fn target_failure(error: PositionsError) -> Failure {
    match (unreadable(&error), error) {
        (Some(halt), _) => Failure::Halt(halt),
        (None, PositionsError::TopicMissing) => Failure::NoPositions,
        (None, PositionsError::Kafka(error)) if error.code().is_none() => Failure::Side(Side::Target, error),
        (None, error) => Failure::Positions(Side::Target, error),
    }
}

/// The source's positions: none if there is no such topic, `None` if this user may not know.
fn readable_source(read: Result<positions::Positions, PositionsError>) -> Result<Option<Positions>, Failure> {
    use ResponseError as E;
    match read {
        Ok(found) => {
            // A position in a future format may be that of a link which feeds us: then nothing can be ruled out.
            let future = |error: &PositionError| matches!(error, PositionError::FutureVersion { .. });
            let unknown = found
                .unreadable
                .iter()
                .any(|unreadable| future(&unreadable.error))
                || found
                    .positions
                    .values()
                    .any(|position| position.as_ref().is_err_and(future));
            Ok((!unknown).then(|| readable(&found.positions)))
        }
        Err(PositionsError::TopicMissing) => Ok(Some(Positions::new())),
        Err(PositionsError::Kafka(error)) => match error.code() {
            Some(E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed) => Ok(None),
            Some(_) => Err(Failure::Positions(Side::Source, PositionsError::Kafka(error))),
            None => Err(Failure::Side(Side::Source, error)),
        },
        Err(error) => Err(Failure::Positions(Side::Source, error)),
    }
}

fn readable(
    found: &BTreeMap<positions::PositionKey, Result<positions::Position, PositionError>>,
) -> Positions {
    let good = found
        .iter()
        .filter_map(|(key, position)| Some((key.clone(), position.clone().ok()?)));
    good.collect()
}

/// Topics that are there; those with an error other than not being there go to `unclear`, by their name on the source.
fn facts(
    metadata: &Metadata,
    source_name: impl Fn(&String) -> Option<String>,
    unclear: &mut BTreeMap<String, KafkaError>,
) -> Topics {
    let mut topics = Topics::new();
    for (name, topic) in &metadata.topics {
        match topic {
            Ok(topic) => {
                topics.insert(name.clone(), topic_facts(topic));
            }
            Err(error) if error.is(ResponseError::UnknownTopicOrPartition) => {}
            Err(error) => unclear.extend(source_name(name).map(|name| (name, error.clone()))),
        }
    }
    topics
}

/// Partitions are counted up to the first that is missing: they are numbered without holes.
fn topic_facts(topic: &TopicMetadata) -> TopicFacts {
    let indexes: BTreeSet<i32> = topic.partitions.keys().copied().collect();
    let partitions = (0..).take_while(|index| indexes.contains(index)).count();
    TopicFacts {
        id: topic.id,
        partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
    }
}
