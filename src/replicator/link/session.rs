//! One session: from both clusters' first answer until the clients have to be built anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::guard::{Halt, check_positions, is_only_late};
use super::storing::{Storing, Trust, next_stored};
use super::survey::{Failure, Surveyor};
use super::{Context, Memory};
use crate::kafka::eras::Eras;
use crate::kafka::error::KafkaError;
use crate::kafka::positions::ensure_positions_topic;
use crate::kafka::wire::{Admin, Cluster};
use crate::replicator::config::END_LIMIT;
use crate::replicator::credentials::{Connections, Watch};
use crate::replicator::engine::{Engine, Event};
use crate::replicator::plan::Identity;
use crate::replicator::progress::{LinkStopReason, Side};
use crate::replicator::settings::Limits;
use crate::replicator::store::Store;

/// Longest wait for acknowledgements that are due when a session ends; what comes later is copied again.
const DRAIN: Duration = Duration::from_secs(7);
/// The same when the target does not answer anyway.
const DRAIN_DISCONNECTED: Duration = Duration::from_secs(1);
/// Longest wait for the last positions.
const LAST_STORE: Duration = Duration::from_secs(4);
const _: () = assert!(DRAIN.as_secs() + LAST_STORE.as_secs() <= END_LIMIT.as_secs());
/// Pause before the next survey when one changed something, or failed.
const SOON: Duration = Duration::from_millis(500);

/// Why a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The process is asked to end.
    Shutdown,
    /// Credentials have changed: go on at once with the new ones.
    Changed,
    /// Something failed or stands still: go on after a pause.
    Failed,
}

/// A session.
pub(super) struct Session<'a> {
    pub(super) context: &'a Context,
    pub(super) memory: &'a mut Memory,
    pub(super) connections: Connections,
    pub(super) surveyor: Surveyor,
    pub(super) identity: Identity,
    pub(super) generation: u64,
    pub(super) store: std::sync::Arc<Store>,
    pub(super) engine: Option<Engine>,
    /// What the engine's producer was made for.
    pub(super) batch_limit: u64,
    pub(super) next_slot: usize,
    /// Topics of the source that the engine was given partitions of.
    pub(super) handed: BTreeSet<String>,
    /// What the clients of the source and of the target may have learnt.
    pub(super) eras: [Eras; 2],
    /// What each target topic takes, as read in this session.
    pub(super) limits: BTreeMap<String, Limits>,
    pub(super) storing: Option<Storing>,
    pub(super) store_failed: bool,
    pub(super) trust: Trust,
}

impl<'a> Session<'a> {
    /// Runs one session to its end.
    pub(super) async fn run(
        context: &'a Context,
        memory: &'a mut Memory,
        connections: Connections,
        watch: &mut Watch,
        token: &CancellationToken,
    ) -> End {
        let opened = tokio::select! {
            () = token.cancelled() => return End::Shutdown,
            opened = Self::open(context, memory, connections) => opened,
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(failure) => return tell(context, &failure),
        };
        context.report.session();
        let end = tokio::select! {
            () = token.cancelled() => Ok(End::Shutdown),
            end = session.drive(watch) => end,
        };
        let keeps_positions = !matches!(
            end,
            Err(Failure::Halt(_) | Failure::NoPositions | Failure::Restored(_))
        );
        session.close(keeps_positions).await;
        end.unwrap_or_else(|failure| tell(context, &failure))
    }

    async fn open(
        context: &'a Context,
        memory: &'a mut Memory,
        connections: Connections,
    ) -> Result<Self, Failure> {
        let admin = |side, connection| Admin::new(connection).map_err(|error| Failure::Side(side, error));
        let source = admin(Side::Source, &connections.source)?;
        let target = admin(Side::Target, &connections.target)?;
        let mut surveyor = Surveyor::new(source, target);
        let report = &context.report;
        let unanswered =
            |side, error: &KafkaError| report.disconnected(side, &error.reason(), &error.explain());
        let (source, target) = greet(context, &surveyor, unanswered).await?;
        let identity = Identity {
            link_id: context.config.effective_link_id(&source.id),
            source_cluster: source.id,
            target_cluster: target.id,
        };
        context.report.link_id(&identity.link_id);
        refuse_circle(context, &identity)?;
        let generation = open_positions(memory, &mut surveyor, &identity).await?;
        let store = Store::new(&connections.target).map_err(|error| {
            let why = error.to_string();
            Failure::Side(Side::Target, KafkaError::Misconfigured { why })
        })?;
        Ok(Self {
            context,
            memory,
            connections,
            surveyor,
            identity,
            generation,
            store: std::sync::Arc::new(store),
            engine: None,
            batch_limit: u64::MAX,
            next_slot: 0,
            handed: BTreeSet::new(),
            eras: Default::default(),
            limits: BTreeMap::new(),
            storing: None,
            store_failed: false,
            trust: Trust::default(),
        })
    }

