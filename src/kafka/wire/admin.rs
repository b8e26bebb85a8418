//! The door of [`super`]: one handle per cluster, cheap to clone.

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;

use super::deadline::{Deadline, MAX_CALL};
use super::pool::{At, Call, Pool};
use crate::kafka::connection::KafkaConnection;
use crate::kafka::error::KafkaError;

/// A client for one Kafka cluster. Clones share the connections.
///
/// Every method ends within the call's deadline: [`MAX_CALL`] unless [`Admin::with_deadline`] says less. An error for
/// one item (a topic, a partition, a broker) stands at that item; the outer `Err` means that nothing could be asked.
#[derive(Clone)]
pub struct Admin {
    pub(super) pool: Arc<Pool>,
    deadline: Duration,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// A client for this connection. Connects at the first call; reads the system's root certificates when TLS is on
    /// without a CA.
    ///
    /// # Errors
    /// [`KafkaError::Misconfigured`] for addresses or TLS material that cannot work.
    pub fn new(connection: &KafkaConnection) -> Result<Self, KafkaError> {
        Ok(Self {
            pool: Arc::new(Pool::new(connection)?),
            deadline: MAX_CALL,
        })
    }

    /// The same client with another deadline per call, [`MAX_CALL`] at most.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            deadline: deadline.min(MAX_CALL),
        }
    }

    /// A deadline for a call that begins now.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.deadline)
    }

    /// A call that may be repeated: it reads, or repeating it changes nothing.
    ///
    /// Boxed: the messages are large, and so would every caller's future be.
    pub(super) fn read<R: Request + 'static>(
        &self,
        at: At,
        versions: RangeInclusive<i16>,
        deadline: Deadline,
        build: impl Fn(i16) -> R + Send + Sync,
    ) -> impl Future<Output = Result<R::Response, KafkaError>> {
        self.send(at, versions, true, deadline, build)
    }

    /// A call that is sent once.
    pub(super) fn write<R: Request + 'static>(
        &self,
        versions: RangeInclusive<i16>,
        deadline: Deadline,
        build: impl Fn(i16) -> R + Send + Sync,
    ) -> impl Future<Output = Result<R::Response, KafkaError>> {
        self.send(At::Any, versions, false, deadline, build)
    }

    async fn send<R: Request + 'static>(
        &self,
        at: At,
        versions: RangeInclusive<i16>,
        repeatable: bool,
        deadline: Deadline,
        build: impl Fn(i16) -> R + Send + Sync,
    ) -> Result<R::Response, KafkaError> {
        let call = Call {
            at,
            versions: versions.into_inner(),
            repeatable,
            deadline,
        };
        Box::pin(self.pool.call(call, build)).await
    }
}

/// Time that a broker may take for a change before it answers that it was not done: the call's own rest less a margin
/// for the way back, so that the broker's answer comes before our deadline.
pub(super) fn broker_timeout_ms(deadline: Deadline) -> i32 {
    let rest = deadline.remaining().saturating_sub(Duration::from_millis(500));
    i32::try_from(rest.as_millis()).unwrap_or(0).max(100)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Isolation, Topics};
    use super::*;
    use crate::kafka::positions::{PositionsReader, Scope, ensure_positions_topic};

    /// The future may be spawned: checked by the compiler, nothing runs.
    fn spawnable(_: impl Future + Send) {}

    #[test]
    fn every_calls_future_can_be_spawned() {
        let admin = Admin::new(&KafkaConnection::plaintext(["localhost:9092"])).expect("a client");
        spawnable(admin.cluster());
        spawnable(admin.metadata(Topics::All));
        spawnable(admin.describe_quorum());
        spawnable(admin.describe_log_dirs(None));
        spawnable(admin.describe_configs(&[], None));
        spawnable(admin.incremental_alter_configs(&[], true));
        spawnable(admin.create_topics(&[], true));
        spawnable(admin.create_partitions(&BTreeMap::new(), true));
        spawnable(admin.list_offsets([], Isolation::ReadUncommitted));
        spawnable(admin.log_ranges(&[], Isolation::ReadUncommitted));
        spawnable(admin.offset_for_leader_epoch(&BTreeMap::new()));
        spawnable(ensure_positions_topic(&admin));
        spawnable(PositionsReader::new(admin.clone(), Scope::All).read());
    }
}
