use serde_json::{Value, json};

use super::super::names;
use super::super::validate::ValidatedEdgeCluster;
use super::super::validate::tests::{factory, options, region, valid};
use super::*;
use crate::api::{PodSettings, Quantity};
use crate::broker::config::BrokerConfig;

fn set(cluster: &ValidatedEdgeCluster) -> Value {
    let config = config_map(cluster).unwrap().metadata.name.unwrap();
    serde_json::to_value(stateful_set(cluster, &config, &ClaimSize::New).unwrap()).unwrap()
}

fn revision_of(cluster: &ValidatedEdgeCluster) -> String {
    let config = config_map(cluster).unwrap().metadata.name.unwrap();
    revision(cluster, &config).unwrap()
}

fn one() -> ValidatedEdgeCluster {
    valid(&factory())
}

fn three() -> ValidatedEdgeCluster {
    valid(&region())
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for object in [factory(), region()] {
        let all = |cluster: &ValidatedEdgeCluster| {
            json!([
                config_map(cluster).unwrap(),
                services(cluster),
                network_policy(cluster),
                disruption_budget(cluster),
                set(cluster)
            ])
            .to_string()
        };
        assert_eq!(all(&valid(&object)), all(&valid(&object)));
    }
}

#[test]
fn everything_belongs_to_the_object_and_carries_its_labels() {
    let cluster = three();
    let mut all: Vec<Value> = services(&cluster).iter().map(|s| json!(s)).collect();
    all.extend([
        json!(config_map(&cluster).unwrap()),
        json!(network_policy(&cluster)),
        json!(disruption_budget(&cluster)),
        set(&cluster),
    ]);
    for object in all {
        let meta = &object["metadata"];
        assert_eq!(meta["namespace"], "factory", "{meta}");
        assert_eq!(meta["ownerReferences"][0]["uid"], "7f0c", "{meta}");
        assert_eq!(meta["labels"]["tributary.dev/name"], "eu", "{meta}");
        assert_eq!(
            meta["labels"]["app.kubernetes.io/managed-by"], "tributary",
            "{meta}"
        );
        assert!(
            meta["labels"].get("app.kubernetes.io/instance").is_none(),
            "Argo CD's own label: {meta}"
        );
    }
}

#[test]
fn the_pod_is_restricted() {
    let set = set(&one());
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 1000);
    assert_eq!(pod["securityContext"]["fsGroup"], 1000);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for list in ["containers", "initContainers"] {
        for container in pod[list].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        }
    }
}

