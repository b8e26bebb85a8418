//! Connections to the brokers of one cluster: found, kept, bounded, and given up when they fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::deadline::Deadline;
use super::race::first_ok;
use super::socket::{CallError, Settings, Socket, timeout, unreachable};
use super::tls;
use crate::kafka::connection::{BrokerAddress, KafkaConnection};
use crate::kafka::error::KafkaError;

/// Connections to one broker that may be open at a time; further calls wait, within their deadline.
pub const MAX_CONNECTIONS_PER_BROKER: usize = 4;

/// Connections to one broker that are kept between calls.
pub const MAX_IDLE_PER_BROKER: usize = 2;

/// Brokers that are tried for a call which any broker can answer.
const MAX_CANDIDATES: usize = 16;

/// Which broker a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Whichever answers.
    Any,
    /// The one with this ID, at the address that it advertises.
    Broker(i32),
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: At,
    /// Lowest and highest version that the caller can use.
    pub(super) versions: (i16, i16),
    /// Whether the call may be sent again when the connection broke before an answer.
    pub(super) repeatable: bool,
    pub(super) deadline: Deadline,
}

/// All connections to one cluster.
pub(super) struct Pool {
    settings: Settings,
    bootstrap: Vec<BrokerAddress>,
    /// Advertised addresses by broker ID, from the newest Metadata answer.
    known: Mutex<BTreeMap<i32, BrokerAddress>>,
    peers: Mutex<HashMap<BrokerAddress, Arc<Peer>>>,
}

struct Peer {
    permits: Arc<Semaphore>,
    state: Mutex<PeerState>,
}

#[derive(Default)]
struct PeerState {
    idle: Vec<Socket>,
    /// The address has answered ApiVersions.
    spoke_kafka: bool,
    /// The address has answered a call after that.
    served: bool,
    failure: Option<Failure>,
}

struct Failure {
    error: KafkaError,
    retry_at: Instant,
    backoff: ExponentialBackoff,
}

/// A connection on loan.
struct Lease {
    socket: Socket,
    peer: Arc<Peer>,
    reused: bool,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(connection: &KafkaConnection) -> Result<Self, KafkaError> {
        let bootstrap: Vec<BrokerAddress> = connection
            .bootstrap_servers
            .iter()
            .map(|server| server.parse())
            .collect::<Result<_, _>>()
            .map_err(|error| KafkaError::Misconfigured {
                why: format!("bootstrapServers: {error}"),
            })?;
        if bootstrap.is_empty() {
            return Err(KafkaError::Misconfigured {
                why: "bootstrapServers is empty".into(),
            });
        }
        Ok(Self {
            settings: Settings {
                tls: connection.tls.as_ref().map(tls::connector).transpose()?,
                sasl: connection.sasl.clone(),
                client_id: StrBytes::from_string(connection.client_id.clone()),
            },
            bootstrap,
            known: Mutex::default(),
            peers: Mutex::default(),
        })
    }

    /// The brokers of a fresh Metadata answer. Connections to addresses that are no longer of use are dropped.
    pub(super) fn learn(&self, brokers: BTreeMap<i32, BrokerAddress>) {
        let wanted = |address: &BrokerAddress| {
            self.bootstrap.contains(address) || brokers.values().any(|broker| broker == address)
        };
        lock(&self.peers).retain(|address, _| wanted(address));
        *lock(&self.known) = brokers;
    }

    /// The address that a broker advertises, if it is known yet.
    pub(super) fn knows(&self, broker: i32) -> bool {
        lock(&self.known).contains_key(&broker)
    }

    /// One call.
    pub(super) async fn call<R: Request>(
        &self,
        call: Call,
        build: impl Fn(i16) -> R,
    ) -> Result<R::Response, KafkaError> {
        let (mut reused_closed, mut fresh_closed) = (0, 0);
        loop {
            // After a connection broke, a new one: the others of that broker are likely broken too.
            let mut lease = self
                .lease(call.at, reused_closed + fresh_closed > 0, call.deadline)
                .await?;
            let version = match lease.socket.choose::<R>(call.versions.0, call.versions.1) {
                Ok(version) => version,
                Err(error) => {
                    lease.give_back(false);
                    return Err(error);
                }
            };
            match lease.socket.call(&build(version), version, call.deadline).await {
                Ok(answer) => {
                    lease.give_back(true);
                    return Ok(answer);
                }
                Err(CallError::Failed(error)) => {
                    lease.peer.failed(&error);
                    return Err(self.name(call.at, error));
                }
                Err(CallError::Closed(_)) if call.repeatable && lease.reused && reused_closed == 0 => {
                    reused_closed += 1;
                }
                Err(CallError::Closed(_)) if call.repeatable && !lease.reused && fresh_closed == 0 => {
                    fresh_closed += 1;
                }
                Err(CallError::Closed(why)) => return Err(self.name(call.at, self.closed(&lease, why))),
            }
        }
    }

    async fn lease(&self, at: At, fresh: bool, deadline: Deadline) -> Result<Lease, KafkaError> {
        if let At::Broker(id) = at {
            let address = lock(&self.known)
                .get(&id)
                .cloned()
                .ok_or_else(|| KafkaError::Unreachable {
                    address: format!("broker {id}"),
                    why: "it is not among the cluster's live brokers".into(),
                    advertised_by: None,
                })?;
            return self
                .lease_from(&address, fresh, deadline)
                .await
                .map_err(|error| self.name(at, error));
        }
        let candidates = self.candidates();
        if !fresh {
            // A standing connection, to whichever broker, is quicker than a new one to the first.
            if let Some(lease) = candidates.iter().find_map(|address| self.peer(address).idle()) {
                return Ok(lease);
            }
        }
        // Boxed: the compiler cannot prove the bare futures Send (rust-lang/rust#102211).
        let attempts: Vec<BoxFuture<'_, _>> = candidates
            .iter()
            .map(|address| self.lease_from(address, fresh, deadline).boxed())
            .collect();
        first_ok(attempts).await.map_err(most_telling)
    }