    /// Surveys, stores and listens to the engine until something ends the session.
    async fn drive(&mut self, watch: &mut Watch) -> Result<End, Failure> {
        let tuning = &self.context.config.tuning;
        let (survey_every, store_every) = (
            Duration::from_millis(tuning.discovery_interval_ms),
            Duration::from_millis(tuning.position_interval_ms),
        );
        let (mut survey_at, mut store_at) = (Instant::now(), Instant::now() + store_every);
        loop {
            tokio::select! {
                event = next_event(&mut self.engine) => self.handle(event)?,
                outcome = next_stored(&mut self.storing) => self.stored(outcome)?,
                () = watch.changed() => {
                    if self.is_changed() {
                        return Ok(End::Changed);
                    }
                }
                () = sleep_until(store_at) => {
                    store_at = Instant::now() + store_every;
                    self.begin_store();
                }
                () = sleep_until(survey_at) => {
                    let pause = self.survey_round().await?.unwrap_or(survey_every);
                    survey_at = Instant::now() + pause.min(survey_every);
                }
            }
            self.context.report.beat();
        }
    }

    /// One survey with what follows from it; the pause until the next, if it should be shorter than usual.
    async fn survey_round(&mut self) -> Result<Option<Duration>, Failure> {
        let outcome = Box::pin(self.survey_and_admit()).await;
        self.context.report.round(self.memory.book.round());
        match outcome {
            Ok(changed) => Ok(changed.then_some(SOON)),
            // What is copied goes on meanwhile: librdkafka has its own patience.
            Err(Failure::Side(side, error)) => {
                self.unanswered(side, &error);
                if self.context.report.down_for(Side::Target).is_some() {
                    self.trust.withdraw();
                }
                Ok(Some(SOON * 2))
            }
            Err(failure @ Failure::Positions(..)) => {
                tell(self.context, &failure);
                Ok(Some(SOON * 2))
            }
            // This session has seen the topic, so it is gone.
            Err(Failure::NoPositions) => Err(Failure::Halt(Halt::lost(
                &self.identity.link_id,
                "their topic is gone",
            ))),
            Err(failure) => Err(failure),
        }
    }

    /// A side did not answer a survey, or not in time.
    fn unanswered(&self, side: Side, error: &KafkaError) {
        let report = &self.context.report;
        let heard = self.engine.as_ref().and_then(|engine| engine.heard(side));
        if !is_only_late(error, heard, report.down_for(side)) {
            return report.disconnected(side, &error.reason(), &error.explain());
        }
        // Also right after a cut: what has waited fills the line before any survey gets through.
        match side {
            Side::Source => report.connected(side, &self.identity.source_cluster),
            Side::Target => report.connected(side, &self.identity.target_cluster),
            Side::Local => {}
        }
        report.fault(side, &error.reason(), &error.explain());
    }

    async fn survey_and_admit(&mut self) -> Result<bool, Failure> {
        let unanswered = |side, error: &KafkaError| self.unanswered(side, error);
        let (source, target) = greet(self.context, &self.surveyor, unanswered).await?;
        if source.id != self.identity.source_cluster || target.id != self.identity.target_cluster {
            tracing::warn!(
                source = source.id,
                target = target.id,
                "another cluster answers at the same address"
            );
            return Err(Failure::Again);
        }
        if self.trust.reads_anew() {
            self.surveyor.read_anew();
        }
        let seen = self.surveyor.survey(&self.context.selection).await?;
        let stored = self.memory.book.stored_keys(&self.identity);
        check_positions(
            &self.identity.link_id,
            self.memory.positions_seen,
            &stored,
            &seen.found,
        )
        .map_err(Failure::Halt)?;
        if !self.confirm(&seen)? {
            return Ok(true);
        }
        self.context.report.link_goes();
        self.context.report.over(Side::Source);
        if !self.store_failed {
            self.context.report.over(Side::Target);
        }
        let changed = self.admit(&seen).await?;
        self.memory.book.date(&self.identity, &seen.positions);
        Ok(changed)
    }

    /// Takes over how far the engine is.
    pub(super) fn advance(&mut self) {
        if let Some(engine) = &self.engine {
            self.memory.book.advance(&engine.states());
        }
    }

    fn is_changed(&self) -> bool {
        match Connections::load(&self.context.config) {
            Ok(connections) if connections == self.connections => {
                self.context.report.over(Side::Local);
                false
            }
            Ok(_) => {
                tracing::info!("credentials have changed: connecting anew");
                true
            }
            Err((side, error)) => {
                // Law 3: what was loaded goes on working until there is something to replace it.
                let message = format!("{side:?}: {error}");
                self.context.report.fault(Side::Local, error.reason(), &message);
                false
            }
        }
    }

