//! Fixtures for the room's tests.

use serde_json::json;

use super::build::{Objects, build};
use super::validate::{ValidatedLink, validate};
use crate::api::ReplicationLink;
use crate::controller::{Options, Peer, PodEndpoint, SecretMounts};
use crate::kafka::endpoint::KafkaEndpointFile;

/// A link that can work; tests change what they are about.
pub(super) fn object() -> ReplicationLink {
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "ReplicationLink",
        "metadata": {"name": "to-eu", "namespace": "factory", "uid": "u1", "generation": 3},
        "spec": {
            "source": {"clusterRef": {"name": "munich", "listener": "internal"}},
            "target": {"external": {"bootstrapServers": ["kafka.eu.example:31092"], "tls": {"mode": "Disabled"},
                "authentication": {"type": "None"}}},
            "topics": {"include": ["telemetry.*"], "deny": ["personnel\\..*"],
                "naming": {"type": "Prefix", "prefix": "munich."}},
            "delivery": "AtLeastOnce",
            "start": "Earliest",
        },
    }))
    .unwrap()
}

pub(super) fn endpoint(peer: &str, server: &str) -> PodEndpoint {
    PodEndpoint {
        file: KafkaEndpointFile::plaintext([server]),
        mounts: SecretMounts::new(peer),
    }
}

pub(super) fn source() -> PodEndpoint {
    endpoint("source", "munich-kafka.factory.svc:9092")
}

pub(super) fn target() -> PodEndpoint {
    endpoint("target", "kafka.eu.example:31092")
}

pub(super) fn validated(object: &ReplicationLink) -> ValidatedLink {
    validate(object, &source(), &target()).unwrap()
}

pub(super) fn objects_with(object: &ReplicationLink, positions_seen: Option<&str>) -> Objects {
    let peers = [
        Peer::Brokers {
            cluster: "munich".into(),
            port: 9092,
        },
        Peer::Anywhere {
            ports: [31092].into(),
        },
    ];
    let options = Options::default();
    build(
        object,
        &validated(object),
        positions_seen,
        &options,
        &peers.into(),
        &[31093].into(),
        &[],
    )
    .unwrap()
}

pub(super) fn objects(object: &ReplicationLink) -> Objects {
    objects_with(object, None)
}
