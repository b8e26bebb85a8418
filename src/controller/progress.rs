//! Reads what a data-plane pod says about itself.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::telemetry::DEFAULT_PORT;

/// How long a pod may take to answer, connection included.
pub const PROGRESS_DEADLINE: Duration = Duration::from_secs(3);
/// Bytes of an answer, at most: 5,000 partitions of a replicator are about 2 MiB.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why a pod's progress is not known.
#[derive(Debug, thiserror::Error)]
pub enum ProgressError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// No, or no complete, answer.
    #[error("{address} gives no usable answer: {why}")]
    Answer {
        /// Where.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too slow.
    #[error("{address} does not answer within {} s", PROGRESS_DEADLINE.as_secs())]
    Timeout {
        /// Where.
        address: String,
    },
}

/// Reads `/progress` of the pod at `ip`.
///
/// # Errors
/// When it does not answer in time, or not with what is expected. Nothing is retried: the next sample comes soon.
pub async fn read_progress<T: DeserializeOwned>(ip: &str) -> Result<T, ProgressError> {
    let address = ip
        .parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, DEFAULT_PORT))
        .map_err(|e| ProgressError::Answer {
            address: ip.to_owned(),
            why: e.to_string(),
        })?;
    read_progress_at(address).await
}

/// [`read_progress`] of any address.
///
/// # Errors
/// As [`read_progress`].
pub async fn read_progress_at<T: DeserializeOwned>(address: SocketAddr) -> Result<T, ProgressError> {
    match timeout(PROGRESS_DEADLINE, get(address)).await {
        Ok(body) => {
            let answer = |e: serde_json::Error| ProgressError::Answer {
                address: address.to_string(),
                why: format!("not the expected document: {e}"),
            };
            serde_json::from_slice(&body?).map_err(answer)
        }
        Err(_) => Err(ProgressError::Timeout {
            address: address.to_string(),
        }),
    }
}

fn answer(address: SocketAddr, why: &impl ToString) -> ProgressError {
    ProgressError::Answer {
        address: address.to_string(),
        why: why.to_string(),
    }
}

async fn get(address: SocketAddr) -> Result<Bytes, ProgressError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| ProgressError::Connect {
            address: address.to_string(),
            source,
        })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| answer(address, &e))?;
    let request = Request::get("/progress")
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| answer(address, &e))?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| answer(address, &e))?;
        if !response.status().is_success() {
            return Err(answer(address, &format!("status {}", response.status())));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES);
        Ok(body.collect().await.map_err(|e| answer(address, &e))?.to_bytes())
    };
    // The connection has to be driven beside the exchange; it ends with it.
    tokio::select! {
        body = exchange => body,
        Err(error) = connection => Err(answer(address, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::HttpServer;
    use prometheus_client::registry::Registry;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_large_document_is_read_whole() {
        let document =
            json!({"partitions": (0..20_000).map(|i| format!("partition-{i}")).collect::<Vec<_>>()});
        let served = document.clone();
        let server = HttpServer::new(Registry::default()).progress(move || served.clone());
        let server = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = server.local_addr();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone()));
        assert_eq!(read_progress_at::<Value>(address).await.unwrap(), document);
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_accepts_and_says_nothing_costs_only_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = tokio::spawn(async move {
            let accepted = listener.accept().await;
            std::future::pending::<()>().await;
            drop(accepted);
        });
        tokio::time::pause();
        let error = read_progress_at::<Value>(address).await.unwrap_err();
        assert!(matches!(error, ProgressError::Timeout { .. }), "{error}");
        silent.abort();
    }

    #[tokio::test]
    async fn a_refused_connection_and_an_answer_that_is_no_progress_are_told_apart() {
        let server = HttpServer::new(Registry::default())
            .bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let address = server.local_addr();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone()));
        let error = read_progress_at::<Value>(address).await.unwrap_err();
        assert!(matches!(error, ProgressError::Answer { .. }), "{error}");
        stop.cancel();
        serving.await.unwrap().unwrap();
        let error = read_progress_at::<Value>(address).await.unwrap_err();
        assert!(matches!(error, ProgressError::Connect { .. }), "{error}");
    }
}
