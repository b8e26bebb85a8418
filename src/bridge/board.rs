//! The progress document while the bridge runs: who learns something writes it here, `/progress` reads it.
//!
//! What goes wrong is logged here too, once when it begins, once when it changes and once when it is over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::config::BridgeConfig;
use super::progress::{
    BridgeProgress, BrokerDropped, Component, Counters, InFlight, KafkaProgress, Loss, MqttProgress, Problem,
    Reason, SubscriptionProgress,
};

/// See the module.
#[derive(Debug)]
pub struct Board {
    progress: Mutex<BridgeProgress>,
}

impl Board {
    /// For a process that has just begun.
    pub fn new(config: &BridgeConfig, config_hash: String) -> Self {
        let now = Timestamp::now();
        let subscriptions = config.mqtt.subscriptions.iter().map(|s| SubscriptionProgress {
            filter: s.filter.clone(),
            requested_qos: s.qos,
            granted_qos: None,
            refused: None,
        });
        let mqtt = MqttProgress {
            client_id: config.mqtt.client_id.clone(),
            subscriptions: subscriptions.collect(),
            ..MqttProgress::default()
        };
        Self {
            progress: Mutex::new(BridgeProgress {
                observed_at: now,
                started_at: now,
                config_hash,
                generation: config.generation,
                mqtt,
                kafka: KafkaProgress::default(),
                counters: Counters::default(),
                in_flight: InFlight::default(),
                head_of_line: None,
                problems: Vec::new(),
                last_error: None,
                losses: Vec::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BridgeProgress> {
        // A panic while the lock was held leaves at worst one figure of the document old.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document as it is now.
    pub fn snapshot(&self) -> BridgeProgress {
        self.lock().clone()
    }

    /// Changes the document.
    pub fn update(&self, change: impl FnOnce(&mut BridgeProgress)) {
        change(&mut self.lock());
    }

    /// Says what is wrong in one part, or that nothing is.
    pub fn set(&self, component: Component, problem: Option<(Reason, String)>) {
        let mut progress = self.lock();
        let now = Timestamp::now();
        let at = progress.problems.iter().position(|p| p.component == component);
        let before = at.map(|i| progress.problems.remove(i));
        let Some((reason, message)) = problem else {
            if let Some(over) = before {
                let seconds = now.duration_since(over.since).as_secs();
                tracing::info!(?component, reason = ?over.reason, seconds, "recovered");
            }
            return;
        };
        let same = before.as_ref().filter(|p| p.reason == reason);
        if same.is_none() {
            tracing::warn!(?component, ?reason, "{message}");
        }
        let since = same.map_or(now, |p| p.since);
        let problem = Problem {
            component,
            reason,
            message,
            since,
        };
        progress.last_error = Some(problem.clone());
        progress.problems.push(problem);
        progress.problems.sort_by_key(|p| p.component);
    }

    /// Records a loss.
    pub fn lose(&self, reason: Reason, count: u64, message: String) {
        tracing::warn!(?reason, count, "{message}");
        let mut progress = self.lock();
        let last_seen = Timestamp::now();
        match progress.losses.iter_mut().find(|l| l.reason == reason) {
            Some(loss) => {
                loss.count += count;
                loss.message = message;
                loss.last_seen = last_seen;
            }
            None => progress.losses.push(Loss {
                reason,
                count,
                message,
                last_seen,
            }),
        }
    }

    /// What the server says of messages it dropped; yields by how much the count grew.
    pub fn broker_dropped(&self, current: u64) -> u64 {
        let now = Timestamp::now();
        let mut progress = self.lock();
        let before = progress.mqtt.broker_dropped;
        let growth = match before {
            None => 0,
            // The server began anew and dropped `current` since.
            Some(before) if current < before.current => current,
            Some(before) => current - before.current,
        };
        let baseline = match before {
            None => current,
            // It counts from 0 again: a baseline of its earlier life would pass for messages that it dropped.
            Some(before) if current < before.current => 0,
            Some(before) => before.baseline,
        };
        progress.mqtt.broker_dropped = Some(BrokerDropped {
            baseline,
            current,
            growth: before.map_or(0, |b| b.growth) + growth,
            observed_at: now,
        });
        growth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::config::tests::example;

    fn board() -> Board {
        Board::new(&example(), "00".into())
    }

    fn missing(topic: &str) -> Option<(Reason, String)> {
        Some((Reason::TopicMissing, topic.to_owned()))
    }

    #[test]
    fn a_problem_keeps_its_beginning_until_it_changes() {
        let board = board();
        board.set(Component::Topic, missing("a"));
        let since = board.snapshot().problem(Component::Topic).unwrap().since;
        board.set(Component::Topic, missing("b"));
        let progress = board.snapshot();
        let problem = progress.problem(Component::Topic).unwrap();
        assert_eq!((problem.since, problem.message.as_str()), (since, "b"));
        board.set(Component::Mqtt, Some((Reason::MqttUnreachable, "gone".into())));
        board.set(Component::Topic, None);
        let progress = board.snapshot();
        assert_eq!(progress.problem(Component::Topic), None);
        assert_eq!(
            progress.problem(Component::Mqtt).unwrap().reason,
            Reason::MqttUnreachable
        );
        assert_eq!(progress.last_error.unwrap().reason, Reason::MqttUnreachable);
        board.set(Component::Mqtt, None);
        let progress = board.snapshot();
        assert!(progress.problems.is_empty());
        assert_eq!(
            progress.last_error.unwrap().reason,
            Reason::MqttUnreachable,
            "also when it is over"
        );
    }

    #[test]
    fn losses_add_up_by_kind() {
        let board = board();
        board.lose(Reason::PayloadTooLarge, 1, "first".into());
        board.lose(Reason::SessionLost, 1, "gone".into());
        board.lose(Reason::PayloadTooLarge, 2, "second".into());
        let losses = board.snapshot().losses;
        let seen: Vec<_> = losses
            .iter()
            .map(|l| (l.reason, l.count, l.message.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (Reason::PayloadTooLarge, 3, "second"),
                (Reason::SessionLost, 1, "gone")
            ]
        );
    }

    #[test]
    fn the_servers_count_grows_from_what_was_seen_first_and_survives_its_restart() {
        let board = board();
        let growth: Vec<u64> = [100, 100, 130, 5, 7]
            .into_iter()
            .map(|n| board.broker_dropped(n))
            .collect();
        assert_eq!(growth, [0, 0, 30, 5, 2]);
        let dropped = board.snapshot().mqtt.broker_dropped.unwrap();
        assert_eq!((dropped.baseline, dropped.current, dropped.growth), (0, 7, 37));
    }
}
