//! ReplicationLink.

use serde_json::{Value, json};

use super::{Case, Kind, dotted, endpoint, frozen, refused, too_long, with};

pub(super) fn kind() -> Kind {
    let base = base();
    let mut cases = vec![too_long(&base), dotted(&base)];
    cases.extend(identity(&base));
    for field in ["source", "target"] {
        cases.extend(endpoint::cases(&base, field));
    }
    cases.extend(topics(&base));
    Kind {
        name: "ReplicationLink",
        base,
        cases,
    }
}

fn base() -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "ReplicationLink", "metadata": {"name": "to-eu"},
        "spec": {
            "linkId": "munich/to-eu",
            "source": endpoint::external(), "target": endpoint::external(),
            "topics": {"include": ["telemetry"], "naming": {"type": "Prefix", "prefix": "munich."},
                "replicationFactor": 3},
            "delivery": "AtLeastOnce", "start": "Earliest",
        },
    })
}

fn identity(base: &Value) -> [Case; 3] {
    let told = "linkId is immutable: the positions on the target belong to it; create a new ReplicationLink";
    let absent = with(base, &json!({"/spec/linkId": null}));
    [
        frozen("spec", told, base, &json!({"/spec/linkId": "berlin/to-eu"})),
        frozen("spec", told, base, &json!({"/spec/linkId": null})),
        frozen("spec", told, &absent, &json!({"/spec/linkId": "munich/to-eu"})),
    ]
}

fn topics(base: &Value) -> Vec<Case> {
    let renamed = "topics.naming is immutable: what was replicated stands under the old names; create a new \
                   ReplicationLink";
    let prefix = |type_: &str| {
        format!("naming.type is {type_}: prefix is needed for Prefix, and must be absent for Identity")
    };
    let factor = "topics.replicationFactor must be -1 (the target's default) or 1 to 9";
    let naming = "spec.topics.naming";
    let mut cases = vec![
        frozen(
            naming,
            renamed,
            base,
            &json!({"/spec/topics/naming/prefix": "berlin."}),
        ),
        frozen(
            naming,
            renamed,
            base,
            &json!({"/spec/topics/naming": {"type": "Identity"}}),
        ),
        refused(
            naming,
            &prefix("Prefix"),
            base,
            &json!({"/spec/topics/naming/prefix": null}),
        ),
        refused(
            naming,
            &prefix("Identity"),
            base,
            &json!({"/spec/topics/naming/type": "Identity"}),
        ),
    ];
    cases.extend([-2, 0, 10].map(|number| {
        let changes = json!({"/spec/topics/replicationFactor": number});
        refused("spec.topics.replicationFactor", factor, base, &changes)
    }));
    cases
}
