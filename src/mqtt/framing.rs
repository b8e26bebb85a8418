//! From a stream of bytes to packets, without I/O and in bounded memory.
//!
//! A payload of up to `max_payload` bytes is kept whole. Of a larger one (the protocol allows 256 MiB) only the
//! beginning is kept, the rest is hashed as it passes by: the message then carries [`Oversize`].

use bytes::{Buf, BytesMut};
use sha2::{Digest, Sha256};

use super::codec::{Codec, CodecError};
use super::packet::{Incoming, Message, Oversize};

/// What a PUBLISH may need beside its payload: a topic of 64 KiB and properties. Larger is refused.
const HEADER_ROOM: usize = 128 * 1024;
/// Space offered to each read.
const READ_CHUNK: usize = 64 * 1024;
/// Bytes of a topic that name a PUBLISH that cannot be read.
const MAX_NAME: usize = 128;
/// Packets other than PUBLISH are small; what claims to be larger is no MQTT.
const MAX_CONTROL_PACKET: usize = 256 * 1024;
const PUBLISH: u8 = 3;

/// Reassembles packets.
#[derive(Debug)]
pub struct Framing {
    codec: Codec,
    buffer: BytesMut,
    max_payload: usize,
    passing: Option<Passing>,
}

/// A payload whose rest passes by.
#[derive(Debug)]
struct Passing {
    message: Message,
    left: usize,
    size: u64,
    hash: Sha256,
}

impl Framing {
    /// An empty stream.
    pub fn new(codec: Codec, max_payload: usize) -> Self {
        Self {
            codec,
            buffer: BytesMut::new(),
            max_payload,
            passing: None,
        }
    }

    /// Where the next bytes from the network go; always has room.
    pub fn space(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_CHUNK / 4 {
            self.buffer.reserve(READ_CHUNK);
        }
        &mut self.buffer
    }

    /// The next packet, if it has arrived as a whole.
    ///
    /// # Errors
    /// When the stream is not MQTT. It stays so: the connection must be closed.
    #[allow(clippy::should_implement_trait)] // an error ends the stream, which an iterator cannot say
    pub fn next(&mut self) -> Result<Option<Incoming>, CodecError> {
        if self.passing.is_some() {
            return Ok(self.pass());
        }
        let Some((first, header, body)) = fixed_header(&self.buffer)? else {
            return Ok(None);
        };
        let publish = first >> 4 == PUBLISH;
        if !publish && body > MAX_CONTROL_PACKET {
            return Err(CodecError(format!(
                "a packet of type {} with {body} bytes",
                first >> 4
            )));
        }
        let kept = self.max_payload.saturating_add(HEADER_ROOM);
        if publish && body > kept {
            return self.begin_oversize(first, header, body, kept);
        }
        if !self.holds(header + body) {
            return Ok(None);
        }
        // The codec gets exactly one frame, so that a wrong length inside cannot reach into the next one.
        let mut frame = self.buffer.split_to(header + body);
        if !publish {
            return self.codec.read(&mut frame).map(Some);
        }
        let name = Name::of(first, &frame[header..]);
        self.codec
            .read(&mut frame)
            .map(Some)
            .map_err(|e| name.explain(&e))
    }

    /// Whether so many bytes are there; makes room for them if not.
    fn holds(&mut self, wanted: usize) -> bool {
        if self.buffer.len() >= wanted {
            return true;
        }
        self.buffer.reserve(wanted - self.buffer.len());
        false
    }

