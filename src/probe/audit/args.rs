//! The command line of `probe audit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::AuditError;
use crate::kafka::connection::KafkaConnection;
use crate::kafka::endpoint::{AuthenticationFile, KafkaEndpointFile, ScramMechanism, TlsFile};
use crate::probe::output::Output;
use crate::probe::send::duration;
use crate::probe::stamp::is_run_name;

/// Read a Kafka topic and tell what of a run was lost, duplicated, out of order or late, and where it was lost.
///
/// Joins no consumer group, commits nothing, changes nothing.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit status: 0 everything that was acknowledged is in the topic; 1 something is missing (lost, or in \
                  the dead-letter topic); 2 nothing seen missing, but the tail is unknown: no sent file, or its sender \
                  runs or crashed; 3 the audit could not be done; 64 the command line is wrong.\n\n\
                  Latencies compare clocks: the sender's stamp with the record's timestamp (of the bridge that produced \
                  it, or of the broker, as the topic's message.timestamp.type says; a replicated record keeps the \
                  source's) and, for records written after the audit began, with the time they were read here.\n\n\
                  Examples:\n  \
                  tributary probe audit --sent run.jsonl --kafka kafka.eu.example:9092 --topic munich.telemetry \
                  --until-complete --factory-kafka munich-kafka:9092 --factory-topic telemetry\n  \
                  tributary probe audit --run 20261121T093634-5f3a1c --kafka kafka:9092 --topic telemetry"
)]
pub struct AuditArgs {
    /// The file that `probe send` wrote; without it only gaps in the sequences can be seen, not what follows the last
    /// message received
    #[arg(long, value_name = "FILE")]
    pub sent: Option<PathBuf>,
    /// The run to audit (default: the sent file's, else the only one in the topic)
    #[arg(long, value_parser = run_name)]
    pub run: Option<String>,
    /// Read records from here on: a time such as 2026-11-21T09:00:00Z, or how long ago, such as 2h (default: 5 minutes
    /// before the run; without a sent file, everything)
    #[arg(long, value_name = "TIME", value_parser = from_time)]
    pub from_time: Option<FromTime>,

    /// Kafka where the data should have arrived: host:port, several separated by commas
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        required_unless_present = "kafka_config"
    )]
    pub kafka: Vec<String>,
    /// YAML file with bootstrapServers, tls and authentication, as in the `kafka` section of a bridge's file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kafka", "kafka_tls", "kafka_ca_file", "kafka_cert_file", "kafka_sasl"])]
    pub kafka_config: Option<PathBuf>,
    /// Topic to audit
    #[arg(long)]
    pub topic: String,
    /// Encrypt; implied by the options for certificates
    #[arg(long)]
    pub kafka_tls: bool,
    /// PEM file of the CAs to trust (default: this system's)
    #[arg(long, value_name = "FILE")]
    pub kafka_ca_file: Option<PathBuf>,
    /// PEM file of a client certificate
    #[arg(long, requires = "kafka_key_file", value_name = "FILE")]
    pub kafka_cert_file: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, requires = "kafka_cert_file", value_name = "FILE")]
    pub kafka_key_file: Option<PathBuf>,
    /// SASL mechanism
    #[arg(
        long,
        value_enum,
        requires = "kafka_username",
        requires = "kafka_password_file"
    )]
    pub kafka_sasl: Option<SaslArg>,
    /// SASL user
    #[arg(long, requires = "kafka_sasl")]
    pub kafka_username: Option<String>,
    /// File with the SASL user's password
    #[arg(long, requires = "kafka_sasl", value_name = "FILE")]
    pub kafka_password_file: Option<PathBuf>,

    /// The factory's own Kafka, plaintext: tells loss before it (MQTT server, bridge) from loss behind it (replicator)
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        requires = "factory_topic"
    )]
    pub factory_kafka: Vec<String>,
    /// The same with TLS or credentials: a YAML file as for --kafka-config
    #[arg(
        long,
        value_name = "FILE",
        requires = "factory_topic",
        conflicts_with = "factory_kafka"
    )]
    pub factory_config: Option<PathBuf>,
    /// The topic in the factory's Kafka
    #[arg(long, value_name = "TOPIC")]
    pub factory_topic: Option<String>,
    /// The bridge's dead-letter topic (in the factory's Kafka if one is given): what is in it was refused, not lost
    #[arg(long, value_name = "TOPIC")]
    pub dead_letter: Option<String>,

    /// Go on reading until the sender has ended and nothing is missing
    #[arg(long, requires = "sent")]
    pub until_complete: bool,
    /// Give up when nothing new of the run arrived for this long; a running sender is waited for
    #[arg(long, default_value = "2m", value_name = "D", value_parser = duration)]
    pub timeout: Duration,
    /// What to print on standard output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromTime {
    /// So long before now.
    Ago(Duration),
    /// Milliseconds since 1970.
    At(i64),
}

/// SASL mechanisms on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaslArg {
    /// PLAIN; use it with TLS only
    Plain,
    /// SCRAM-SHA-256
    ScramSha256,
    /// SCRAM-SHA-512
    ScramSha512,
}

