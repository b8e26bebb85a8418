use super::*;
use crate::kafka::TopicId;

fn example() -> BrokerConfig {
    serde_yaml::from_str(
        r#"
cluster: factory/munich
identityFile: /etc/tributary/identity/identity.yaml
kafkaHome: /opt/kafka
directories: {volume: /var/lib/kafka, state: /opt/tributary, scratch: /tmp/tributary}
heapMib: 256
controllers: [{id: 0, host: munich-kafka-0.munich-kafka-brokers.factory.svc, port: 9093}]
listeners:
  - {name: internal, port: 9092, advertised: [{id: 0, host: munich-kafka-0, port: 9092}]}
  - {name: plant, port: 9094, advertised: [{id: 0, port: 31093}]}
interBrokerListener: internal
properties: {log.retention.hours: "168"}
"#,
    )
    .unwrap()
}

/// One broken field, and what the message must name.
type Case = (fn(&mut BrokerConfig), &'static str);

#[test]
fn the_example_of_the_documentation_is_good_and_survives_a_round_trip() {
    let config = example();
    config.check().unwrap();
    let text = serde_yaml::to_string(&config).unwrap();
    assert_eq!(serde_yaml::from_str::<BrokerConfig>(&text).unwrap(), config);
}

#[test]
fn each_field_that_cannot_work_is_named() {
    let cases: &[Case] = &[
        (|c| c.heap_mib = 10, "heapMib"),
        (|c| c.controllers.clear(), "controllers"),
        (|c| c.controllers.push(c.controllers[0].clone()), "controllers"),
        (|c| c.controllers[0].id = -1, "controllers"),
        (|c| c.controllers[0].host = "a,b".into(), "controllers[0]"),
        (|c| c.controllers[0].port = 0, "controllers[0]"),
        (|c| c.listeners[0].name = "Internal".into(), "listeners.Internal"),
        (|c| c.listeners[0].name = "1a".into(), "listeners.1a"),
        (
            |c| c.listeners[0].name = "controller".into(),
            "listeners.controller",
        ),
        (|c| c.listeners[1].name = "internal".into(), "listeners.internal"),
        (|c| c.listeners[1].port = 9092, "listeners.plant"),
        (|c| c.listeners[1].port = 9093, "listeners.plant"),
        (|c| c.listeners[1].advertised.clear(), "listeners.plant"),
        (
            |c| c.listeners[1].advertised[0].host = Some(String::new()),
            "listeners.plant.advertised",
        ),
        (|c| c.inter_broker_listener = "gone".into(), "interBrokerListener"),
        (
            |c| drop(c.properties.insert("node.id".into(), "7".into())),
            "properties.node.id",
        ),
        (
            |c| drop(c.properties.insert("a".into(), "x\ny=z".into())),
            "properties.a",
        ),
        (
            |c| drop(c.properties.insert("a b".into(), "x".into())),
            "properties.a b",
        ),
    ];
    for (break_it, field) in cases {
        let mut config = example();
        break_it(&mut config);
        match config.check() {
            Err(ConfigError::Field { field: named, .. }) => assert_eq!(&named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn a_file_that_is_missing_or_no_configuration_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.yaml");
    assert!(matches!(
        BrokerConfig::load(&file),
        Err(ConfigError::Unreadable { .. })
    ));
    std::fs::write(&file, "cluster: x\nheapMb: 3\n").unwrap();
    let error = BrokerConfig::load(&file).unwrap_err().to_string();
    assert!(error.contains("broker.yaml"), "{error}");
}

#[test]
fn drawn_identities_are_distinct_permitted_and_read_back() {
    let one = Identity::draw(3);
    assert_eq!(Identity::parse(&one.to_yaml().unwrap()).unwrap(), one);
    assert!(
        one.brokers
            .iter()
            .all(|b| b.format == FormatPermission::Permitted)
    );
    assert_ne!(one.cluster_id, Identity::draw(3).cluster_id);
    for _ in 0..2000 {
        let drawn = Identity::draw(1);
        let ids = [
            drawn.cluster_id.clone(),
            drawn.brokers[0].directory_id.to_string(),
        ];
        assert!(
            ids.iter()
                .all(|id| id.len() == 22 && !id.starts_with('-') && !id.starts_with("AAAA"))
        );
    }
}

#[test]
fn a_permission_is_withdrawn_once_and_for_that_broker_only() {
    let drawn = Identity::draw(3);
    let next = drawn.withdrawn(&[1]).unwrap();
    let formats: Vec<_> = next.brokers.iter().map(|b| b.format).collect();
    use FormatPermission::{Permitted, Withdrawn};
    assert_eq!(formats, [Permitted, Withdrawn, Permitted]);
    assert_eq!(next.withdrawn(&[1]), None);
    assert_eq!(next.withdrawn(&[]), None);
}

#[test]
fn a_damaged_record_is_refused() {
    let good = Identity::draw(2);
    let broken: Vec<Box<dyn Fn(&mut Identity)>> = vec![
        Box::new(|i| i.version = 2),
        Box::new(|i| i.cluster_id = String::new()),
        Box::new(|i| i.cluster_id = "a b".into()),
        Box::new(|i| i.brokers.clear()),
        Box::new(|i| i.brokers[1].id = 0),
        Box::new(|i| i.brokers[1].id = -1),
        Box::new(|i| i.brokers[1].directory_id = i.brokers[0].directory_id),
        Box::new(|i| i.brokers[0].directory_id = TopicId(uuid::Uuid::from_u128(99))),
    ];
    for (n, break_it) in broken.iter().enumerate() {
        let mut identity = good.clone();
        break_it(&mut identity);
        let text = identity.to_yaml().unwrap();
        assert!(
            matches!(Identity::parse(&text), Err(IdentityError::Damaged(_))),
            "case {n}: {text}"
        );
    }
    assert!(matches!(Identity::parse("{"), Err(IdentityError::Damaged(_))));
}
