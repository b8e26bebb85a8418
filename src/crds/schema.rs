//! A CRD's schema as sections of Markdown: one for each object in it, with its fields, bounds and rules.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Fields whose schema is Kubernetes' own: named, not repeated.
const KUBERNETES_TYPES: [(&str, &str); 3] = [
    ("affinity", "Affinity"),
    ("tolerations", "Toleration"),
    ("conditions", "Condition"),
];

/// Appends a section for `schema`, which stands at `path`, and for every object below it.
pub(super) fn sections(out: &mut String, path: &str, schema: &Value) {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    if properties.is_empty() || is_key_reference(schema) {
        return;
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        out,
        "\n## {path}\n\n| Field | Type | Required | What it is |\n| --- | --- | --- | --- |"
    );
    for (name, field) in properties {
        let needed = if required.contains(&name.as_str()) {
            "yes"
        } else {
            ""
        };
        let (type_, text) = (
            type_of(name, field),
            cell(field["description"].as_str().unwrap_or_default()),
        );
        let bounds = bounds(field).map(|b| format!(" *{b}*")).unwrap_or_default();
        let _ = writeln!(out, "| `{name}` | {type_} | {needed} | {text}{bounds} |");
    }
    rules(out, schema);
    for (name, field) in properties
        .iter()
        .filter(|(name, _)| kubernetes_type(name).is_none())
    {
        rules_of_leaf(out, name, field);
    }
    for (name, field) in properties
        .iter()
        .filter(|(name, _)| kubernetes_type(name).is_none())
    {
        sections(out, &format!("{path}.{name}"), field);
        sections(out, &format!("{path}.{name}[]"), &field["items"]);
    }
}

fn kubernetes_type(name: &str) -> Option<&'static str> {
    KUBERNETES_TYPES
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, type_)| *type_)
}

/// A key of a Secret or ConfigMap: said in the table of the field that has it.
fn is_key_reference(schema: &Value) -> bool {
    schema["properties"]
        .as_object()
        .is_some_and(|p| p.keys().eq(["key", "name"]))
}

fn type_of(name: &str, field: &Value) -> String {
    let plain = |schema: &Value| match schema["type"].as_str() {
        _ if schema["x-kubernetes-int-or-string"] == Value::Bool(true) => "quantity".to_owned(),
        Some("string") if schema["format"] == "date-time" => "time".to_owned(),
        Some(type_) => type_.to_owned(),
        None => "any".to_owned(),
    };
    if let Some(type_) = kubernetes_type(name) {
        let list = if field["type"] == "array" { "list of " } else { "" };
        return format!("{list}Kubernetes `{type_}`");
    }
    if is_key_reference(field) {
        return "`{name, key}`".to_owned();
    }
    if field["type"] == "array" {
        let key = field["x-kubernetes-list-map-keys"][0].as_str();
        return match key {
            Some(key) => format!("list of {}, keyed by `{key}`", plain(&field["items"])),
            None => format!("list of {}", plain(&field["items"])),
        };
    }
    match field.get("additionalProperties") {
        Some(value) if value.is_object() => format!("map of {}", plain(value)),
        _ => plain(field),
    }
}

/// What the API server checks of a value, in words.
fn bounds(field: &Value) -> Option<String> {
    let mut said = Vec::new();
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .filter(|v| !v.is_null())
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .collect();
        said.push(format!("one of {}", values.join(", ")));
    }
    let mut range = |low: &str, high: &str, unit: &str| {
        let number = |key: &str| field[key].as_f64().map(|n| n.to_string());
        match (number(low), number(high)) {
            (Some(low), Some(high)) => said.push(format!("{low} to {high}{unit}")),
            (None, Some(high)) => said.push(format!("at most {high}{unit}")),
            (Some(low), None) => said.push(format!("at least {low}{unit}")),
            (None, None) => {}
        }
    };
    range("minimum", "maximum", "");
    range("minItems", "maxItems", " entries");
    range("minProperties", "maxProperties", " entries");
    range("minLength", "maxLength", " characters");
    for (of, schema) in [("", field), ("entries ", &field["items"])] {
        if let Some(pattern) = schema["pattern"].as_str() {
            said.push(format!("{of}`{}`", pattern.replace('|', "\\|")));
        }
    }
    (!said.is_empty()).then(|| format!("({})", said.join("; ")))
}

/// CEL rules of an object.
fn rules(out: &mut String, schema: &Value) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let _ = writeln!(out, "\n- {}", rule_text(rule));
    }
}

/// CEL rules of a field that has no section of its own.
fn rules_of_leaf(out: &mut String, name: &str, field: &Value) {
    if field["properties"].is_object() {
        return;
    }
    for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "\n- `{name}`: {}", rule_text(rule));
    }
}

fn rule_text(rule: &Value) -> String {
    let checked = rule["rule"].as_str().unwrap_or_default();
    match rule["message"].as_str() {
        Some(message) => format!("{message} (`{checked}`)"),
        None => format!("`{checked}`"),
    }
}

/// Text that stays in its table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}
