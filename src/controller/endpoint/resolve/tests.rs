use super::*;
use crate::telemetry::Redacted;
use serde_json::json;

fn cluster() -> EdgeCluster {
    serde_json::from_value(json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "EdgeCluster",
        "metadata": {"name": "munich", "namespace": "factory"},
        "spec": {
            "kafkaVersion": "4.3.1", "brokers": 1, "storage": {"size": "1Gi"},
            "listeners": [
                {"name": "internal", "type": "Internal", "port": 9092,
                 "tls": {"mode": "Disabled"}, "authentication": {"type": "None"}},
                {"name": "plant", "type": "NodePort", "port": 9094,
                 "nodePort": {"bootstrap": 31092, "brokers": [{"id": 0, "port": 31093}]},
                 "tls": {"mode": "Disabled"}, "authentication": {"type": "None"}},
            ],
        },
    }))
    .unwrap()
}

fn resolve(
    listener: &str,
    cluster: Option<Result<EdgeCluster, String>>,
) -> Result<ResolvedEndpoint, Problem> {
    let reference = ClusterRef {
        name: "munich".into(),
        listener: listener.into(),
    };
    cluster_endpoint("factory", "spec.kafka", "kafka", &reference, cluster)
}

#[test]
fn an_internal_listener_follows_from_the_spec_alone() {
    let endpoint = resolve("internal", Some(Ok(cluster()))).unwrap();
    assert_eq!(
        endpoint.connection.bootstrap_servers,
        ["munich-kafka.factory.svc:9092"]
    );
    assert_eq!(
        endpoint.peer,
        KafkaPeer::Cluster {
            name: "munich".into(),
            port: 9092
        }
    );
    assert_eq!(endpoint.pod.mounts.volume(), None);
}

#[test]
fn a_node_port_listener_is_waited_for_until_its_address_is_published() {
    let waiting = resolve("plant", Some(Ok(cluster()))).unwrap_err();
    assert_eq!(waiting.reason, Reason::Progressing);
    let mut published = cluster();
    published.status = serde_json::from_value(json!({
        "listeners": [{"name": "plant", "bootstrapServers": "10.0.0.1:31092,10.0.0.2:31092"}],
    }))
    .unwrap();
    let endpoint = resolve("plant", Some(Ok(published))).unwrap();
    assert_eq!(
        endpoint.connection.bootstrap_servers,
        ["10.0.0.1:31092", "10.0.0.2:31092"]
    );
}

#[test]
fn what_is_missing_is_named_with_field_value_and_remedy() {
    let problem = resolve("internal", None).unwrap_err();
    assert_eq!(
        (problem.reason, problem.field.as_str()),
        (Reason::ClusterNotFound, "spec.kafka.clusterRef.name")
    );
    assert!(
        problem
            .to_string()
            .contains("\"munich\": there is no EdgeCluster munich"),
        "{problem}"
    );
    let problem = resolve("other", Some(Ok(cluster()))).unwrap_err();
    assert_eq!(problem.reason, Reason::ListenerNotFound);
    assert!(
        problem.to_string().contains("it has: internal, plant"),
        "{problem}"
    );
    let problem = resolve("internal", Some(Err("missing field `spec`".into()))).unwrap_err();
    assert_eq!(problem.reason, Reason::ClusterNotFound);
}

#[test]
fn the_digest_changes_with_the_password_and_does_not_show_it() {
    let with = |password: &str| {
        let mut connection = KafkaConnection::plaintext(["a:1"]);
        connection.sasl = Some(Sasl {
            mechanism: SaslMechanism::ScramSha512,
            username: "u".into(),
            password: Redacted::new(password),
        });
        connection
    };
    assert_ne!(digest(&with("hunter1")), digest(&with("hunter2")));
    assert_eq!(digest(&with("hunter1")), digest(&with("hunter1")));
    assert!(!format!("{:?}", with("hunter1")).contains("hunter1"));
}
