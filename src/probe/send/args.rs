//! The command line of `probe send`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use crate::mqtt::endpoint::{MqttAuthenticationFile, MqttTlsFile, Protocol, ServerAddress};
use crate::probe::output::Output;
use crate::probe::stamp::{MAX_DEVICES, is_run_name};

/// Publish stamped messages over MQTT and write down which of them the server acknowledged.
///
/// Run it where a machine would be, then run `tributary probe audit` with the same file where the data should arrive.
#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("length").required(true).multiple(true).args(["messages", "duration"]),
    after_help = "Exit status: 0 every message was acknowledged; 1 some were refused or never acknowledged (the sent \
                  file says which); 3 the run could not be done; 64 the command line is wrong.\n\n\
                  Example:\n  tributary probe send --mqtt mqtt://mosquitto.factory.svc --devices 50 --rate 1000 \
                  --duration 1m --sent run.jsonl"
)]
pub struct SendArgs {
    /// MQTT server: mqtt://host[:1883] or mqtts://host[:8883]; several, separated by commas, are tried in turn
    #[arg(long, required = true, value_delimiter = ',', value_name = "URL", value_parser = server)]
    pub mqtt: Vec<ServerAddress>,
    /// Version of MQTT
    #[arg(long, value_enum, ignore_case = true, default_value_t = ProtocolArg::V5)]
    pub protocol: ProtocolArg,
    /// MQTT user
    #[arg(long, requires = "password_file")]
    pub username: Option<String>,
    /// File with the user's password (never on the command line, where others can read it)
    #[arg(long, requires = "username", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// PEM file of the CAs to trust, with mqtts:// (default: this system's)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of a client certificate
    #[arg(long, requires = "key_file", conflicts_with = "username", value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, requires = "cert_file", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Devices, numbered from 0; each has its own MQTT topic and its own sequence
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DEVICES)))]
    pub devices: u32,
    /// Messages per second over all devices; 0 = as fast as the server acknowledges
    #[arg(long, default_value_t = 100, value_name = "R", value_parser = clap::value_parser!(u64).range(..=10_000_000))]
    pub rate: u64,
    /// End after so many messages over all devices
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// End after this time, such as 90s, 10m or 1h30m; with --messages, whichever comes first
    #[arg(long, value_name = "D", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Size of each payload, bytes (JSON, filled up to exactly this)
    #[arg(long, default_value_t = 256, value_name = "B")]
    pub payload_size: usize,
    /// 0: at most once, the network may lose it; 1: at least once
    #[arg(long, default_value_t = 1, value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: u8,
    /// MQTT topic of each device; {device} is its number, {line} the number modulo --lines
    #[arg(
        long,
        default_value = "factory/line{line}/dev{device}/telemetry",
        value_name = "TEMPLATE"
    )]
    pub topic_template: String,
    /// Lines that the devices are spread over
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: u32,

    /// File to write what was acknowledged to; must not exist yet
    #[arg(long, value_name = "FILE")]
    pub sent: PathBuf,
    /// Name of the run, in every message (default: time and a random number)
    #[arg(long, value_parser = run_name)]
    pub run: Option<String>,
    /// MQTT connections that the devices share, at most (default: 8, never more than devices)
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub connections: u32,
    /// Unacknowledged messages in flight in each connection; the server's Receive Maximum may lower it
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=60_000))]
    pub window: u16,
    /// How long the first connection may take
    #[arg(long, default_value = "30s", value_name = "D", value_parser = duration)]
    pub connect_timeout: Duration,
    /// End the run when a lost connection stays away for this long
    #[arg(long, default_value = "10m", value_name = "D", value_parser = duration)]
    pub give_up: Duration,
    /// How long to wait for the last acknowledgements
    #[arg(long, default_value = "1m", value_name = "D", value_parser = duration)]
    pub drain: Duration,
    /// What to print on standard output at the end
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// The protocol's version on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// MQTT 5
    #[value(name = "V5", alias = "5")]
    V5,
    /// MQTT 3.1.1
    #[value(name = "V311", alias = "3.1.1")]
    V311,
}

impl From<ProtocolArg> for Protocol {
    fn from(arg: ProtocolArg) -> Self {
        match arg {
            ProtocolArg::V5 => Self::V5,
            ProtocolArg::V311 => Self::V311,
        }
    }
}

impl SendArgs {
    /// User and password, certificate, or nothing.
    #[must_use]
    pub fn authentication(&self) -> MqttAuthenticationFile {
        match (
            &self.username,
            &self.password_file,
            &self.cert_file,
            &self.key_file,
        ) {
            (Some(username), Some(file), _, _) => MqttAuthenticationFile::Password {
                username: username.clone(),
                password_file: file.clone(),
            },
            (_, _, Some(certificate), Some(key)) => MqttAuthenticationFile::Mtls {
                certificate_file: certificate.clone(),
                key_file: key.clone(),
            },
            _ => MqttAuthenticationFile::None {},
        }
    }

    /// TLS as the servers' scheme has it.
    ///
    /// # Errors
    /// When the servers' schemes differ, or files for TLS come without it.
    pub fn tls(&self) -> Result<MqttTlsFile, &'static str> {
        let encrypted = self.mqtt.iter().filter(|server| server.tls).count();
        if encrypted == self.mqtt.len() {
            return Ok(MqttTlsFile::Verify {
                ca_file: self.ca_file.clone(),
            });
        }
        if encrypted > 0 {
            return Err("--mqtt mixes mqtt:// and mqtts://; use one of them for all servers");
        }
        if self.ca_file.is_some() || self.cert_file.is_some() {
            return Err("--ca-file and --cert-file need TLS; write mqtts:// in --mqtt");
        }
        Ok(MqttTlsFile::Disabled {})
    }
}

fn server(text: &str) -> Result<ServerAddress, String> {
    text.parse::<ServerAddress>().map_err(|e| e.to_string())
}

fn run_name(text: &str) -> Result<String, String> {
    if is_run_name(text) {
        return Ok(text.to_owned());
    }
    Err("a run's name has 1 to 32 letters, digits, '.', '_' or '-'".to_owned())
}

/// `90s`, `1h30m`: as durations in the custom resources.
pub fn duration(text: &str) -> Result<Duration, String> {
    crate::api::Duration(text.to_owned())
        .to_std()
        .ok_or_else(|| "write a duration such as 500ms, 90s, 10m or 1h30m".to_owned())
}