    async fn lease_from(
        &self,
        address: &BrokerAddress,
        fresh: bool,
        deadline: Deadline,
    ) -> Result<Lease, KafkaError> {
        let peer = self.peer(address);
        let permit = deadline.bound(Arc::clone(&peer.permits).acquire_owned()).await;
        // The semaphore is never closed, so the inner error cannot occur.
        let Some(Ok(permit)) = permit else {
            return Err(timeout(address, "a wait for a free connection".into(), deadline));
        };
        if fresh {
            lock(&peer.state).idle.clear();
        } else if let Some(socket) = peer.take_idle() {
            return Ok(Lease {
                socket,
                peer,
                reused: true,
                _permit: permit,
            });
        }
        if let Some(error) = peer.backing_off() {
            return Err(error);
        }
        let known = lock(&peer.state).spoke_kafka;
        match Socket::open(address, &self.settings, known, deadline).await {
            Ok(socket) => {
                let mut state = lock(&peer.state);
                state.spoke_kafka = true;
                state.failure = None;
                drop(state);
                Ok(Lease {
                    socket,
                    peer,
                    reused: false,
                    _permit: permit,
                })
            }
            Err(error) => {
                peer.failed(&error);
                Err(error)
            }
        }
    }

    /// Bootstrap servers, then the brokers that they told of; those that failed just now come last.
    fn candidates(&self) -> Vec<BrokerAddress> {
        let mut candidates = self.bootstrap.clone();
        for address in lock(&self.known).values() {
            if !candidates.contains(address) {
                candidates.push(address.clone());
            }
        }
        candidates.truncate(MAX_CANDIDATES.max(self.bootstrap.len()));
        candidates.sort_by_key(|address| self.peer(address).backing_off().is_some());
        candidates
    }

    fn peer(&self, address: &BrokerAddress) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        let peer = peers.entry(address.clone()).or_insert_with(|| {
            let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS_PER_BROKER));
            Arc::new(Peer {
                permits,
                state: Mutex::default(),
            })
        });
        Arc::clone(peer)
    }

    /// A listener that wants SASL answers ApiVersions and closes at the next request without it.
    fn closed(&self, lease: &Lease, why: String) -> KafkaError {
        let address = lease.socket.address();
        if self.settings.sasl.is_none() && !lease.reused && !lock(&lease.peer.state).served {
            return KafkaError::Refused {
                address: address.to_string(),
                why: "it closed the connection at a request without credentials; the listener probably requires SASL"
                    .into(),
            };
        }
        unreachable(address, why)
    }

    /// Tells who advertised an address that cannot be reached.
    fn name(&self, at: At, mut error: KafkaError) -> KafkaError {
        if let (
            At::Broker(id),
            KafkaError::Unreachable {
                address,
                advertised_by,
                ..
            },
        ) = (at, &mut error)
            && !self.bootstrap.iter().any(|server| server.to_string() == *address)
        {
            *advertised_by = Some(id);
        }
        error
    }
}

impl Peer {
    /// A usable idle connection and a permit, without waiting.
    fn idle(self: &Arc<Self>) -> Option<Lease> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let socket = self.take_idle()?;
        Some(Lease {
            socket,
            peer: Arc::clone(self),
            reused: true,
            _permit: permit,
        })
    }

    fn take_idle(&self) -> Option<Socket> {
        let mut state = lock(&self.state);
        while let Some(mut socket) = state.idle.pop() {
            if socket.is_usable() {
                return Some(socket);
            }
        }
        None
    }

    fn backing_off(&self) -> Option<KafkaError> {
        let state = lock(&self.state);
        state
            .failure
            .as_ref()
            .filter(|failure| Instant::now() < failure.retry_at)
            .map(|failure| failure.error.clone())
    }

    fn failed(&self, error: &KafkaError) {
        let mut state = lock(&self.state);
        state.idle.clear();
        let mut backoff = match state.failure.take() {
            Some(failure) => failure.backoff,
            None => ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(2))
                .with_jitter()
                .without_max_times()
                .build(),
        };
        let pause = backoff.next().unwrap_or(Duration::from_secs(2));
        state.failure = Some(Failure {
            error: error.clone(),
            retry_at: Instant::now() + pause,
            backoff,
        });
    }
}

impl Lease {
    fn give_back(self, served: bool) {
        let mut state = lock(&self.peer.state);
        state.served |= served;
        if state.idle.len() < MAX_IDLE_PER_BROKER {
            state.idle.push(self.socket);
        }
    }
}

/// Of several brokers' errors the one that says most: a refusal over a wrong port over silence.
fn most_telling(errors: Vec<KafkaError>) -> KafkaError {
    let rank = |error: &KafkaError| match error {
        KafkaError::Refused { .. } => 0,
        KafkaError::Tls { .. } => 1,
        KafkaError::NotKafka { .. } => 2,
        KafkaError::Unreachable { .. } => 4,
        KafkaError::Timeout { .. } => 5,
        _ => 3,
    };
    let first = errors.into_iter().min_by_key(rank);
    first.unwrap_or_else(|| KafkaError::Misconfigured {
        why: "bootstrapServers is empty".into(),
    })
}

/// Nothing panics while it holds one of these locks; a poisoned one would still hold consistent data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
