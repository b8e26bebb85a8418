use kafka_protocol::error::ResponseError;
use proptest::prelude::*;

use super::super::observe::{FoundRecord, KafkaFacts};
use super::super::validate::tests::{region, valid};
use super::apply::{Answers, fingerprint, needs_writing};
use super::*;
use crate::api::PartitionCounts;
use crate::api::words::{TOPICS, words_of};
use crate::kafka::KafkaError;

#[test]
fn every_state_of_a_topic_is_explained() {
    let known: Vec<&str> = words_of(TOPICS).map(|word| word.name).collect();
    assert_eq!(known, state::ALL);
}

fn topic(partitions: i32, config: &[(&str, &str)]) -> ValidTopic {
    ValidTopic {
        partitions,
        replicas: 1,
        config: config.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    }
}

fn facts(partitions: i32, replicas: usize) -> TopicFacts {
    TopicFacts { partitions, replicas }
}

fn entry(value: &str, source: ConfigSource) -> ConfigEntry {
    ConfigEntry {
        value: Some(value.into()),
        source,
        read_only: false,
        sensitive: false,
    }
}

fn dynamic(settings: &[(&str, &str)]) -> Settings {
    Ok(settings
        .iter()
        .map(|(k, v)| ((*k).into(), entry(v, ConfigSource::DynamicTopic)))
        .collect())
}

fn record(topics: &[(&str, &[&str])]) -> Record {
    let settings = |keys: &[&str]| keys.iter().map(|k| (*k).to_owned()).collect();
    Record {
        topics: topics
            .iter()
            .map(|(name, keys)| ((*name).into(), settings(keys)))
            .collect(),
    }
}

fn map<V>(name: &str, value: V) -> BTreeMap<String, V> {
    BTreeMap::from([(name.to_owned(), value)])
}

#[test]
fn a_missing_topic_is_created_as_described_and_recorded_before() {
    let spec = map("a", topic(6, &[("retention.ms", "1000")]));
    let plan = plan(&spec, &BTreeMap::new(), &BTreeMap::new(), &Record::default());
    assert_eq!(plan.create.len(), 1);
    assert_eq!(
        (plan.create[0].partitions, plan.create[0].replication_factor),
        (6, 1)
    );
    assert_eq!(plan.create[0].configs["retention.ms"], "1000");
    assert_eq!(plan.record, record(&[("a", &["retention.ms"])]));
}

#[test]
fn settings_of_a_topic_that_kafka_does_not_tell_of_yet_are_not_forgotten() {
    let known = record(&[("a", &["compression.type", "retention.ms"])]);
    let spec = map("a", topic(1, &[("retention.ms", "1000")]));
    let early = plan(&spec, &BTreeMap::new(), &BTreeMap::new(), &known);
    assert_eq!(early.create.len(), 1);
    assert_eq!(early.record, known);
    let settings = map(
        "a",
        dynamic(&[("compression.type", "zstd"), ("retention.ms", "1000")]),
    );
    let seen = plan(&spec, &map("a", facts(1, 1)), &settings, &early.record);
    assert_eq!(seen.report[0].state, state::SETTINGS_KEPT);
    assert_eq!(seen.record, known);
}

#[test]
fn a_topic_that_is_as_described_needs_nothing() {
    let spec = map("a", topic(6, &[("retention.ms", "1000")]));
    let settings = map("a", dynamic(&[("retention.ms", "1000")]));
    let known = record(&[("a", &["retention.ms"])]);
    let plan = plan(&spec, &map("a", facts(6, 1)), &settings, &known);
    let wanted = Plan {
        record: known,
        ..Plan::default()
    };
    assert_eq!(plan, wanted);
}

#[test]
fn partitions_grow_and_never_shrink() {
    let spec = map("a", topic(6, &[]));
    let grown = plan(
        &spec,
        &map("a", facts(3, 1)),
        &BTreeMap::new(),
        &Record::default(),
    );
    assert_eq!(grown.grow, map("a", 6));
    let shrunk = plan(
        &spec,
        &map("a", facts(9, 1)),
        &BTreeMap::new(),
        &Record::default(),
    );
    assert!(shrunk.grow.is_empty());
    assert_eq!(shrunk.report[0].state, state::DIFFERS);
    assert!(
        shrunk.report[0].message.contains("9 partitions"),
        "{:?}",
        shrunk.report
    );
}

#[test]
fn another_number_of_replicas_is_reported() {
    let spec = map("a", topic(6, &[]));
    let plan = plan(
        &spec,
        &map("a", facts(6, 3)),
        &BTreeMap::new(),
        &Record::default(),
    );
    assert_eq!(plan.report[0].state, state::DIFFERS);
}

