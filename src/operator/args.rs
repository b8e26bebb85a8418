//! The command line of `tributary operator`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::controller::Options;

/// Reconcile EdgeClusters, BridgePipelines and ReplicationLinks of a Kubernetes cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A namespace to look after, repeatable; without any, all namespaces
    #[arg(
        long = "namespace",
        env = "TRIBUTARY_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    namespaces: Vec<String>,
    /// Image of bridges, replicators and the brokers' init containers: this program's own
    #[arg(long, env = "TRIBUTARY_IMAGE", default_value_t = Options::default().image)]
    image: String,
    /// Image of Apache Kafka; {version} becomes spec.kafkaVersion
    #[arg(long, env = "TRIBUTARY_KAFKA_IMAGE", default_value_t = Options::default().kafka_image)]
    kafka_image: String,
    /// When images are pulled: Always, IfNotPresent or Never; without it, Kubernetes' own default
    #[arg(long, env = "TRIBUTARY_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// A Secret for pulling images, repeatable; it must exist in the namespaces of the objects
    #[arg(
        long = "image-pull-secret",
        env = "TRIBUTARY_IMAGE_PULL_SECRETS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    image_pull_secrets: Vec<String>,
    /// A namespace whose pods may read metrics of what is run, repeatable; the operator always may
    #[arg(
        long = "metrics-namespace",
        env = "TRIBUTARY_METRICS_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    metrics_namespaces: Vec<String>,
    /// How often Kafka and the pods' progress are read, 1s to 30s: verdicts look at the last two minutes
    #[arg(long, env = "TRIBUTARY_SAMPLE_INTERVAL", default_value = "10s", value_parser = sample_interval)]
    sample_interval: Duration,
    /// Age at which an unchanged status is written again, 10s to 60s; readers take one older than 180s for Unknown
    #[arg(long, env = "TRIBUTARY_STATUS_REFRESH", default_value = "60s", value_parser = status_refresh)]
    status_refresh: Duration,
    /// Objects of one kind that are reconciled at the same time, 1 to 256
    #[arg(
        long,
        env = "TRIBUTARY_CONCURRENCY",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    concurrency: u16,
    /// Address of /metrics, /healthz and /readyz
    #[arg(
        long,
        env = "TRIBUTARY_LISTEN",
        default_value = "0.0.0.0:9404",
        value_name = "ADDRESS"
    )]
    pub(super) listen: SocketAddr,
    /// The operator's own namespace, where its Lease is; without it, that of the kubeconfig or service account
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    operator_namespace: Option<String>,
    /// This process' name in the Lease and in events; without it, the host's
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
}

impl Args {
    pub(super) fn options(&self, default_namespace: &str) -> Options {
        Options {
            namespaces: Some(self.namespaces.iter().cloned().collect())
                .filter(|_| !self.namespaces.is_empty()),
            image: self.image.clone(),
            kafka_image: self.kafka_image.clone(),
            image_pull_policy: self.image_pull_policy.clone(),
            image_pull_secrets: self.image_pull_secrets.clone(),
            sample_interval: self.sample_interval,
            status_refresh: self.status_refresh,
            concurrency: self.concurrency,
            operator_namespace: self
                .operator_namespace
                .clone()
                .unwrap_or_else(|| default_namespace.to_owned()),
            metrics_namespaces: self.metrics_namespaces.iter().cloned().collect(),
        }
    }

    /// Differs between processes, also when two of one name follow each other.
    pub(super) fn identity(&self) -> String {
        let name = self
            .pod_name
            .clone()
            .or_else(host_name)
            .unwrap_or_else(|| "tributary".to_owned());
        format!("{name}_{}", uuid::Uuid::new_v4())
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|n| !n.is_empty())
}

fn sample_interval(text: &str) -> Result<Duration, String> {
    duration(text, 1, 30)
}

fn status_refresh(text: &str) -> Result<Duration, String> {
    duration(text, 10, 60)
}

fn duration(text: &str, least: u64, most: u64) -> Result<Duration, String> {
    let duration = crate::api::Duration(text.to_owned()).to_std();
    let fits = |d: &Duration| (Duration::from_secs(least)..=Duration::from_secs(most)).contains(d);
    duration
        .filter(fits)
        .ok_or_else(|| format!("give {least}s to {most}s"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn options(flags: &[&str]) -> Result<Options, String> {
        let flags = ["operator"].iter().chain(flags);
        Cli::try_parse_from(flags)
            .map(|cli| cli.args.options("here"))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn without_flags_all_namespaces_are_looked_after_with_the_documented_defaults() {
        let options = options(&[]).unwrap();
        assert_eq!(options.namespaces, None);
        assert_eq!(
            (
                options.sample_interval.as_secs(),
                options.status_refresh.as_secs()
            ),
            (10, 60)
        );
        assert_eq!(options.concurrency, 16);
    }

    #[test]
    fn the_chart_s_flags_are_understood() {
        let options = options(&[
            "--namespace=factory",
            "--namespace=plant",
            "--image=r/t@sha256:0",
            "--kafka-image=r/kafka:{version}",
            "--image-pull-policy=Never",
            "--image-pull-secret=pull",
            "--metrics-namespace=monitoring",
            "--sample-interval=5s",
            "--status-refresh=30s",
            "--concurrency=4",
        ])
        .unwrap();
        assert_eq!(options.namespaces.as_ref().unwrap().len(), 2);
        assert_eq!(options.kafka_image_of("4.3.1"), "r/kafka:4.3.1");
        assert_eq!(options.status_refresh.as_secs(), 30);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bounds() {
        for flag in [
            "--sample-interval=0s",
            "--sample-interval=31s",
            "--sample-interval=soon",
        ] {
            assert!(options(&[flag]).unwrap_err().contains("give 1s to 30s"), "{flag}");
        }
        assert!(
            options(&["--status-refresh=61s"])
                .unwrap_err()
                .contains("give 10s to 60s")
        );
        assert!(options(&["--concurrency=0"]).is_err());
    }

    #[test]
    fn each_process_has_an_identity_of_its_own() {
        let cli = Cli::try_parse_from(["operator", "--pod-name=a"]).unwrap();
        assert!(cli.args.identity().starts_with("a_"));
        assert_ne!(cli.args.identity(), cli.args.identity());
    }
}