    /// Ends the engine, takes over its last word, and stores it.
    async fn close(mut self, keeps_positions: bool) {
        let connected = self.context.report.progress().target.is_connected();
        let drain = if connected { DRAIN } else { DRAIN_DISCONNECTED };
        if let Some(engine) = self.engine.take() {
            let (states, events) = engine.end(drain).await;
            self.memory.book.advance(&states);
            // One refused record fails all that is in flight, and its own report need not be the first.
            for event in events {
                let _ = self.handle(event);
            }
        }
        if keeps_positions {
            if tokio::time::timeout(
                if connected { LAST_STORE } else { DRAIN_DISCONNECTED },
                self.store_last(),
            )
            .await
            .is_err()
            {
                tracing::warn!("the last positions were not stored in time: some records will be repeated");
            }
        } else {
            self.memory.book.forget_stored();
        }
        self.memory.book.session_ended();
    }
}

/// Asks both clusters who they are, and reports each side; one that fails by `unanswered`.
async fn greet(
    context: &Context,
    surveyor: &Surveyor,
    unanswered: impl Fn(Side, &KafkaError),
) -> Result<(Cluster, Cluster), Failure> {
    let (source, target) = surveyor.clusters().await;
    for (side, answer) in [(Side::Source, &source), (Side::Target, &target)] {
        match answer {
            Ok(cluster) => context.report.connected(side, &cluster.id),
            Err(error) => unanswered(side, error),
        }
    }
    let source = source.map_err(|error| Failure::Side(Side::Source, error))?;
    Ok((
        source,
        target.map_err(|error| Failure::Side(Side::Target, error))?,
    ))
}

/// A cluster that is copied into itself under the same names would feed every record to itself.
fn refuse_circle(context: &Context, identity: &Identity) -> Result<(), Failure> {
    if identity.source_cluster != identity.target_cluster || !context.selection.is_identity() {
        return Ok(());
    }
    let message = format!(
        "source and target are the same cluster ({}) and topics keep their names; correct the addresses, or use \
         topics.naming.type Prefix",
        identity.source_cluster
    );
    Err(Failure::Halt(Halt {
        reason: LinkStopReason::LoopRefused,
        message,
    }))
}

/// Reads the target's positions, and creates their topic when this link may be new; the generation of this session.
async fn open_positions(
    memory: &mut Memory,
    surveyor: &mut Surveyor,
    identity: &Identity,
) -> Result<u64, Failure> {
    let found = match surveyor.positions().await {
        Err(Failure::NoPositions) if memory.positions_seen => {
            return Err(Failure::Halt(Halt::lost(
                &identity.link_id,
                "their topic is gone",
            )));
        }
        Err(Failure::NoPositions) => None,
        Ok(found) => Some(found),
        Err(failure) => return Err(failure),
    };
    // Also for one that is there: without compaction it would lose positions by and by.
    let ensured = ensure_positions_topic(&surveyor.target).await;
    ensured.map_err(|error| match super::guard::unreadable(&error) {
        Some(halt) => Failure::Halt(halt),
        None => Failure::Positions(Side::Target, error),
    })?;
    let found = match found {
        Some(found) => found,
        None => surveyor.positions().await?,
    };
    let stored = memory.book.stored_keys(identity);
    check_positions(&identity.link_id, memory.positions_seen, &stored, &found).map_err(Failure::Halt)?;
    let ours = found
        .positions
        .iter()
        .filter(|(key, _)| key.link_id == identity.link_id);
    let highest = ours
        .filter_map(|(_, position)| position.as_ref().ok())
        .map(|position| position.generation)
        .max();
    Ok(highest.map_or(1, |generation| generation.saturating_add(1)))
}

/// Says what went wrong; it is worth another session after a pause.
fn tell(context: &Context, failure: &Failure) -> End {
    match failure {
        Failure::Side(side, error) => context
            .report
            .disconnected(*side, &error.reason(), &error.explain()),
        Failure::Positions(side, error) => context.report.fault(*side, &error.reason(), &error.to_string()),
        Failure::NoPositions => {
            let message = "the positions topic is gone";
            context
                .report
                .fault(Side::Target, "PositionsTopicMissing", message);
        }
        Failure::Halt(halt) => context.report.link_stopped(halt.reason, &halt.message),
        Failure::Restored(partition) => {
            let message = format!(
                "the position of {partition} is older than the one that the target acknowledged: it was restored from \
                 an older copy; copying goes on from the positions that it has now"
            );
            tracing::warn!(message, "the target went back");
            context.report.fault(Side::Target, "TargetRestored", &message);
        }
        Failure::Again => {}
    }
    End::Failed
}

async fn next_event(engine: &mut Option<Engine>) -> Event {
    match engine {
        Some(engine) => engine.event().await,
        None => std::future::pending().await,
    }
}
