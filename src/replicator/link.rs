//! One worker of a link, for as long as its process lives: sessions, one after the other, with pauses between them that
//! grow while it fails. Nothing that may mend by itself ends the process.

mod admit;
mod explain;
mod faults;
mod guard;
mod judge;
mod limits;
mod session;
mod storing;
mod survey;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use self::session::{End, Session};
use super::book::Book;
use super::config::{ReplicatorConfig, TopicSelection};
use super::credentials::{Connections, Watch};
use super::progress::{Side, StopReason};
use super::report::Report;
use crate::kafka::offsets::TopicPartition;

/// Pauses between sessions: half a second, doubling up to ten, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A session that lasted this long was a good one: the next pause is short again.
const GOOD_SESSION: Duration = Duration::from_secs(60);

/// What a worker is, unchanging.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) config: ReplicatorConfig,
    pub(super) selection: TopicSelection,
    pub(super) worker: u32,
    pub(super) report: Arc<Report>,
}

/// What a worker remembers between sessions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) book: Book,
    /// Positions of this link were on the target once.
    pub(super) positions_seen: bool,
    /// Records that the target refused.
    refused: BTreeMap<TopicPartition, guard::RefusedRecord>,
    /// Limits of batches for topics of the target, where a refusal showed one: at most one for each of them.
    found_limits: BTreeMap<String, limits::FoundLimit>,
    /// Partitions of which the source did not give the next record, until they have moved.
    source_faults: BTreeMap<TopicPartition, guard::SourceFault>,
}

impl Memory {
    /// Other credentials may have other rights.
    fn credentials_changed(&mut self) {
        self.source_faults.clear();
        self.refused
            .retain(|_, refused| refused.reason != StopReason::NotAuthorized);
    }
}

/// Runs until `token` is cancelled.
pub(super) async fn run(context: &Context, token: &CancellationToken) {
    let mut memory = Memory {
        positions_seen: context.config.positions_seen,
        ..Memory::default()
    };
    let mut pauses = pauses();
    let mut last = None;
    loop {
        let mut watch = Watch::new(&context.config).await;
        let began = Instant::now();
        let end = match Connections::load(&context.config) {
            Ok(connections) => {
                // Compared here, not where the change is noticed: that may be between two sessions.
                if last
                    .replace(connections.clone())
                    .is_some_and(|last| last != connections)
                {
                    memory.credentials_changed();
                }
                context.report.over(Side::Local);
                Session::run(context, &mut memory, connections, &mut watch, token).await
            }
            Err((side, error)) => {
                context
                    .report
                    .disconnected(side, error.reason(), &error.to_string());
                End::Failed
            }
        };
        context.report.round(memory.book.round());
        match end {
            End::Shutdown => return,
            End::Changed => continue,
            End::Failed => {}
        }
        if began.elapsed() >= GOOD_SESSION {
            pauses = self::pauses();
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        tokio::select! {
            () = token.cancelled() => return,
            () = watch.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        context.report.beat();
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;
    use crate::replicator::engine::Refusal;
    use crate::replicator::settings::Limits;

    #[test]
    fn other_credentials_end_the_wait_for_rights_and_no_other() {
        let mut memory = Memory::default();
        let rights = RDKafkaErrorCode::TopicAuthorizationFailed;
        for (partition, code) in [(0, rights), (1, RDKafkaErrorCode::MessageSizeTooLarge)] {
            let refusal = Refusal::new(5, 100, code);
            let refused = guard::RefusedRecord::new(&refusal, &Limits::default(), None).unwrap();
            memory
                .refused
                .insert(TopicPartition::new("t", partition), refused);
        }
        let fault = guard::SourceFault::new(rights, 5, None, Instant::now());
        memory.source_faults.insert(TopicPartition::new("t", 2), fault);
        memory.credentials_changed();
        assert!(memory.source_faults.is_empty());
        let left: Vec<i32> = memory.refused.keys().map(|key| key.partition).collect();
        assert_eq!(left, [1], "a record does not shrink by another password");
    }
}
