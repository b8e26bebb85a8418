use proptest::prelude::*;

use super::*;
use crate::replicator::progress::RefusalReason;

const MINIMAL: &str = r#"
name: factory/to-eu
source: {bootstrapServers: ["munich:9092"], tls: {mode: Disabled}, authentication: {type: None}}
target: {bootstrapServers: ["eu:9092"], tls: {mode: Disabled}, authentication: {type: None}}
topics: {include: ["telemetry", "uns\\..*"], deny: ["uns\\.secret"], naming: {type: Prefix, prefix: "munich."}}
delivery: AtLeastOnce
start: Earliest
"#;

fn parse(text: &str) -> Result<ReplicatorConfig, ConfigError> {
    ReplicatorConfig::parse(text)
}

fn invalid(text: &str) -> Invalid {
    match parse(text) {
        Err(ConfigError::Invalid(invalid)) => invalid,
        other => panic!("expected an invalid field, got {other:?}"),
    }
}

fn topics(include: &[&str], deny: &[&str], naming: Naming) -> TopicsConfig {
    let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
    TopicsConfig {
        include: owned(include),
        deny: owned(deny),
        naming,
        replication_factor: -1,
    }
}

fn select(include: &[&str], deny: &[&str]) -> TopicSelection {
    TopicSelection::compile(&topics(include, deny, Naming::Identity {})).unwrap()
}

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.workers, 1);
    assert_eq!(config.topics.replication_factor, -1);
    assert!(!config.positions_seen);
    assert_eq!(config.telemetry.listen.port(), 9404);
    assert_eq!(config.tuning, Tuning::default());
    assert_eq!(config.effective_link_id("C1"), "C1/factory/to-eu");
}

#[test]
fn what_is_written_is_what_is_read() {
    let config = parse(MINIMAL).unwrap();
    let text = serde_yaml::to_string(&config).unwrap();
    assert_eq!(parse(&text).unwrap(), config);
}

