//! The one place where a worker's state is kept for others to see: `/progress`, `/metrics`, `/healthz`, `/readyz`, and the
//! log, which says each thing once when it begins and once when it is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::config::ReplicatorConfig;
use super::engine::Meters;
use super::progress::{
    ClusterProgress, Gap, LastError, LinkStop, LinkStopReason, MAX_GAPS, MAX_PARTITIONS, MAX_TOPICS,
    PartitionProgress, PartitionState, Progress, RefusedTopic, Side, TopicProgress,
};

/// A link that has not gone round its loop for this long is stuck: every call in it ends within seconds.
const STUCK: Duration = Duration::from_secs(180);

/// What one round of the link found, whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    pub(super) partitions: Vec<PartitionProgress>,
    pub(super) gaps: Vec<Gap>,
    pub(super) refused: Vec<RefusedTopic>,
    pub(super) topics: Vec<TopicProgress>,
    /// Records and bytes of partitions that are no longer listed.
    pub(super) left: (u64, u64),
}

/// A worker's state.
#[derive(Debug)]
pub(super) struct Report {
    inner: Mutex<Inner>,
    meters: Meters,
}

#[derive(Debug)]
struct Inner {
    progress: Progress,
    connected_once: bool,
    beat: Instant,
}

impl Report {
    pub(super) fn new(config: &ReplicatorConfig, worker: u32, config_hash: String) -> Self {
        let now = Timestamp::now();
        let progress = Progress {
            observed_at: now,
            started_at: now,
            config_hash,
            generation: config.generation,
            name: config.name.clone(),
            link_id: None,
            worker,
            workers: config.workers,
            source: ClusterProgress::default(),
            target: ClusterProgress::default(),
            positions_seen: config.positions_seen,
            stopped: None,
            partitions: Vec::new(),
            gaps: Vec::new(),
            refused: Vec::new(),
            topics: Vec::new(),
            totals: super::progress::Totals::default(),
            last_error: None,
        };
        Self {
            inner: Mutex::new(Inner {
                progress,
                connected_once: false,
                beat: Instant::now(),
            }),
            meters: Meters::default(),
        }
    }

    /// What the engine measures, across sessions.
    pub(super) fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// What `/progress` shows.
    pub(super) fn progress(&self) -> Progress {
        let mut progress = self.lock().progress.clone();
        progress.observed_at = Timestamp::now();
        progress
    }

    /// The link goes round its loop.
    pub(super) fn beat(&self) {
        self.lock().beat = Instant::now();
    }

    /// `/healthz`.
    pub(super) fn live(&self) -> Result<(), String> {
        let silent = self.lock().beat.elapsed();
        if silent > STUCK {
            return Err(format!("the link has not moved for {} s", silent.as_secs()));
        }
        Ok(())
    }

    /// `/readyz`: both clusters answered once. A line that is cut later makes no pod unready.
    pub(super) fn ready(&self) -> Result<(), String> {
        let inner = self.lock();
        if inner.connected_once {
            return Ok(());
        }
        let why = inner
            .progress
            .last_error
            .as_ref()
            .map_or("not connected yet", |error| error.message.as_str());
        Err(why.to_owned())
    }

    pub(super) fn link_id(&self, link_id: &str) {
        self.lock().progress.link_id = Some(link_id.to_owned());
    }

    pub(super) fn positions_seen(&self) {
        self.lock().progress.positions_seen = true;
    }

    /// A cluster answered.
    pub(super) fn connected(&self, side: Side, cluster_id: &str) {
        let mut inner = self.lock();
        let cluster = inner.side(side);
        let anew = cluster.connected_since.is_none();
        if anew {
            tracing::info!(?side, cluster_id, "connected");
            *cluster = ClusterProgress {
                connected_since: Some(Timestamp::now()),
                ..ClusterProgress::default()
            };
        }
        cluster.cluster_id = Some(cluster_id.to_owned());
        let both = inner.progress.source.is_connected() && inner.progress.target.is_connected();
        inner.connected_once |= both;
        if anew {
            inner.over(side);
        }
    }

