//! Callbacks of a librdkafka client that has nothing to say by itself.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// librdkafka repeats itself at every attempt to reconnect, and calls a partition's end an error: what is worth a line,
/// whoever holds the client says once. Its own words are there at level `debug`, with the client's name.
#[derive(Clone, Copy, Debug)]
pub struct Quiet(pub &'static str);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", side = self.0, ?level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", side = self.0, %error, reason);
    }
}

impl ConsumerContext for Quiet {}
