//! What a person looks at and decides about positions: `tributary replicator positions | resume | forget`.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::config::{Invalid, ReplicatorConfig};
use super::credentials::Connections;
use super::plan::Identity;
use super::store::{Store, StoreError};
use crate::kafka::connection::KafkaConnection;
use crate::kafka::endpoint::EndpointError;
use crate::kafka::error::KafkaError;
use crate::kafka::offsets::{LogRange, TopicPartition};
use crate::kafka::positions::{
    Position, PositionKey, PositionsError, PositionsReader, Scope, ensure_positions_topic,
};
use crate::kafka::wire::{Admin, Isolation, TopicMetadata, Topics};

/// Where a partition goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Earliest,
    Latest,
    Offset(i64),
}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// Name of the topic on the source
    #[arg(long)]
    topic: String,
    /// One partition; without it, all of the topic's
    #[arg(long)]
    partition: Option<i32>,
    /// Next source offset to copy: earliest (may repeat records), latest (leaves out what is there now), or a number
    #[arg(long, value_parser = parse_from)]
    from: From,
}

/// Arguments of `forget`.
#[derive(Debug, clap::Args)]
pub struct Forget {
    /// Only the positions of this topic (its name on the source of the link)
    #[arg(long)]
    topic: Option<String>,
    /// Another link's positions, by its link ID; without it, this link's
    #[arg(long)]
    link: Option<String>,
    /// On which cluster: a link stores its positions on its own target
    #[arg(long, value_enum, default_value_t = On::Target)]
    on: On,
    /// Do it; without this it is only shown
    #[arg(long)]
    yes: bool,
}

/// One of the configuration's two clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum On {
    Source,
    Target,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The configuration.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A credential file.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A cluster.
    #[error("{}", .0.explain())]
    Kafka(#[from] KafkaError),
    /// The positions topic.
    #[error(transparent)]
    Positions(#[from] PositionsError),
    /// The decision was not stored.
    #[error("{0}; nothing is decided, try again")]
    Store(String),
    /// The decision cannot be made.
    #[error("{0}")]
    Impossible(String),
}

impl std::convert::From<StoreError> for DecideError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "earliest" => Ok(From::Earliest),
        "latest" => Ok(From::Latest),
        number => match number.parse() {
            Ok(offset) if offset >= 0 => Ok(From::Offset(offset)),
            _ => Err("give earliest, latest, or an offset from 0".to_owned()),
        },
    }
}

/// Both clusters and who the link is.
struct Sides {
    connections: Connections,
    source: Admin,
    target: Admin,
    identity: Identity,
}

impl Sides {
    async fn connect(config: &ReplicatorConfig) -> Result<Self, DecideError> {
        let connections = Connections::load(config).map_err(|(_, error)| error)?;
        let (source, target) = (Admin::new(&connections.source)?, Admin::new(&connections.target)?);
        let (source_cluster, target_cluster) = (source.cluster().await?.id, target.cluster().await?.id);
        let link_id = config.effective_link_id(&source_cluster);
        let identity = Identity {
            link_id,
            source_cluster,
            target_cluster,
        };
        Ok(Self {
            connections,
            source,
            target,
            identity,
        })
    }

    fn on(&self, on: On) -> (&KafkaConnection, &Admin) {
        match on {
            On::Source => (&self.connections.source, &self.source),
            On::Target => (&self.connections.target, &self.target),
        }
    }
}

