//! The replicator's YAML file: what the operator renders and `tributary replicator --config FILE` reads.
//!
//! ```yaml
//! name: factory/to-eu                 # for logs, and for the default link ID
//! linkId: ""                          # absent or empty: <source cluster ID>/<name>
//! source: {bootstrapServers: ["munich:9092"], tls: {mode: Disabled}, authentication: {type: None}}
//! target: {bootstrapServers: ["kafka.eu.example:9094"], tls: {mode: Disabled}, authentication: {type: None}}
//! topics: {include: ["telemetry", "uns\\..*"], deny: [], naming: {type: Prefix, prefix: "munich."}}
//! delivery: AtLeastOnce
//! start: Earliest
//! workers: 1
//! ```

mod selection;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::kafka::endpoint::KafkaEndpointFile;

pub use selection::{Refusal, TopicSelection, collisions};

/// Most patterns in `include` and in `deny`.
pub const MAX_PATTERNS: usize = 100;
/// Longest pattern, in bytes: Kafka's longest topic name.
pub const MAX_PATTERN_LENGTH: usize = 249;
/// Longest link ID, in bytes.
pub const MAX_LINK_ID_LENGTH: usize = 400;
/// Most workers of one link.
pub const MAX_WORKERS: u32 = 16;
/// Longest that a worker takes to end in order, but for closing its clients and its telemetry: about two seconds.
pub const END_LIMIT: Duration = Duration::from_secs(11);
/// Bound of the file itself, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// One link, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicatorConfig {
    /// `<namespace>/<name>` of the link, or any other stable name outside Kubernetes.
    pub name: String,
    /// The generation of the resource that this file was rendered from; shown again at `/progress`, otherwise unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Stable identity of the positions; absent or empty: `<source cluster ID>/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_id: Option<String>,
    /// Where records are read.
    pub source: KafkaEndpointFile,
    /// Where records and positions are written.
    pub target: KafkaEndpointFile,
    /// What is replicated, and under which names.
    pub topics: TopicsConfig,
    /// What is promised about each record.
    pub delivery: Delivery,
    /// Where partitions start that exist when the link first runs.
    pub start: Start,
    /// Processes that share the partitions, 1 to 16.
    #[serde(default = "one")]
    pub workers: u32,
    /// Which of them this process is, from 0; absent: the number at the end of the host name (a StatefulSet's ordinal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// Positions of this link were seen on the target once: from then on their absence stops the link instead of
    /// starting it anew. The operator remembers this in the link's status.
    #[serde(default)]
    pub positions_seen: bool,
    /// Metrics, health and progress.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Bounds and codec of the copying itself.
    #[serde(default)]
    pub tuning: Tuning,
}

/// Which topics, under which names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicsConfig {
    /// Regular expressions for whole names, 1 to 100; internal topics never match.
    pub include: Vec<String>,
    /// Regular expressions for whole names that win over every include, at most 100.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Names on the target.
    pub naming: Naming,
    /// Replicas of created topics; -1, the default, is the target's own default.
    #[serde(default = "target_default")]
    pub replication_factor: i16,
}

/// How a topic is called on the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Naming {
    /// As on the source.
    Identity {},
    /// With a prefix before the source's name.
    Prefix {
        /// The prefix, such as `munich.`.
        prefix: String,
    },
}

/// What is promised about each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// None is lost; some may be repeated after a fault.
    AtLeastOnce,
}

/// Where a link starts that never ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// At the oldest record that the source holds.
    Earliest,
    /// At the source's end at that time.
    Latest,
}

/// Where metrics, health and progress are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Address and port.
    pub listen: SocketAddr,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9404)),
        }
    }
}

/// Bounds and codec. The defaults suit one core and 256 MiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tuning {
    /// Bytes of fetched records that wait to be produced, over all partitions; 1 MiB to 1 GiB. Up to twice that when
    /// partitions have joined since the clients were made, and at least 256 KiB of each partition.
    pub fetch_buffer_bytes: u64,
    /// Bytes of records that wait for the target's acknowledgement, over all partitions; 1 MiB to 1 GiB.
    pub produce_buffer_bytes: u64,
    /// Codec towards the target. Whatever the source's was, records are compressed anew.
    pub compression: Compression,
    /// How long a batch waits to fill, in milliseconds; 1 to 1000. Adds to the time of every round to the target, in
    /// which one batch of each partition goes.
    pub linger_ms: u32,
    /// How often positions are stored, in milliseconds; 100 to 60000. A killed process repeats at most this much.
    pub position_interval_ms: u64,
    /// How often topics, partitions and their identity are read from both clusters, in milliseconds; 500 to 300000.
    pub discovery_interval_ms: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            fetch_buffer_bytes: 32 << 20,
            produce_buffer_bytes: 32 << 20,
            compression: Compression::Lz4,
            linger_ms: 5,
            position_interval_ms: 1000,
            discovery_interval_ms: 5000,
        }
    }
}

/// Codecs of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Uncompressed.
    None,
    /// Light on the processor.
    Lz4,
    /// Smallest on the line.
    Zstd,
    /// For old targets.
    Gzip,
    /// For old targets.
    Snappy,
}

impl Compression {
    /// librdkafka's `compression.type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
        }
    }
}

const fn one() -> u32 {
    1
}

