//! Objects from a file: what somebody else's `kubectl get -o json` wrote.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::StatusError;
use super::figures::whole_seconds;
use super::model::Answer;
use super::note::{Note, NoteKind};
use super::object::Object;
use crate::api::STALE_AFTER_SECONDS;

/// A larger file is not read.
const MAX_BYTES: u64 = 64 << 20;

/// Reads a list of objects, or one, in JSON or YAML; `-` is standard input. They are judged as of their newest status:
/// by now all of them would be stale.
pub(super) fn read(path: &Path, namespace: Option<&str>) -> Result<Answer, StatusError> {
    let name = path.display().to_string();
    let bad = |why: String| StatusError::File {
        path: name.clone(),
        why,
    };
    let text = text(path).map_err(|e| bad(e.to_string()))?;
    let (objects, skipped) = objects(&text).map_err(bad)?;
    let newest = objects.iter().filter_map(Object::observed_at).max();
    let read_at = newest.map(|newest| as_of(newest, whole_seconds(Timestamp::now())));
    let now = read_at.unwrap_or_else(Timestamp::now);
    let skipped = match skipped {
        0 => String::new(),
        n => format!("; {n} objects of other kinds are left out"),
    };
    let since = if read_at == newest {
        "its newest status"
    } else {
        "this machine's clock, for its newest status claims to be of the future,"
    };
    let text = format!("from a file, as of {since} at {now}{skipped}");
    let mut answer = Answer::empty(&name, None, now, vec![Note::new(NoteKind::FromFile, text)]);
    answer.objects = objects;
    answer
        .objects
        .retain(|o| namespace.is_none_or(|wanted| o.namespace() == wanted));
    answer.reachable = true;
    answer.read_at = read_at;
    Ok(answer)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text)?;
    } else {
        File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The objects, and how many were of other kinds.
fn objects(text: &str) -> Result<(Vec<Object>, usize), String> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(json) if text.trim_start().starts_with(['{', '[']) => return Err(json.to_string()),
        Err(_) if documents(text) > 1 => {
            return Err("it holds several YAML documents; one list is wanted".to_owned());
        }
        Err(_) => serde_yaml::from_str(text).map_err(|e| e.to_string())?,
    };
    let all = match (&value["items"], &value) {
        (Value::Array(items), _) => items.as_slice(),
        (_, Value::Object(_)) => std::slice::from_ref(&value),
        _ => return Err("it holds no object".to_owned()),
    };
    let ours: Vec<Object> = all.iter().filter_map(|item| Object::read(None, item)).collect();
    let skipped = all.len() - ours.len();
    Ok((ours, skipped))
}

/// What claims to be of the future by more than clocks may differ must not make all others old.
fn as_of(newest: Timestamp, here: Timestamp) -> Timestamp {
    let ahead = newest.duration_since(here).as_secs();
    if ahead > STALE_AFTER_SECONDS { here } else { newest }
}

/// How many YAML documents there are; comments, directives and empty ones aside.
fn documents(text: &str) -> usize {
    let separated = format!("\n{text}");
    let has_content = |part: &&str| {
        let mut lines = part.lines().map(str::trim);
        lines.any(|line| !line.is_empty() && !line.starts_with(['#', '%']))
    };
    separated.split("\n---").filter(has_content).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_objects_are_read_in_json_and_yaml() {
        let one =
            "apiVersion: tributary.dev/v1alpha1\nkind: EdgeCluster\nmetadata: {name: a, namespace: b}\n";
        assert_eq!(objects(one).unwrap().0.len(), 1);
        let headed = format!("# from munich\n%YAML 1.2\n---\n{one}");
        assert_eq!(objects(&headed).unwrap().0.len(), 1);
        let json = r#"{"kind": "List", "items": [
            {"apiVersion": "tributary.dev/v1alpha1", "kind": "EdgeCluster", "metadata": {"name": "a"}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]}"#;
        let (ours, skipped) = objects(json).unwrap();
        assert_eq!((ours.len(), skipped), (1, 1));
    }

    #[test]
    fn a_status_of_the_future_does_not_say_as_of_when_the_others_are() {
        let here = Timestamp::from_second(1_000_000).unwrap();
        for (ahead, believed) in [(-90_000, true), (180, true), (181, false)] {
            let newest = Timestamp::from_second(1_000_000 + ahead).unwrap();
            assert_eq!(as_of(newest, here) == newest, believed, "{ahead}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[1]", "{", "just words"] {
            assert!(objects(text).is_err(), "{text:?}");
        }
        let two = objects("---\nkind: A\n---\nkind: B\n").unwrap_err();
        assert_eq!(two, "it holds several YAML documents; one list is wanted");
    }
}
