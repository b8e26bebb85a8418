//! The packets of a client that subscribes and publishes at QoS 0 and 1, the same for MQTT 3.1.1 and 5. At QoS 2 it takes in
//! what the session of an earlier client holds. Bytes are read and written by rumqttc's codecs.

use bytes::Bytes;

use crate::telemetry::Redacted;

/// What a server sends to such a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Answer to CONNECT.
    ConnAck(ConnAck),
    /// A message.
    Publish(Message),
    /// Answer to a PUBLISH of ours at QoS 1.
    PubAck {
        /// The PUBLISH's packet ID.
        pkid: u16,
        /// What became of the message, or why the server refuses it (5 only; a 3.1.1 server takes everything).
        result: Result<Accepted, String>,
    },
    /// The server knows that we have a message at QoS 2, and waits for PUBCOMP before it uses the packet ID again.
    PubRel {
        /// The message's packet ID.
        pkid: u16,
    },
    /// Answer to SUBSCRIBE, one entry for each filter: the granted QoS, or why not.
    SubAck {
        /// The SUBSCRIBE's packet ID.
        pkid: u16,
        /// In the order of the filters.
        granted: Vec<Result<u8, String>>,
    },
    /// Answer to UNSUBSCRIBE, one entry for each filter; a 3.1.1 server always answers that it is done.
    UnsubAck {
        /// The UNSUBSCRIBE's packet ID.
        pkid: u16,
        /// In the order of the filters; empty in 3.1.1.
        done: Vec<Result<(), String>>,
    },
    /// Answer to PINGREQ.
    PingResp,
    /// The server ends the connection (5 only).
    Disconnect {
        /// The code in words.
        reason: String,
        /// Whether another client has taken the session.
        taken_over: bool,
    },
}

/// A filter to subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The filter.
    pub filter: &'a str,
    /// The QoS asked for.
    pub qos: u8,
    /// Whether stored (retained) messages shall come also if the session has the subscription already. A 3.1.1 server
    /// always sends them.
    pub stored_again: bool,
}

/// What a server did with a message that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Someone has subscribed to its topic, or the server does not say.
    Taken,
    /// Nobody has (reason 0x10, 5 only): the message is gone.
    NoSubscriber,
}

/// Answer to CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server has kept the session.
    pub session_present: bool,
    /// Whether we are in.
    pub result: Result<(), Refusal>,
    /// Keep alive that the server imposes, seconds (5 only).
    pub keep_alive: Option<u16>,
    /// Session expiry that the server imposes, seconds (5 only).
    pub session_expiry: Option<u32>,
    /// Highest QoS the server knows, if it is not 2 (5 only).
    pub maximum_qos: Option<u8>,
    /// QoS 1 messages of ours that may be unacknowledged, if it is not 65535 (5 only).
    pub receive_maximum: Option<u16>,
    /// Bytes of the largest packet that the server takes, if there is a limit (5 only).
    pub maximum_packet: Option<u32>,
}

/// Why the server does not let us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code in words.
    pub reason: String,
    /// Whether it is about user, password or certificate.
    pub credentials: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic; checked to be UTF-8 when it was read.
    pub topic: Topic,
    /// Payload, or its beginning if `oversize` says so.
    pub payload: Bytes,
    /// 0 or 1; 2 for what an earlier client of this ID left in the session.
    pub qos: u8,
    /// Whether the server had it stored as the topic's last value.
    pub retain: bool,
    /// Whether the server has sent it before.
    pub dup: bool,
    /// Packet ID; 0 for QoS 0.
    pub pkid: u16,
    /// What version 5 adds; absent if nothing.
    pub properties: Option<Box<Properties>>,
    /// Set if the payload was too large to be kept.
    pub oversize: Option<Box<Oversize>>,
}

impl Message {
    /// How its receipt is told; not at all at QoS 0.
    pub fn receipt(&self) -> Option<Receipt> {
        let (pkid, qos) = (self.pkid, self.qos);
        (qos > 0).then_some(Receipt { pkid, qos })
    }
}

/// That a message has been taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message's packet ID.
    pub pkid: u16,
    /// The message's QoS: 1 is answered by PUBACK, 2 by PUBREC.
    pub qos: u8,
}

/// User properties of a message that are kept: a packet of a megabyte has room for two hundred thousand empty ones, which
/// would take ten times its size in memory.
pub const MAX_USER_PROPERTIES: usize = 32;

/// What version 5 adds to a message and a reader of Kafka may want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// Topic for an answer.
    pub response_topic: Option<String>,
    /// What the answer has to carry.
    pub correlation_data: Option<Bytes>,
    /// The application's own pairs, the first [`MAX_USER_PROPERTIES`].
    pub user: Vec<(String, String)>,
}

/// A payload of which only the beginning was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oversize {
    /// Bytes of the whole payload.
    pub size: u64,
    /// SHA-256 of the whole payload.
    pub sha256: [u8; 32],
}

/// A topic's bytes, known to be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(Bytes);

impl Topic {
    /// Checks the bytes.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub fn new(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        // Checked by `new`; an empty topic is the answer that harms nobody.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<&'static str> for Topic {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The session's name.
    pub client_id: String,
    /// Seconds of silence after which the server takes us for dead (times 1.5).
    pub keep_alive: u16,
    /// Whether an old session is thrown away (clean start; in 3.1.1 also the new one, at the end).
    pub clean: bool,
    /// How long the session outlives the connection, seconds (5 only).
    pub session_expiry: u32,
    /// QoS 1 messages that may be unacknowledged (5 only).
    pub receive_maximum: u16,
    /// User and password.
    pub login: Option<(String, Redacted)>,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// Where to, without wildcards.
    pub topic: &'a str,
    /// What.
    pub payload: Bytes,
    /// 0 or 1.
    pub qos: u8,
}
