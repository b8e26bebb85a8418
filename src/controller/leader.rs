//! Leader election by a Lease, as Kubernetes' own controllers do it: only the leader reconciles.
//!
//! Times are judged by this process' own steady clock, never by comparing wall clocks: a Lease is free when its record
//! has not changed for [`Timing::duration`] as seen from here. A leader that could not renew for
//! [`Timing::renew_deadline`], which is shorter, drops its work before anyone else may take over.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// The periods of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others leave an unrenewed Lease alone.
    pub duration: Duration,
    /// How long the leader works on without having renewed it.
    pub renew_deadline: Duration,
    /// How often it is renewed, and how often others look.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(3),
        }
    }
}

/// How a term of leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// The work ended by itself or by the shutdown; the Lease was given back.
    Ended,
    /// The Lease could not be renewed in time, or somebody else holds it: the work was dropped.
    Lost,
}

/// An election for one Lease.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Election")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What a look at the Lease leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is ours, or free: write our name and the time.
    Take,
    /// It is somebody else's.
    Wait,
}

/// A record of the Lease, and since when (here) it has looked like this.
#[derive(Debug, Default)]
struct Observed {
    record: Option<LeaseSpec>,
    since: Option<Instant>,
}

impl Observed {
    fn turn(&mut self, record: Option<&LeaseSpec>, identity: &str, duration: Duration, now: Instant) -> Turn {
        if self.since.is_none() || self.record.as_ref() != record {
            self.record = record.cloned();
            self.since = Some(now);
        }
        let holder = record
            .and_then(|r| r.holder_identity.as_deref())
            .unwrap_or_default();
        let unchanged = self
            .since
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        // The holder's own duration counts if it is longer: it may run with other settings.
        let theirs = record
            .and_then(|r| r.lease_duration_seconds)
            .and_then(|s| u64::try_from(s).ok());
        let duration = duration.max(Duration::from_secs(theirs.unwrap_or_default()));
        if holder.is_empty() || holder == identity || unchanged >= duration {
            Turn::Take
        } else {
            Turn::Wait
        }
    }
}

impl Election {
    /// An election for the Lease `name` in `namespace`; `identity` must be another one for each process.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, timing: Timing) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing,
        }
    }

    /// Waits until this process leads, then runs `work`; drops it at once when leadership is lost. Ends when `work`
    /// does. `stop` ends the waiting; `work` gets to see it by itself and may take its time.
    pub async fn lead<F: Future<Output = ()>>(
        &self,
        stop: &CancellationToken,
        work: impl FnOnce() -> F,
    ) -> Leadership {
        let mut observed = Observed::default();
        let acquired = tokio::select! {
            acquired = self.acquire(&mut observed) => acquired,
            () = stop.cancelled() => return Leadership::Ended,
        };
        tracing::info!(lease = self.name, identity = self.identity, "leading");
        let lost = tokio::select! {
            () = work() => false,
            () = self.hold(&mut observed, acquired) => true,
        };
        if lost {
            tracing::error!(lease = self.name, "leadership lost: work dropped");
            return Leadership::Lost;
        }
        self.release().await;
        Leadership::Ended
    }

    async fn acquire(&self, observed: &mut Observed) -> Instant {
        let mut told = false;
        loop {
            let begun = Instant::now();
            match timeout(self.timing.renew_deadline, self.turn(observed)).await {
                Ok(Ok(true)) => return begun,
                Ok(Ok(false)) => {
                    if !std::mem::replace(&mut told, true) {
                        let holder = observed
                            .record
                            .as_ref()
                            .and_then(|r| r.holder_identity.as_deref());
                        tracing::info!(lease = self.name, holder, "standing by");
                    }
                }
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "cannot take the lease"),
                Err(_) => tracing::warn!(lease = self.name, "cannot take the lease: no answer in time"),
            }
            sleep(self.timing.retry).await;
        }
    }

    /// Renews until that fails for too long.
    async fn hold(&self, observed: &mut Observed, acquired: Instant) {
        let mut renewed = acquired;
        loop {
            sleep(self.timing.retry).await;
            let begun = Instant::now();
            let deadline = renewed + self.timing.renew_deadline;
            match timeout_at(deadline, self.turn(observed)).await {
                Ok(Ok(true)) => renewed = begun,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "cannot renew the lease"),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Looks at the Lease and writes our name into it if it is ours or free. Yields whether it is ours.
    async fn turn(&self, observed: &mut Observed) -> kube::Result<bool> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.record(None, now)),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        if observed.turn(
            lease.spec.as_ref(),
            &self.identity,
            self.timing.duration,
            Instant::now(),
        ) == Turn::Wait
        {
            return Ok(false);
        }
        lease.spec = Some(self.record(lease.spec.as_ref(), now));
        // The resource version that was read makes the server refuse the write if somebody was faster.
        won(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn record(&self, old: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let ours = old.is_some_and(|o| o.holder_identity.as_deref() == Some(&self.identity));
        let transitions = old.and_then(|o| o.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs().max(1)).ok(),
            acquire_time: if ours {
                old.and_then(|o| o.acquire_time.clone())
            } else {
                Some(MicroTime(now))
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if ours || old.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }

    /// Gives the Lease back, so that another process need not wait. Failing to is only slower for the others.
    async fn release(&self) {
        let released = timeout(self.timing.retry, async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else {
                return Ok(());
            };
            let Some(spec) = lease.spec.as_mut() else {
                return Ok(());
            };
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await
                .map(drop)
        });
        match released.await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "lease given back"),
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "lease not given back"),
            Err(_) => tracing::warn!(lease = self.name, "lease not given back: no answer in time"),
        }
    }
}

/// A conflict means that somebody else was faster: no error.
fn won<T>(written: kube::Result<T>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn held_by(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_free_only_when_its_record_stood_still_here_for_its_duration() {
        let mut observed = Observed::default();
        let start = Instant::now();
        let mut turn = |record: &LeaseSpec, second| {
            observed.turn(Some(record), "me", DURATION, start + Duration::from_secs(second))
        };
        // Whatever time the record names: an hour-old renewal may come from a clock that is an hour behind.
        assert_eq!(turn(&held_by("you", 0), 0), Turn::Wait);
        assert_eq!(turn(&held_by("you", 0), 14), Turn::Wait);
        assert_eq!(turn(&held_by("you", 3), 15), Turn::Wait);
        assert_eq!(turn(&held_by("you", 3), 29), Turn::Wait);
        assert_eq!(turn(&held_by("you", 3), 30), Turn::Take);
    }

    #[test]
    fn a_longer_duration_of_the_holder_is_respected() {
        let mut observed = Observed::default();
        let start = Instant::now();
        let record = LeaseSpec {
            lease_duration_seconds: Some(60),
            ..held_by("you", 0)
        };
        let mut turn =
            |second| observed.turn(Some(&record), "me", DURATION, start + Duration::from_secs(second));
        assert_eq!(turn(0), Turn::Wait);
        assert_eq!(turn(59), Turn::Wait);
        assert_eq!(turn(60), Turn::Take);
    }

    #[test]
    fn our_own_and_a_released_lease_are_taken_at_once() {
        let take = |record| Observed::default().turn(Some(&record), "me", DURATION, Instant::now());
        assert_eq!(take(held_by("me", 0)), Turn::Take);
        assert_eq!(take(held_by("", 0)), Turn::Take);
        assert_eq!(take(LeaseSpec::default()), Turn::Take);
    }
}
