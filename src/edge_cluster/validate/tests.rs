use super::*;

/// A factory with one broker, an Internal and a NodePort listener.
pub fn factory() -> EdgeCluster {
    let mut object: EdgeCluster = serde_yaml::from_str(
        r#"
apiVersion: tributary.dev/v1alpha1
kind: EdgeCluster
metadata: {name: munich, namespace: factory, uid: 7f0c, generation: 1}
spec:
  kafkaVersion: "4.3.1"
  brokers: 1
  storage: {size: 20Gi, className: local-path}
  resources: {requests: {memory: 512Mi}, limits: {memory: 768Mi}}
  listeners:
    - {name: internal, type: Internal, port: 9092, tls: {mode: Disabled}, authentication: {type: None}}
    - name: plant
      type: NodePort
      port: 9094
      nodePort: {bootstrap: 31092, brokers: [{id: 0, port: 31093}]}
      tls: {mode: Disabled}
      authentication: {type: None}
  config: {log.retention.hours: "168"}
  topics:
    - {name: telemetry, partitions: 6, replicas: 1, config: {compression.type: zstd}}
"#,
    )
    .unwrap();
    object.metadata.resource_version = Some("1".into());
    object
}

/// A region with three brokers.
pub fn region() -> EdgeCluster {
    let mut object = factory();
    object.metadata.name = Some("eu".into());
    object.spec.brokers = 3;
    object.spec.config.clear();
    object.spec.topics.clear();
    object.spec.storage.class_name = None;
    let node_port = object.spec.listeners[1].node_port.as_mut().unwrap();
    for id in 1..3 {
        let mut broker = node_port.brokers[0].clone();
        (broker.id, broker.port) = (id, 31093 + id);
        broker.advertised_host = Some(format!("kafka{id}.eu.example"));
        node_port.brokers.push(broker);
    }
    object
}

pub fn options() -> Options {
    Options {
        image: "registry.example/tributary:1".into(),
        kafka_image: "registry.example/kafka:{version}".into(),
        ..Options::default()
    }
}

pub fn valid(object: &EdgeCluster) -> ValidatedEdgeCluster {
    validate(object, &options()).unwrap()
}

#[test]
fn what_the_spec_leaves_open_is_resolved() {
    let mut object = factory();
    object.spec.resources = None;
    object.spec.storage.retain = None;
    let cluster = valid(&object);
    assert_eq!(cluster.resources, defaults::resources());
    assert_eq!((cluster.heap_mib, cluster.storage.retain), (307, true));
    assert_eq!(cluster.kafka_image, "registry.example/kafka:4.3.1");
    assert_eq!(cluster.inter_broker_listener().name, "internal");
}

#[test]
fn the_specs_settings_win_over_the_operators_choices_but_not_over_what_it_owns() {
    let mut object = factory();
    let config = &mut object.spec.config;
    config.insert("log.flush.interval.messages".into(), "100".into());
    let cluster = valid(&object);
    assert!(!cluster.chosen.contains_key("log.flush.interval.messages"));
    let all = cluster.broker_config();
    assert_eq!(all["log.flush.interval.messages"], "100");
    assert_eq!(all["log.retention.hours"], "168");
    assert_eq!(all["auto.create.topics.enable"], "false");
}

#[test]
fn an_owned_key_is_refused_although_the_api_server_would_have_done_so() {
    let mut object = factory();
    object
        .spec
        .config
        .insert("unclean.leader.election.enable".into(), "true".into());
    let problem = validate(&object, &options()).unwrap_err();
    assert_eq!(problem.field, "spec.config.unclean.leader.election.enable");
}