/// `positions`: a table of what is stored.
pub(super) async fn positions(config: &ReplicatorConfig) -> Result<String, DecideError> {
    let sides = Sides::connect(config).await?;
    let read = PositionsReader::new(sides.target.clone(), Scope::link(&sides.identity.link_id))
        .read()
        .await?;
    let mut table = format!("link {}\n", sides.identity.link_id);
    for (key, position) in &read.positions {
        let line = match position {
            Ok(position) => format!(
                "{}-{}\t{}\t-> {}\tgeneration {}\twritten {}\ttopic ID {}",
                position.source_topic,
                key.partition,
                position.next_offset,
                position.target_topic,
                position.generation,
                Timestamp::from_millisecond(position.written_at_ms).unwrap_or_default(),
                key.topic_id
            ),
            Err(error) => format!("{key}: {error}"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{line}");
    }
    Ok(table)
}

/// `resume`: stores positions for the present topics on both sides.
pub(super) async fn resume(config: &ReplicatorConfig, resume: &Resume) -> Result<String, DecideError> {
    let selection = config.validate()?;
    if !selection.matches(&resume.topic) {
        let message = format!(
            "topics.include and topics.deny do not select topic {}",
            resume.topic
        );
        return Err(DecideError::Impossible(message));
    }
    let sides = Sides::connect(config).await?;
    let target_topic = selection.target_name(&resume.topic);
    let source = topic(&sides.source, &resume.topic).await?;
    let target = topic(&sides.target, &target_topic).await?;
    ensure_positions_topic(&sides.target).await?;
    let read = PositionsReader::new(sides.target.clone(), Scope::link(&sides.identity.link_id))
        .read()
        .await?;
    let generations = read
        .positions
        .values()
        .filter_map(|position| position.as_ref().ok().map(|p| p.generation));
    let generation = generations.max().unwrap_or_default();
    let (ranges, _) = sides
        .source
        .log_ranges(std::slice::from_ref(&resume.topic), Isolation::ReadUncommitted)
        .await?;
    let mut records = Vec::new();
    let mut text = String::new();
    for (partition, range) in ranges {
        if resume
            .partition
            .is_some_and(|wanted| wanted != partition.partition)
        {
            continue;
        }
        let next_offset = place(resume.from, &partition, range?.range)?;
        let key = PositionKey {
            link_id: sides.identity.link_id.clone(),
            source_cluster_id: sides.identity.source_cluster.clone(),
            topic_id: source.id,
            partition: partition.partition,
        };
        // What was stored for a former topic of this name is decided with it.
        let former = read.positions.iter().filter(|(old, position)| {
            old.partition == key.partition
                && old.topic_id != key.topic_id
                && position
                    .as_ref()
                    .is_ok_and(|position| position.source_topic == resume.topic)
        });
        records.extend(former.map(|(old, _)| (old.clone(), None)));
        let position = Position {
            next_offset,
            leader_epoch: None,
            source_topic: resume.topic.clone(),
            target_topic: target_topic.clone(),
            target_topic_id: target.id.is_set().then_some(target.id),
            last_record_timestamp_ms: None,
            written_at_ms: Timestamp::now().as_millisecond(),
            generation,
        };
        records.push((key, Some(position)));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{partition} goes on at source offset {next_offset}");
    }
    if records.is_empty() {
        let message = format!("topic {} has no such partition", resume.topic);
        return Err(DecideError::Impossible(message));
    }
    Store::new(&sides.connections.target)?.write(&records).await?;
    Ok(text)
}

/// `forget`: withdraws positions.
pub(super) async fn forget(config: &ReplicatorConfig, forget: &Forget) -> Result<String, DecideError> {
    let sides = Sides::connect(config).await?;
    let link_id = forget.link.as_ref().unwrap_or(&sides.identity.link_id);
    let (connection, admin) = sides.on(forget.on);
    let read = PositionsReader::new(admin.clone(), Scope::link(link_id))
        .read()
        .await?;
    let mut records = Vec::new();
    let mut text = String::new();
    for (key, position) in read.positions {
        let topic = position
            .as_ref()
            .map_or("?", |position| position.source_topic.as_str());
        if forget.topic.as_ref().is_some_and(|wanted| wanted != topic) {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = match &position {
            Ok(position) => writeln!(
                text,
                "link {link_id}: {topic}-{} of cluster {} at {}, written {}",
                key.partition,
                key.source_cluster_id,
                position.next_offset,
                Timestamp::from_millisecond(position.written_at_ms).unwrap_or_default()
            ),
            Err(error) => writeln!(text, "{key}: {error}"),
        };
        records.push((key, None));
    }
    if !forget.yes {
        let _ = writeln!(text, "{} positions; add --yes to withdraw them", records.len());
        return Ok(text);
    }
    Store::new(connection)?.write(&records).await?;
    let _ = writeln!(text, "{} positions withdrawn", records.len());
    Ok(text)
}

async fn topic(admin: &Admin, name: &str) -> Result<TopicMetadata, DecideError> {
    let metadata = admin.metadata(Topics::Named(vec![name.to_owned()])).await?;
    match metadata.topics.into_values().next() {
        Some(topic) => Ok(topic?),
        None => Err(DecideError::Impossible(format!(
            "nothing is known of topic {name}"
        ))),
    }
}

fn place(from: From, partition: &TopicPartition, range: LogRange) -> Result<i64, DecideError> {
    match from {
        From::Earliest => Ok(range.start),
        From::Latest => Ok(range.end),
        From::Offset(offset) if (range.start..=range.end).contains(&offset) => Ok(offset),
        From::Offset(offset) => Err(DecideError::Impossible(format!(
            "{partition} holds offsets {} to {} now, and {offset} is not among them",
            range.start, range.end
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_lies_within_the_log() {
        let (partition, range) = (TopicPartition::new("t", 0), LogRange { start: 5, end: 9 });
        let place = |from| place(from, &partition, range).ok();
        assert_eq!(place(From::Earliest), Some(5));
        assert_eq!(place(From::Latest), Some(9));
        assert_eq!(place(From::Offset(9)), Some(9));
        assert_eq!(place(From::Offset(4)), None);
        assert_eq!(place(From::Offset(10)), None);
    }

    #[test]
    fn only_places_are_parsed() {
        assert_eq!(parse_from("earliest"), Ok(From::Earliest));
        assert_eq!(parse_from("17"), Ok(From::Offset(17)));
        assert!(parse_from("-1").is_err() && parse_from("").is_err() && parse_from("first").is_err());
    }
}
