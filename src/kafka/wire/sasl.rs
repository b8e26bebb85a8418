//! SASL over Kafka's own requests (KIP-43, KIP-152): SaslHandshake, then SaslAuthenticate once or twice.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::scram::{ClientFirst, Hash};
use super::socket::{CallError, Socket, timeout};
use crate::kafka::connection::{Sasl, SaslMechanism};
use crate::kafka::error::{ErrorCode, KafkaError};

/// Authenticates the connection. Returns when the broker will want it again, less a margin.
pub(super) async fn authenticate(
    socket: &mut Socket,
    sasl: &Sasl,
    deadline: Deadline,
) -> Result<Option<Instant>, KafkaError> {
    handshake(socket, sasl.mechanism, deadline).await?;
    match sasl.mechanism {
        SaslMechanism::Plain => {
            let message = format!("\0{}\0{}", sasl.username, sasl.password.expose());
            Ok(send(socket, message, deadline).await?.1)
        }
        SaslMechanism::ScramSha256 => scram(socket, sasl, Hash::Sha256, deadline).await,
        SaslMechanism::ScramSha512 => scram(socket, sasl, Hash::Sha512, deadline).await,
    }
}

async fn handshake(
    socket: &mut Socket,
    mechanism: SaslMechanism,
    deadline: Deadline,
) -> Result<(), KafkaError> {
    // Version 0 would be followed by bare SASL tokens.
    let version = socket.choose::<SaslHandshakeRequest>(1, 1)?;
    let request =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.as_str()));
    let answer = socket
        .call(&request, version, deadline)
        .await
        .map_err(|error| broken(socket, error))?;
    match ErrorCode::new(answer.error_code).map(ErrorCode::kind) {
        None => Ok(()),
        Some(ResponseError::UnsupportedSaslMechanism) => {
            let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            let why = format!(
                "the listener does not offer {mechanism}; it offers {}",
                offered.join(", ")
            );
            Err(refused(socket, why))
        }
        Some(ResponseError::IllegalSaslState) => Err(refused(
            socket,
            "the listener has no SASL; set authentication.type to None, or use the SASL listener",
        )),
        Some(kind) => Err(refused(socket, ErrorCode::from(kind).to_string())),
    }
}

async fn scram(
    socket: &mut Socket,
    sasl: &Sasl,
    hash: Hash,
    deadline: Deadline,
) -> Result<Option<Instant>, KafkaError> {
    let first = ClientFirst::new(hash, &sasl.username).map_err(|why| refused(socket, why))?;
    let (challenge, _) = send(socket, first.message(), deadline).await?;
    let challenge = text(socket, &challenge)?;
    let password = sasl.password.clone();
    // Thousands of hashes: not on a thread that serves other calls.
    let proving = tokio::task::spawn_blocking(move || first.prove(&password, &challenge));
    let proved = deadline.bound(proving).await;
    let proved = proved.ok_or_else(|| timeout(socket.address(), "the SCRAM proof".into(), deadline))?;
    let (message, last) = proved
        .map_err(|error| refused(socket, format!("SCRAM: {error}")))?
        .map_err(|why| refused(socket, why))?;
    let (answer, expires) = send(socket, message, deadline).await?;
    let answer = text(socket, &answer)?;
    last.verify(&answer).map_err(|why| refused(socket, why))?;
    Ok(expires)
}

async fn send(
    socket: &mut Socket,
    message: String,
    deadline: Deadline,
) -> Result<(Bytes, Option<Instant>), KafkaError> {
    let version = socket.choose::<SaslAuthenticateRequest>(0, i16::MAX)?;
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message.into_bytes()));
    let answer = socket
        .call(&request, version, deadline)
        .await
        .map_err(|error| broken(socket, error))?;
    if let Some(code) = ErrorCode::new(answer.error_code) {
        // Kafka's message names the mechanism, never the password.
        let message = answer.error_message.as_deref().unwrap_or_default();
        return Err(refused(socket, format!("{code}: {message}")));
    }
    let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
    // A broker closes the connection at the end of the session: ours ends when 85% have passed.
    let expires = (lifetime > 0).then(|| Instant::now() + Duration::from_millis(lifetime / 100 * 85));
    Ok((answer.auth_bytes, expires))
}

fn text(socket: &Socket, bytes: &Bytes) -> Result<String, KafkaError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| refused(socket, "the broker's SCRAM message is not text"))
}

fn refused(socket: &Socket, why: impl Into<String>) -> KafkaError {
    KafkaError::Refused {
        address: socket.address().to_string(),
        why: why.into(),
    }
}

fn broken(socket: &Socket, error: CallError) -> KafkaError {
    match error {
        CallError::Closed(_) => refused(socket, "it closed the connection during authentication"),
        CallError::Failed(error) => error,
    }
}