    /// Reads the first `kept` bytes as if they were the whole packet and lets the others pass.
    fn begin_oversize(
        &mut self,
        first: u8,
        header: usize,
        body: usize,
        kept: usize,
    ) -> Result<Option<Incoming>, CodecError> {
        if !self.holds(header + kept) {
            return Ok(None);
        }
        self.buffer.advance(header);
        let beginning = self.buffer.split_to(kept);
        let mut frame = BytesMut::with_capacity(kept + 5);
        frame.extend_from_slice(&[first]);
        write_length(kept, &mut frame);
        frame.extend_from_slice(&beginning);
        let name = Name::of(first, &beginning);
        let packet = self.codec.read(&mut frame).map_err(|e| name.explain(&e))?;
        let Incoming::Publish(mut message) = packet else {
            return Err(CodecError("a PUBLISH that is none".to_owned()));
        };
        let left = body - kept;
        let size = (message.payload.len() + left) as u64;
        let hash = Sha256::new_with_prefix(&message.payload);
        message.payload.truncate(self.max_payload);
        self.passing = Some(Passing {
            message,
            left,
            size,
            hash,
        });
        Ok(self.pass())
    }

    fn pass(&mut self) -> Option<Incoming> {
        let passing = self.passing.as_mut()?;
        let n = passing.left.min(self.buffer.len());
        passing.hash.update(&self.buffer[..n]);
        self.buffer.advance(n);
        passing.left -= n;
        if passing.left > 0 {
            return None;
        }
        let Passing {
            mut message,
            size,
            hash,
            ..
        } = self.passing.take()?;
        message.oversize = Some(Box::new(Oversize {
            size,
            sha256: hash.finalize().into(),
        }));
        Some(Incoming::Publish(message))
    }
}

/// Which PUBLISH it is, for the case that the codec refuses it: what it refuses it does not give back.
struct Name {
    topic: [u8; MAX_NAME],
    /// Bytes of `topic` that are there, and whether they are all.
    kept: usize,
    whole: bool,
    /// Absent at QoS 0, and where the packet ends before.
    pkid: Option<u16>,
}

impl Name {
    /// Copies what is needed from the packet without its fixed header; no allocation, for each PUBLISH comes by here.
    fn of(first: u8, body: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = body.get(at..at + 2)?;
            Some(u16::from_be_bytes([bytes[0], bytes[1]]))
        };
        let length = usize::from(number(0).unwrap_or_default());
        let there = body.get(2..).unwrap_or_default();
        let kept = length.min(MAX_NAME).min(there.len());
        let mut topic = [0; MAX_NAME];
        topic[..kept].copy_from_slice(&there[..kept]);
        let acknowledged = (first >> 1) & 3 > 0;
        Self {
            topic,
            kept,
            whole: kept == length,
            pkid: if acknowledged { number(2 + length) } else { None },
        }
    }

    fn explain(&self, error: &CodecError) -> CodecError {
        let topic = String::from_utf8_lossy(&self.topic[..self.kept]);
        let more = if self.whole { "" } else { "…" };
        let pkid = self
            .pkid
            .map_or_else(String::new, |pkid| format!(" with packet ID {pkid}"));
        CodecError(format!(
            "a PUBLISH to {topic:?}{more}{pkid} cannot be read: {error}"
        ))
    }
}

/// The first byte, the length of the fixed header and that of the body, if they are there (MQTT 5.0, 2.1.4).
///
/// The first byte is judged at once: what speaks another protocol is found before it has said enough for a packet.
fn fixed_header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, CodecError> {
    match bytes.first().map(|first| (first >> 4, first & 0x0F)) {
        None => return Ok(None),
        // Beside PUBLISH: CONNACK, PUBACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT; and PUBREL, with its own flags. We publish
        // nothing at QoS 2, so nothing else comes.
        Some((PUBLISH, _) | (2 | 4 | 9 | 11 | 13 | 14, 0) | (6, 2)) => {}
        Some((kind, flags)) => return Err(CodecError(format!("a packet of type {kind} with flags {flags}"))),
    }
    let mut body = 0_usize;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        body |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((bytes[0], i + 2, body)));
        }
    }
    if bytes.len() >= 5 {
        return Err(CodecError("a length of more than four bytes".to_owned()));
    }
    Ok(None)
}