    /// A cluster did not answer.
    pub(super) fn disconnected(&self, side: Side, reason: &str, message: &str) {
        let mut inner = self.lock();
        let cluster = inner.side(side);
        if cluster.connected_since.take().is_some() || cluster.disconnected_since.is_none() {
            cluster.disconnected_since = Some(Timestamp::now());
        }
        cluster.reason = Some(reason.to_owned());
        cluster.message = Some(message.to_owned());
        inner.fault(side, reason, message);
    }

    /// How long a side has not answered; `None` while it does, and before it was asked.
    pub(super) fn down_for(&self, side: Side) -> Option<Duration> {
        let since = self.lock().side(side).disconnected_since?;
        // A clock that was set back makes it a moment ago.
        Some(
            Timestamp::now()
                .duration_since(since)
                .try_into()
                .unwrap_or_default(),
        )
    }

    /// Something failed that says nothing about reachability.
    pub(super) fn fault(&self, side: Side, reason: &str, message: &str) {
        self.lock().fault(side, reason, message);
    }

    /// What failed on a side works again.
    pub(super) fn over(&self, side: Side) {
        self.lock().over(side);
    }

    /// The whole link stands still.
    pub(super) fn link_stopped(&self, reason: LinkStopReason, message: &str) {
        let mut inner = self.lock();
        let progress = &mut inner.progress;
        if progress.stopped.as_ref().is_none_or(|stop| stop.reason != reason) {
            tracing::error!(reason = reason.as_str(), message, "the link has stopped");
            progress.stopped = Some(LinkStop {
                reason,
                message: message.to_owned(),
                since: Timestamp::now(),
            });
        }
    }

    /// Nothing stops the whole link.
    pub(super) fn link_goes(&self) {
        if let Some(stop) = self.lock().progress.stopped.take() {
            tracing::info!(reason = stop.reason.as_str(), "the link goes on");
        }
    }

    /// The clients were built anew.
    pub(super) fn session(&self) {
        self.lock().progress.totals.sessions += 1;
    }

    /// Positions were stored.
    pub(super) fn positions_written(&self) {
        self.lock().progress.totals.position_writes += 1;
    }

    /// Shows a round, bounded, what is wrong first.
    pub(super) fn round(&self, mut round: Round) {
        let (mut records, mut bytes) = round.left;
        for partition in &round.partitions {
            records += partition.records;
            bytes += partition.bytes;
        }
        round
            .partitions
            .sort_by_key(|partition| partition.state != PartitionState::Stopped);
        round.partitions.truncate(MAX_PARTITIONS);
        round.gaps.truncate(MAX_GAPS);
        round.refused.truncate(MAX_TOPICS);
        round.topics.truncate(MAX_TOPICS);
        let progress = &mut self.lock().progress;
        progress.totals.records = records;
        progress.totals.bytes = bytes;
        progress.partitions = round.partitions;
        progress.gaps = round.gaps;
        progress.refused = round.refused;
        progress.topics = round.topics;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is inside is only shown: a panic half way leaves an odd figure at worst.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn side(&mut self, side: Side) -> &mut ClusterProgress {
        match side {
            Side::Target => &mut self.progress.target,
            Side::Source | Side::Local => &mut self.progress.source,
        }
    }

    fn fault(&mut self, side: Side, reason: &str, message: &str) {
        let lasting = self
            .progress
            .last_error
            .as_mut()
            .filter(|error| error.side == side && error.reason == reason && error.until.is_none());
        if let Some(error) = lasting {
            message.clone_into(&mut error.message);
            return;
        }
        tracing::warn!(?side, reason, message, "fault");
        self.progress.last_error = Some(LastError {
            reason: reason.to_owned(),
            message: message.to_owned(),
            side,
            since: Timestamp::now(),
            until: None,
        });
    }

    fn over(&mut self, side: Side) {
        let lasting = self.progress.last_error.as_mut();
        if let Some(error) = lasting.filter(|error| error.side == side && error.until.is_none()) {
            tracing::info!(?side, reason = error.reason, "fault is over");
            error.until = Some(Timestamp::now());
        }
    }
}

#[cfg(test)]
mod tests;
