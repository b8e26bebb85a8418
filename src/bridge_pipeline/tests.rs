//! Fixtures for the room's tests.

use serde_json::json;

use super::build::{Objects, build};
use super::validate::{ValidatedBridge, mqtt_files, validate};
use crate::api::BridgePipeline;
use crate::controller::{Options, Peer, PodEndpoint, PodPort, SecretMounts};
use crate::kafka::endpoint::KafkaEndpointFile;

/// A bridge that can work; tests change what they are about.
pub(super) fn object() -> BridgePipeline {
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "BridgePipeline",
        "metadata": {"name": "machines", "namespace": "factory", "uid": "u1", "generation": 3},
        "spec": {
            "mqtt": {
                "servers": ["mqtts://mosquitto.factory.svc:8883"],
                "protocol": "V5",
                "authentication": {"type": "Password", "username": "bridge",
                    "passwordSecretRef": {"name": "mqtt", "key": "password"}},
                "tls": {"mode": "Verify", "ca": {"secretRef": {"name": "mqtt-ca", "key": "ca.crt"}}},
                "subscriptions": [{"filter": "factory/+/+/telemetry", "qos": 1}],
            },
            "kafka": {"clusterRef": {"name": "munich", "listener": "internal"}},
            "routes": [{"name": "telemetry", "match": "factory/{line}/{machine}/telemetry", "topic": "telemetry",
                "key": "{line}/{machine}", "format": "Json"}],
            "deadLetter": {"topic": "telemetry-dead"},
        },
    }))
    .unwrap()
}

pub(super) fn endpoint() -> PodEndpoint {
    PodEndpoint {
        file: KafkaEndpointFile::plaintext(["munich-kafka.factory.svc:9092"]),
        mounts: SecretMounts::new("kafka"),
    }
}

pub(super) fn validated(object: &BridgePipeline) -> ValidatedBridge {
    let held = object.status.clone().unwrap_or_default().subscriptions;
    validate(object, &mqtt_files(object).unwrap(), &endpoint(), &held).unwrap()
}

pub(super) fn objects(object: &BridgePipeline) -> Objects {
    let peers = [
        Peer::Brokers {
            cluster: "munich".into(),
            port: 9092,
        },
        Peer::Pods {
            namespace: "factory".into(),
            labels: [("app".to_owned(), "mosquitto".to_owned())].into(),
            port: PodPort::Name("mqtts".into()),
        },
    ];
    build(
        object,
        &validated(object),
        &Options::default(),
        &peers.into(),
        &[].into(),
    )
    .unwrap()
}
