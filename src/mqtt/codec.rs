//! Packets from and to bytes, by rumqttc's codecs.

use bytes::{Bytes, BytesMut};
use rumqttc_v4::mqttbytes as v4bytes;
use rumqttc_v4::mqttbytes::v4;
use rumqttc_v5::mqttbytes as v5bytes;
use rumqttc_v5::mqttbytes::v5;

use super::endpoint::Protocol;
use super::packet::{
    Accepted, ConnAck, Connect, Incoming, MAX_USER_PROPERTIES, Message, Properties, Publish, Receipt,
    Refusal, Subscription, Topic,
};

/// The codec of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec(pub Protocol);

/// Why bytes are no packet, or a packet has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

impl From<v4bytes::Error> for CodecError {
    fn from(error: v4bytes::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<v5bytes::Error> for CodecError {
    fn from(error: v5bytes::Error) -> Self {
        Self(error.to_string())
    }
}

impl Codec {
    /// Reads one packet that `frame` holds as a whole.
    ///
    /// # Errors
    /// When the bytes are no packet that a server may send to a client which publishes at QoS 0 and 1.
    pub fn read(self, frame: &mut BytesMut) -> Result<Incoming, CodecError> {
        match self.0 {
            Protocol::V311 => from_v4(v4::Packet::read(frame, usize::MAX)?),
            Protocol::V5 => from_v5(v5::Packet::read(frame, None)?),
        }
    }

    /// Writes CONNECT.
    ///
    /// # Errors
    /// When a field is too long for the protocol.
    pub fn connect(self, connect: &Connect, out: &mut BytesMut) -> Result<(), CodecError> {
        match self.0 {
            Protocol::V311 => {
                let auth = connect
                    .login
                    .as_ref()
                    .map_or(v4::ConnectAuth::None, |(user, password)| {
                        let password = Bytes::copy_from_slice(password.expose().as_bytes());
                        v4::ConnectAuth::UsernamePassword {
                            username: user.clone(),
                            password,
                        }
                    });
                let packet = v4::Connect {
                    keep_alive: connect.keep_alive,
                    client_id: connect.client_id.clone(),
                    clean_session: connect.clean,
                    last_will: None,
                    auth,
                };
                v4::Packet::Connect(packet).write(out, usize::MAX)?;
            }
            Protocol::V5 => {
                let auth = connect
                    .login
                    .as_ref()
                    .map_or(v5::ConnectAuth::None, |(user, password)| {
                        let password = Bytes::copy_from_slice(password.expose().as_bytes());
                        v5::ConnectAuth::UsernamePassword {
                            username: user.clone(),
                            password,
                        }
                    });
                let mut properties = v5::ConnectProperties::new();
                properties.session_expiry_interval = Some(connect.session_expiry);
                properties.receive_maximum = Some(connect.receive_maximum);
                // No maximum packet size: a server silently drops what is larger, and counts it as delivered.
                let packet = v5::Connect {
                    keep_alive: connect.keep_alive,
                    client_id: connect.client_id.clone(),
                    clean_start: connect.clean,
                    properties: Some(properties),
                };
                v5::Packet::Connect(packet, None, auth).write(out, None)?;
            }
        }
        Ok(())
    }

    /// Writes SUBSCRIBE.
    ///
    /// # Errors
    /// When a field is too long for the protocol.
    pub fn subscribe(
        self,
        pkid: u16,
        filters: &[Subscription<'_>],
        out: &mut BytesMut,
    ) -> Result<(), CodecError> {
        match self.0 {
            Protocol::V311 => {
                let filters = filters.iter().map(|wanted| {
                    let qos = if wanted.qos == 0 {
                        v4bytes::QoS::AtMostOnce
                    } else {
                        v4bytes::QoS::AtLeastOnce
                    };
                    v4::SubscribeFilter::new(wanted.filter.to_owned(), qos)
                });
                let packet = v4::Subscribe {
                    pkid,
                    filters: filters.collect(),
                };
                v4::Packet::Subscribe(packet).write(out, usize::MAX)?;
            }
            Protocol::V5 => {
                let filters = filters.iter().map(|wanted| {
                    let qos = if wanted.qos == 0 {
                        v5bytes::QoS::AtMostOnce
                    } else {
                        v5bytes::QoS::AtLeastOnce
                    };
                    let mut filter = v5::SubscribeFilter::new(wanted.filter, qos);
                    // The retain flag as the publisher set it: without it every message looks fresh.
                    filter.preserve_retain = true;
                    filter.retain_forward_rule = if wanted.stored_again {
                        v5::RetainForwardRule::OnEverySubscribe
                    } else {
                        v5::RetainForwardRule::OnNewSubscribe
                    };
                    filter
                });
                let packet = v5::Subscribe {
                    pkid,
                    filters: filters.collect(),
                    properties: None,
                };
                v5::Packet::Subscribe(packet).write(out, None)?;
            }
        }
        Ok(())
    }

    /// Writes UNSUBSCRIBE.
    ///
    /// # Errors
    /// When a field is too long for the protocol.
    pub fn unsubscribe(self, pkid: u16, filters: &[&str], out: &mut BytesMut) -> Result<(), CodecError> {
        let filters = filters.iter().map(|f| (*f).to_owned()).collect();
        match self.0 {
            Protocol::V311 => {
                v4::Packet::Unsubscribe(v4::Unsubscribe {
                    pkid,
                    topics: filters,
                })
                .write(out, usize::MAX)?;
            }
            Protocol::V5 => {
                let packet = v5::Unsubscribe {
                    pkid,
                    filters,
                    properties: None,
                };
                v5::Packet::Unsubscribe(packet).write(out, None)?;
            }
        }
        Ok(())
    }

    /// Writes PUBLISH without properties; `pkid` counts at QoS 1 only.
    ///
    /// # Errors
    /// When the topic has a wildcard, or a field is too long for the protocol.
    pub fn publish(self, publish: Publish<'_>, pkid: u16, out: &mut BytesMut) -> Result<(), CodecError> {
        let Publish { topic, payload, qos } = publish;
        let before = out.len();
        let written = match self.0 {
            Protocol::V311 => {
                let qos = match qos {
                    0 => v4bytes::QoS::AtMostOnce,
                    _ => v4bytes::QoS::AtLeastOnce,
                };
                let mut packet = v4::Publish::from_bytes(topic, qos, payload);
                packet.pkid = pkid;
                packet.write(out).map_err(CodecError::from)
            }
            Protocol::V5 => {
                let qos = match qos {
                    0 => v5bytes::QoS::AtMostOnce,
                    _ => v5bytes::QoS::AtLeastOnce,
                };
                let mut packet = v5::Publish::new(topic, qos, payload, None);
                packet.pkid = pkid;
                packet.write(out).map_err(CodecError::from)
            }
        };
        if written.is_err() {
            // Half a packet would spoil the stream.
            out.truncate(before);
        }
        written.map(drop)
    }

    /// Writes PUBACK, or PUBREC for QoS 2, with success: four bytes, the same in both versions.
    pub fn acknowledge(receipt: Receipt, out: &mut BytesMut) {
        let [high, low] = receipt.pkid.to_be_bytes();
        let first = if receipt.qos == 2 { 0x50 } else { 0x40 };
        out.extend_from_slice(&[first, 0x02, high, low]);
    }

    /// Writes PUBCOMP with success: four bytes, the same in both versions.
    pub fn pubcomp(pkid: u16, out: &mut BytesMut) {
        let [high, low] = pkid.to_be_bytes();
        out.extend_from_slice(&[0x70, 0x02, high, low]);
    }

    /// Writes PINGREQ: two bytes, the same in both versions.
    pub fn ping(out: &mut BytesMut) {
        out.extend_from_slice(&[0xC0, 0x00]);
    }

    /// Writes DISCONNECT with the reason "normal": two bytes, the same in both versions.
    pub fn disconnect(out: &mut BytesMut) {
        out.extend_from_slice(&[0xE0, 0x00]);
    }
}

fn unexpected(what: impl std::fmt::Debug) -> CodecError {
    CodecError(format!("a server does not send {what:?}"))
}

fn from_v4(packet: v4::Packet) -> Result<Incoming, CodecError> {
    Ok(match packet {
        v4::Packet::ConnAck(ack) => {
            use v4::ConnectReturnCode as Code;
            let result = match ack.code {
                Code::Success => Ok(()),
                code => Err(Refusal {
                    reason: format!("{code:?}"),
                    credentials: matches!(code, Code::BadUserNamePassword | Code::NotAuthorized),
                }),
            };
            let session_present = ack.session_present;
            Incoming::ConnAck(ConnAck {
                session_present,
                result,
                keep_alive: None,
                session_expiry: None,
                maximum_qos: None,
                receive_maximum: None,
                maximum_packet: None,
            })
        }
        v4::Packet::Publish(p) => Incoming::Publish(Message {
            topic: Topic::new(p.topic).map_err(|e| CodecError(format!("the topic is not UTF-8: {e}")))?,
            payload: p.payload,
            qos: p.qos as u8,
            retain: p.retain,
            dup: p.dup,
            pkid: p.pkid,
            properties: None,
            oversize: None,
        }),
        v4::Packet::PubAck(ack) => Incoming::PubAck {
            pkid: ack.pkid,
            result: Ok(Accepted::Taken),
        },
        v4::Packet::PubRel(release) => Incoming::PubRel { pkid: release.pkid },
        v4::Packet::SubAck(ack) => {
            let code = |code: &v4::SubscribeReasonCode| match code {
                v4::SubscribeReasonCode::Success(qos) => Ok(*qos as u8),
                v4::SubscribeReasonCode::Failure => Err("refused (0x80)".to_owned()),
            };
            Incoming::SubAck {
                pkid: ack.pkid,
                granted: ack.return_codes.iter().map(code).collect(),
            }
        }
        v4::Packet::UnsubAck(ack) => Incoming::UnsubAck {
            pkid: ack.pkid,
            done: Vec::new(),
        },
        v4::Packet::PingResp => Incoming::PingResp,
        other => return Err(unexpected(other.packet_type())),
    })
}

fn from_v5(packet: v5::Packet) -> Result<Incoming, CodecError> {
    Ok(match packet {
        v5::Packet::ConnAck(ack) => Incoming::ConnAck(connack_v5(ack)),
        v5::Packet::Publish(p) => Incoming::Publish(Message {
            topic: Topic::new(p.topic).map_err(|e| CodecError(format!("the topic is not UTF-8: {e}")))?,
            payload: p.payload,
            qos: p.qos as u8,
            retain: p.retain,
            dup: p.dup,
            pkid: p.pkid,
            properties: p.properties.and_then(properties),
            oversize: None,
        }),
        v5::Packet::PubAck(ack) => {
            use v5::PubAckReason as Reason;
            let result = match ack.reason {
                Reason::Success => Ok(Accepted::Taken),
                Reason::NoMatchingSubscribers => Ok(Accepted::NoSubscriber),
                refused => Err(with_text(&refused, ack.properties.and_then(|p| p.reason_string))),
            };
            Incoming::PubAck {
                pkid: ack.pkid,
                result,
            }
        }
        v5::Packet::PubRel(release) => Incoming::PubRel { pkid: release.pkid },
        v5::Packet::SubAck(ack) => {
            let code = |code: &v5::SubscribeReasonCode| match code {
                v5::SubscribeReasonCode::Success(qos) => Ok(*qos as u8),
                refused => Err(format!("{refused:?}")),
            };
            Incoming::SubAck {
                pkid: ack.pkid,
                granted: ack.return_codes.iter().map(code).collect(),
            }
        }
        v5::Packet::UnsubAck(ack) => {
            use v5::UnsubAckReason as R;
            let code = |code: &R| match code {
                R::Success | R::NoSubscriptionExisted => Ok(()),
                refused => Err(format!("{refused:?}")),
            };
            Incoming::UnsubAck {
                pkid: ack.pkid,
                done: ack.reasons.iter().map(code).collect(),
            }
        }
        v5::Packet::PingResp => Incoming::PingResp,
        v5::Packet::Disconnect(d) => Incoming::Disconnect {
            taken_over: d.reason_code == v5::DisconnectReasonCode::SessionTakenOver,
            reason: with_text(&d.reason_code, d.properties.and_then(|p| p.reason_string)),
        },
        other => return Err(unexpected(other.packet_type())),
    })
}

fn with_text(code: &impl std::fmt::Debug, text: Option<String>) -> String {
    text.map_or_else(|| format!("{code:?}"), |text| format!("{code:?}: {text}"))
}

fn connack_v5(ack: v5::ConnAck) -> ConnAck {
    use v5::ConnectReturnCode as Code;
    let properties = ack.properties;
    let result = match ack.code {
        Code::Success => Ok(()),
        code => Err(Refusal {
            reason: with_text(&code, properties.as_ref().and_then(|p| p.reason_string.clone())),
            credentials: matches!(
                code,
                Code::BadUserNamePassword
                    | Code::NotAuthorized
                    | Code::BadAuthenticationMethod
                    | Code::Banned
            ),
        }),
    };
    ConnAck {
        session_present: ack.session_present,
        result,
        keep_alive: properties.as_ref().and_then(|p| p.server_keep_alive),
        session_expiry: properties.as_ref().and_then(|p| p.session_expiry_interval),
        maximum_qos: properties.as_ref().and_then(|p| p.max_qos),
        receive_maximum: properties.as_ref().and_then(|p| p.receive_max),
        maximum_packet: properties.as_ref().and_then(|p| p.max_packet_size),
    }
}

fn properties(mut p: v5::PublishProperties) -> Option<Box<Properties>> {
    p.user_properties.truncate(MAX_USER_PROPERTIES);
    p.user_properties.shrink_to_fit();
    let properties = Properties {
        content_type: p.content_type,
        response_topic: p.response_topic,
        correlation_data: p.correlation_data,
        user: p.user_properties,
    };
    (properties != Properties::default()).then(|| Box::new(properties))
}

#[cfg(test)]
mod tests;
