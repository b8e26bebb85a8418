//! Every CEL rule of the three kinds, with objects that break that rule and no other. The unit test of `src/api` takes
//! them to `validate_cel` and fails when a rule has none; an integration test takes them to a real API server.

mod bridge_pipeline;
mod edge_cluster;
mod endpoint;
mod replication_link;

use serde_json::{Value, json};

/// A kind's cases.
pub(crate) struct Kind {
    /// Its name.
    pub(crate) name: &'static str,
    /// An object that every rule accepts.
    pub(crate) base: Value,
    /// What its rules refuse.
    pub(crate) cases: Vec<Case>,
}

/// An object that one rule refuses.
pub(crate) struct Case {
    /// Where the rule stands, such as `spec.listeners[]`; empty for the object itself.
    pub(crate) at: String,
    /// All that the user is told: field, value, remedy.
    pub(crate) told: String,
    /// When it is refused.
    pub(crate) on: On,
    /// What is there before, accepted.
    pub(crate) old: Value,
    /// What is refused.
    pub(crate) new: Value,
}

/// When a rule refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Always, so also when the object is created.
    Create,
    /// As a change of what is there.
    Update,
    /// As a change between values of which this release's schema knows only one.
    UpdateBeyondEnum,
}

/// Every kind, with its cases.
pub(crate) fn kinds() -> [Kind; 3] {
    [
        edge_cluster::kind(),
        bridge_pipeline::kind(),
        replication_link::kind(),
    ]
}

/// A field's path without its indices, so that it names a place in the schema.
pub(crate) fn place(field: &str) -> String {
    let mut place = String::new();
    let mut inside = false;
    for c in field.chars() {
        inside = (inside && c != ']') || c == '[';
        if !inside || c == '[' {
            place.push(c);
        }
    }
    place
}

/// `base` with these changes: JSON pointers and their new values, `null` to remove.
pub(crate) fn with(base: &Value, changes: &Value) -> Value {
    let mut object = base.clone();
    for (pointer, value) in changes.as_object().expect("pointers and values") {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        match object
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("nothing at {parent}"))
        {
            Value::Object(fields) if value.is_null() => {
                assert!(fields.remove(key).is_some(), "nothing to remove at {pointer}");
            }
            Value::Object(fields) => {
                fields.insert(key.to_owned(), value.clone());
            }
            Value::Array(items) if value.is_null() => {
                items.remove(key.parse().expect("an index"));
            }
            Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value.clone(),
            other => panic!("{parent} is {other}"),
        }
    }
    object
}

/// A change of `base` that is refused whenever it is made.
fn refused(at: &str, told: &str, base: &Value, changes: &Value) -> Case {
    case(On::Create, at, told, base, changes)
}

/// A change of `base` that is refused because of what was there before.
fn frozen(at: &str, told: &str, base: &Value, changes: &Value) -> Case {
    case(On::Update, at, told, base, changes)
}

fn case(on: On, at: &str, told: &str, base: &Value, changes: &Value) -> Case {
    Case {
        at: at.to_owned(),
        told: told.to_owned(),
        on,
        old: base.clone(),
        new: with(base, changes),
    }
}

/// A name that a StatefulSet cannot have.
fn dotted(base: &Value) -> Case {
    let told = "metadata.name line.one: lower case letters, digits and hyphens, so that the names of its pods are valid";
    refused("", told, base, &json!({"/metadata/name": "line.one"}))
}

/// A name that is one character too long for every kind.
fn too_long(base: &Value) -> Case {
    let name = "a".repeat(41);
    let told =
        format!("metadata.name {name} is too long: at most 40 characters, so that pod and service names fit");
    refused("", &told, base, &json!({"/metadata/name": name}))
}
