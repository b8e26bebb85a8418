use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::replicator::config::{Naming, TopicsConfig};

const HERE: &str = "factory-cluster";
const THERE: &str = "region-cluster";
const LINK: &str = "factory-cluster/factory/to-eu";

fn id(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

fn topics(list: &[(&str, u128, i32)]) -> Topics {
    list.iter()
        .map(|(name, topic, partitions)| {
            (
                (*name).to_owned(),
                TopicFacts {
                    id: id(*topic),
                    partitions: *partitions,
                },
            )
        })
        .collect()
}

fn selection(naming: Naming) -> TopicSelection {
    let include = vec![".*".to_owned()];
    TopicSelection::compile(&TopicsConfig {
        include,
        deny: vec![],
        naming,
        replication_factor: -1,
    })
    .unwrap()
}

fn stored(
    link: &str,
    cluster: &str,
    topic: (&str, u128),
    target: (&str, u128),
    partition: i32,
) -> (PositionKey, Position) {
    let key = PositionKey {
        link_id: link.to_owned(),
        source_cluster_id: cluster.to_owned(),
        topic_id: id(topic.1),
        partition,
    };
    let position = Position {
        next_offset: 7,
        leader_epoch: Some(1),
        source_topic: topic.0.to_owned(),
        target_topic: target.0.to_owned(),
        target_topic_id: Some(id(target.1)),
        last_record_timestamp_ms: Some(1),
        written_at_ms: 1,
        generation: 1,
    };
    (key, position)
}

#[derive(Debug)]
struct World {
    identity: Identity,
    selection: TopicSelection,
    source: Topics,
    target: Topics,
    positions: Positions,
    source_positions: Option<Positions>,
}

impl World {
    fn new(source: &[(&str, u128, i32)], target: &[(&str, u128, i32)]) -> Self {
        Self {
            identity: Identity {
                link_id: LINK.to_owned(),
                source_cluster: HERE.to_owned(),
                target_cluster: THERE.to_owned(),
            },
            selection: selection(Naming::Identity {}),
            source: topics(source),
            target: topics(target),
            positions: Positions::new(),
            source_positions: Some(Positions::new()),
        }
    }

    fn survey(&self) -> Survey<'_> {
        Survey {
            identity: &self.identity,
            selection: &self.selection,
            source: &self.source,
            target: &self.target,
            positions: &self.positions,
            source_positions: self.source_positions.as_ref(),
        }
    }

    fn decision(&self, topic: &str) -> Decision {
        self.survey().decide().remove(topic).unwrap()
    }

    fn refusal(&self, topic: &str) -> &'static str {
        match self.decision(topic) {
            Decision::Refuse(refusal) => refusal.reason.as_str(),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

fn follow(target: &str) -> Decision {
    Decision::Follow {
        target: target.to_owned(),
    }
}

#[test]
fn a_topic_that_is_new_to_both_is_created_with_the_sources_partitions() {
    let mut world = World::new(&[("t", 1, 6)], &[]);
    world.selection = selection(Naming::Prefix {
        prefix: "munich.".to_owned(),
    });
    assert_eq!(
        world.decision("t"),
        Decision::Create {
            target: "munich.t".to_owned(),
            partitions: 6
        }
    );
}

#[test]
fn a_topic_that_waits_on_the_target_is_followed_if_it_is_wide_enough() {
    assert_eq!(
        World::new(&[("t", 1, 6)], &[("t", 9, 6)]).decision("t"),
        follow("t")
    );
    assert_eq!(
        World::new(&[("t", 1, 6)], &[("t", 9, 8)]).decision("t"),
        follow("t")
    );
    assert_eq!(
        World::new(&[("t", 1, 6)], &[("t", 9, 5)]).refusal("t"),
        "TooFewPartitions"
    );
}

#[test]
fn a_topic_that_we_feed_grows_with_its_source() {
    let mut world = World::new(&[("t", 1, 6)], &[("t", 9, 3)]);
    world
        .positions
        .extend([stored(LINK, HERE, ("t", 1), ("t", 9), 0)]);
    assert_eq!(
        world.decision("t"),
        Decision::Grow {
            target: "t".to_owned(),
            partitions: 6
        }
    );
}

#[test]
fn a_topic_that_we_fed_and_that_is_gone_is_not_created_anew() {
    let mut world = World::new(&[("t", 1, 6)], &[]);
    world
        .positions
        .extend([stored(LINK, HERE, ("t", 1), ("t", 9), 0)]);
    assert_eq!(world.decision("t"), follow("t"));
}

#[test]
fn a_topic_fed_by_another_link_or_another_source_is_refused() {
    for (link, cluster) in [
        ("other/link", HERE),
        (LINK, "another-cluster"),
        ("other/link", "another-cluster"),
    ] {
        let mut world = World::new(&[("t", 1, 1)], &[("t", 9, 1)]);
        world
            .positions
            .extend([stored(link, cluster, ("t", 5), ("t", 9), 0)]);
        assert_eq!(world.refusal("t"), "NameCollision");
    }
}

#[test]
fn a_refused_topic_is_told_how_to_take_over_from_a_link_and_from_a_cluster_that_is_gone() {
    let advice = |link: &str, cluster: &str| {
        let mut world = World::new(&[("t", 1, 1)], &[("t", 9, 1)]);
        world
            .positions
            .extend([stored(link, cluster, ("t", 5), ("t", 9), 0)]);
        match world.decision("t") {
            Decision::Refuse(refusal) => refusal.message,
            other => panic!("expected a refusal, got {other:?}"),
        }
    };
    assert!(advice("other/link", HERE).contains("set linkId"));
    // Positions of another cluster's offsets: its link's ID would not help.
    let gone = advice("other/link", "another-cluster");
    assert!(
        !gone.contains("set linkId") && gone.contains("resume, then forget --link other/link"),
        "{gone}"
    );
    // The positions that the link has for other topics must stay.
    let same_link = advice(LINK, "another-cluster");
    assert!(same_link.ends_with("tributary replicator resume"), "{same_link}");
}

#[test]
fn what_another_link_fed_before_the_topic_was_created_anew_does_not_count() {
    let mut world = World::new(&[("t", 1, 1)], &[("t", 9, 1)]);
    world
        .positions
        .extend([stored("other/link", "another-cluster", ("t", 5), ("t", 8), 0)]);
    assert_eq!(world.decision("t"), follow("t"));
}

#[test]
fn a_topic_fed_from_our_target_is_refused_in_both_directions() {
    let mut outward = World::new(&[("t", 1, 1)], &[("t", 9, 1)]);
    outward.source_positions = Some([stored("back", THERE, ("t", 9), ("t", 1), 0)].into());
    assert_eq!(outward.refusal("t"), "LoopRefused");

    let mut inward = World::new(&[("t", 9, 1)], &[("t", 1, 1)]);
    inward.identity = Identity {
        link_id: "back".into(),
        source_cluster: THERE.into(),
        target_cluster: HERE.into(),
    };
    inward.source_positions = Some([stored(LINK, HERE, ("t", 1), ("t", 9), 0)].into());
    assert_eq!(inward.refusal("t"), "LoopRefused");
}

#[test]
fn of_two_links_that_started_at_once_exactly_one_goes_on() {
    // In a circle: each has stored its position before it saw the other's.
    let (out, back) = (
        stored("a", HERE, ("t", 1), ("t", 9), 0),
        stored("b", THERE, ("t", 9), ("t", 1), 0),
    );
    let mut outward = World::new(&[("t", 1, 1)], &[("t", 9, 1)]);
    outward.identity.link_id = "a".to_owned();
    outward.positions = [out.clone()].into();
    outward.source_positions = Some([back.clone()].into());
    assert_eq!(outward.decision("t"), follow("t"));
    let mut inward = World::new(&[("t", 9, 1)], &[("t", 1, 1)]);
    inward.identity = Identity {
        link_id: "b".into(),
        source_cluster: THERE.into(),
        target_cluster: HERE.into(),
    };
    inward.positions = [back].into();
    inward.source_positions = Some([out].into());
    assert_eq!(inward.refusal("t"), "LoopRefused");

    // Into one topic.
    let feeders = [
        stored("a", HERE, ("t", 1), ("t", 9), 0),
        stored("b", "elsewhere", ("t", 2), ("t", 9), 0),
    ];
    for (link, cluster, topic, goes) in [("a", HERE, 1, true), ("b", "elsewhere", 2, false)] {
        let mut world = World::new(&[("t", topic, 1)], &[("t", 9, 1)]);
        world.identity.link_id = link.to_owned();
        world.identity.source_cluster = cluster.to_owned();
        world.positions = feeders.clone().into();
        assert_eq!(world.decision("t") == follow("t"), goes, "{link}");
    }
}

#[test]
fn a_prefix_does_not_hide_a_loop() {
    let mut world = World::new(&[("eu.munich.t", 1, 1), ("t", 2, 1)], &[]);
    world.selection = selection(Naming::Prefix {
        prefix: "munich.".to_owned(),
    });
    world.source_positions = Some([stored("back", THERE, ("munich.t", 9), ("eu.munich.t", 1), 0)].into());
    assert_eq!(world.refusal("eu.munich.t"), "LoopRefused");
    assert!(matches!(world.decision("t"), Decision::Create { .. }));
}

#[test]
fn a_topic_fed_from_a_third_cluster_is_no_loop() {
    let mut world = World::new(&[("t", 1, 1)], &[]);
    world.source_positions = Some([stored("in", "third-cluster", ("t", 5), ("t", 1), 0)].into());
    assert!(matches!(world.decision("t"), Decision::Create { .. }));
}

#[test]
fn without_the_sources_positions_nothing_is_replicated() {
    let mut world = World::new(&[("t", 1, 1)], &[]);
    world.source_positions = None;
    assert_eq!(world.refusal("t"), "LoopUnknown");
}

#[test]
fn topics_that_kafka_takes_for_one_collide_unless_we_feed_one_already() {
    let mut world = World::new(&[("a.b", 1, 1), ("a_b", 2, 1)], &[]);
    assert_eq!(world.refusal("a.b"), "NameCollision");
    assert_eq!(world.refusal("a_b"), "NameCollision");
    world
        .positions
        .extend([stored(LINK, HERE, ("a.b", 1), ("a.b", 9), 0)]);
    assert_eq!(world.decision("a.b"), follow("a.b"));
    assert_eq!(world.refusal("a_b"), "NameCollision");
}

#[test]
fn what_is_stored_is_told_apart() {
    let mut world = World::new(&[("t", 1, 3), ("u", 2, 1)], &[]);
    let start = Start::Latest;
    assert_eq!(world.survey().stored("t", 0, start), Stored::FirstRun(start));
    world
        .positions
        .extend([stored(LINK, HERE, ("t", 1), ("t", 9), 0)]);
    assert!(matches!(world.survey().stored("t", 0, start), Stored::Known(known) if known.topic_id == id(1)));
    assert_eq!(world.survey().stored("t", 1, start), Stored::NewPartition);
    assert_eq!(world.survey().stored("u", 0, start), Stored::NewTopic);
}

#[test]
fn a_hole_in_a_registration_is_no_growth() {
    let mut world = World::new(&[("t", 1, 3)], &[]);
    world
        .positions
        .extend([stored(LINK, HERE, ("t", 1), ("t", 9), 2)]);
    assert_eq!(world.survey().stored("t", 1, Start::Earliest), Stored::NewTopic);
}

#[test]
fn a_topic_created_anew_finds_its_former_position() {
    let mut world = World::new(&[("t", 1, 1)], &[]);
    world
        .positions
        .extend([stored(LINK, HERE, ("t", 5), ("t", 9), 0)]);
    let found = world.survey().stored("t", 0, Start::Earliest);
    assert!(matches!(found, Stored::Known(known) if known.topic_id == id(5)));
    // Once somebody decided and a position for the new ID is there, it counts.
    world
        .positions
        .extend([stored(LINK, HERE, ("t", 1), ("t", 9), 0)]);
    let found = world.survey().stored("t", 0, Start::Earliest);
    assert!(matches!(found, Stored::Known(known) if known.topic_id == id(1)));
}

#[test]
fn other_links_positions_are_not_ours() {
    let mut world = World::new(&[("t", 1, 1)], &[]);
    world
        .positions
        .extend([stored("other", HERE, ("t", 1), ("elsewhere", 9), 0)]);
    assert!(world.survey().is_first_run());
    assert_eq!(
        world.survey().stored("t", 0, Start::Earliest),
        Stored::FirstRun(Start::Earliest)
    );
}

fn worlds() -> impl Strategy<Value = World> {
    let names = prop::sample::subsequence(vec!["a", "b", "c.d", "c_d", "__internal"], 0..5);
    let entry = (
        0..3_usize,
        0..3_usize,
        0..5_usize,
        0..5_usize,
        1..4_u128,
        0..3_i32,
    );
    let table = prop::collection::vec(entry, 0..6);
    (names.clone(), names, table.clone(), table, any::<bool>()).prop_map(
        |(source, target, ours, theirs, readable)| {
            let with =
                |names: Vec<&'static str>| names.into_iter().map(|name| (name, 1, 2)).collect::<Vec<_>>();
            let all = ["a", "b", "c.d", "c_d", "__internal"];
            let positions = |table: Vec<(usize, usize, usize, usize, u128, i32)>| -> Positions {
                table
                    .into_iter()
                    .map(|(link, cluster, from, to, topic, partition)| {
                        let link = [LINK, "x", "y"][link];
                        stored(
                            link,
                            [HERE, THERE, "third"][cluster],
                            (all[from], topic),
                            (all[to], 1),
                            partition,
                        )
                    })
                    .collect()
            };
            let mut world = World::new(&with(source), &with(target));
            world.positions = positions(ours);
            world.source_positions = readable.then(|| positions(theirs));
            world
        },
    )
}

proptest! {
    /// Whatever is stored: what is copied is wanted, is fed by nobody else, and does not come from where it would go.
    #[test]
    fn nothing_is_fed_twice_or_in_a_circle(world in worlds()) {
        for (name, decision) in world.survey().decide() {
            prop_assert!(!name.starts_with("__"));
            let target = match decision {
                Decision::Refuse(refusal) => {
                    prop_assert!(!refusal.message.is_empty());
                    continue;
                }
                Decision::Create { target, .. } | Decision::Grow { target, .. } | Decision::Follow { target } => target,
            };
            // A rival is passed over only by a link that has a position of its own and comes before it.
            let fed = world.positions.iter().any(|(key, position)| {
                (key.link_id.as_str(), key.source_cluster_id.as_str()) == (LINK, HERE) && position.source_topic == name
            });
            let first = |key: &PositionKey| fed && (LINK, HERE) < (key.link_id.as_str(), key.source_cluster_id.as_str());
            let feeders = world.source_positions.iter().flatten();
            for (key, position) in feeders {
                prop_assert!(position.target_topic != name || key.source_cluster_id != THERE || first(key));
            }
            let id = world.target.get(&target).map(|facts| facts.id);
            for (key, position) in &world.positions {
                let ours = key.link_id == LINK && key.source_cluster_id == HERE;
                prop_assert!(ours || position.target_topic != target || position.target_topic_id != id || first(key));
            }
        }
    }
}
