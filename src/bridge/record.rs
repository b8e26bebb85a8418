//! The records that reach Kafka: key, headers and payload of a route's record and of a dead letter.
//!
//! | Header | Of which records | Value |
//! | --- | --- | --- |
//! | `mqtt.topic` | all | the MQTT topic |
//! | `mqtt.qos` | all | `0`, `1` or `2` |
//! | `mqtt.retain` | retained messages | `true` |
//! | `mqtt.dup` | messages that the server delivered before | `true`: this record may be a repetition |
//! | `mqtt.content-type`, `mqtt.response-topic`, `mqtt.correlation-data` | messages that have them (MQTT 5) | as they came |
//! | `mqtt.user.<name>` | messages with user properties (MQTT 5), the first 32 | the property's value |
//! | the route's own | the route's | filled from its templates |
//! | `tributary.reason` | dead letters | `NoRoute`, `InvalidPayload`, `PayloadTooLarge`, `RecordRefused` |
//! | `tributary.message` | dead letters | the reason in a sentence |
//! | `tributary.route`, `tributary.topic` | dead letters that a route refused | the route's name and its Kafka topic |
//! | `tributary.original-size` | dead letters | bytes of the payload as it came |
//! | `tributary.sha256` | dead letters | SHA-256 of the payload as it came, hex |
//! | `tributary.truncated` | dead letters that were cut to fit | `true` |
//! | `tributary.properties-omitted` | dead letters that fit only without some | `true`: those that [`omits`] names |
//!
//! A dead letter's key is its MQTT topic. The timestamp of every record is when the bridge received the message.

use std::fmt::Write as _;

use rdkafka::message::{Header, OwnedHeaders};
use sha2::{Digest, Sha256};

use super::routes::RouteTable;
use super::window::{DEAD_LETTER, Entry, RecordId, Refusal};
use crate::mqtt::packet::{Message, Properties};

/// Bytes of a content type that a shortened dead letter keeps: no MIME type is longer (RFC 6838, 4.2).
const MAX_MIME_TYPE: usize = 255;
/// Bytes of a refusal's sentence in a header, at most.
const MAX_TEXT: usize = 512;

/// A record, ready for the producer.
#[derive(Debug)]
pub struct Record<'a> {
    /// Kafka topic.
    pub topic: &'a str,
    /// Key; never absent, so that the partition is a function of it.
    pub key: &'a str,
    /// Value.
    pub payload: &'a [u8],
    /// Headers as in the module's table.
    pub headers: OwnedHeaders,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Whether the payload was cut.
    pub truncated: bool,
}

/// Builds records; holds the buffers that they share.
#[derive(Debug)]
pub struct RecordBuilder {
    table: RouteTable,
    dead_letter: Option<String>,
    key: String,
}

impl RecordBuilder {
    /// For these routes and this dead-letter topic.
    pub fn new(table: RouteTable, dead_letter: Option<String>) -> Self {
        Self {
            table,
            dead_letter,
            key: String::new(),
        }
    }

    /// The routes.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// The dead-letter topic.
    pub fn dead_letter(&self) -> Option<&str> {
        self.dead_letter.as_deref()
    }

    /// The Kafka topic of a slot.
    pub fn topic(&self, slot: u8) -> &str {
        match self.table.get(slot) {
            Some(route) if slot < DEAD_LETTER => &route.topic,
            _ => self.dead_letter.as_deref().unwrap_or_default(),
        }
    }

    /// The record of one slot; `None` if there is no such slot, which would be a mistake of the caller.
    pub fn build<'a>(&'a mut self, id: RecordId, entry: &'a Entry) -> Option<Record<'a>> {
        let topic = entry.message.topic.as_str();
        if id.slot >= DEAD_LETTER {
            let refusal = entry.refusals.get(usize::from(id.slot - DEAD_LETTER))?;
            let keep = entry.kept();
            let payload = &entry.message.payload[..keep];
            let truncated = entry.message.oversize.is_some() || keep < entry.message.payload.len();
            let headers = mqtt_headers(entry, entry.keep.is_some());
            let headers = self.dead_letter_headers(headers, entry, refusal, truncated);
            let topic = self.dead_letter.as_deref()?;
            let key = entry.message.topic.as_str();
            return Some(Record {
                topic,
                key,
                payload,
                headers,
                timestamp: entry.timestamp,
                truncated,
            });
        }
        let route = self.table.get(id.slot)?;
        let mut headers = Some(mqtt_headers(entry, false));
        route.render(topic, &mut self.key, |name, value| {
            headers = headers.take().map(|h| {
                h.insert(Header {
                    key: name,
                    value: Some(value),
                })
            });
        });
        Some(Record {
            topic: &route.topic,
            key: &self.key,
            payload: &entry.message.payload,
            headers: headers.unwrap_or_default(),
            timestamp: entry.timestamp,
            truncated: false,
        })
    }

