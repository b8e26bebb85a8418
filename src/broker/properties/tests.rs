use super::super::config::{Advertised, BrokerListener, Controller, Directories};
use super::*;

fn three() -> BrokerConfig {
    let host = |id: i32| format!("k-{id}.k.svc");
    let listener = |name: &str, port, host_of: &dyn Fn(i32) -> Option<String>| BrokerListener {
        name: name.into(),
        port,
        advertised: (0..3)
            .map(|id| Advertised {
                id,
                host: host_of(id),
                port,
            })
            .collect(),
    };
    BrokerConfig {
        cluster: "factory/munich".into(),
        identity_file: "/i".into(),
        kafka_home: "/opt/kafka".into(),
        directories: Directories {
            volume: "/v".into(),
            state: "/s".into(),
            scratch: "/t".into(),
        },
        heap_mib: 256,
        controllers: (0..3)
            .map(|id| Controller {
                id,
                host: host(id),
                port: 9093,
            })
            .collect(),
        listeners: vec![
            listener("internal", 9092, &|id| Some(host(id))),
            listener("plant", 9094, &|_| None),
        ],
        inter_broker_listener: "internal".into(),
        properties: BTreeMap::from([("compression.type".into(), "zstd".into())]),
    }
}

fn lines(node: Node) -> Vec<String> {
    let text = render(&three(), node, Path::new("/v/kafka")).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn every_line_of_a_brokers_properties() {
    let node = Node {
        id: 1,
        host_ip: Some("192.0.2.7".parse().unwrap()),
    };
    assert_eq!(
        lines(node),
        [
            "advertised.listeners=INTERNAL://k-1.k.svc:9092,PLANT://192.0.2.7:9094,CONTROLLER://k-1.k.svc:9093",
            "compression.type=zstd",
            "controller.listener.names=CONTROLLER",
            "controller.quorum.bootstrap.servers=k-0.k.svc:9093,k-1.k.svc:9093,k-2.k.svc:9093",
            "inter.broker.listener.name=INTERNAL",
            "listener.security.protocol.map=INTERNAL:PLAINTEXT,PLANT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listeners=INTERNAL://:9092,PLANT://:9094,CONTROLLER://:9093",
            "log.dirs=/v/kafka",
            "node.id=1",
            "process.roles=broker,controller",
        ]
    );
}

#[test]
fn an_ipv6_node_is_advertised_in_brackets() {
    let node = Node {
        id: 0,
        host_ip: Some("2001:db8::1".parse().unwrap()),
    };
    assert!(lines(node)[0].contains("PLANT://[2001:db8::1]:9094"));
}

#[test]
fn an_address_that_is_not_known_is_an_error_rather_than_a_guess() {
    let node = Node { id: 0, host_ip: None };
    assert_eq!(
        render(&three(), node, Path::new("/v")),
        Err(PropertiesError::NoHostIp("plant".into()))
    );
    let node = Node {
        id: 3,
        host_ip: Some("192.0.2.7".parse().unwrap()),
    };
    assert_eq!(
        render(&three(), node, Path::new("/v")),
        Err(PropertiesError::UnknownNode(3))
    );
}

#[test]
fn values_are_escaped_as_java_reads_them() {
    for (value, written) in [
        ("plain,a=b:c#d", "plain,a=b:c#d"),
        (" leading", "\\ leading"),
        ("back\\slash\t", "back\\\\slash\\t"),
        ("é", "\\u00e9"),
        ("\u{1F600}", "\\ud83d\\ude00"),
    ] {
        assert_eq!(escaped(value), written);
    }
}
