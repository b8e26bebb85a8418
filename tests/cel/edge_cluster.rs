//! EdgeCluster.

use serde_json::{Value, json};

use super::{Case, Kind, On, case, frozen, refused, too_long, with};

pub(super) fn kind() -> Kind {
    let base = base();
    let mut cases = vec![too_long(&base), not_a_service_name(&base)];
    cases.extend(cluster(&base));
    cases.extend(listeners(&base));
    cases.extend(node_ports(&base));
    cases.extend(config(&base));
    cases.extend(topics(&base));
    Kind {
        name: "EdgeCluster",
        base,
        cases,
    }
}

fn base() -> Value {
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "EdgeCluster", "metadata": {"name": "munich"},
        "spec": {
            "kafkaVersion": "4.3.1", "brokers": 1,
            "storage": {"size": "20Gi", "className": "local-path"},
            "listeners": [
                {"name": "internal", "type": "Internal", "port": 9092, "tls": {"mode": "Disabled"},
                    "authentication": {"type": "None"}},
                {"name": "plant", "type": "NodePort", "port": 9094, "tls": {"mode": "Disabled"},
                    "authentication": {"type": "None"},
                    "nodePort": {"bootstrap": 31092, "brokers": [{"id": 0, "port": 31093}]}},
            ],
            "config": {"log.retention.hours": "168"},
            "topics": [{"name": "telemetry", "partitions": 6, "replicas": 1}],
        },
    })
}

fn not_a_service_name(base: &Value) -> Case {
    let told = "metadata.name 1-munich: lower case letters, digits and hyphens, starting with a letter, so that \
                service names are valid";
    refused("", told, base, &json!({"/metadata/name": "1-munich"}))
}

fn cluster(base: &Value) -> Vec<Case> {
    let moved = "storage.className is immutable: volumes cannot move to another storage class; create a new \
                 EdgeCluster and replicate into it";
    let class = "/spec/storage/className";
    let inside = with(base, &json!({"/spec/listeners/1": null}));
    let three = with(&inside, &json!({"/spec/brokers": 3}));
    vec![
        case(
            On::UpdateBeyondEnum,
            "spec.kafkaVersion",
            "kafkaVersion cannot change from 4.3.1 to 4.4.0: upgrades are not supported yet",
            base,
            &json!({"/spec/kafkaVersion": "4.4.0"}),
        ),
        frozen(
            "spec.brokers",
            "brokers cannot change from 1 to 3: growth is not supported yet; create a new EdgeCluster and replicate \
             into it",
            &inside,
            &json!({"/spec/brokers": 3}),
        ),
        frozen(
            "spec.brokers",
            "brokers cannot change from 3 to 1: growth is not supported yet; create a new EdgeCluster and replicate \
             into it",
            &three,
            &json!({"/spec/brokers": 1}),
        ),
        frozen("spec.storage", moved, base, &json!({class: "ceph"})),
        frozen("spec.storage", moved, base, &json!({class: null})),
        frozen(
            "spec.storage",
            moved,
            &with(base, &json!({class: null})),
            &json!({class: "ceph"}),
        ),
        frozen(
            "spec.storage",
            "storage.size cannot shrink from 20Gi to 20479Mi",
            base,
            &json!({"/spec/storage/size": "20479Mi"}),
        ),
    ]
}

fn listeners(base: &Value) -> Vec<Case> {
    let reserved_port =
        "listeners: port 9093 (KRaft controller) and 9404 (metrics) are the operator's; choose another";
    let reserved_name = "listeners: the names controller and brokers are the operator's; choose another";
    let at = "spec.listeners";
    vec![
        refused(
            at,
            "listeners: at least one of type Internal is needed; the brokers speak to each other over the first of \
             them",
            base,
            &json!({"/spec/listeners/0": null}),
        ),
        refused(
            at,
            "listeners: every listener needs a port of its own",
            base,
            &json!({"/spec/listeners/1/port": 9092}),
        ),
        refused(at, reserved_port, base, &json!({"/spec/listeners/0/port": 9093})),
        refused(at, reserved_port, base, &json!({"/spec/listeners/1/port": 9404})),
        refused(
            at,
            reserved_name,
            base,
            &json!({"/spec/listeners/1/name": "controller"}),
        ),
        refused(
            at,
            reserved_name,
            base,
            &json!({"/spec/listeners/0/name": "brokers"}),
        ),
        frozen(
            "spec.listeners[]",
            "listener plant: type cannot change from NodePort to Internal; add a listener with another name",
            base,
            &json!({"/spec/listeners/1/type": "Internal", "/spec/listeners/1/nodePort": null}),
        ),
    ]
}

