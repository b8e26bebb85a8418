//! All that speaks MQTT: what a session needs, and the client behind it.
//!
//! [`Source`] is what the bridge sees of a connection, [`Sink`] what a publisher adds. [`connection::Connection`] is the
//! implementation: our own small event loop over the packet codecs of rumqttc (3.1.1 and 5). Its loop is not rumqttc's,
//! because a bridge must stop reading while Kafka is slow and still keep the connection alive, must subscribe in a
//! session that an earlier process began, and must bound what one huge payload takes in memory; rumqttc's event loop
//! does none of the three.

pub mod codec;
pub mod connection;
pub mod credentials;
pub mod endpoint;
pub mod error;
pub mod filter;
pub mod framing;
pub mod packet;
pub mod transport;

use std::future::Future;

use error::MqttError;
use packet::{Incoming, Publish, Receipt, Subscription};

/// A connected session that messages are sent over. What the server answers comes out of [`Source::next`].
pub trait Sink: Source {
    /// Queues a PUBLISH at QoS 0 or 1 and returns its packet ID, 0 at QoS 0. The caller bounds what is queued
    /// ([`queued`](Self::queued)) and how many packet IDs are in use: at most 65535, and at most the server's Receive
    /// Maximum.
    ///
    /// # Errors
    /// When the packet cannot be encoded.
    fn publish(&mut self, publish: Publish<'_>) -> Result<u16, MqttError>;

    /// Bytes that are queued and not yet written to the network.
    fn queued(&self) -> usize;
}

/// A connected session: what comes from the server, in order, and what goes back.
///
/// Nothing but [`next`](Self::next) waits; what the other methods queue is sent while `next` is polled, so a caller
/// can never deadlock with its own connection.
pub trait Source: Send {
    /// The next packet. With `read` false nothing is read from the network: the server is slowed down by TCP, while
    /// queued packets and pings still go out, and the future ends only by an error. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is over, whatever the cause.
    fn next(&mut self, read: bool) -> impl Future<Output = Result<Incoming, MqttError>> + Send;

    /// Queues a PUBACK, or a PUBREC at QoS 2. MQTT asks for the order in which the PUBLISHes came (4.6.0-2, 4.6.0-3). What
    /// QoS 2 needs after that is done by the connection.
    fn acknowledge(&mut self, receipt: Receipt);

    /// Queues a SUBSCRIBE and returns its packet ID.
    ///
    /// # Errors
    /// When the packet cannot be encoded.
    fn subscribe(&mut self, filters: &[Subscription<'_>]) -> Result<u16, MqttError>;

    /// Queues an UNSUBSCRIBE and returns its packet ID.
    ///
    /// # Errors
    /// When the packet cannot be encoded.
    fn unsubscribe(&mut self, filters: &[&str]) -> Result<u16, MqttError>;

    /// Sends what is queued and a DISCONNECT, and closes. The session stays at the server.
    fn close(self) -> impl Future<Output = ()> + Send;
}