#[test]
fn the_pod_runs_our_launcher_in_kafkas_image() {
    let set = set(&one());
    let pod = &set["spec"]["template"]["spec"];
    let helper = &pod["initContainers"][0];
    assert_eq!(helper["image"], "registry.example/tributary:1");
    assert_eq!(
        helper["args"],
        json!(["broker", "install", "--to", "/opt/tributary"])
    );
    let kafka = &pod["containers"][0];
    assert_eq!(
        (&kafka["name"], &kafka["image"]),
        (&json!("kafka"), &json!("registry.example/kafka:4.3.1"))
    );
    let command = json!([
        "/opt/tributary/tributary",
        "broker",
        "--config",
        "/etc/tributary/config/broker.yaml"
    ]);
    assert_eq!(kafka["command"], command);
    assert_eq!(
        kafka["resources"],
        json!({"requests": {"memory": "512Mi"}, "limits": {"memory": "768Mi"}})
    );
    assert_eq!(kafka["readinessProbe"]["tcpSocket"]["port"], 9092);
    assert!(kafka.get("livenessProbe").is_none());
    let env: Vec<&str> = kafka["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["name"].as_str().unwrap())
        .collect();
    assert_eq!(env, ["POD_NAME", "HOST_IP"]);
}

#[test]
fn the_launchers_memory_is_on_disk_so_that_it_survives_a_reboot() {
    let set = set(&one());
    let volumes = set["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap()
        .clone();
    let helper = volumes.iter().find(|v| v["name"] == "tributary").unwrap();
    assert!(helper["emptyDir"].get("medium").is_none(), "{helper}");
    let identity = volumes.iter().find(|v| v["name"] == "identity").unwrap();
    assert_eq!(identity["configMap"]["name"], "munich-kafka-identity");
    assert_eq!(identity["configMap"]["optional"], false);
}

#[test]
fn pods_are_replaced_by_the_operator_only_and_start_all_at_once() {
    let set = set(&three());
    let spec = &set["spec"];
    assert_eq!(spec["updateStrategy"], json!({"type": "OnDelete"}));
    assert_eq!(
        (&spec["podManagementPolicy"], &spec["replicas"]),
        (&json!("Parallel"), &json!(3))
    );
    assert_eq!(spec["serviceName"], "eu-kafka-brokers");
    let selector = json!({"tributary.dev/kind": "EdgeCluster", "tributary.dev/name": "eu"});
    assert_eq!(spec["selector"]["matchLabels"], selector);
}

#[test]
fn volumes_never_go_with_the_stateful_set_whatever_the_spec_says() {
    let mut object = factory();
    for retain in [true, false] {
        object.spec.storage.retain = Some(retain);
        assert_eq!(
            set(&valid(&object))["spec"]["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
    }
}

#[test]
fn the_claim_template_of_an_existing_set_stays_as_it_is() {
    let mut object = factory();
    object.spec.storage.size = Quantity("50Gi".into());
    let cluster = valid(&object);
    let size = |claim: &ClaimSize| {
        let set = serde_json::to_value(stateful_set(&cluster, "c", claim).unwrap()).unwrap();
        set["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"].clone()
    };
    assert_eq!(size(&ClaimSize::New), "50Gi");
    assert_eq!(size(&ClaimSize::Existing("20Gi".into())), "20Gi");
}

#[test]
fn brokers_prefer_nodes_of_their_own_unless_the_spec_has_an_affinity() {
    let affinity =
        |cluster: &ValidatedEdgeCluster| set(cluster)["spec"]["template"]["spec"]["affinity"].clone();
    assert_eq!(affinity(&one()), Value::Null);
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    assert_eq!(
        affinity(&three())["podAntiAffinity"][preferred][0]["podAffinityTerm"]["topologyKey"],
        "kubernetes.io/hostname"
    );
    let mut object = region();
    object.spec.pod = Some(PodSettings {
        affinity: Some(Default::default()),
        ..PodSettings::default()
    });
    assert_eq!(affinity(&valid(&object)), json!({}));
}

#[test]
fn the_operators_labels_win_over_the_specs() {
    let mut object = factory();
    let mut settings = PodSettings::default();
    settings
        .labels
        .insert("tributary.dev/name".into(), "other".into());
    settings.labels.insert("team".into(), "a".into());
    settings
        .annotations
        .insert(REVISION_ANNOTATION.into(), "other".into());
    object.spec.pod = Some(settings);
    let cluster = valid(&object);
    let set = set(&cluster);
    let meta = &set["spec"]["template"]["metadata"];
    assert_eq!(
        (&meta["labels"]["tributary.dev/name"], &meta["labels"]["team"]),
        (&json!("munich"), &json!("a"))
    );
    assert_eq!(
        meta["annotations"][REVISION_ANNOTATION],
        revision_of(&cluster).as_str()
    );
}

/// Law: upgrading the operator alone restarts no broker. If this fails after a change of the builders, every broker in
/// the field would restart with the next operator: is that worth it?
#[test]
fn the_revision_of_a_known_spec_is_what_it_was() {
    assert_eq!(
        (revision_of(&one()).as_str(), revision_of(&three()).as_str()),
        ("4c6de27103", "7587cef9e7")
    );
}

#[test]
fn another_operator_image_is_no_reason_to_restart() {
    let mut newer = options();
    newer.image = "registry.example/tributary:2".into();
    newer.image_pull_policy = Some("Always".into());
    newer.image_pull_secrets = vec!["pull".into()];
    let cluster = super::super::validate::validate(&factory(), &newer).unwrap();
    assert_eq!(revision_of(&cluster), revision_of(&one()));
    // But the next restart takes the newer one.
    assert_eq!(
        set(&cluster)["spec"]["template"]["spec"]["initContainers"][0]["image"],
        newer.image.as_str()
    );
}

#[test]
fn whatever_a_running_broker_would_notice_changes_the_revision() {
    let before = revision_of(&one());
    let changes: [fn(&mut crate::api::EdgeCluster); 6] = [
        |o| drop(o.spec.config.insert("log.retention.hours".into(), "1".into())),
        |o| o.spec.resources = None,
        |o| o.spec.listeners[1].port = 9095,
        |o| o.spec.listeners[1].node_port.as_mut().unwrap().brokers[0].port = 31099,
        |o| o.spec.listeners[1].node_port.as_mut().unwrap().brokers[0].advertised_host = Some("k".into()),
        |o| {
            o.spec.pod = Some(PodSettings {
                priority_class_name: Some("high".into()),
                ..PodSettings::default()
            });
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut object = factory();
        object
            .spec
            .resources
            .as_mut()
            .unwrap()
            .limits
            .as_mut()
            .unwrap()
            .memory = Some(Quantity("768Mi".into()));
        change(&mut object);
        // Resources that are left out have the same values as the example's: not noticed, so no restart.
        assert_eq!(revision_of(&valid(&object)) == before, n == 1, "change {n}");
    }
    let mut topics = factory();
    topics.spec.topics.clear();
    topics.spec.storage.size = Quantity("40Gi".into());
    topics.spec.paused = Some(true);
    assert_eq!(revision_of(&valid(&topics)), before);
}

#[test]
fn the_configuration_is_what_the_launcher_accepts_and_its_name_follows_its_content() {
    let map = config_map(&three()).unwrap();
    assert_eq!(map.immutable, Some(true));
    let config: BrokerConfig = serde_yaml::from_str(&map.data.unwrap()["broker.yaml"]).unwrap();
    config.check().unwrap();
    assert_eq!(
        config.controllers[2].host,
        "eu-kafka-2.eu-kafka-brokers.factory.svc"
    );
    assert_eq!(config.properties["min.insync.replicas"], "2");
    let plant = &config.listeners[1];
    assert_eq!(
        (plant.advertised[0].host.as_deref(), plant.advertised[0].port),
        (None, 31093)
    );
    assert_eq!(plant.advertised[2].host.as_deref(), Some("kafka2.eu.example"));
    let mut object = region();
    object
        .spec
        .config
        .insert("log.retention.hours".into(), "1".into());
    let other = config_map(&valid(&object)).unwrap().metadata.name.unwrap();
    assert!(other.starts_with(&names::config_prefix("eu")));
    assert_ne!(Some(other), map.metadata.name);
}

#[test]
fn services_by_name_type_and_port() {
    let found: Vec<Value> = services(&one())
        .iter()
        .map(|s| {
            let spec = s.spec.as_ref().unwrap();
            let ports: Vec<_> = spec
                .ports
                .iter()
                .flatten()
                .map(|p| (p.name.clone(), p.port, p.node_port))
                .collect();
            json!([
                s.metadata.name,
                spec.type_.as_ref().or(spec.cluster_ip.as_ref()),
                spec.publish_not_ready_addresses,
                ports
            ])
        })
        .collect();
    assert_eq!(
        json!(found),
        json!([
            [
                "munich-kafka-brokers",
                "None",
                true,
                [
                    ["controller", 9093, null],
                    ["internal", 9092, null],
                    ["plant", 9094, null]
                ]
            ],
            ["munich-kafka", "ClusterIP", null, [["internal", 9092, null]]],
            ["munich-kafka-plant", "NodePort", false, [["plant", 9094, 31092]]],
            ["munich-kafka-plant-0", "NodePort", true, [["plant", 9094, 31093]]],
        ])
    );
    let all = services(&three());
    let broker = all
        .iter()
        .find(|s| s.metadata.name.as_deref() == Some("eu-kafka-plant-2"))
        .unwrap();
    let selector = broker.spec.as_ref().unwrap().selector.as_ref().unwrap();
    assert_eq!(selector["statefulset.kubernetes.io/pod-name"], "eu-kafka-2");
}

#[test]
fn only_brokers_of_this_cluster_reach_the_controllers_and_brokers_dial_only_each_other_and_dns() {
    let policy = serde_json::to_value(network_policy(&one())).unwrap();
    let spec = &policy["spec"];
    let own = json!({"matchLabels": {"tributary.dev/kind": "EdgeCluster", "tributary.dev/name": "munich"}});
    assert_eq!(
        (&spec["podSelector"], &spec["policyTypes"]),
        (&own, &json!(["Ingress", "Egress"]))
    );
    let ports = |rule: &Value| -> Vec<i64> {
        rule["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["port"].as_i64().unwrap())
            .collect()
    };
    let ingress = spec["ingress"].as_array().unwrap();
    assert_eq!(
        (ports(&ingress[0]), ingress[0].get("from")),
        (vec![9092, 9094], None)
    );
    assert_eq!(
        (ports(&ingress[1]), &ingress[1]["from"]),
        (vec![9093], &json!([{"podSelector": own}]))
    );
    assert_eq!(ingress.len(), 2);
    let egress = spec["egress"].as_array().unwrap();
    assert_eq!(
        (ports(&egress[0]), &egress[0]["to"]),
        (vec![9093, 9092], &json!([{"podSelector": own}]))
    );
    assert_eq!(
        egress[1..],
        serde_json::to_value(crate::controller::dns())
            .unwrap()
            .as_array()
            .unwrap()[..],
        "the same DNS as the data plane's"
    );
    assert!(ports(&egress[1]).contains(&5353), "{policy}");
}

#[test]
fn three_brokers_have_a_disruption_budget_and_one_has_none() {
    assert!(disruption_budget(&one()).is_none());
    let budget = disruption_budget(&three()).unwrap();
    assert_eq!(serde_json::to_value(budget).unwrap()["spec"]["maxUnavailable"], 1);
}
