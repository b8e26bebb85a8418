//! Carries the plan out by Kafka's own calls, each with a deadline of 3 s, in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kafka_protocol::error::ResponseError;

use super::super::names;
use super::super::observe::{FoundRecord, KafkaFacts, topics_of};
use super::super::validate::ValidatedEdgeCluster;
use super::{Plan, RECORD_KEY, Record, Settings, condense, plan, state, status};
use crate::api::{EdgeCluster, TopicStatus};
use crate::controller::{Context, Error};
use crate::kafka::KafkaError;
use crate::kafka::wire::{Admin, ConfigChange, ConfigResource, Topics};

/// Topics of one call.
const BATCH: usize = 20;
/// Topics whose settings are asked for in one call.
const BATCH_READ: usize = 100;
/// Age at which everything is compared again although nothing seems to have changed.
const COMPARE_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// The only broker setting that Kafka copies into its metadata at the first start (with eligible leader replicas,
/// KIP-966) and never reads from the properties again.
const CLUSTER_WIDE: &str = "min.insync.replicas";

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was compared and done, but for this.
    Known {
        /// What is reported of single topics.
        report: Vec<TopicStatus>,
        /// What waits for brokers that Kafka does not have yet, for people.
        waiting: Option<String>,
    },
    /// Kafka could not be asked.
    Unknown(String),
}

/// What was compared last. One for each object.
#[derive(Debug, Default)]
pub struct Memory {
    last: Option<(Timestamp, u64, Outcome)>,
}

/// Brings the topics to what the spec says, if anything changed (the record too) or the last look is a minute old.
///
/// # Errors
/// When the record cannot be written to the API server: then nothing is done in Kafka.
pub async fn sync(
    ctx: &Context,
    object: &EdgeCluster,
    cluster: &ValidatedEdgeCluster,
    admin: &Admin,
    facts: &KafkaFacts,
    found: Option<&FoundRecord>,
    memory: &mut Memory,
) -> Result<Outcome, Error> {
    let now = ctx.now();
    let input = fingerprint(cluster, facts, found);
    if let Some((at, same, outcome @ Outcome::Known { report, waiting: None })) = &memory.last
        && *same == input
        && now.duration_since(*at).abs() < COMPARE_EVERY
        // What was refused or waits is tried again each time, so that it recovers by itself.
        && !report.iter().any(|t| t.state == state::REFUSED)
    {
        return Ok(outcome.clone());
    }
    let stands = read_record(found);
    let record = stands.clone().unwrap_or_default();
    let outcome = match compare(admin, cluster, facts, &record).await {
        Ok(plan) => {
            if needs_writing(&plan.record, stands.as_ref(), found.is_some()) {
                write_record(ctx, object, cluster, &plan.record).await?;
            }
            match carry_out(admin, plan, cluster).await {
                Ok(answers) => answers.outcome(),
                Err(error) => Outcome::Unknown(error.explain()),
            }
        }
        Err(error) => Outcome::Unknown(error.explain()),
    };
    memory.last = Some((now, input, outcome.clone()));
    Ok(outcome)
}

pub(super) fn fingerprint(
    cluster: &ValidatedEdgeCluster,
    facts: &KafkaFacts,
    found: Option<&FoundRecord>,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    // What somebody deletes or edits comes back at once.
    found.map(|record| record.data.get(RECORD_KEY)).hash(&mut hasher);
    for (name, topic) in &cluster.topics {
        (name, topic.partitions, topic.replicas, &topic.config).hash(&mut hasher);
    }
    for (name, topic) in &facts.topics {
        (name, topic.partitions, topic.replicas).hash(&mut hasher);
    }
    (
        &facts.cluster_id,
        &facts.live,
        cluster.broker_config().get(CLUSTER_WIDE),
    )
        .hash(&mut hasher);
    hasher.finish()
}

/// A record that cannot be read is taken for empty: all that depends on it is what is reported as kept.
fn read_record(found: Option<&FoundRecord>) -> Option<Record> {
    let text = found.and_then(|f| f.data.get(RECORD_KEY))?;
    serde_yaml::from_str(text)
        .inspect_err(|error| tracing::warn!(%error, "the record of topics cannot be read; it begins anew"))
        .ok()
}

/// Whether the record must be written: it differs, or cannot be read, or is to be there and is not.
pub(super) fn needs_writing(next: &Record, stands: Option<&Record>, exists: bool) -> bool {
    match stands {
        Some(stands) => next != stands,
        None => exists || !next.topics.is_empty(),
    }
}

/// Before anything is made in Kafka it stands in the record: a crash in between forgets nothing.
async fn write_record(
    ctx: &Context,
    object: &EdgeCluster,
    cluster: &ValidatedEdgeCluster,
    next: &Record,
) -> Result<(), Error> {
    let text = serde_yaml::to_string(next).map_err(|e| Error::Serialize {
        what: "the record of topics".to_owned(),
        message: e.to_string(),
    })?;
    let map = ConfigMap {
        metadata: cluster.metadata(names::topics(&cluster.name)),
        data: Some(BTreeMap::from([(RECORD_KEY.to_owned(), text)])),
        ..ConfigMap::default()
    };
    ctx.apply(object, &map).await.map(drop)
}

