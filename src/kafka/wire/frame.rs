//! Kafka's framing: a length of four bytes, then a header and a body whose layout the API and its version give.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The largest answer that is read. Metadata of 100,000 partitions takes about 10 MiB.
pub const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// Room that is taken before the first byte of an answer is there; the rest follows what really arrives.
const FIRST_BUFFER: usize = 64 * 1024;

/// A request, ready to be sent: length, header, body.
pub(super) fn encode<R: Request>(
    request: &R,
    version: i16,
    correlation: i32,
    client_id: &StrBytes,
) -> Result<BytesMut, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client_id.clone()));
    let mut buffer = BytesMut::with_capacity(256);
    buffer.put_i32(0);
    header
        .encode(&mut buffer, R::header_version(version))
        .map_err(|e| format!("{e:#}"))?;
    request
        .encode(&mut buffer, version)
        .map_err(|e| format!("{e:#}"))?;
    let length =
        i32::try_from(buffer.len() - 4).map_err(|_| "the request is larger than 2 GiB".to_owned())?;
    buffer[..4].copy_from_slice(&length.to_be_bytes());
    Ok(buffer)
}

/// The answer in a frame (without its length).
pub(super) fn decode<R: Request>(
    mut frame: Bytes,
    version: i16,
    correlation: i32,
) -> Result<R::Response, String> {
    let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))
        .map_err(|e| format!("broken header: {e:#}"))?;
    if header.correlation_id != correlation {
        return Err(format!(
            "it answers call {} and {correlation} was asked",
            header.correlation_id
        ));
    }
    R::Response::decode(&mut frame, version).map_err(|e| format!("broken body: {e:#}"))
}

/// Reads the body of a frame whose length is known. Memory grows with what arrives, not with what is announced.
pub(super) async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, length: usize) -> io::Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(length.min(FIRST_BUFFER));
    let mut rest = stream.take(length as u64);
    while buffer.len() < length {
        if rest.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{MetadataRequest, MetadataResponse};

    use super::*;

    #[test]
    fn a_request_carries_its_length_key_version_and_correlation() {
        let request = MetadataRequest::default().with_topics(Some(vec![]));
        let frame = encode(&request, 12, 7, &StrBytes::from_static_str("me")).expect("encodes");
        let length = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
        assert_eq!(usize::try_from(length).expect("positive"), frame.len() - 4);
        assert_eq!(&frame[4..14], &[0, 3, 0, 12, 0, 0, 0, 7, 0, 2]);
    }

    #[test]
    fn an_answer_to_another_call_is_refused() {
        let mut buffer = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(8)
            .encode(&mut buffer, 1)
            .expect("encodes");
        MetadataResponse::default()
            .encode(&mut buffer, 12)
            .expect("encodes");
        let frame = buffer.freeze();
        assert!(decode::<MetadataRequest>(frame.clone(), 12, 8).is_ok());
        let error = decode::<MetadataRequest>(frame, 12, 7).expect_err("wrong call");
        assert!(error.contains("answers call 8"), "{error}");
    }

    #[tokio::test]
    async fn a_short_body_is_an_error_not_a_wait() {
        let mut short: &[u8] = b"abc";
        let error = read_body(&mut short, 4).await.expect_err("short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let mut more: &[u8] = b"abcdef";
        assert_eq!(read_body(&mut more, 4).await.expect("reads").as_ref(), b"abcd");
        assert_eq!(more, b"ef");
    }
}
