//! What `status.effective.durability` says (law 1).

use super::names;
use super::validate::{ValidTopic, ValidatedEdgeCluster};

/// What an acknowledged record survives, in one sentence, with the topics of the spec whose own settings say less.
/// `sharing`: brokers run on one node together now.
pub fn of(cluster: &ValidatedEdgeCluster, sharing: bool) -> String {
    let config = cluster.broker_config();
    let flush = config.get("log.flush.interval.messages").map(String::as_str);
    let in_sync = config.get("min.insync.replicas").map_or("1", String::as_str);
    match (cluster.brokers, flush) {
        (1, Some("1")) => {
            // `flush.ms` weakens nothing: it flushes beside `flush.messages`, never instead.
            let weaker = weaker(cluster, |topic| {
                number(topic, "flush.messages").is_some_and(|n| n != 1)
            });
            let weaker = weaker.map_or_else(String::new, |topics| {
                format!(
                    "; in topics that change flush.messages ({topics}) it may be in the page cache only and survives \
                     the loss of the process, not of power"
                )
            });
            format!(
                "an acknowledged record is on the broker's disk (fsync before acknowledgement): it survives the loss \
                 of process and power, not the loss of the disk{weaker}"
            )
        }
        (1, _) => {
            "an acknowledged record may be in the page cache of one node only, because spec.config changes \
             log.flush.interval.messages: it survives the loss of the process, not of power"
                .to_owned()
        }
        (n, _) if in_sync == "1" => format!(
            "an acknowledged record may be on one of {n} brokers only, because spec.config sets \
             min.insync.replicas to 1: it may be lost with that node"
        ),
        (n, _) => {
            let least: Option<i64> = in_sync.trim().parse().ok();
            let weaker = weaker(cluster, |topic| {
                number(topic, "min.insync.replicas").is_some_and(|n| least.is_none_or(|least| n < least))
            });
            let weaker = weaker.map_or_else(String::new, |topics| {
                format!(
                    "; in topics that lower min.insync.replicas ({topics}) it may be on fewer and be lost with them"
                )
            });
            let survives = if sharing {
                "any one broker, but brokers share a node now: it may be lost with that node's power"
            } else {
                "any one node"
            };
            format!(
                "a record acknowledged with acks=all is on at least {in_sync} of {n} brokers: it survives the loss of \
                 {survives}; topics with replicas 1 do not{weaker}"
            )
        }
    }
}

/// The topics that a message names, if there are any.
fn weaker(cluster: &ValidatedEdgeCluster, is_weaker: impl Fn(&ValidTopic) -> bool) -> Option<String> {
    let found = cluster.topics.iter().filter(|(_, topic)| is_weaker(topic));
    let found: Vec<&str> = found.map(|(name, _)| name.as_str()).collect();
    (!found.is_empty()).then(|| names::list(found))
}

/// A topic's own setting. What is no number Kafka refuses.
fn number(topic: &ValidTopic, key: &str) -> Option<i64> {
    topic.config.get(key)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::validate::tests::{factory, region, valid};
    use super::*;
    use crate::api::{EdgeCluster, Topic};

    fn with(mut object: EdgeCluster, key: &str, value: &str) -> String {
        object.spec.config.insert(key.into(), value.into());
        of(&valid(&object), false)
    }

    fn with_topics(mut object: EdgeCluster, topics: &[(&str, &str, &str)]) -> String {
        object.spec.topics = topics
            .iter()
            .map(|(name, key, value)| Topic {
                name: (*name).into(),
                partitions: 1,
                replicas: object.spec.brokers,
                config: [((*key).into(), (*value).into())].into(),
            })
            .collect();
        of(&valid(&object), false)
    }

    #[test]
    fn the_sentence_tells_when_the_spec_weakens_it() {
        assert!(of(&valid(&factory()), false).contains("fsync"));
        let weak = with(factory(), "log.flush.interval.messages", "10000");
        assert!(weak.contains("page cache"), "{weak}");
        assert!(
            of(&valid(&region()), false)
                .contains("at least 2 of 3 brokers: it survives the loss of any one node")
        );
        let shared = of(&valid(&region()), true);
        assert!(
            shared.contains("any one broker") && shared.contains("brokers share a node"),
            "{shared}"
        );
        let weak = with(region(), "min.insync.replicas", "1");
        assert!(weak.contains("may be lost"), "{weak}");
    }

    #[test]
    fn on_one_broker_a_topic_that_does_not_flush_each_append_is_named() {
        let told = with_topics(
            factory(),
            &[
                ("lazy", "flush.messages", "10000"),
                ("eager", "flush.messages", "1"),
                ("timed", "flush.ms", "60000"),
            ],
        );
        assert!(
            told.contains("flush.messages (lazy)") && told.contains("not of power"),
            "{told}"
        );
    }

    #[test]
    fn on_three_brokers_a_topic_that_asks_for_fewer_copies_is_named() {
        let told = with_topics(
            region(),
            &[
                ("alone", "min.insync.replicas", "1"),
                ("enough", "min.insync.replicas", "2"),
                ("lazy", "flush.messages", "10000"),
            ],
        );
        assert!(told.contains("min.insync.replicas (alone)"), "{told}");
    }

    #[test]
    fn of_many_topics_the_first_are_named_and_the_rest_counted() {
        let names: Vec<String> = (0..60).map(|n| format!("t{n:02}")).collect();
        let topics: Vec<_> = names
            .iter()
            .map(|n| (n.as_str(), "flush.messages", "2"))
            .collect();
        let told = with_topics(factory(), &topics);
        assert!(told.contains("(t00, t01, t02, t03, t04 and 55 more)"), "{told}");
    }
}
