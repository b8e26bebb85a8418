//! The first exchange on a connection: which versions does the peer speak, and is it Kafka at all?
//!
//! The answer is read by hand, with every length checked: until it fits, the peer may be anything.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use kafka_protocol::protocol::{Request, StrBytes};

use super::frame;
use crate::kafka::error::Seen;

/// ApiVersions version that is asked first; every broker since 2.4 knows it.
const FIRST_VERSION: i16 = 3;

/// Bound of the answer's length: Kafka 4.3 sends about 600 bytes.
const MAX_HELLO_BYTES: usize = 64 * 1024;

/// `UNSUPPORTED_VERSION`, which an old broker sends with its own version range in the oldest format.
const UNSUPPORTED_VERSION: i16 = 35;

/// The versions that a broker speaks, by API key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions(HashMap<i16, (i16, i16)>);

impl Versions {
    /// The highest version that the broker, the `kafka-protocol` crate and the caller (`lowest..=highest`) share.
    pub(super) fn choose<R: Request>(&self, lowest: i16, highest: i16) -> Option<i16> {
        let (min, max) = *self.0.get(&R::KEY)?;
        let version = max.min(R::VERSIONS.max).min(highest);
        (version >= min.max(R::VERSIONS.min).max(lowest)).then_some(version)
    }
}

/// The API's name, for messages.
pub(super) fn api_name<R: Request>() -> String {
    ApiKey::try_from(R::KEY).map_or_else(|()| format!("API {}", R::KEY), |key| format!("{key:?}"))
}

/// What an answer to ApiVersions turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Kafka, with these versions.
    Kafka(Versions),
    /// Kafka from before 2.4: ask again in version 0.
    AskOldest,
    /// Kafka with an error code.
    Code(i16),
}