/// What is broken, and the field that the message must name.
type Case = (fn(&mut EdgeCluster), &'static str);

#[test]
fn each_field_that_cannot_work_is_named_with_its_value() {
    let cases: &[Case] = &[
        (|o| o.spec.brokers = 2, "spec.brokers"),
        (|o| limit(o, "300Mi"), "spec.resources.limits.memory"),
        (|o| limit(o, "x"), "spec.resources.limits.memory"),
        (|o| limit(o, "400Mi"), "spec.resources.requests.memory"),
        (
            |o| o.spec.storage.size = Quantity("0".into()),
            "spec.storage.size",
        ),
        (|o| drop(o.spec.listeners.remove(0)), "spec.listeners"),
        (
            |o| o.spec.listeners[0].name = "brokers".into(),
            "spec.listeners[brokers].name",
        ),
        (
            |o| o.spec.listeners[1].name = "internal".into(),
            "spec.listeners[internal].name",
        ),
        (|o| o.spec.listeners[1].port = 9093, "spec.listeners[plant].port"),
        (|o| o.spec.listeners[1].port = 9092, "spec.listeners[plant].port"),
        (|o| o.spec.listeners[1].port = 80, "spec.listeners[plant].port"),
        (
            |o| o.spec.listeners[1].node_port = None,
            "spec.listeners[plant].type",
        ),
        (
            |o| o.spec.listeners[1].type_ = ListenerType::Internal,
            "spec.listeners[plant].type",
        ),
        (
            |o| first(o).port = 31092,
            "spec.listeners[plant].nodePort.brokers[0].port",
        ),
        (
            |o| first(o).port = 70000,
            "spec.listeners[plant].nodePort.brokers[0].port",
        ),
        (|o| first(o).id = 1, "spec.listeners[plant].nodePort.brokers"),
        (
            |o| set(o, "ssl.key.password", "x"),
            "spec.config.ssl.key.password",
        ),
        (|o| set(o, "a b", "x"), "spec.config.a b"),
        (|o| set(o, "a", "x\nb=c"), "spec.config.a"),
        (
            |o| set(o, "min.insync.replicas", "2"),
            "spec.config.min.insync.replicas",
        ),
        (
            |o| o.spec.topics[0].partitions = 0,
            "spec.topics[telemetry].partitions",
        ),
        (
            |o| o.spec.topics[0].replicas = 0,
            "spec.topics[telemetry].replicas",
        ),
        (|o| o.spec.topics[0].name = "__x".into(), "spec.topics[__x].name"),
        (
            |o| unclean(o, " TRUE"),
            "spec.topics[telemetry].config.unclean.leader.election.enable",
        ),
        (
            |o| o.spec.topics.push(o.spec.topics[0].clone()),
            "spec.topics[telemetry].name",
        ),
    ];
    for (break_it, field) in cases {
        let mut object = factory();
        break_it(&mut object);
        let problem = validate(&object, &options()).unwrap_err();
        assert_eq!(
            (problem.field.as_str(), problem.reason),
            (*field, Reason::InvalidSpec),
            "{problem}"
        );
        assert!(!problem.remedy.is_empty());
    }
}

fn limit(object: &mut EdgeCluster, memory: &str) {
    let resources = object.spec.resources.as_mut().unwrap();
    resources.limits.as_mut().unwrap().memory = Some(Quantity(memory.into()));
}

fn first(object: &mut EdgeCluster) -> &mut crate::api::NodePortBroker {
    &mut object.spec.listeners[1].node_port.as_mut().unwrap().brokers[0]
}

fn set(object: &mut EdgeCluster, key: &str, value: &str) {
    object.spec.config.insert(key.into(), value.into());
}

fn unclean(object: &mut EdgeCluster, value: &str) {
    let config = &mut object.spec.topics[0].config;
    config.insert(UNCLEAN_ELECTION.into(), value.into());
}

#[test]
fn a_topic_may_say_itself_that_a_replica_which_is_behind_never_leads() {
    let mut object = factory();
    unclean(&mut object, "false");
    assert_eq!(
        valid(&object).topics["telemetry"].config[UNCLEAN_ELECTION],
        "false"
    );
}

#[test]
fn two_listeners_cannot_share_a_node_port() {
    let mut object = factory();
    let mut third = object.spec.listeners[1].clone();
    (third.name, third.port) = ("office".into(), 9095);
    third.node_port.as_mut().unwrap().bootstrap = 31095;
    object.spec.listeners.push(third);
    let problem = validate(&object, &options()).unwrap_err();
    assert_eq!(problem.field, "spec.listeners[office].nodePort.brokers[0].port");
    assert!(problem.why.contains("spec.listeners[plant]"), "{problem}");
}

#[test]
fn without_a_limit_the_heap_follows_the_request() {
    let mut object = factory();
    let resources = object.spec.resources.as_mut().unwrap();
    resources.limits = None;
    resources.requests.as_mut().unwrap().memory = Some(Quantity("2Gi".into()));
    assert_eq!(valid(&object).heap_mib, 819);
}
