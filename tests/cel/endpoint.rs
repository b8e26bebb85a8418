//! A Kafka to connect to, wherever it stands.

use serde_json::{Value, json};

use super::{Case, refused, with};

/// An external Kafka with everything that rules look at.
pub(super) fn external() -> Value {
    json!({"external": {
        "bootstrapServers": ["kafka.eu.example:9094"],
        "tls": {"mode": "Verify", "ca": {"secretRef": {"name": "ca", "key": "ca.crt"}}},
        "authentication": {"type": "Scram", "mechanism": "ScramSha512", "username": "munich",
            "passwordSecretRef": {"name": "kafka", "key": "password"}},
    }})
}

/// Cases of the endpoint that stands at `field` of the spec.
pub(super) fn cases(base: &Value, field: &str) -> Vec<Case> {
    let at = |below: &str| format!("spec.{field}{below}");
    let to = |below: &str| format!("/spec/{field}{below}");
    let one =
        "set exactly one of clusterRef (an EdgeCluster of this namespace) and external (any other Kafka)";
    let cluster = json!({"name": "munich", "listener": "internal"});
    let mut cases = vec![
        refused(&at(""), one, base, &json!({to("/external"): null})),
        refused(&at(""), one, base, &json!({to("/clusterRef"): cluster})),
        refused(
            &at(".external.tls"),
            "tls.ca is set but tls.mode is Disabled: set mode to Verify, or remove ca",
            base,
            &json!({to("/external/tls/mode"): "Disabled"}),
        ),
    ];
    cases.extend(ca(base, &format!("{field}/external/tls/ca")));
    cases.extend(authentication(base, field));
    cases
}

/// Cases of the CA that stands at this pointer of the spec, with a `secretRef`.
pub(super) fn ca(base: &Value, field: &str) -> [Case; 2] {
    let told = "ca: set exactly one of secretRef and configMapRef";
    let at = format!("spec.{}", field.replace('/', "."));
    let map = json!({"name": "ca", "key": "ca.crt"});
    [
        refused(
            &at,
            told,
            base,
            &json!({format!("/spec/{field}/configMapRef"): map}),
        ),
        refused(
            &at,
            told,
            base,
            &json!({format!("/spec/{field}/secretRef"): null}),
        ),
    ]
}

fn authentication(base: &Value, field: &str) -> Vec<Case> {
    let at = format!("spec.{field}.external.authentication");
    let to = format!("/spec/{field}/external/authentication");
    let reference = json!({"name": "kafka", "key": "x"});
    let told = |type_: &str, what: &str, when: &str| {
        format!("authentication.type is {type_}: {what} needed for {when}, and must be absent otherwise")
    };
    let password = |type_: &str| told(type_, "username and passwordSecretRef are", "Plain and Scram");
    let certificate = |type_: &str| told(type_, "certificateSecretRef and keySecretRef are", "Mtls");
    let mechanism = |type_: &str| told(type_, "mechanism (ScramSha256 or ScramSha512) is", "Scram");
    let none = with(base, &json!({&to: {"type": "None"}}));
    let key = |name: &str| format!("{to}/{name}");
    vec![
        refused(&at, &password("Scram"), base, &json!({key("username"): null})),
        refused(
            &at,
            &password("Scram"),
            base,
            &json!({key("passwordSecretRef"): null}),
        ),
        refused(&at, &password("Plain"), &none, &json!({key("type"): "Plain"})),
        refused(&at, &password("None"), &none, &json!({key("username"): "munich"})),
        refused(&at, &certificate("Mtls"), &none, &json!({key("type"): "Mtls"})),
        refused(
            &at,
            &certificate("Mtls"),
            &none,
            &json!({key("type"): "Mtls", key("certificateSecretRef"): &reference}),
        ),
        refused(
            &at,
            &certificate("None"),
            &none,
            &json!({key("keySecretRef"): &reference}),
        ),
        refused(&at, &mechanism("Scram"), base, &json!({key("mechanism"): null})),
        refused(
            &at,
            &mechanism("None"),
            &none,
            &json!({key("mechanism"): "ScramSha256"}),
        ),
    ]
}