fn write_length(mut length: usize, out: &mut BytesMut) {
    loop {
        // Seven bits at a time, so nothing is cut off.
        #[allow(clippy::cast_possible_truncation)]
        let low = (length & 0x7F) as u8;
        length >>= 7;
        out.extend_from_slice(&[if length > 0 { low | 0x80 } else { low }]);
        if length == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::endpoint::Protocol;
    use bytes::Bytes;
    use proptest::prelude::*;
    use rumqttc_v4::mqttbytes::v4;
    use rumqttc_v5::mqttbytes::v5;

    fn publish(protocol: Protocol, topic: &str, payload: &[u8], pkid: u16) -> BytesMut {
        let mut out = BytesMut::new();
        match protocol {
            Protocol::V311 => {
                let qos = if pkid == 0 {
                    rumqttc_v4::QoS::AtMostOnce
                } else {
                    rumqttc_v4::QoS::AtLeastOnce
                };
                let mut p = v4::Publish::from_bytes(topic, qos, Bytes::copy_from_slice(payload));
                p.pkid = pkid;
                v4::Packet::Publish(p).write(&mut out, usize::MAX).unwrap();
            }
            Protocol::V5 => {
                let qos = if pkid == 0 {
                    rumqttc_v5::QoS::AtMostOnce
                } else {
                    rumqttc_v5::QoS::AtLeastOnce
                };
                let mut p = v5::Publish::new(topic, qos, Bytes::copy_from_slice(payload), None);
                p.pkid = pkid;
                v5::Packet::Publish(p).write(&mut out, None).unwrap();
            }
        }
        out
    }

    /// Feeds `stream` in pieces of the given sizes and collects what comes out.
    fn feed(framing: &mut Framing, stream: &[u8], sizes: &[usize]) -> Vec<Incoming> {
        let (mut out, mut rest, mut sizes) = (Vec::new(), stream, sizes.iter().cycle());
        while !rest.is_empty() {
            let n = (*sizes.next().unwrap()).clamp(1, rest.len());
            framing.space().extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            while let Some(packet) = framing.next().unwrap() {
                out.push(packet);
            }
        }
        out
    }

    #[test]
    fn a_payload_beyond_the_bound_passes_by_and_leaves_its_beginning_size_and_hash() {
        for protocol in [Protocol::V311, Protocol::V5] {
            let payload: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
            let mut stream = publish(protocol, "big", &payload, 7);
            stream.extend_from_slice(&publish(protocol, "small", b"x", 8));
            let mut framing = Framing::new(Codec(protocol), 1000);
            let out = feed(&mut framing, &stream, &[4096]);
            let [Incoming::Publish(big), Incoming::Publish(small)] = &out[..] else {
                panic!("{out:?}")
            };
            assert_eq!((big.topic.as_str(), big.pkid, big.qos), ("big", 7, 1));
            assert_eq!(big.payload, payload[..1000]);
            let expected = Oversize {
                size: 600_000,
                sha256: Sha256::digest(&payload).into(),
            };
            assert_eq!(big.oversize.as_deref(), Some(&expected));
            assert_eq!((small.topic.as_str(), &small.payload[..]), ("small", &b"x"[..]));
            assert_eq!(small.oversize, None);
        }
    }

    #[test]
    fn memory_stays_bounded_while_a_huge_payload_passes() {
        let mut framing = Framing::new(Codec(Protocol::V311), 1000);
        let mut head = BytesMut::from(&[0x30][..]);
        write_length(200_000_000, &mut head);
        head.extend_from_slice(b"\x00\x01t");
        framing.space().extend_from_slice(&head);
        let chunk = vec![0_u8; 64 * 1024];
        for _ in 0..1000 {
            framing.space().extend_from_slice(&chunk);
            assert_eq!(framing.next(), Ok(None));
            assert!(
                framing.buffer.capacity() < 2 * (HEADER_ROOM + READ_CHUNK),
                "{}",
                framing.buffer.capacity()
            );
        }
    }

    #[test]
    fn what_is_no_mqtt_is_an_error_not_a_wait() {
        let mut http = Framing::new(Codec(Protocol::V5), 1000);
        http.space()
            .extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert!(http.next().is_err());
        let mut long = Framing::new(Codec(Protocol::V5), 1000);
        long.space().extend_from_slice(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert!(long.next().is_err());
        let mut control = Framing::new(Codec(Protocol::V5), 1000);
        control.space().extend_from_slice(&[0x90, 0xFF, 0xFF, 0x7F]);
        assert!(control.next().is_err());
    }

    #[test]
    fn a_publish_that_cannot_be_read_is_named_by_topic_and_packet_id() {
        let error = |protocol, stream: &[u8], max_payload| {
            let mut framing = Framing::new(Codec(protocol), max_payload);
            framing.space().extend_from_slice(stream);
            framing.next().unwrap_err().to_string()
        };
        // A property that no PUBLISH has, and a topic that is not UTF-8.
        let property = b"\x32\x0B\x00\x03a/b\x00\x07\x02\x7F\x00x";
        let text = error(Protocol::V5, property, 1000);
        assert!(
            text.contains(r#"a PUBLISH to "a/b" with packet ID 7 cannot be read"#),
            "{text}"
        );
        let text = error(Protocol::V311, b"\x30\x05\x00\x03a/\xFF", 1000);
        assert!(text.contains("a PUBLISH to \"a/\u{FFFD}\" cannot"), "{text}");
        // Too large to be kept, and without its properties' end in what is kept.
        let mut large = BytesMut::from(&b"\x32"[..]);
        write_length(400_000, &mut large);
        large.extend_from_slice(b"\x00\x03a/b\x00\x07\xFF\xFF\x0F\x26\xFF\xFF");
        large.resize(400_010, b'x');
        let text = error(Protocol::V5, &large, 1000);
        assert!(
            text.contains(r#"a PUBLISH to "a/b" with packet ID 7 cannot be read"#),
            "{text}"
        );
        // Cut short, and long.
        for stream in [&b"\x32\x00"[..], b"\x32\x01\x00", b"\x32\x04\x00\x09ab"] {
            assert!(error(Protocol::V5, stream, 1000).contains("a PUBLISH to"));
        }
        let mut long = BytesMut::from(&b"\x30"[..]);
        write_length(502, &mut long);
        long.extend_from_slice(&[1, 244]);
        long.resize(3 + 502, 0xFF);
        let text = error(Protocol::V311, &long, 1000);
        assert!(text.contains("\"… cannot"), "{text}");
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in_however_the_stream_is_cut(
            messages in prop::collection::vec(("[a-z]{1,5}", prop::collection::vec(any::<u8>(), 0..300), 0..3_u16), 1..8),
            sizes in prop::collection::vec(1..400_usize, 1..6),
            v5 in any::<bool>(),
        ) {
            let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
            let mut stream = BytesMut::new();
            for (topic, payload, pkid) in &messages {
                stream.extend_from_slice(&publish(protocol, topic, payload, *pkid));
            }
            let out = feed(&mut Framing::new(Codec(protocol), 1000), &stream, &sizes);
            prop_assert_eq!(out.len(), messages.len());
            for (packet, (topic, payload, pkid)) in out.iter().zip(&messages) {
                let Incoming::Publish(m) = packet else { panic!("{packet:?}") };
                prop_assert_eq!(m.topic.as_str(), topic);
                prop_assert_eq!(&m.payload[..], &payload[..]);
                prop_assert_eq!((m.pkid, m.qos), (*pkid, u8::from(*pkid > 0)));
            }
        }

        #[test]
        fn any_bytes_at_all_yield_packets_errors_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..200), v5 in any::<bool>(),
        ) {
            let mut framing = Framing::new(Codec(if v5 { Protocol::V5 } else { Protocol::V311 }), 10);
            framing.space().extend_from_slice(&bytes);
            while let Ok(Some(_)) = framing.next() {}
        }
    }
}
