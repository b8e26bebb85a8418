//! The ports at which a Kafka elsewhere advertises its brokers: a NetworkPolicy must let the pods reach them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::endpoint::KafkaPeer;
use super::{Context, Peer};
use crate::kafka::KafkaConnection;
use crate::kafka::wire::Admin;

/// How often brokers are asked for again once they are known.
const REFRESH: Duration = Duration::from_secs(60);
/// Ports that are noted, at most: a cluster behind one port per broker has no more brokers than that at the edge.
const MAX_PORTS: usize = 100;

/// Asks a Kafka for its brokers now and then, and remembers what it said while it does not answer.
#[derive(Debug)]
pub struct BrokerPorts {
    connection: KafkaConnection,
    admin: Option<Admin>,
    known: BTreeSet<u16>,
    asked: Option<Instant>,
}

impl BrokerPorts {
    /// Of the Kafka behind this connection.
    #[must_use]
    pub const fn new(connection: KafkaConnection) -> Self {
        Self {
            connection,
            admin: None,
            known: BTreeSet::new(),
            asked: None,
        }
    }

    /// The ports; empty as long as Kafka has not answered.
    pub async fn read(&mut self) -> BTreeSet<u16> {
        if !self.known.is_empty() && self.asked.is_some_and(|at| at.elapsed() < REFRESH) {
            return self.known.clone();
        }
        if self.admin.is_none() {
            self.admin = Admin::new(&self.connection).ok();
        }
        if let Some(admin) = &self.admin
            && let Ok(cluster) = admin.cluster().await
        {
            self.note(cluster.brokers.values().map(|broker| broker.address.port));
        }
        self.known.clone()
    }

    /// Notes ports that somebody else read.
    pub fn note(&mut self, ports: impl IntoIterator<Item = u16>) {
        // A broker that is down for a moment comes back at its port: what was known stays.
        self.known.extend(ports);
        while self.known.len() > MAX_PORTS {
            self.known.pop_last();
        }
        self.asked = Some(Instant::now());
    }

    /// What is known.
    #[must_use]
    pub const fn known(&self) -> &BTreeSet<u16> {
        &self.known
    }
}

impl Context {
    /// Whom a pod calls that speaks to this Kafka, as far as the spec says.
    pub async fn kafka_peers(&self, namespace: &str, kafka: &KafkaPeer) -> BTreeSet<Peer> {
        match kafka {
            KafkaPeer::Cluster { name, port } => [Peer::Brokers {
                cluster: name.clone(),
                port: *port,
            }]
            .into(),
            KafkaPeer::External { addresses } => {
                let mut peers = BTreeSet::new();
                for address in addresses {
                    peers.insert(self.peer(namespace, &address.host, address.port).await);
                }
                peers
            }
        }
    }
}
