use super::super::tests::{object, objects};
use super::*;
use crate::api::{BridgePipelineStatus, SubscriptionStatus};
use crate::controller::CONFIG_HASH_ANNOTATION;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

fn pod(objects: &Objects) -> PodSpec {
    objects.stateful_set.spec.clone().unwrap().template.spec.unwrap()
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
fn the_configuration_is_what_the_bridge_reads_back() {
    let objects = objects(&object());
    let text = &objects.config_map.data.unwrap()["bridge.yaml"];
    let config: BridgeConfig = serde_yaml::from_str(text).unwrap();
    assert_eq!(config.validate(), []);
    assert!(!text.contains("secretRef"));
}

#[test]
fn the_pod_is_restricted_has_no_token_and_is_bounded() {
    let pod = pod(&objects(&object()));
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.enable_service_links, Some(false));
    assert_eq!(pod.termination_grace_period_seconds, Some(15));
    let security = pod.security_context.unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let container = &pod.containers[0];
    let security = container.security_context.clone().unwrap();
    assert_eq!(security.allow_privilege_escalation, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(security.capabilities.unwrap().drop, Some(vec!["ALL".into()]));
    assert_eq!(
        container.resources.clone().unwrap().limits.unwrap()["memory"].0,
        "128Mi"
    );
    assert_eq!(
        container.args.clone().unwrap(),
        ["bridge", "--config", "/etc/tributary/config/bridge.yaml"]
    );
}

#[test]
fn a_paused_bridge_has_no_pod_and_is_otherwise_the_same() {
    let mut paused = object();
    paused.spec.paused = Some(true);
    let (running, paused) = (objects(&object()), objects(&paused));
    assert_eq!(running.stateful_set.spec.clone().unwrap().replicas, Some(1));
    assert_eq!(paused.stateful_set.spec.clone().unwrap().replicas, Some(0));
    assert_eq!(paused.restart_hash, running.restart_hash);
    assert_eq!(paused.config_map, running.config_map);
}

#[test]
fn a_changed_route_starts_the_pod_anew_and_a_filter_to_unsubscribe_does_not() {
    let hash = |o: &Objects| {
        let meta = o.stateful_set.spec.clone().unwrap().template.metadata.unwrap();
        meta.annotations.unwrap()[CONFIG_HASH_ANNOTATION].clone()
    };
    let base = objects(&object());
    assert_eq!(hash(&base), base.restart_hash);
    let mut routed = object();
    routed.spec.routes[0].topic = "other".into();
    assert_ne!(hash(&objects(&routed)), hash(&base));
    let mut stale = object();
    stale.status = Some(BridgePipelineStatus {
        subscriptions: vec![SubscriptionStatus {
            filter: "old/#".into(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let stale = objects(&stale);
    assert_ne!(
        stale.config_map, base.config_map,
        "the pod learns of it at its next start"
    );
    assert_eq!(hash(&stale), hash(&base));
}

#[test]
fn the_network_policy_lets_out_to_dns_and_the_peers_and_in_only_the_operator() {
    let policy = objects(&object()).network_policy.spec.unwrap();
    assert_eq!(policy.policy_types.unwrap(), ["Ingress", "Egress"]);
    let ingress = policy.ingress.unwrap();
    assert_eq!((ingress.len(), ingress[0].from.as_ref().unwrap().len()), (1, 1));
    let egress = policy.egress.unwrap();
    let ports: Vec<_> = egress
        .iter()
        .flat_map(|rule| rule.ports.clone().unwrap())
        .filter_map(|p| (p.protocol.as_deref() == Some("TCP")).then_some(p.port.unwrap()))
        .collect();
    let int = IntOrString::Int;
    let name = IntOrString::String("mqtts".into());
    assert_eq!(ports, [int(53), int(1053), int(5353), int(53), int(9092), name]);
    assert!(
        egress.iter().all(|rule| rule.to.is_some()),
        "nothing is open to anywhere"
    );
}

#[test]
fn broker_ports_that_were_learnt_are_open_and_noted_for_the_time_of_a_cut() {
    let owner = object();
    let bridge = super::super::tests::validated(&owner);
    let anywhere = Peer::Anywhere {
        ports: [31092].into(),
    };
    let ports: BTreeSet<u16> = [31093, 31094].into();
    let built = build(&owner, &bridge, &Options::default(), &[anywhere].into(), &ports).unwrap();
    let meta = &built.network_policy.metadata;
    assert_eq!(
        crate::controller::noted_broker_ports(meta.annotations.as_ref()),
        ports
    );
    let egress = built.network_policy.spec.unwrap().egress.unwrap();
    assert_eq!(egress.last().unwrap().ports.as_ref().unwrap().len(), 2);
}

#[test]
fn nothing_of_argo_cd_s_own_labels_is_set() {
    let objects = objects(&object());
    let labels = objects.stateful_set.metadata.labels.unwrap();
    assert!(!labels.contains_key("app.kubernetes.io/instance"));
    assert_eq!(
        objects.stateful_set.metadata.owner_references.unwrap()[0].block_owner_deletion,
        None
    );
}
