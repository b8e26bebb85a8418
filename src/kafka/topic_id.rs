//! Topic IDs (KIP-516): what tells a topic from a later one of the same name.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A topic's ID; prints as Kafka prints it: URL-safe base64 without padding, 22 characters.
///
/// Also used for directory IDs, which Kafka writes alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TopicId(pub Uuid);

/// A text that is no Kafka UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a Kafka UUID (22 characters of URL-safe base64)")]
pub struct TopicIdError(pub String);

impl TopicId {
    /// The all-zero ID, which Kafka uses for "none": brokers before 2.8, or an unknown topic.
    pub const ZERO: Self = Self(Uuid::nil());

    /// Whether this is a real ID.
    pub fn is_set(self) -> bool {
        self != Self::ZERO
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl FromStr for TopicId {
    type Err = TopicIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| TopicIdError(text.to_owned()))?;
        Uuid::from_slice(&bytes)
            .map(Self)
            .map_err(|_| TopicIdError(text.to_owned()))
    }
}

impl Serialize for TopicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_as_kafka_does() {
        // Kafka's Uuid.METADATA_TOPIC_ID (0, 1) and what its toString gives.
        let id = TopicId(Uuid::from_u128(1));
        assert_eq!(id.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(id));
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for text in [
            "",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAAQ==",
            "AAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAAAQAAAA",
        ] {
            assert!(text.parse::<TopicId>().is_err(), "{text}");
        }
    }
}