fn node_ports(base: &Value) -> Vec<Case> {
    let brokers = "/spec/listeners/1/nodePort/brokers";
    let entries = |ids: &[i32]| -> Value {
        ids.iter()
            .map(|id| json!({"id": id, "port": 31100 + id}))
            .collect()
    };
    let three = with(base, &json!({"/spec/brokers": 3, brokers: entries(&[0, 1, 2])}));
    let each = |last: i32| {
        format!("listeners: nodePort.brokers needs exactly one entry for each broker ID from 0 to {last}")
    };
    let of_type = |name: &str, type_: &str| {
        format!("listener {name}: nodePort is needed for type NodePort, and must be absent for type {type_}")
    };
    let own = "nodePort: bootstrap and every broker need a node port of their own";
    let ports = "spec.listeners[].nodePort";
    vec![
        refused("spec", &each(0), base, &json!({brokers: entries(&[0, 1])})),
        refused("spec", &each(0), base, &json!({brokers: entries(&[1])})),
        refused("spec", &each(2), &three, &json!({brokers: entries(&[0, 1])})),
        refused(
            "spec.listeners[]",
            &of_type("plant", "NodePort"),
            base,
            &json!({"/spec/listeners/1/nodePort": null}),
        ),
        refused(
            "spec.listeners[]",
            &of_type("internal", "Internal"),
            base,
            &json!({"/spec/listeners/0/nodePort": {"bootstrap": 31200, "brokers": entries(&[0])}}),
        ),
        refused(
            ports,
            own,
            base,
            &json!({"/spec/listeners/1/nodePort/bootstrap": 31093}),
        ),
        refused(
            ports,
            own,
            &three,
            &json!({"/spec/listeners/1/nodePort/brokers/2/port": 31100}),
        ),
    ]
}

fn config(base: &Value) -> Vec<Case> {
    let derived = "config: keys under listener.name., ssl. and sasl. follow from listeners; remove them";
    let plain = "config: keys are lower case Kafka property names, values have no line breaks";
    let at = "spec.config";
    let mut cases: Vec<Case> = ["node.id", "unclean.leader.election.enable"]
        .map(|key| {
            let told = format!("config: {key} is owned by the operator; remove it");
            refused(at, &told, base, &json!({format!("/spec/config/{key}"): "true"}))
        })
        .into();
    let prefixed = [
        "listener.name.internal.ssl.client.auth",
        "ssl.keystore.type",
        "sasl.enabled.mechanisms",
    ];
    cases
        .extend(prefixed.map(|key| refused(at, derived, base, &json!({format!("/spec/config/{key}"): "x"}))));
    for (key, value) in [
        ("Log.Retention.Hours", "1"),
        ("log.retention.bytes", "1\nnode.id=7"),
        ("log.retention.bytes", "1\rnode.id=7"),
    ] {
        cases.push(refused(
            at,
            plain,
            base,
            &json!({format!("/spec/config/{key}"): value}),
        ));
    }
    cases
}

fn topics(base: &Value) -> Vec<Case> {
    let at = "spec.topics[]";
    let reserved = |name: &str| {
        let told = format!("topic {name}: names . and .. and names that start with __ are reserved");
        refused(at, &told, base, &json!({"/spec/topics/0/name": name}))
    };
    vec![
        reserved("."),
        reserved(".."),
        reserved("__consumer_offsets"),
        frozen(
            at,
            "topic telemetry: partitions cannot shrink, because Kafka cannot remove partitions; give at least as \
             many as before",
            base,
            &json!({"/spec/topics/0/partitions": 5}),
        ),
    ]
}