    fn dead_letter_headers(
        &self,
        headers: OwnedHeaders,
        entry: &Entry,
        refusal: &Refusal,
        truncated: bool,
    ) -> OwnedHeaders {
        let oversize = entry.message.oversize.as_deref();
        let size = oversize
            .map_or(entry.message.payload.len() as u64, |o| o.size)
            .to_string();
        let sha256 =
            hex(&oversize.map_or_else(|| Sha256::digest(&entry.message.payload).into(), |o| o.sha256));
        let mut headers = headers
            .insert(Header {
                key: "tributary.reason",
                value: Some(&refusal.reason.as_str()),
            })
            .insert(Header {
                key: "tributary.message",
                value: Some(cut(&refusal.text)),
            })
            .insert(Header {
                key: "tributary.original-size",
                value: Some(&size),
            })
            .insert(Header {
                key: "tributary.sha256",
                value: Some(&sha256),
            });
        if let Some(route) = refusal.slot.and_then(|slot| self.table.get(slot)) {
            headers = headers
                .insert(Header {
                    key: "tributary.route",
                    value: Some(&route.name),
                })
                .insert(Header {
                    key: "tributary.topic",
                    value: Some(&route.topic),
                });
        }
        if truncated {
            headers = headers.insert(Header {
                key: "tributary.truncated",
                value: Some("true"),
            });
        }
        if entry.keep.is_some() && omits(&entry.message) {
            headers = headers.insert(Header {
                key: "tributary.properties-omitted",
                value: Some("true"),
            });
        }
        headers
    }
}

/// Whether a dead letter of this message, shortened to fit, goes without some of its properties: without response topic,
/// correlation data, user properties, and a content type that is none. They may be larger than any topic takes.
pub fn omits(message: &Message) -> bool {
    let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > MAX_MIME_TYPE);
    message.properties.as_ref().is_some_and(|p| {
        p.response_topic.is_some()
            || p.correlation_data.is_some()
            || !p.user.is_empty()
            || long(&p.content_type)
    })
}

fn mqtt_headers(entry: &Entry, shortened: bool) -> OwnedHeaders {
    let message = &entry.message;
    let qos = match message.qos {
        0 => "0",
        1 => "1",
        _ => "2",
    };
    let mut headers = OwnedHeaders::new_with_capacity(4)
        .insert(Header {
            key: "mqtt.topic",
            value: Some(message.topic.as_str()),
        })
        .insert(Header {
            key: "mqtt.qos",
            value: Some(qos),
        });
    if message.retain {
        headers = headers.insert(Header {
            key: "mqtt.retain",
            value: Some("true"),
        });
    }
    if message.dup {
        headers = headers.insert(Header {
            key: "mqtt.dup",
            value: Some("true"),
        });
    }
    match &message.properties {
        None => headers,
        Some(properties) => property_headers(headers, properties, shortened),
    }
}

fn property_headers(mut headers: OwnedHeaders, properties: &Properties, shortened: bool) -> OwnedHeaders {
    let content_type = properties.content_type.as_ref();
    if let Some(value) = content_type.filter(|text| !shortened || text.len() <= MAX_MIME_TYPE) {
        headers = headers.insert(Header {
            key: "mqtt.content-type",
            value: Some(value),
        });
    }
    if shortened {
        return headers;
    }
    if let Some(value) = &properties.response_topic {
        headers = headers.insert(Header {
            key: "mqtt.response-topic",
            value: Some(value),
        });
    }
    if let Some(value) = &properties.correlation_data {
        headers = headers.insert(Header {
            key: "mqtt.correlation-data",
            value: Some(&value[..]),
        });
    }
    for (name, value) in &properties.user {
        // librdkafka takes names as C strings in places; MQTT forbids NUL anyway (1.5.4-2).
        let name = format!("mqtt.user.{}", name.replace('\0', ""));
        headers = headers.insert(Header {
            key: &name,
            value: Some(value),
        });
    }
    headers
}

fn cut(text: &str) -> &str {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let end = (0..=MAX_TEXT)
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0);
    &text[..end]
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
