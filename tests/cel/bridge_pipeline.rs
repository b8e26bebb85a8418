//! BridgePipeline.

use serde_json::{Value, json};

use super::{Case, Kind, dotted, endpoint, frozen, refused, too_long, with};

pub(super) fn kind() -> Kind {
    let base = base();
    let mut cases = vec![too_long(&base), dotted(&base)];
    cases.extend(session(&base));
    cases.extend(connection(&base));
    cases.extend(endpoint::ca(&base, "mqtt/tls/ca"));
    cases.extend(authentication(&base));
    cases.extend(endpoint::cases(&base, "kafka"));
    cases.extend(routing(&base));
    Kind {
        name: "BridgePipeline",
        base,
        cases,
    }
}

fn base() -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "BridgePipeline", "metadata": {"name": "machines"},
        "spec": {
            "mqtt": {
                "servers": ["mqtts://mosquitto.factory.svc:8883"], "protocol": "V5", "clientId": "munich",
                "authentication": {"type": "Password", "username": "bridge",
                    "passwordSecretRef": {"name": "mqtt", "key": "password"}},
                "tls": {"mode": "Verify", "ca": {"secretRef": {"name": "mqtt", "key": "ca.crt"}}},
                "session": {"expiry": "168h"},
                "subscriptions": [{"filter": "factory/+/telemetry", "qos": 1}],
            },
            "kafka": endpoint::external(),
            "routes": [{"name": "telemetry", "match": "factory/{line}/telemetry", "topic": "telemetry",
                "format": "Json", "headers": {"site": "munich"}}],
        },
    })
}

fn session(base: &Value) -> [Case; 4] {
    let own = "mqtt.clientId is immutable: the session, and what it holds, belongs to it; create a new \
               BridgePipeline";
    let id = "/spec/mqtt/clientId";
    let absent = with(base, &json!({id: null}));
    [
        frozen("spec.mqtt", own, base, &json!({id: "berlin"})),
        frozen("spec.mqtt", own, base, &json!({id: null})),
        frozen("spec.mqtt", own, &absent, &json!({id: "munich"})),
        refused(
            "spec.mqtt",
            "mqtt.session needs protocol V5: in MQTT 3.1.1 the broker decides how long a session lives; remove \
             session",
            base,
            &json!({"/spec/mqtt/protocol": "V311"}),
        ),
    ]
}

fn connection(base: &Value) -> Vec<Case> {
    let servers = |mode: &str, scheme: &str| {
        format!("mqtt.servers: with tls.mode {mode} every server must start with {scheme}")
    };
    let plain = with(
        base,
        &json!({"/spec/mqtt/tls": {"mode": "Disabled"}, "/spec/mqtt/servers": ["mqtt://mosquitto:1883"]}),
    );
    let reference = json!({"name": "mqtt", "key": "x"});
    vec![
        refused(
            "spec.mqtt",
            &servers("Verify", "mqtts://"),
            base,
            &json!({"/spec/mqtt/servers": ["mqtts://mosquitto:8883", "mqtt://mosquitto:1883"]}),
        ),
        refused(
            "spec.mqtt",
            &servers("Disabled", "mqtt://"),
            &plain,
            &json!({"/spec/mqtt/servers": ["mqtts://mosquitto:8883"]}),
        ),
        refused(
            "spec.mqtt",
            "mqtt.authentication.type Mtls needs tls.mode Verify",
            &plain,
            &json!({"/spec/mqtt/authentication":
                {"type": "Mtls", "certificateSecretRef": &reference, "keySecretRef": &reference}}),
        ),
        refused(
            "spec.mqtt.tls",
            "tls.ca is set but tls.mode is Disabled: set mode to Verify, or remove ca",
            &plain,
            &json!({"/spec/mqtt/tls/ca": {"secretRef": reference}}),
        ),
    ]
}

fn authentication(base: &Value) -> Vec<Case> {
    let at = "spec.mqtt.authentication";
    let to = |key: &str| format!("/spec/mqtt/authentication/{key}");
    let reference = json!({"name": "mqtt", "key": "x"});
    let told = |type_: &str, what: &str, when: &str| {
        format!("authentication.type is {type_}: {what} are needed for {when}, and must be absent otherwise")
    };
    let password = |type_: &str| told(type_, "username and passwordSecretRef", "Password");
    let certificate = |type_: &str| told(type_, "certificateSecretRef and keySecretRef", "Mtls");
    let none = with(base, &json!({"/spec/mqtt/authentication": {"type": "None"}}));
    vec![
        refused(at, &password("Password"), base, &json!({to("username"): null})),
        refused(
            at,
            &password("Password"),
            base,
            &json!({to("passwordSecretRef"): null}),
        ),
        refused(at, &password("None"), base, &json!({to("type"): "None"})),
        refused(at, &password("None"), &none, &json!({to("username"): "bridge"})),
        refused(at, &certificate("Mtls"), &none, &json!({to("type"): "Mtls"})),
        refused(
            at,
            &certificate("Mtls"),
            &none,
            &json!({to("type"): "Mtls", to("keySecretRef"): &reference}),
        ),
        refused(
            at,
            &certificate("None"),
            &none,
            &json!({to("certificateSecretRef"): &reference}),
        ),
    ]
}

fn routing(base: &Value) -> Vec<Case> {
    let names = "headers: names have at most 128 characters and do not start with tributary. or mqtt., which the bridge sets";
    let header = |name: &str| {
        let changes = json!({format!("/spec/routes/0/headers/{name}"): "x"});
        refused("spec.routes[].headers", names, base, &changes)
    };
    vec![
        refused(
            "spec.mqtt.subscriptions[]",
            "subscription $share/bridges/factory/+: shared subscriptions are not supported",
            base,
            &json!({"/spec/mqtt/subscriptions/0/filter": "$share/bridges/factory/+"}),
        ),
        header("tributary.source"),
        header("mqtt.topic"),
        header(&"h".repeat(129)),
    ]
}
