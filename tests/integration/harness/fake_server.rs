//! Servers that are not Kafka, or only at first.

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::{ApiKey, ResponseHeader};
use kafka_protocol::protocol::{Encodable as _, HeaderVersion as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a server does with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Sends this at once.
    Greets(Bytes),
    /// Sends this after the first bytes of the client, and closes.
    Answers(Bytes),
    /// Reads and says nothing.
    Silent,
    /// Closes after the first bytes of the client.
    Closes,
    /// Answers ApiVersions as Kafka does, and every other request with these bytes (length included).
    KafkaThen(Bytes),
}

/// A server on a free port of 127.0.0.1.
pub(crate) struct FakeServer {
    port: u16,
    task: JoinHandle<()>,
}

impl FakeServer {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = super::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, behaviour.clone()));
            }
        });
        Self { port, task }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server's own errors are of no interest: what counts is what the client makes of it.
async fn serve(mut stream: TcpStream, behaviour: Behaviour) -> Option<()> {
    let mut buffer = [0; 4096];
    match behaviour {
        Behaviour::Greets(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            while stream.read(&mut buffer).await.ok()? > 0 {}
        }
        Behaviour::Answers(bytes) => {
            let _ = stream.read(&mut buffer).await.ok()?;
            stream.write_all(&bytes).await.ok()?;
        }
        Behaviour::Silent => while stream.read(&mut buffer).await.ok()? > 0 {},
        Behaviour::Closes => drop(stream.read(&mut buffer).await),
        Behaviour::KafkaThen(bytes) => loop {
            let length = usize::try_from(stream.read_i32().await.ok()?).ok()?;
            let mut request = vec![0; length];
            stream.read_exact(&mut request).await.ok()?;
            let key = i16::from_be_bytes([request[0], request[1]]);
            let answer = if key == ApiKey::ApiVersions as i16 {
                api_versions(&request)
            } else {
                bytes.clone()
            };
            stream.write_all(&answer).await.ok()?;
        },
    }
    Some(())
}

fn api_versions(request: &[u8]) -> Bytes {
    let version = i16::from_be_bytes([request[2], request[3]]);
    let correlation = i32::from_be_bytes([request[4], request[5], request[6], request[7]]);
    let apis = [(ApiKey::ApiVersions, 0, 4), (ApiKey::Metadata, 0, 13)].map(|(key, min, max)| {
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_min_version(min)
            .with_max_version(max)
    });
    let mut body = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header
        .encode(&mut body, ApiVersionsResponse::header_version(version))
        .expect("encodes");
    ApiVersionsResponse::default()
        .with_api_keys(apis.to_vec())
        .encode(&mut body, version)
        .expect("encodes");
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(body.len()).expect("short"));
    frame.put_slice(&body);
    frame.freeze()
}