async fn compare(
    admin: &Admin,
    cluster: &ValidatedEdgeCluster,
    facts: &KafkaFacts,
    record: &Record,
) -> Result<Plan, KafkaError> {
    set_cluster_wide(admin, cluster, facts).await?;
    let names: BTreeSet<&String> = cluster.topics.keys().chain(record.topics.keys()).collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    // The sample may be older than what the last pass did: a topic just made would count as gone, and leave the record.
    let existing = match names.is_empty() {
        true => BTreeMap::new(),
        false => topics_of(&admin.metadata(Topics::Named(names)).await?),
    };
    let resources: Vec<_> = existing.keys().cloned().map(ConfigResource::Topic).collect();
    let mut settings = BTreeMap::new();
    for batch in resources.chunks(BATCH_READ) {
        for (resource, result) in admin.describe_configs(batch, None).await? {
            let ConfigResource::Topic(name) = resource else {
                continue;
            };
            let result: Settings = result.map_err(|e| e.explain());
            settings.insert(name, result);
        }
    }
    Ok(plan(&cluster.topics, &existing, &settings, record))
}

async fn set_cluster_wide(
    admin: &Admin,
    cluster: &ValidatedEdgeCluster,
    facts: &KafkaFacts,
) -> Result<(), KafkaError> {
    let (Some(wanted), Some(broker)) = (cluster.broker_config().remove(CLUSTER_WIDE), facts.live.first())
    else {
        return Ok(());
    };
    let resource = ConfigResource::Broker(*broker);
    let mut found = admin
        .describe_configs(std::slice::from_ref(&resource), Some(&[CLUSTER_WIDE]))
        .await?;
    let entries = found.remove(&resource).transpose()?.unwrap_or_default();
    if entries.get(CLUSTER_WIDE).and_then(|e| e.value.as_deref()) == Some(wanted.as_str()) {
        return Ok(());
    }
    let changes = BTreeMap::from([(CLUSTER_WIDE.to_owned(), ConfigChange::Set(wanted))]);
    admin.alter_broker_defaults(&changes).await
}

/// Does what is planned. An answer about one topic is reported with it; a call without an answer ends it.
async fn carry_out<'a>(
    admin: &Admin,
    plan: Plan,
    cluster: &'a ValidatedEdgeCluster,
) -> Result<Answers<'a>, KafkaError> {
    let mut answers = Answers {
        cluster,
        report: plan.report,
        waiting: BTreeMap::new(),
    };
    for batch in plan.create.chunks(BATCH) {
        for (name, result) in admin.create_topics(batch, false).await? {
            match result {
                // It was made since we last looked; the next comparison sees how.
                Err(error) if error.is(ResponseError::TopicAlreadyExists) => {}
                result => answers.note(&name, result.map(drop))?,
            }
        }
    }
    let grow: Vec<_> = plan.grow.into_iter().collect();
    for batch in grow.chunks(BATCH) {
        let batch = batch.iter().cloned().collect();
        for (name, result) in admin.create_partitions(&batch, false).await? {
            answers.note(&name, result)?;
        }
    }
    for batch in plan.alter.chunks(BATCH) {
        for (name, result) in admin.incremental_alter_configs(batch, false).await? {
            answers.note(&name, result)?;
        }
    }
    Ok(answers)
}

/// What Kafka answered about topics.
pub(super) struct Answers<'a> {
    pub(super) cluster: &'a ValidatedEdgeCluster,
    /// What is reported of single topics.
    pub(super) report: Vec<TopicStatus>,
    /// Topics that wait for brokers, each with Kafka's words.
    pub(super) waiting: BTreeMap<String, String>,
}

impl Answers<'_> {
    pub(super) fn note(&mut self, name: &str, result: Result<(), KafkaError>) -> Result<(), KafkaError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is(ResponseError::InvalidReplicationFactor) && self.fits(name) => {
                self.waiting.insert(name.to_owned(), error.explain());
                Ok(())
            }
            Err(error) if error.code().is_some_and(|code| !code.is_retriable()) => {
                self.report.push(status(name, state::REFUSED, error.explain()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the cluster can have as many replicas. If so, a refusal for their number says only that a broker has not
    /// registered yet, as during a first start, or is shutting down.
    fn fits(&self, name: &str) -> bool {
        let topic = self.cluster.topics.get(name);
        topic.is_some_and(|topic| i32::from(topic.replicas) <= self.cluster.brokers)
    }

    pub(super) fn outcome(self) -> Outcome {
        let waiting = self.waiting.values().next().map(|first| {
            let topics = names::list(self.waiting.keys().map(String::as_str));
            format!("waiting for more brokers to register: topics {topics}; Kafka says: {first}")
        });
        Outcome::Known {
            report: condense(self.report),
            waiting,
        }
    }
}
