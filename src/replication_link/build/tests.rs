use super::super::tests::{object, objects, objects_with};
use super::*;
use crate::controller::{CONFIG_HASH_ANNOTATION, WORKERS_ANNOTATION, noted_broker_ports};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const ID: &str = "munich-id/factory/to-eu";

fn pod(objects: &Objects) -> PodSpec {
    objects.stateful_set.spec.clone().unwrap().template.spec.unwrap()
}

fn config(objects: &Objects) -> ReplicatorConfig {
    ReplicatorConfig::parse(&objects.config_map.data.clone().unwrap()["replicator.yaml"]).unwrap()
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let bytes = |o: &Objects| {
        (
            serde_json::to_string(&o.stateful_set).unwrap(),
            serde_json::to_string(&o.config_map).unwrap(),
            serde_json::to_string(&o.network_policy).unwrap(),
        )
    };
    assert_eq!(bytes(&objects(&object())), bytes(&objects(&object())));
}

#[test]
fn the_configuration_is_what_the_replicator_reads_back() {
    let config = config(&objects(&object()));
    assert_eq!(config, super::super::tests::validated(&object()).config);
}

#[test]
fn a_rendered_text_stays_the_same_over_versions_unless_somebody_means_it() {
    // A change here restarts every replicator at an upgrade of the operator.
    assert_eq!(
        objects(&object()).config_map.data.unwrap()["replicator.yaml"],
        "\
name: factory/to-eu
source:
  bootstrapServers:
  - munich-kafka.factory.svc:9092
  tls:
    mode: Disabled
  authentication:
    type: None
target:
  bootstrapServers:
  - kafka.eu.example:31092
  tls:
    mode: Disabled
  authentication:
    type: None
topics:
  include:
  - telemetry.*
  deny:
  - personnel\\..*
  naming:
    type: Prefix
    prefix: munich.
  replicationFactor: -1
delivery: AtLeastOnce
start: Earliest
workers: 1
positionsSeen: false
telemetry:
  listen: 0.0.0.0:9404
tuning:
  fetchBufferBytes: 33554432
  produceBufferBytes: 33554432
  compression: lz4
  lingerMs: 5
  positionIntervalMs: 1000
  discoveryIntervalMs: 5000
"
    );
}

#[test]
fn the_pods_are_restricted_have_no_token_and_are_bounded() {
    let objects = objects(&object());
    assert_eq!(
        objects.stateful_set.metadata.name.as_deref(),
        Some("to-eu-replicator")
    );
    let set = objects.stateful_set.spec.clone().unwrap();
    assert_eq!(set.pod_management_policy.as_deref(), Some("Parallel"));
    let pod = pod(&objects);
    assert_eq!(pod.automount_service_account_token, Some(false));
    let grace = pod
        .termination_grace_period_seconds
        .and_then(|s| u64::try_from(s).ok());
    // Half a second to close the clients, two for the telemetry server's last answers.
    let ended = crate::replicator::config::END_LIMIT + std::time::Duration::from_millis(2500);
    assert!(
        grace.is_some_and(|grace| std::time::Duration::from_secs(grace) > ended),
        "{grace:?}"
    );
    assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
    let container = &pod.containers[0];
    let security = container.security_context.clone().unwrap();
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(
        container.resources.clone().unwrap().limits.unwrap()["memory"].0,
        "256Mi"
    );
    assert_eq!(
        container.args.clone().unwrap(),
        ["replicator", "--config", "/etc/tributary/config/replicator.yaml"]
    );
    let port = config(&objects).telemetry.listen.port();
    assert_eq!(
        container.ports.clone().unwrap()[0].container_port,
        i32::from(port)
    );
}

#[test]
fn each_worker_is_a_pod_and_a_paused_link_has_none_and_is_otherwise_the_same() {
    let mut many = object();
    many.spec.workers = Some(4);
    assert_eq!(objects(&many).stateful_set.spec.unwrap().replicas, Some(4));
    let mut paused = object();
    paused.spec.paused = Some(true);
    let (running, paused) = (objects(&object()), objects(&paused));
    assert_eq!(paused.stateful_set.spec.clone().unwrap().replicas, Some(0));
    assert_eq!(paused.restart_hash, running.restart_hash);
    assert_eq!(paused.config_map, running.config_map);
}

#[test]
fn the_pods_note_how_many_share_the_partitions() {
    let mut many = object();
    many.spec.workers = Some(4);
    let meta = objects(&many)
        .stateful_set
        .spec
        .unwrap()
        .template
        .metadata
        .unwrap();
    assert_eq!(meta.annotations.unwrap()[WORKERS_ANNOTATION], "4");
}

#[test]
fn positions_that_were_seen_reach_the_next_start_and_restart_nothing() {
    let (base, seen) = (objects(&object()), objects_with(&object(), Some(ID)));
    assert!(!config(&base).positions_seen && config(&seen).positions_seen);
    assert_eq!(
        seen.config_map.metadata.annotations.unwrap()[POSITIONS_SEEN_ANNOTATION],
        ID
    );
    assert_eq!(seen.stateful_set, base.stateful_set);
}

#[test]
fn a_changed_choice_of_topics_starts_the_pods_anew() {
    let hash = |o: &Objects| {
        let meta = o.stateful_set.spec.clone().unwrap().template.metadata.unwrap();
        meta.annotations.unwrap()[CONFIG_HASH_ANNOTATION].clone()
    };
    let base = objects(&object());
    assert_eq!(hash(&base), base.restart_hash);
    let mut changed = object();
    changed.spec.topics.deny.push("x".into());
    assert_ne!(hash(&objects(&changed)), hash(&base));
    let mut generation = object();
    generation.metadata.generation = Some(99);
    assert_eq!(hash(&objects(&generation)), hash(&base));
}

#[test]
fn the_network_policy_lets_out_to_both_kafkas_and_in_only_the_operator() {
    let policy = objects(&object()).network_policy;
    assert_eq!(
        noted_broker_ports(policy.metadata.annotations.as_ref()),
        [31093].into()
    );
    let spec = policy.spec.unwrap();
    assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
    assert_eq!(spec.ingress.unwrap().len(), 1);
    let egress = spec.egress.unwrap();
    let ports: Vec<_> = egress
        .iter()
        .flat_map(|rule| rule.ports.clone().unwrap())
        .filter_map(|p| p.port)
        .collect();
    for port in [9092, 31092, 31093] {
        assert!(ports.contains(&IntOrString::Int(port)), "{port}");
    }
}