#[test]
fn a_setting_is_set_unless_it_is_set_on_the_topic_itself() {
    let spec = map(
        "a",
        topic(1, &[("retention.ms", "1000"), ("compression.type", "zstd")]),
    );
    let mut settings = dynamic(&[("retention.ms", "2000")]).unwrap();
    // The same value, but the broker's: it would move with the broker's.
    settings.insert(
        "compression.type".into(),
        entry("zstd", ConfigSource::StaticBroker),
    );
    let plan = plan(
        &spec,
        &map("a", facts(1, 1)),
        &map("a", Ok(settings)),
        &Record::default(),
    );
    let keys: Vec<_> = plan.alter[0].changes.keys().collect();
    assert_eq!(keys, ["compression.type", "retention.ms"]);
}

#[test]
fn settings_that_are_not_known_are_left_alone() {
    let spec = map("a", topic(1, &[("retention.ms", "1000")]));
    let known = record(&[("a", &["old.key"])]);
    let plan = plan(
        &spec,
        &map("a", facts(1, 1)),
        &map("a", Err("no answer".into())),
        &known,
    );
    assert!(plan.alter.is_empty() && plan.report.is_empty());
    assert_eq!(plan.record, record(&[("a", &["old.key", "retention.ms"])]));
}

#[test]
fn a_topic_removed_from_the_spec_is_kept_reported_and_forgotten_when_it_is_gone() {
    let known = record(&[("old", &["retention.ms"])]);
    let kept = plan(
        &BTreeMap::new(),
        &map("old", facts(1, 1)),
        &BTreeMap::new(),
        &known,
    );
    assert_eq!(
        (kept.report[0].state.as_str(), kept.report[0].name.as_str()),
        (state::KEPT, "old")
    );
    assert_eq!(kept.record, known);
    let gone = plan(&BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new(), &known);
    assert_eq!(gone, Plan::default());
}

#[test]
fn a_topic_of_others_is_nobodys_business() {
    let plan = plan(
        &BTreeMap::new(),
        &map("theirs", facts(1, 1)),
        &BTreeMap::new(),
        &Record::default(),
    );
    assert_eq!(plan, Plan::default());
}

#[test]
fn a_setting_removed_from_the_spec_is_kept_reported_and_forgotten_when_it_is_gone() {
    let spec = map("a", topic(1, &[]));
    let known = record(&[("a", &["retention.ms"])]);
    let settings = map("a", dynamic(&[("retention.ms", "1000"), ("theirs", "1")]));
    let kept = plan(&spec, &map("a", facts(1, 1)), &settings, &known);
    assert!(kept.alter.is_empty());
    assert_eq!(kept.report[0].state, state::SETTINGS_KEPT);
    assert!(
        kept.report[0].message.contains("retention.ms=1000"),
        "{:?}",
        kept.report
    );
    assert!(!kept.report[0].message.contains("theirs"));
    assert_eq!(kept.record, known);
    let gone = plan(&spec, &map("a", facts(1, 1)), &map("a", dynamic(&[])), &known);
    assert!(gone.report.is_empty());
    assert_eq!(gone.record, record(&[("a", &[])]));
}

#[test]
fn the_report_has_one_entry_for_each_topic_what_matters_most_first_and_a_bound() {
    let mut report: Vec<TopicStatus> = (0..60)
        .map(|n| status(&format!("t{n:02}"), state::SETTINGS_KEPT, "k"))
        .collect();
    report.push(status("t59", state::REFUSED, "r"));
    let condensed = condense(report);
    assert_eq!(condensed.len(), REPORTED_MOST);
    assert_eq!(
        (condensed[0].name.as_str(), condensed[0].state.as_str()),
        ("t59", state::REFUSED)
    );
    assert_eq!(condensed[0].message, "r; k");
}

fn refusal(code: ResponseError) -> Result<(), KafkaError> {
    Err(KafkaError::from_code("the topic", code.code(), None).unwrap())
}

#[test]
fn too_few_brokers_for_now_are_waited_for_and_too_few_for_ever_are_a_refusal() {
    let mut object = region();
    let topic = |name: &str, replicas| crate::api::Topic {
        name: name.into(),
        partitions: 1,
        replicas,
        config: BTreeMap::new(),
    };
    object.spec.topics = vec![topic("early", 3), topic("never", 4), topic("wrong", 3)];
    let cluster = valid(&object);
    let mut answers = Answers {
        cluster: &cluster,
        report: Vec::new(),
        waiting: BTreeMap::new(),
    };
    for name in ["early", "never"] {
        answers
            .note(name, refusal(ResponseError::InvalidReplicationFactor))
            .unwrap();
    }
    answers
        .note("wrong", refusal(ResponseError::InvalidConfig))
        .unwrap();
    assert!(
        answers
            .note("wrong", refusal(ResponseError::RequestTimedOut))
            .is_err()
    );
    let Outcome::Known { report, waiting } = answers.outcome() else {
        panic!("Kafka answered");
    };
    let refused: Vec<_> = report
        .iter()
        .map(|t| (t.name.as_str(), t.state.as_str()))
        .collect();
    assert_eq!(refused, [("never", state::REFUSED), ("wrong", state::REFUSED)]);
    let waiting = waiting.unwrap();
    assert!(waiting.contains("topics early;"), "{waiting}");
}

