//! The operator's settings, from flags and environment.

use std::collections::BTreeSet;
use std::time::Duration;

/// What the operator is told at its start. Durations and numbers are checked by the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespaces that are watched; `None` is all.
    pub namespaces: Option<BTreeSet<String>>,
    /// Image of the data plane and of the brokers' init container: this program.
    pub image: String,
    /// Image of Apache Kafka; `{version}` is replaced by `spec.kafkaVersion`.
    pub kafka_image: String,
    /// `Always`, `IfNotPresent` or `Never`; `None` is Kubernetes' own default.
    pub image_pull_policy: Option<String>,
    /// Secrets for pulling images; they must exist in the namespace of each object.
    pub image_pull_secrets: Vec<String>,
    /// How often Kafka and the pods' progress are read.
    pub sample_interval: Duration,
    /// Age at which an unchanged status is written again.
    pub status_refresh: Duration,
    /// Objects of one kind that are reconciled at the same time.
    pub concurrency: u16,
    /// Namespace that the operator runs in: its Lease is there, and NetworkPolicies let its pods in.
    pub operator_namespace: String,
    /// Namespaces whose pods may read the data plane's metrics, besides the operator.
    pub metrics_namespaces: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespaces: None,
            image: format!("tributary:{}", env!("CARGO_PKG_VERSION")),
            kafka_image: "apache/kafka:{version}".to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            sample_interval: Duration::from_secs(10),
            status_refresh: Duration::from_secs(60),
            concurrency: 16,
            operator_namespace: "tributary-system".to_owned(),
            metrics_namespaces: BTreeSet::new(),
        }
    }
}

impl Options {
    /// The image of one Kafka version.
    #[must_use]
    pub fn kafka_image_of(&self, version: &str) -> String {
        self.kafka_image.replace("{version}", version)
    }
}
