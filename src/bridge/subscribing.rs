//! Subscriptions of one connection: what was asked for, what was granted, what is asked for again. No I/O of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::config::{MqttConfig, SubscriptionConfig};
use super::progress::{Reason, SubscriptionProgress};
use crate::mqtt::Source;
use crate::mqtt::error::MqttError;
use crate::mqtt::packet::Subscription;

/// Where mosquitto says how many messages it has dropped.
pub const DROPPED_TOPIC: &str = "$SYS/broker/publish/messages/dropped";
/// How long a server may take to answer, while it can.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long after a refusal a subscription is asked for again: permissions change.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Filters in one packet.
const FILTERS_PER_PACKET: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct Subscribing {
    wanted: Vec<SubscriptionConfig>,
    stale: Vec<String>,
    outcome: Vec<Option<Result<u8, String>>>,
    removed: Vec<String>,
    asked: HashMap<u16, Asked>,
    waiting_since: Instant,
    ask_again: Option<Instant>,
}

#[derive(Debug)]
enum Asked {
    Subscribe(Vec<usize>),
    Unsubscribe(Vec<String>),
    Dropped,
}

impl Subscribing {
    /// Asks for everything that the configuration wants, and for the end of what it wants no more.
    ///
    /// # Errors
    /// When a packet cannot be encoded.
    pub fn begin(config: &MqttConfig, source: &mut impl Source, now: Instant) -> Result<Self, MqttError> {
        let mut this = Self {
            wanted: config.subscriptions.clone(),
            stale: config.stale_filters().map(str::to_owned).collect(),
            outcome: vec![None; config.subscriptions.len()],
            removed: Vec::new(),
            asked: HashMap::new(),
            waiting_since: now,
            ask_again: None,
        };
        let stale = std::mem::take(&mut this.stale);
        for filters in stale.chunks(FILTERS_PER_PACKET) {
            let texts: Vec<&str> = filters.iter().map(String::as_str).collect();
            let pkid = source.unsubscribe(&texts)?;
            this.asked.insert(pkid, Asked::Unsubscribe(filters.to_vec()));
        }
        let all: Vec<usize> = (0..this.wanted.len()).collect();
        this.ask(&all, source)?;
        // Also in a session that has it: the count as it is now tells what was dropped while no bridge was connected.
        let dropped = Subscription {
            filter: DROPPED_TOPIC,
            qos: 0,
            stored_again: true,
        };
        let pkid = source.subscribe(&[dropped])?;
        this.asked.insert(pkid, Asked::Dropped);
        Ok(this)
    }

    fn ask(&mut self, which: &[usize], source: &mut impl Source) -> Result<(), MqttError> {
        for part in which.chunks(FILTERS_PER_PACKET) {
            let filters = part.iter().filter_map(|i| self.wanted.get(*i));
            // What the session has already brings no stored messages a second time.
            let filters: Vec<_> = filters
                .map(|s| Subscription {
                    filter: &s.filter,
                    qos: s.qos,
                    stored_again: false,
                })
                .collect();
            let pkid = source.subscribe(&filters)?;
            self.asked.insert(pkid, Asked::Subscribe(part.to_vec()));
        }
        Ok(())
    }

    /// A SUBACK has come. Yields whether it was asked for.
    pub fn granted(&mut self, pkid: u16, granted: &[Result<u8, String>], now: Instant) -> bool {
        match self.asked.remove(&pkid) {
            Some(Asked::Subscribe(which)) => {
                let missing = Err("the server's answer has too few codes".to_owned());
                for (n, index) in which.into_iter().enumerate() {
                    let code = granted.get(n).unwrap_or(&missing);
                    if let Some(outcome) = self.outcome.get_mut(index) {
                        *outcome = Some(code.clone());
                    }
                }
                if self.problem().is_some() {
                    self.ask_again = Some(now + ASK_AGAIN);
                }
                true
            }
            Some(Asked::Dropped) => true,
            other => {
                self.asked.extend(other.map(|asked| (pkid, asked)));
                false
            }
        }
    }

    /// An UNSUBACK has come.
    pub fn removed(&mut self, pkid: u16, done: &[Result<(), String>]) {
        let Some(Asked::Unsubscribe(filters)) = self.asked.remove(&pkid) else {
            return;
        };
        for (n, filter) in filters.into_iter().enumerate() {
            match done.get(n) {
                Some(Err(why)) => {
                    tracing::warn!(filter, why, "the server keeps a subscription that is not wanted");
                }
                // 3.1.1 has no codes: the answer alone says that it is done.
                Some(Ok(())) | None => self.removed.push(filter),
            }
        }
    }

    /// Asks again for what was refused, in time. `reading` tells whether answers can arrive at all.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn tick(&mut self, source: &mut impl Source, reading: bool, now: Instant) -> Result<(), MqttError> {
        if !reading || self.asked.is_empty() {
            self.waiting_since = now;
        }
        if now.saturating_duration_since(self.waiting_since) > ANSWER_LIMIT {
            let server = "the server".to_owned();
            return Err(MqttError::Timeout {
                server,
                doing: "subscribing",
                limit: ANSWER_LIMIT,
            });
        }
        if self.ask_again.is_some_and(|at| now >= at) {
            self.ask_again = None;
            let refused: Vec<usize> = (0..self.wanted.len()).filter(|i| !self.is_granted(*i)).collect();
            self.ask(&refused, source)?;
        }
        Ok(())
    }

    fn is_granted(&self, index: usize) -> bool {
        match (self.wanted.get(index), self.outcome.get(index)) {
            (Some(wanted), Some(Some(Ok(qos)))) => *qos >= wanted.qos,
            _ => false,
        }
    }

    /// Whether every subscription was answered.
    pub fn answered(&self) -> bool {
        self.outcome.iter().all(Option::is_some)
    }

    /// What is wrong, if anything is.
    pub fn problem(&self) -> Option<(Reason, String)> {
        let pairs = || self.wanted.iter().zip(&self.outcome);
        let refused = pairs().find_map(|(wanted, outcome)| match outcome {
            Some(Err(why)) => Some((wanted, why)),
            _ => None,
        });
        if let Some((wanted, why)) = refused {
            let filter = &wanted.filter;
            let text = format!(
                "the server refuses the subscription {filter:?}: {why}; allow it to our user (it is asked for again every 30 s)"
            );
            return Some((Reason::SubscriptionRefused, text));
        }
        let lowered = pairs().find_map(|(wanted, outcome)| match outcome {
            Some(Ok(qos)) if *qos < wanted.qos => Some((wanted, qos)),
            _ => None,
        });
        lowered.map(|(SubscriptionConfig { filter, qos }, granted)| {
            let text = format!("the server grants QoS {granted} instead of {qos} to {filter:?}: messages may be lost; raise its maximum QoS, or ask for {granted}");
            (Reason::SubscriptionQosLowered, text)
        })
    }

    /// For the progress document.
    pub fn progress(&self) -> Vec<SubscriptionProgress> {
        let entry =
            |(wanted, outcome): (&SubscriptionConfig, &Option<Result<u8, String>>)| SubscriptionProgress {
                filter: wanted.filter.clone(),
                requested_qos: wanted.qos,
                granted_qos: outcome.as_ref().and_then(|o| o.as_ref().ok().copied()),
                refused: outcome.as_ref().and_then(|o| o.as_ref().err().cloned()),
            };
        self.wanted.iter().zip(&self.outcome).map(entry).collect()
    }

    /// Filters that the server has confirmed as gone.
    pub fn gone(&self) -> &[String] {
        &self.removed
    }
}
