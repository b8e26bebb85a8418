//! Writes statuses: once for each change, and often enough that readers see that somebody is looking.

mod invalid;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::metrics::Metrics;
use super::{Applied, Context, Error, FIELD_MANAGER, Kind, ObjectKey};

/// Decides whether a status is worth a write, and writes it by server-side apply.
///
/// A status is written when [`Kind::at_rest`] of it differs from what was written last, or when what was written last
/// is older than the refresh. Remembers one status for each object.
#[derive(Debug)]
pub struct StatusWriter {
    refresh: Duration,
    last: Mutex<HashMap<ObjectKey, Last>>,
}

#[derive(Clone, Debug)]
struct Last {
    uid: Option<String>,
    /// What was written, at rest, as JSON: one type for all kinds.
    calm: serde_json::Value,
    conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
    at: Timestamp,
}

impl StatusWriter {
    /// A writer that rewrites an unchanged status after `refresh`.
    #[must_use]
    pub fn new(refresh: Duration) -> Self {
        Self {
            refresh,
            last: Mutex::new(HashMap::new()),
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, metrics: &Metrics, key: &ObjectKey) {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        metrics.forget(key);
    }

    /// Writes `status` if it is worth it, and publishes an event for each condition that changed.
    ///
    /// # Errors
    /// When the API server does not take it. An object that is gone is no error.
    pub async fn write<K: Kind>(
        &self,
        ctx: &Context,
        object: &K,
        status: &K::Status,
    ) -> Result<Applied, Error> {
        let key = ObjectKey::of(object);
        let now = ctx.now();
        ctx.metrics().conditions(&key, K::conditions(status));
        let calm = to_json(&key, &K::at_rest(status))?;
        let last = self.last_of(&key, object)?;
        if let Some(last) = &last
            && !is_due(last, &calm, now, self.refresh)
        {
            return Ok(Applied::Unchanged);
        }
        let written = to_json(&key, status)?;
        if let Err(error) = apply::<K>(ctx, &key, object.meta().uid.as_deref(), written).await {
            return if error.is_gone() {
                Ok(Applied::Unchanged)
            } else {
                Err(error)
            };
        }
        let conditions = K::conditions(status).to_vec();
        let old = last.map(|l| l.conditions).unwrap_or_default();
        ctx.metrics().status_written(key.kind);
        let entry = Last {
            uid: object.meta().uid.clone(),
            calm,
            conditions,
            at: now,
        };
        self.remember(&key, entry);
        ctx.events()
            .transitions(object, &old, K::conditions(status))
            .await;
        Ok(Applied::Written)
    }

    /// What this process wrote last, else what is cached: after a restart nothing is written that stands there already.
    fn last_of<K: Kind>(&self, key: &ObjectKey, object: &K) -> Result<Option<Last>, Error> {
        if let Some(last) = self.remembered(key, object.meta().uid.as_deref()) {
            return Ok(Some(last));
        }
        let Some(status) = object.status() else {
            return Ok(None);
        };
        Ok(Some(Last {
            uid: object.meta().uid.clone(),
            calm: to_json(key, &K::at_rest(status))?,
            conditions: K::conditions(status).to_vec(),
            at: K::observed_at(status).unwrap_or(Timestamp::MIN),
        }))
    }

    /// What this process wrote last for this very object.
    fn remembered(&self, key: &ObjectKey, uid: Option<&str>) -> Option<Last> {
        let all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).filter(|last| last.uid.as_deref() == uid).cloned()
    }

    fn remember(&self, key: &ObjectKey, last: Last) {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), last);
    }
}

fn is_due(last: &Last, calm: &serde_json::Value, now: Timestamp, refresh: Duration) -> bool {
    let refresh = SignedDuration::try_from(refresh).unwrap_or(SignedDuration::MAX);
    // A clock that was set back must not silence the refresh until it has caught up.
    let age = now.duration_since(last.at);
    *calm != last.calm || age >= refresh || age < SignedDuration::ZERO
}

fn to_json<T: serde::Serialize>(key: &ObjectKey, value: &T) -> Result<serde_json::Value, Error> {
    serde_json::to_value(value).map_err(|e| Error::Serialize {
        what: format!("the status of {key}"),
        message: e.to_string(),
    })
}

async fn apply<K: Kind>(
    ctx: &Context,
    key: &ObjectKey,
    uid: Option<&str>,
    status: serde_json::Value,
) -> Result<(), Error> {
    // The UID makes the server refuse the status of an object that was deleted and created anew meanwhile.
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::KIND,
        "metadata": { "name": key.name, "uid": uid },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let what = || format!("write the status of {key}");
    // The answer is not needed, and might not even be parsable as a K.
    let call = async {
        let request = kube::core::Request::new(K::url_path(&(), Some(&key.namespace)));
        let request = request
            .patch_subresource("status", &key.name, &params, &Patch::Apply(&patch))
            .map_err(kube::Error::BuildRequest)?;
        ctx.client().request_text(request).await.map(drop)
    };
    ctx.call(what, call).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(at: i64) -> Last {
        Last {
            uid: None,
            calm: json!({"a": 1}),
            conditions: Vec::new(),
            at: Timestamp::from_second(at).unwrap(),
        }
    }

    #[test]
    fn an_unchanged_status_is_due_only_after_the_refresh_or_a_clock_set_back() {
        let refresh = Duration::from_secs(60);
        let at = |s| Timestamp::from_second(s).unwrap();
        let same = json!({"a": 1});
        assert!(!is_due(&last(100), &same, at(100), refresh));
        assert!(!is_due(&last(100), &same, at(159), refresh));
        assert!(is_due(&last(100), &same, at(160), refresh));
        assert!(is_due(&last(100), &same, at(99), refresh));
        assert!(is_due(&last(100), &json!({"a": 2}), at(101), refresh));
    }
}
