//! TCP and TLS to an MQTT server, with errors that say what to mend.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::ServerAddress;
use super::error::MqttError;

/// Bound of one TCP connect; a name's addresses are tried in turn.
const TCP_LIMIT: Duration = Duration::from_secs(5);

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects; the caller bounds the whole.
    ///
    /// # Errors
    /// When the name is not known, no address answers, or TLS fails.
    pub async fn connect(server: &ServerAddress, tls: Option<Arc<ClientConfig>>) -> Result<Self, MqttError> {
        let tcp = connect_tcp(server).await?;
        // Acknowledgements are small and wanted at once.
        tcp.set_nodelay(true)
            .map_err(|source| unreachable(server, source))?;
        let Some(config) = tls else {
            return Ok(Self::Plain(tcp));
        };
        let name = ServerName::try_from(server.host.clone()).map_err(|e| tls_error(server, e.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, tcp).await;
        stream
            .map(|s| Self::Tls(Box::new(s)))
            .map_err(|e| tls_error(server, e.to_string()))
    }
}

/// What rustls says of a failed handshake is an `io::Error` of kind `InvalidData`, also after the handshake: in TLS 1.3
/// a server refuses our certificate only then.
pub fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync + 'static>::is::<rustls::Error>)
}

fn unreachable(server: &ServerAddress, source: io::Error) -> MqttError {
    MqttError::Unreachable {
        server: server.to_string(),
        source,
    }
}

fn tls_error(server: &ServerAddress, reason: String) -> MqttError {
    MqttError::Tls {
        server: server.to_string(),
        reason,
    }
}

async fn connect_tcp(server: &ServerAddress) -> Result<TcpStream, MqttError> {
    let unknown = |source| MqttError::NameUnknown {
        server: server.to_string(),
        source,
    };
    let addresses: Vec<SocketAddr> = lookup_host((server.host.as_str(), server.port))
        .await
        .map_err(unknown)?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(TCP_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {
                last = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{address}: no answer within 5 s"),
                );
            }
        }
    }
    Err(unreachable(server, last))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
