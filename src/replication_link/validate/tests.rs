use super::super::tests::{endpoint, object, source, target, validated};
use super::*;

fn problems(object: &ReplicationLink) -> Vec<Problem> {
    validate(object, &source(), &target()).unwrap_err()
}

#[test]
fn a_link_becomes_the_replicators_configuration_with_the_defaults_filled_in() {
    let link = validated(&object());
    assert_eq!(link.config.name, "factory/to-eu");
    assert_eq!(
        (link.config.workers, link.config.topics.replication_factor),
        (1, -1)
    );
    assert_eq!(
        link.config.effective_link_id("munich-id"),
        "munich-id/factory/to-eu"
    );
    assert!(link.selection.matches("telemetry-dead") && !link.selection.matches("personnel.x"));
    assert_eq!(link.selection.target_name("telemetry"), "munich.telemetry");
    assert!(!link.paused);
}

#[test]
fn an_empty_link_id_is_none_and_one_of_the_spec_counts() {
    let mut object = object();
    object.spec.link_id = Some(String::new());
    assert_eq!(validated(&object).config.link_id, None);
    object.spec.link_id = Some("plant/7".into());
    assert_eq!(validated(&object).config.effective_link_id("any"), "plant/7");
}

#[test]
fn a_broken_pattern_is_named_with_its_place_and_why() {
    let mut object = object();
    object.spec.topics.include = vec!["good".into(), "telemetry(-dead".into()];
    let found = problems(&object);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].reason, found[0].field.as_str(), found[0].value.as_str()),
        (Reason::InvalidSpec, "spec.topics.include[1]", "telemetry(-dead")
    );
    assert!(found[0].why.contains("unclosed group"), "{}", found[0].why);
    object.spec.topics.include = vec!["good".into()];
    object.spec.topics.deny = vec!["[".into()];
    assert_eq!(problems(&object)[0].field, "spec.topics.deny[0]");
}

#[test]
fn numbers_out_of_range_are_refused_with_their_field() {
    for (change, field) in [
        (
            (|o| o.spec.workers = Some(-1)) as fn(&mut ReplicationLink),
            "spec.workers",
        ),
        (|o| o.spec.workers = Some(17), "spec.workers"),
        (
            |o| o.spec.topics.replication_factor = Some(0),
            "spec.topics.replicationFactor",
        ),
        (
            |o| o.spec.topics.replication_factor = Some(70_000),
            "spec.topics.replicationFactor",
        ),
        (
            |o| o.spec.topics.naming.prefix = None,
            "spec.topics.naming.prefix",
        ),
        (
            |o| o.spec.topics.naming.prefix = Some("__x".into()),
            "spec.topics.naming.prefix",
        ),
    ] {
        let mut object = object();
        change(&mut object);
        assert_eq!(problems(&object)[0].field, field);
    }
}

#[test]
fn one_cluster_on_both_sides_is_a_loop_under_identity_and_none_under_a_prefix() {
    let mut object = object();
    object.spec.target = object.spec.source.clone();
    let same = || endpoint("target", "munich-kafka.factory.svc:9094");
    assert!(validate(&object, &source(), &same()).is_ok());
    object.spec.topics.naming = crate::api::Naming {
        type_: NamingType::Identity,
        prefix: None,
    };
    let found = validate(&object, &source(), &same()).unwrap_err();
    assert_eq!(
        (found[0].reason, found[0].value.as_str()),
        (Reason::LoopRefused, "munich")
    );
}

#[test]
fn an_address_on_both_sides_is_a_loop_under_identity() {
    let mut object = object();
    object.spec.topics.naming = crate::api::Naming {
        type_: NamingType::Identity,
        prefix: None,
    };
    assert!(validate(&object, &source(), &target()).is_ok());
    let mut both = target();
    both.file
        .bootstrap_servers
        .extend(source().file.bootstrap_servers);
    let found = validate(&object, &source(), &both).unwrap_err();
    assert_eq!(
        (found[0].reason, found[0].value.as_str()),
        (Reason::LoopRefused, "munich-kafka.factory.svc:9092")
    );
}

#[test]
fn more_addresses_than_the_file_takes_are_refused_here_and_not_by_the_pod() {
    let mut many = target();
    many.file.bootstrap_servers = (0..=MAX_BOOTSTRAP_SERVERS)
        .map(|i| format!("kafka-{i}.example:9092"))
        .collect();
    let found = validate(&object(), &source(), &many).unwrap_err();
    assert_eq!(found[0].field, "spec.target.external.bootstrapServers");
    many.file.bootstrap_servers.pop();
    assert!(validate(&object(), &source(), &many).is_ok());
    assert!(
        many.file.load().is_ok(),
        "the bound is that of the file's own reader"
    );
}
