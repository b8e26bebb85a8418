//! One pass over one object, and what follows from how it ended.

use std::panic::AssertUnwindSafe;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures::FutureExt;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use tokio::time::timeout;

use super::super::{Context, Error, Kind, ObjectKey, Reconciler, Requeue};
use super::{Driver, Gate};

/// How long one pass may take; every call in it has a shorter deadline of its own.
const PASS_DEADLINE: Duration = Duration::from_secs(60);

/// The pass failed in a way that no status tells; it was logged.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Error(#[from] Error),
    #[error("the pass panicked, which is a bug")]
    Panicked,
}

pub(super) fn key_of<K: Kind>(object: &DeserializeGuard<K>) -> ObjectKey {
    let meta = object.meta();
    ObjectKey::new(
        K::KIND,
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// When an object is tried again whose pass failed.
pub(super) fn after_failure<K: Kind>(ctx: &Context, object: &DeserializeGuard<K>) -> Action {
    Action::requeue(ctx.backoffs().failed(&key_of(object)))
}

impl<R: Reconciler> Driver<R> {
    /// A pass; one that the gate held back begins anew, with the object as it is cached by then.
    pub(super) async fn pass_through(
        &self,
        gate: &Gate,
        ctx: &Context,
        object: &DeserializeGuard<R::Kind>,
    ) -> Result<Action, Failed> {
        if gate.held().await {
            return Ok(Action::requeue(Duration::ZERO));
        }
        self.pass(ctx, object).await
    }

    async fn pass(&self, ctx: &Context, object: &DeserializeGuard<R::Kind>) -> Result<Action, Failed> {
        let key = key_of(object);
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone());
        let _running = ctx.metrics().begun(&key);
        let begun = Instant::now();
        let work = AssertUnwindSafe(timeout(PASS_DEADLINE, self.reconcile(ctx, &key, object))).catch_unwind();
        let result = match work.await {
            Ok(Ok(result)) => result.map_err(Failed::Error),
            Ok(Err(_)) => Err(Error::Timeout {
                what: format!("reconcile {key}"),
                after: PASS_DEADLINE,
            }
            .into()),
            Err(_) => Err(Failed::Panicked),
        };
        ctx.metrics()
            .reconciled(R::Kind::KIND, begun.elapsed(), result.is_err());
        if !self.is_known(&key) {
            // It went while the pass ran: what the pass has shown of it must go too.
            ctx.metrics().forget(&key);
        }
        match result {
            Ok(Requeue::BackOff) => Ok(Action::requeue(ctx.backoffs().failed(&key))),
            Ok(requeue) => {
                ctx.backoffs().reset(&key);
                Ok(Action::requeue(match requeue {
                    Requeue::After(wait) => wait,
                    _ => ctx.options().sample_interval,
                }))
            }
            Err(error) => {
                tracing::warn!(object = %key, %error, "reconcile failed");
                Err(error)
            }
        }
    }

    fn is_known(&self, key: &ObjectKey) -> bool {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }

    async fn reconcile(
        &self,
        ctx: &Context,
        key: &ObjectKey,
        object: &DeserializeGuard<R::Kind>,
    ) -> Result<Requeue, Error> {
        match &object.0 {
            // It is being deleted: nothing is created or repaired any more.
            Ok(object) if object.meta().deletion_timestamp.is_some() => {
                Ok(Requeue::After(ctx.options().status_refresh))
            }
            Ok(object) => self.reconciler.reconcile(ctx, object).await,
            // What runs for it is left alone.
            Err(invalid) => {
                ctx.statuses().write_invalid::<R::Kind>(ctx, key, invalid).await?;
                Ok(Requeue::After(ctx.options().status_refresh))
            }
        }
    }
}