prop_compose! {
    fn any_topics()(names in prop::collection::btree_map("[a-d]", (1..4i32, prop::collection::btree_map("[x-z]", "[0-1]", 0..3)), 0..4))
        -> BTreeMap<String, ValidTopic> {
        names.into_iter().map(|(name, (partitions, config))| (name, ValidTopic { partitions, replicas: 1, config })).collect()
    }
}

proptest! {
    /// Carrying a plan out once is enough: what remains differs for good, and is reported. Nothing is ever removed.
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do(spec in any_topics(), kafka in any_topics(), known in any_topics()) {
        let known = Record {
            topics: known.into_iter().map(|(name, t)| (name, t.config.into_keys().collect())).collect(),
        };
        let mut kafka = kafka;
        let look = |kafka: &BTreeMap<String, ValidTopic>, record: &Record| {
            let existing = kafka.iter().map(|(n, t)| (n.clone(), facts(t.partitions, 1))).collect();
            let settings = kafka.iter().map(|(n, t)| {
                let entries = t.config.iter().map(|(k, v)| (k.clone(), entry(v, ConfigSource::DynamicTopic)));
                (n.clone(), Ok(entries.collect()))
            }).collect();
            plan(&spec, &existing, &settings, record)
        };
        let first = look(&kafka, &known);
        let before = kafka.clone();
        for new in &first.create {
            kafka.insert(new.name.clone(), ValidTopic { partitions: new.partitions, replicas: 1, config: new.configs.clone() });
        }
        for (name, partitions) in &first.grow {
            kafka.get_mut(name).unwrap().partitions = *partitions;
        }
        for change in &first.alter {
            for (key, value) in &change.changes {
                let ConfigChange::Set(value) = value else { panic!("a setting would be removed") };
                kafka.get_mut(&change.topic).unwrap().config.insert(key.clone(), value.clone());
            }
        }
        for (name, topic) in &before {
            prop_assert!(kafka[name].partitions >= topic.partitions);
            prop_assert!(topic.config.keys().all(|key| kafka[name].config.contains_key(key)));
        }
        let second = look(&kafka, &first.record);
        prop_assert!(second.create.is_empty() && second.grow.is_empty() && second.alter.is_empty(), "{:?}", second);
        // Only what was known of an earlier topic of a name is still forgotten, when the new one is seen without it.
        for (name, settings) in &second.record.topics {
            let forgotten = first.record.topics[name].difference(settings).count();
            prop_assert!(forgotten == 0 || !before.contains_key(name));
        }
        prop_assert_eq!(&look(&kafka, &second.record), &second);
        for (name, topic) in &spec {
            let differs = second.report.iter().any(|r| r.name == *name && r.state == state::DIFFERS);
            prop_assert!(kafka[name].partitions == topic.partitions || differs);
        }
    }
}

#[test]
fn a_record_that_somebody_edited_or_deleted_is_looked_at_at_once() {
    let cluster = valid(&region());
    let kafka = KafkaFacts {
        cluster_id: "c".into(),
        live: BTreeSet::from([0]),
        quorum: Err("not asked".into()),
        counts: PartitionCounts::default(),
        lagging: Vec::new(),
        topics: map("a", facts(1, 1)),
        disks: BTreeMap::new(),
    };
    let found = |text: &str| FoundRecord {
        data: map(RECORD_KEY, text.to_owned()),
    };
    let now = |record: Option<&FoundRecord>| fingerprint(&cluster, &kafka, record);
    let (ours, edited) = (found("topics: {}"), found("edited"));
    assert_eq!(now(Some(&ours)), now(Some(&ours.clone())));
    assert_ne!(now(Some(&ours)), now(Some(&edited)));
    assert_ne!(now(Some(&ours)), now(None));
}

#[test]
fn a_record_is_written_when_it_differs_or_cannot_be_read() {
    let (none, one) = (record(&[]), record(&[("a", &[])]));
    for (next, stands, exists, written) in [
        (&one, Some(&one), true, false),
        (&one, Some(&none), true, true),
        (&none, Some(&one), true, true),
        (&none, None, false, false),
        (&one, None, false, true),
        (&none, None, true, true),
    ] {
        assert_eq!(
            needs_writing(next, stands, exists),
            written,
            "{next:?} {stands:?} {exists}"
        );
    }
}