/// The first request.
pub(super) fn request(
    version: i16,
    correlation: i32,
    client_id: &StrBytes,
) -> Result<bytes::BytesMut, String> {
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request = request
            .with_client_software_name(StrBytes::from_static_str("tributary"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    }
    frame::encode(&request, version, correlation, client_id)
}

/// The version to ask first.
pub(super) const fn first_version() -> i16 {
    FIRST_VERSION
}

/// The length of the answer, if these four bytes can be one.
pub(super) fn plausible_length(prefix: [u8; 4]) -> Option<usize> {
    let length = usize::try_from(i32::from_be_bytes(prefix)).ok()?;
    // Correlation ID and error code at least.
    (6..=MAX_HELLO_BYTES).contains(&length).then_some(length)
}

/// Reads the answer's frame; `None` if it is not Kafka's.
pub(super) fn parse(mut frame: Bytes, version: i16, correlation: i32) -> Option<Hello> {
    // ApiVersions has the oldest response header in every version (KIP-511).
    if frame.try_get_i32().ok()? != correlation {
        return None;
    }
    let code = frame.try_get_i16().ok()?;
    if code == UNSUPPORTED_VERSION && version > 0 {
        return Some(Hello::AskOldest);
    }
    if code != 0 {
        return Some(Hello::Code(code));
    }
    let flexible = version >= 3;
    let count = if flexible {
        unsigned_varint(&mut frame)?.checked_sub(1)?
    } else {
        frame.try_get_u32().ok()?
    };
    let entry = if flexible { 7 } else { 6 };
    if usize::try_from(count).ok()?.checked_mul(entry)? > frame.remaining() {
        return None;
    }
    let mut versions = HashMap::new();
    for _ in 0..count {
        let key = frame.try_get_i16().ok()?;
        let range = (frame.try_get_i16().ok()?, frame.try_get_i16().ok()?);
        if flexible {
            skip_tagged_fields(&mut frame)?;
        }
        versions.insert(key, range);
    }
    // Whoever is Kafka can do ApiVersions.
    versions
        .contains_key(&ApiVersionsRequest::KEY)
        .then_some(Hello::Kafka(Versions(versions)))
}

fn unsigned_varint(frame: &mut Bytes) -> Option<u32> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = frame.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip_tagged_fields(frame: &mut Bytes) -> Option<()> {
    for _ in 0..unsigned_varint(frame)? {
        unsigned_varint(frame)?;
        let size = usize::try_from(unsigned_varint(frame)?).ok()?;
        if size > frame.remaining() {
            return None;
        }
        frame.advance(size);
    }
    Some(())
}

/// Says what the first bytes of a peer that is not Kafka look like.
pub(super) fn classify(bytes: &[u8]) -> Seen {
    // A TLS record: alert or handshake, major version 3.
    if matches!(bytes, [0x15 | 0x16, 0x03, ..]) {
        return Seen::Tls;
    }
    let line: Vec<u8> = bytes
        .iter()
        .copied()
        .take_while(|b| !matches!(b, b'\r' | b'\n'))
        .take(60)
        .collect();
    if line.len() >= 3 && line.iter().all(|b| matches!(b, 0x20..=0x7e)) {
        return Seen::Text(String::from_utf8_lossy(&line).into_owned());
    }
    let hex: Vec<String> = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Seen::Bytes(hex.join(" "))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, BytesMut};
    use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
    use kafka_protocol::messages::{FetchRequest, MetadataRequest};
    use kafka_protocol::protocol::{Encodable as _, Message as _};
    use proptest::prelude::*;

    use super::*;

    fn answer(version: i16, apis: &[(i16, i16, i16)]) -> Bytes {
        let apis = apis.iter().map(|(key, min, max)| {
            ApiVersion::default()
                .with_api_key(*key)
                .with_min_version(*min)
                .with_max_version(*max)
        });
        let mut buffer = BytesMut::new();
        buffer.put_i32(5);
        ApiVersionsResponse::default()
            .with_api_keys(apis.collect())
            .encode(&mut buffer, version)
            .expect("encodes");
        buffer.freeze()
    }

    #[test]
    fn versions_are_read_in_the_new_and_in_the_oldest_format() {
        for version in [3, 0] {
            let parsed = parse(
                answer(version, &[(18, 0, 4), (3, 0, 99), (1, 90, 99)]),
                version,
                5,
            );
            let Some(Hello::Kafka(versions)) = parsed else {
                panic!("{parsed:?}")
            };
            assert_eq!(
                versions.choose::<MetadataRequest>(0, 99),
                Some(MetadataRequest::VERSIONS.max)
            );
            assert_eq!(versions.choose::<MetadataRequest>(12, 12), Some(12));
            assert_eq!(
                versions.choose::<FetchRequest>(0, 99),
                None,
                "the broker is too new"
            );
        }
    }

    #[test]
    fn an_api_that_the_broker_lacks_has_no_version() {
        let Some(Hello::Kafka(versions)) = parse(answer(3, &[(18, 0, 4), (3, 0, 5)]), 3, 5) else {
            panic!()
        };
        assert_eq!(versions.choose::<MetadataRequest>(10, 99), None);
        assert_eq!(versions.choose::<FetchRequest>(0, 99), None);
    }

    #[test]
    fn an_old_broker_is_asked_again_and_an_error_code_is_kept() {
        let frame = |code: i16| {
            let mut buffer = BytesMut::new();
            buffer.put_i32(5);
            buffer.put_i16(code);
            buffer.put_u32(0);
            buffer.freeze()
        };
        assert_eq!(parse(frame(35), 3, 5), Some(Hello::AskOldest));
        assert_eq!(parse(frame(42), 3, 5), Some(Hello::Code(42)));
        assert_eq!(parse(frame(35), 3, 6), None, "another call's answer");
        assert_eq!(parse(frame(0), 0, 5), None, "no API at all");
    }

    #[test]
    fn what_is_not_kafka_is_described() {
        assert_eq!(classify(b"\x15\x03\x03\x00\x02\x02\x46"), Seen::Tls);
        assert_eq!(
            classify(b"HTTP/1.1 400 Bad Request\r\nx"),
            Seen::Text("HTTP/1.1 400 Bad Request".into())
        );
        assert_eq!(
            classify(b"SSH-2.0-OpenSSH_9.2\r\n"),
            Seen::Text("SSH-2.0-OpenSSH_9.2".into())
        );
        assert_eq!(classify(&[0xde, 0xad]), Seen::Bytes("de ad".into()));
        let Seen::Text(long) = classify(&[b'a'; 500]) else {
            panic!()
        };
        assert_eq!(long.len(), 60);
    }

    #[test]
    fn lengths_that_text_or_tls_would_give_are_not_plausible() {
        for prefix in [
            b"HTTP",
            b"SSH-",
            b"-ERR",
            b"\x15\x03\x03\x00",
            b"\x00\x00\x00\x00",
            b"\xff\xff\xff\xff",
        ] {
            assert_eq!(plausible_length(*prefix), None, "{prefix:?}");
        }
        assert_eq!(plausible_length([0, 0, 2, 0]), Some(512));
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0..4_i16) {
            let mut frame = vec![0, 0, 0, 5, 0, 0];
            frame.extend(&bytes);
            let _ = parse(frame.into(), version, 5);
            let _ = parse(bytes.clone().into(), version, 5);
            let _ = classify(&bytes);
        }
    }
}
