//! The status of an object that is stored but cannot be read as its kind.
//!
//! What earlier looks left in it is held nowhere else (losses, gaps, that positions were seen) and stays. What was
//! measured does not: nobody measures it meanwhile, and the status is written with the present time. All of it is
//! applied anew, because fields that are no longer applied vanish, and those that a patch wrote would never do.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::GetParams;
use kube::core::error_boundary::InvalidObject;
use serde_json::{Map, Value, json};

use super::{Last, StatusWriter, apply, is_due};
use crate::api::{Reason, Verdict, condition_type};
use crate::controller::{Applied, Conditions, Context, Error, Kind, ObjectKey};

type Status = Map<String, Value>;

impl StatusWriter {
    /// Tells in an object's own status that it cannot be read. No events: there is nothing to refer to.
    ///
    /// # Errors
    /// When the API server does not tell or take the status. An object that is gone is no error.
    pub async fn write_invalid<K: Kind>(
        &self,
        ctx: &Context,
        key: &ObjectKey,
        invalid: &InvalidObject,
    ) -> Result<Applied, Error> {
        let (now, uid) = (ctx.now(), invalid.metadata.uid.as_deref());
        let mut standing = None;
        let last = match self.remembered(key, uid) {
            Some(last) => last,
            // This process wrote none yet.
            None => {
                let Some(status) = read::<K>(ctx, key, uid).await? else {
                    return Ok(Applied::Unchanged);
                };
                last_of(standing.insert(status), uid)
            }
        };
        let conditions = conditions::<K>(&last.conditions, invalid, now);
        ctx.metrics().conditions(key, &conditions);
        let calm = calm(invalid.metadata.generation, &conditions);
        if !is_due(&last, &calm, now, self.refresh) {
            self.remember(key, last);
            return Ok(Applied::Unchanged);
        }
        let standing = match standing {
            Some(standing) => Some(standing),
            None => read::<K>(ctx, key, uid).await?,
        };
        let Some(standing) = standing else {
            return Ok(Applied::Unchanged);
        };
        let status = next::<K>(standing, &calm, now);
        match apply::<K>(ctx, key, uid, status).await {
            Err(error) if error.is_gone() => return Ok(Applied::Unchanged),
            result => result?,
        }
        ctx.metrics().status_written(key.kind);
        let last = Last {
            uid: uid.map(str::to_owned),
            calm,
            conditions,
            at: now,
        };
        self.remember(key, last);
        Ok(Applied::Written)
    }
}

/// The status as stored; `None` when the object is gone, or another one has its name.
async fn read<K: Kind>(ctx: &Context, key: &ObjectKey, uid: Option<&str>) -> Result<Option<Status>, Error> {
    let call = async {
        let request = kube::core::Request::new(K::url_path(&(), Some(&key.namespace)));
        let request = request
            .get(&key.name, &GetParams::default())
            .map_err(kube::Error::BuildRequest)?;
        ctx.client().request::<Value>(request).await
    };
    let mut object = match ctx.call(|| format!("read {key}"), call).await {
        Err(error) if error.is_gone() => return Ok(None),
        result => result?,
    };
    if object["metadata"]["uid"].as_str() != uid {
        return Ok(None);
    }
    Ok(Some(match object["status"].take() {
        Value::Object(status) => status,
        _ => Status::new(),
    }))
}

fn last_of(status: &Status, uid: Option<&str>) -> Last {
    let of = |field: &str| status.get(field).unwrap_or(&Value::Null);
    let parsed = |c: &Value| serde_json::from_value::<Condition>(c.clone()).ok();
    let conditions: Vec<Condition> = of("conditions")
        .as_array()
        .map(|list| list.iter().filter_map(parsed).collect())
        .unwrap_or_default();
    let observed_at = of("observedAt").as_str().and_then(|at| at.parse().ok());
    Last {
        uid: uid.map(str::to_owned),
        calm: calm(of("observedGeneration").as_i64(), &conditions),
        conditions,
        at: observed_at.unwrap_or(Timestamp::MIN),
    }
}

/// What is news when it changes.
fn calm(generation: Option<i64>, conditions: &[Condition]) -> Value {
    json!({ "observedGeneration": generation, "conditions": conditions })
}

fn conditions<K: Kind>(old: &[Condition], invalid: &InvalidObject, now: Timestamp) -> Vec<Condition> {
    let message = format!(
        "the stored object is not a valid {}: {}; correct it (kubectl edit), or upgrade the operator if it was \
         written for a newer one; nothing is changed meanwhile",
        K::KIND,
        invalid.error
    );
    let mut conditions = Conditions::new(old, invalid.metadata.generation, now);
    conditions.no(condition_type::READY, Reason::InvalidSpec, &message);
    for old in old {
        match old.type_.as_str() {
            condition_type::READY | condition_type::RECONCILING | condition_type::STALLED => {}
            // What is lost stays lost.
            condition_type::LOSSLESS if old.status != "True" => conditions.keep(old),
            other => drop(conditions.unknown(
                other,
                Reason::InvalidSpec,
                "not known while the stored object cannot be read",
            )),
        }
    }
    conditions.stalled(Reason::InvalidSpec, &message);
    conditions.finish()
}

/// The next status: as it stands, with `calm` as news and without what was measured.
fn next<K: Kind>(mut status: Status, calm: &Value, now: Timestamp) -> Value {
    for field in K::MEASURED {
        status.remove(*field);
    }
    if let Some(verdict) = status.get_mut("verdict") {
        *verdict = json!(Verdict::Unknown);
    }
    status.extend(calm.as_object().cloned().unwrap_or_default());
    status.insert("observedAt".to_owned(), json!(Time(now)));
    Value::Object(status)
}

#[cfg(test)]
mod tests;