#[test]
fn an_unknown_field_is_named() {
    let error = parse(&format!("{MINIMAL}\nparallelism: 3\n"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("parallelism"), "{error}");
}

#[test]
fn an_empty_link_id_is_as_good_as_none_and_a_given_one_is_kept() {
    let mut config = parse(MINIMAL).unwrap();
    config.link_id = Some(String::new());
    assert_eq!(config.effective_link_id("C1"), "C1/factory/to-eu");
    config.link_id = Some("munich".to_owned());
    assert_eq!(config.effective_link_id("C1"), "munich");
}

#[test]
fn each_invalid_field_is_named_with_its_value() {
    let cases = [
        ("start: Earliest", "start: Earliest\nworkers: 0", "workers"),
        (
            "start: Earliest",
            "start: Earliest\nworkers: 2\nworker: 2",
            "worker",
        ),
        ("start: Earliest", "start: Earliest\nlinkId: 'a b'", "linkId"),
        ("name: factory/to-eu", "name: ''", "name"),
        (
            "prefix: \"munich.\"}",
            "prefix: \"munich.\"}, replicationFactor: 0",
            "topics.replicationFactor",
        ),
        ("prefix: \"munich.\"", "prefix: \"ä\"", "topics.naming.prefix"),
        ("prefix: \"munich.\"", "prefix: \"__x\"", "topics.naming.prefix"),
        ("\"telemetry\"", "\"a)|(b\"", "topics.include[0]"),
        ("\"telemetry\"", "\"\"", "topics.include[0]"),
        ("\"uns\\\\.secret\"", "\"[\"", "topics.deny[0]"),
        (
            "start: Earliest",
            "start: Earliest\ntuning: {lingerMs: 1001}",
            "tuning.lingerMs",
        ),
        (
            "start: Earliest",
            "start: Earliest\ntuning: {fetchBufferBytes: 10}",
            "tuning.fetchBufferBytes",
        ),
    ];
    for (from, to, field) in cases {
        let text = MINIMAL.replace(from, to);
        assert_ne!(text, MINIMAL, "{from} is not in the file");
        let found = invalid(&text);
        assert_eq!(found.field, field);
        assert!(!found.remedy.is_empty() && !found.why.is_empty());
    }
}

#[test]
fn a_pattern_that_compiles_to_megabytes_is_refused() {
    let found =
        TopicSelection::compile(&topics(&[r"(\w{1000}){1000}"], &[], Naming::Identity {})).unwrap_err();
    assert_eq!(found.field, "topics.include[0]");
}

#[test]
fn patterns_match_whole_names_only() {
    let selection = select(&["telemetry", "uns\\..*", "a|b"], &[]);
    for name in ["telemetry", "uns.x", "a", "b"] {
        assert!(selection.matches(name), "{name}");
    }
    for name in [
        "telemetry2",
        "my.telemetry",
        "unsx",
        "ab",
        "xa",
        "bx",
        "telemetry\n",
    ] {
        assert!(!selection.matches(name), "{name}");
    }
}

#[test]
fn deny_wins_over_every_include() {
    let selection = select(&[".*", "personnel\\.cafeteria"], &["personnel\\..*"]);
    assert!(!selection.matches("personnel.cafeteria"));
    assert!(selection.matches("personnel"));
}

#[test]
fn internal_topics_never_match_even_when_named() {
    let selection = select(&[".*", "__consumer_offsets", "__tributary_positions"], &[]);
    for name in [
        "__consumer_offsets",
        "__transaction_state",
        "__tributary_positions",
        "__cluster_metadata",
    ] {
        assert!(!selection.matches(name), "{name}");
    }
    assert!(selection.matches("_schemas"));
}

#[test]
fn a_prefix_that_makes_the_name_too_long_refuses_the_topic() {
    let naming = Naming::Prefix {
        prefix: "munich.".to_owned(),
    };
    let selection = TopicSelection::compile(&topics(&[".*"], &[], naming)).unwrap();
    assert_eq!(selection.check_target_name("t").unwrap(), "munich.t");
    assert_eq!(
        selection.check_target_name(&"t".repeat(243)).unwrap_err().reason,
        RefusalReason::InvalidTargetName
    );
}

#[test]
fn two_sources_with_one_target_name_collide_also_by_dot_and_underscore() {
    let found = collisions([("a.b", "a.b"), ("a_b", "a_b"), ("c", "c")]);
    assert_eq!(found.into_values().collect::<Vec<_>>(), [vec!["a.b", "a_b"]]);
    assert!(collisions([("a", "x"), ("a", "x")]).is_empty());
}

#[test]
fn the_worker_is_told_by_the_file_or_by_the_ordinal() {
    let mut config = parse(MINIMAL).unwrap();
    assert_eq!(config.worker_index("anything").unwrap(), 0);
    config.workers = 3;
    assert_eq!(config.worker_index("to-eu-replicator-2").unwrap(), 2);
    assert!(config.worker_index("to-eu-replicator-3").is_err());
    assert!(config.worker_index("gateway").is_err());
    config.worker = Some(1);
    assert_eq!(config.worker_index("gateway").unwrap(), 1);
}

proptest! {
    #[test]
    fn no_internal_topic_ever_matches(name in "__[a-z_.-]{0,40}", pattern in "[a-z_.*]{1,20}") {
        if let Ok(selection) = TopicSelection::compile(&topics(&[".*", &pattern], &[], Naming::Identity {})) {
            prop_assert!(!selection.matches(&name));
        }
    }

    #[test]
    fn a_name_matches_its_own_escape_and_nothing_longer(name in "[a-z][a-z0-9._-]{0,40}", tail in "[a-z0-9._-]{1,5}") {
        let selection = select(&[&regex::escape(&name)], &[]);
        prop_assert!(selection.matches(&name));
        let longer = format!("{name}{tail}");
        let before = format!("{tail}{name}");
        prop_assert!(!selection.matches(&longer));
        prop_assert!(!selection.matches(&before));
    }
}
