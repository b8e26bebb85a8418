//! Every CEL rule has a case in `tests/cel` that breaks only that rule; the same cases go to a real API server in
//! `tests/integration`.

#[path = "../../tests/cel/mod.rs"]
mod cel;

use std::collections::BTreeSet;
use std::fmt::Debug;

use kube::core::cel::{ErrorKind, ValidationErrors, Validator, validate_cel, validate_cel_update};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use cel::{Case, Kind, On};

#[test]
fn crds_are_structural_and_print() {
    for (file, crd) in crds() {
        let text = serde_yaml::to_string(&crd).unwrap();
        assert!(text.contains("tributary.dev"), "{file}");
    }
}

/// The remedy of a topic that Kafka refused for its replicas is one change of the file.
#[test]
fn a_topics_replicas_can_be_changed_to_what_kafka_can_do() {
    let [cluster, ..] = cel::kinds();
    let refused = cel::with(&cluster.base, &serde_json::json!({"/spec/topics/0/replicas": 3}));
    let mended = cel::with(&cluster.base, &serde_json::json!({"/spec/topics/0/replicas": 1}));
    let (refused, mended) = (parse::<EdgeCluster>(&refused), parse::<EdgeCluster>(&mended));
    let result = validate_cel_update(&mended, &refused);
    assert!(result.is_ok(), "{result:?}");
}

/// A rule by where it stands and what it says.
type Rule = (String, String);

#[test]
fn every_rule_of_an_edge_cluster_refuses_its_cases_alone_and_says_why() {
    let [cluster, ..] = cel::kinds();
    check::<EdgeCluster>(&cluster);
}

#[test]
fn every_rule_of_a_bridge_pipeline_refuses_its_cases_alone_and_says_why() {
    let [_, bridge, _] = cel::kinds();
    check::<BridgePipeline>(&bridge);
}

#[test]
fn every_rule_of_a_replication_link_refuses_its_cases_alone_and_says_why() {
    let [.., link] = cel::kinds();
    check::<ReplicationLink>(&link);
}

fn check<K>(kind: &Kind)
where
    K: CustomResourceExt + Serialize + DeserializeOwned + Debug,
{
    assert_eq!(K::crd().spec.names.kind, kind.name);
    let before = kind.cases.iter().map(|case| &case.old);
    let mut accepted: Vec<&Value> = Vec::new();
    for object in before.chain([&kind.base]) {
        if !accepted.contains(&object) {
            let result = validate_cel(&parse::<K>(object));
            assert!(result.is_ok(), "{}: {result:?}: {object:#}", kind.name);
            accepted.push(object);
        }
    }
    let schema = schema(&K::crd());
    let broken: BTreeSet<Rule> = kind
        .cases
        .iter()
        .map(|case| broken::<K>(kind, case, &schema))
        .collect();
    let mut rules = BTreeSet::new();
    collect(&schema, "", &mut rules);
    let untested: Vec<_> = rules.difference(&broken).collect();
    assert!(
        untested.is_empty(),
        "{}: no case breaks these rules; add some to tests/cel: {untested:#?}",
        kind.name
    );
}

/// The one rule that refuses the case.
fn broken<K>(kind: &Kind, case: &Case, schema: &Value) -> Rule
where
    K: CustomResourceExt + Serialize + DeserializeOwned + Debug,
{
    let what = format!("{} {}: {}", kind.name, case.at, case.told);
    let update = || validate_cel_update(&parse::<K>(&case.new), &parse::<K>(&case.old));
    let refused = match case.on {
        On::Create => {
            let updated = update();
            assert!(told(&updated, case), "{what}: as an update: {updated:?}");
            validate_cel(&parse::<K>(&case.new))
        }
        On::Update => {
            let created = validate_cel(&parse::<K>(&case.new));
            assert!(created.is_ok(), "{what}: as a new object: {created:?}");
            update()
        }
        // The type cannot hold it.
        On::UpdateBeyondEnum => Validator::new().validate(schema, &case.new, Some(&case.old)),
    };
    assert!(told(&refused, case), "{what}: {refused:?}");
    let errors = refused.unwrap_err();
    assert_eq!(errors.len(), 1, "{what}: refused by others too: {errors}");
    (case.at.clone(), errors[0].rule.clone())
}

/// Whether the rule that the case names refused, with the words that the case expects.
fn told(result: &Result<(), ValidationErrors>, case: &Case) -> bool {
    result.as_ref().is_err_and(|errors| {
        errors.iter().any(|error| {
            error.kind == ErrorKind::ValidationFailure
                && cel::place(&error.field_path) == case.at
                && error.message == case.told
        })
    })
}

fn parse<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object:#}"))
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    let version = &crd.spec.versions[0];
    let schema = version
        .schema
        .as_ref()
        .and_then(|s| s.open_api_v3_schema.as_ref());
    serde_json::to_value(schema.unwrap()).unwrap()
}

/// Every rule in and below a schema that stands at `path`.
fn collect(schema: &Value, path: &str, rules: &mut BTreeSet<Rule>) {
    let Some(fields) = schema.as_object() else {
        return;
    };
    for (key, value) in fields {
        match key.as_str() {
            "x-kubernetes-validations" => rules.extend(
                value
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|rule| (path.to_owned(), rule["rule"].as_str().unwrap().to_owned())),
            ),
            "properties" => {
                for (name, field) in value.as_object().unwrap() {
                    let below = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    collect(field, &below, rules);
                }
            }
            "items" => collect(value, &format!("{path}[]"), rules),
            "additionalProperties" => collect(value, &format!("{path}{{}}"), rules),
            "allOf" | "anyOf" | "oneOf" => {
                for branch in value.as_array().unwrap() {
                    collect(branch, path, rules);
                }
            }
            _ => {}
        }
    }
}