impl AuditArgs {
    /// Where the data should have arrived.
    ///
    /// # Errors
    /// When a file cannot be used or options do not fit together.
    pub fn target(&self) -> Result<KafkaConnection, AuditError> {
        match &self.kafka_config {
            Some(file) => from_file(file),
            None => Ok(self.endpoint().load()?),
        }
    }

    /// The factory's Kafka, if one is given.
    ///
    /// # Errors
    /// As [`AuditArgs::target`].
    pub fn factory(&self) -> Result<Option<KafkaConnection>, AuditError> {
        match &self.factory_config {
            Some(file) => from_file(file).map(Some),
            None if self.factory_kafka.is_empty() => Ok(None),
            None => Ok(Some(KafkaEndpointFile::plaintext(&self.factory_kafka).load()?)),
        }
    }

    fn endpoint(&self) -> KafkaEndpointFile {
        let encrypted = self.kafka_tls || self.kafka_ca_file.is_some() || self.kafka_cert_file.is_some();
        let tls = match encrypted {
            false => TlsFile::Disabled {},
            true => TlsFile::Verify {
                ca_file: self.kafka_ca_file.clone(),
                certificate_file: self.kafka_cert_file.clone(),
                key_file: self.kafka_key_file.clone(),
            },
        };
        let scram = |mechanism, username, password_file| AuthenticationFile::Scram {
            mechanism,
            username,
            password_file,
        };
        let login = (self.kafka_username.clone(), self.kafka_password_file.clone());
        let authentication = match (self.kafka_sasl, login) {
            (Some(SaslArg::Plain), (Some(username), Some(password_file))) => AuthenticationFile::Plain {
                username,
                password_file,
            },
            (Some(SaslArg::ScramSha256), (Some(u), Some(p))) => scram(ScramMechanism::ScramSha256, u, p),
            (Some(SaslArg::ScramSha512), (Some(u), Some(p))) => scram(ScramMechanism::ScramSha512, u, p),
            _ => AuthenticationFile::None {},
        };
        KafkaEndpointFile {
            bootstrap_servers: self.kafka.clone(),
            tls,
            authentication,
        }
    }
}

fn from_file(file: &PathBuf) -> Result<KafkaConnection, AuditError> {
    let config = |why: String| AuditError::Config {
        file: file.clone(),
        why,
    };
    let text = std::fs::read_to_string(file).map_err(|e| config(e.to_string()))?;
    let endpoint: KafkaEndpointFile = serde_yaml::from_str(&text).map_err(|e| config(e.to_string()))?;
    Ok(endpoint.load()?)
}

fn run_name(text: &str) -> Result<String, String> {
    if is_run_name(text) {
        return Ok(text.to_owned());
    }
    Err("a run's name has 1 to 32 letters, digits, '.', '_' or '-'".to_owned())
}

fn from_time(text: &str) -> Result<FromTime, String> {
    if let Ok(ago) = duration(text) {
        return Ok(FromTime::Ago(ago));
    }
    text.parse::<jiff::Timestamp>()
        .map(|time| FromTime::At(time.as_millisecond()))
        .map_err(|_| "write a time such as 2026-11-21T09:00:00Z, or how long ago, such as 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        audit: AuditArgs,
    }

    fn parse(line: &str) -> Result<AuditArgs, clap::Error> {
        Cli::try_parse_from(["audit"].into_iter().chain(line.split_whitespace())).map(|cli| cli.audit)
    }

    #[test]
    fn options_of_kafka_become_an_endpoint() {
        let plain = parse("--kafka a:1,b:2 --topic t").unwrap();
        assert_eq!(plain.endpoint(), KafkaEndpointFile::plaintext(["a:1", "b:2"]));
        let secure = parse(
            "--kafka a:1 --topic t --kafka-ca-file ca --kafka-sasl scram-sha512 --kafka-username u --kafka-password-file p",
        );
        let endpoint = secure.unwrap().endpoint();
        assert!(matches!(endpoint.tls, TlsFile::Verify { ca_file: Some(_), .. }));
        let mechanism = ScramMechanism::ScramSha512;
        let login = AuthenticationFile::Scram {
            mechanism,
            username: "u".into(),
            password_file: "p".into(),
        };
        assert_eq!(endpoint.authentication, login);
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        for line in [
            "--topic t",
            "--kafka a:1",
            "--kafka a:1 --topic t --kafka-sasl plain",
            "--kafka a:1 --topic t --kafka-username u",
            "--kafka a:1 --topic t --factory-kafka f:1",
            "--kafka a:1 --topic t --until-complete",
            "--kafka a:1 --topic t --kafka-config f",
            "--kafka a:1 --topic t --from-time yesterday",
            "--kafka a:1 --topic t --timeout soon",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_time_is_absolute_or_ago() {
        assert_eq!(from_time("2h"), Ok(FromTime::Ago(Duration::from_secs(7200))));
        assert_eq!(from_time("1970-01-01T00:00:01Z"), Ok(FromTime::At(1000)));
    }
}