const fn target_default() -> i16 {
    -1
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration: {0}; check that it is mounted and readable")]
    Unreadable(#[source] std::io::Error),
    /// The file is no configuration.
    #[error("the configuration is not as documented: {0}; correct the field it names")]
    Malformed(String),
    /// A field that cannot work.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// A field that cannot work: what it is, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is '{value}': {why}; {remedy}")]
pub struct Invalid {
    /// The field's path in the file, such as `topics.include[0]`.
    pub field: String,
    /// Its value, shortened to 100 characters.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl Invalid {
    fn new(
        field: impl Into<String>,
        value: impl ToString,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let value = value.to_string().chars().take(100).collect();
        Self {
            field: field.into(),
            value,
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl ReplicatorConfig {
    /// Reads and checks a file; also the SHA-256 of its bytes in hex.
    ///
    /// # Errors
    /// When it cannot be read, is not as documented, or has a field that cannot work.
    pub fn load(path: &Path) -> Result<(Self, String), ConfigError> {
        if std::fs::metadata(path).map_err(ConfigError::Unreadable)?.len() > MAX_FILE_BYTES {
            return Err(ConfigError::Malformed("it is larger than 1 MiB".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(ConfigError::Unreadable)?;
        let hash = Sha256::digest(text.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok((Self::parse(&text)?, hash))
    }

    /// Parses and checks a file's text.
    ///
    /// # Errors
    /// When it is not as documented, or has a field that cannot work.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_yaml::from_str(text).map_err(|e| ConfigError::Malformed(e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every field but the endpoints' files, and compiles the patterns.
    ///
    /// # Errors
    /// The first field that cannot work.
    pub fn validate(&self) -> Result<TopicSelection, Invalid> {
        if self.name.is_empty() || self.name.len() > 253 {
            return Err(Invalid::new(
                "name",
                &self.name,
                "it must have 1 to 253 characters",
                "name the link",
            ));
        }
        if let Some(id) = self.link_id.as_deref().filter(|id| !id.is_empty()) {
            validate_link_id(id)?;
        }
        if self.workers == 0 || self.workers > MAX_WORKERS {
            return Err(Invalid::new(
                "workers",
                self.workers,
                "it must be 1 to 16",
                "choose a number in this range",
            ));
        }
        if let Some(worker) = self.worker.filter(|worker| *worker >= self.workers) {
            let why = format!("there are {} workers, counted from 0", self.workers);
            return Err(Invalid::new(
                "worker",
                worker,
                why,
                "raise workers, or lower worker",
            ));
        }
        let factor = self.topics.replication_factor;
        if factor != -1 && !(1..=9).contains(&factor) {
            let why = "it must be -1 (the target's default) or 1 to 9";
            return Err(Invalid::new(
                "topics.replicationFactor",
                factor,
                why,
                "set -1 unless you need more",
            ));
        }
        self.tuning.validate()?;
        TopicSelection::compile(&self.topics)
    }

    /// The identity of the positions, given the source's cluster ID.
    #[must_use]
    pub fn effective_link_id(&self, source_cluster_id: &str) -> String {
        match self.link_id.as_deref() {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => format!("{source_cluster_id}/{}", self.name),
        }
    }

    /// Which worker this process is, from 0.
    ///
    /// # Errors
    /// With several workers, when neither `worker` nor the number at the end of `host_name` says so.
    pub fn worker_index(&self, host_name: &str) -> Result<u32, Invalid> {
        if let Some(worker) = self.worker {
            return Ok(worker);
        }
        if self.workers == 1 {
            return Ok(0);
        }
        let ordinal = host_name
            .rsplit_once('-')
            .and_then(|(_, ordinal)| ordinal.parse::<u32>().ok());
        ordinal.filter(|ordinal| *ordinal < self.workers).ok_or_else(|| {
            let why = format!(
                "the host name '{host_name}' does not end in a number below {}",
                self.workers
            );
            Invalid::new(
                "worker",
                "",
                why,
                "set worker, from 0, differently in each process",
            )
        })
    }
}

fn validate_link_id(id: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
    if id.len() > MAX_LINK_ID_LENGTH || !id.chars().all(allowed) {
        let why = format!("it must have at most {MAX_LINK_ID_LENGTH} characters of A-Z a-z 0-9 . _ / -");
        return Err(Invalid::new(
            "linkId",
            id,
            why,
            "choose another, and never change it once the link ran",
        ));
    }
    Ok(())
}

impl Tuning {
    fn validate(&self) -> Result<(), Invalid> {
        let bounds = [
            (
                "tuning.fetchBufferBytes",
                self.fetch_buffer_bytes,
                1 << 20,
                1 << 30,
            ),
            (
                "tuning.produceBufferBytes",
                self.produce_buffer_bytes,
                1 << 20,
                1 << 30,
            ),
            ("tuning.lingerMs", u64::from(self.linger_ms), 1, 1000),
            (
                "tuning.positionIntervalMs",
                self.position_interval_ms,
                100,
                60_000,
            ),
            (
                "tuning.discoveryIntervalMs",
                self.discovery_interval_ms,
                500,
                300_000,
            ),
        ];
        for (field, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                let why = format!("it must be {least} to {most}");
                return Err(Invalid::new(
                    field,
                    value,
                    why,
                    "choose a number in this range, or leave it out",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
