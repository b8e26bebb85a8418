use super::super::config::IdentityBroker;
use super::*;
use crate::kafka::TopicId;
use proptest::prelude::*;
use std::fs;

const DIRECTORY: &str = "Kt0rQ5dPTXOxkq0uXAAAAQ";

fn identity(format: FormatPermission) -> Identity {
    Identity {
        version: 1,
        cluster_id: "3rJHqx9lQ9mWfC0o2kqWJw".into(),
        brokers: vec![IdentityBroker {
            id: 0,
            directory_id: DIRECTORY.parse::<TopicId>().unwrap(),
            format,
        }],
    }
}

fn own_meta(has_started: bool) -> Meta {
    Meta {
        cluster_id: "3rJHqx9lQ9mWfC0o2kqWJw".into(),
        node_id: "0".into(),
        directory_id: DIRECTORY.into(),
        has_started,
    }
}

/// A volume as formatting leaves it; `started` as Kafka leaves it.
fn formatted(volume: &Path, started: bool) {
    let log = volume.join("kafka/__cluster_metadata-0");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("00000000000000000000-0000000000.checkpoint"), "x").unwrap();
    let meta = format!(
        "#Sat Nov 21\nnode.id=0\ndirectory.id={DIRECTORY}\nversion=1\ncluster.id=3rJHqx9lQ9mWfC0o2kqWJw\n"
    );
    fs::write(volume.join("kafka/meta.properties"), meta).unwrap();
    if started {
        fs::write(log.join("quorum-state"), "{}").unwrap();
    }
}

fn look(prepare: impl FnOnce(&Path)) -> VolumeState {
    let volume = tempfile::tempdir().unwrap();
    prepare(volume.path());
    inspect(volume.path()).unwrap()
}

#[test]
fn a_fresh_volume_is_empty_whatever_the_file_system_put_there() {
    assert_eq!(look(|_| {}), VolumeState::Empty);
    let furnished = look(|v| {
        fs::create_dir(v.join("lost+found")).unwrap();
        fs::write(v.join(".snapshot"), "").unwrap();
    });
    assert_eq!(furnished, VolumeState::Empty);
}

#[test]
fn a_data_directory_with_nothing_in_it_is_an_empty_volume() {
    let emptied = look(|v| {
        fs::create_dir(v.join("kafka")).unwrap();
        fs::write(v.join("kafka/.lock"), "").unwrap();
    });
    assert_eq!(emptied, VolumeState::Empty);
}

#[test]
fn what_formatting_left_behind_is_half_formatted() {
    let half = look(|v| fs::create_dir_all(v.join("kafka.formatting/__cluster_metadata-0")).unwrap());
    assert_eq!(half, VolumeState::HalfFormatted);
}

#[test]
fn a_formatted_volume_says_whose_it_is_and_whether_it_ran() {
    for started in [false, true] {
        assert_eq!(
            look(|v| formatted(v, started)),
            VolumeState::Formatted(own_meta(started))
        );
    }
}

#[test]
fn missing_parts_are_damage_not_emptiness() {
    let damage: [fn(&Path); 4] = [
        |v| fs::remove_file(v.join("kafka/meta.properties")).unwrap(),
        |v| fs::write(v.join("kafka/meta.properties"), "version=1\n").unwrap(),
        |v| fs::remove_dir_all(v.join("kafka/__cluster_metadata-0")).unwrap(),
        |v| {
            fs::remove_dir_all(v.join("kafka/__cluster_metadata-0")).unwrap();
            fs::create_dir(v.join("kafka/__cluster_metadata-0")).unwrap();
        },
    ];
    for (n, break_it) in damage.iter().enumerate() {
        let state = look(|v| {
            formatted(v, true);
            break_it(v);
        });
        assert!(matches!(state, VolumeState::Damaged(_)), "case {n}: {state:?}");
    }
}

#[test]
fn a_volume_with_somebody_elses_data_is_foreign() {
    let state = look(|v| {
        for name in ["postgres", "meta.properties"] {
            fs::write(v.join(name), "").unwrap();
        }
    });
    assert_eq!(
        state,
        VolumeState::Foreign(vec!["meta.properties".into(), "postgres".into()])
    );
}

#[test]
fn a_volume_that_cannot_be_read_is_an_error_not_emptiness() {
    assert!(inspect(Path::new("/nonexistent/volume")).is_err());
}

#[test]
fn only_an_empty_volume_with_permission_is_formatted() {
    use FormatPermission::{Permitted, Withdrawn};
    let decide = |state: VolumeState, format| decide(&state, &identity(format), 0, None);
    assert_eq!(decide(VolumeState::Empty, Permitted), Decision::Format);
    assert_eq!(decide(VolumeState::HalfFormatted, Permitted), Decision::Format);
    assert_eq!(
        decide(VolumeState::Empty, Withdrawn),
        Decision::Refuse(Refusal::Emptied)
    );
    assert_eq!(
        decide(VolumeState::HalfFormatted, Withdrawn),
        Decision::Refuse(Refusal::Emptied)
    );
}

#[test]
fn a_stale_permission_does_not_format_a_volume_that_this_pod_saw_formatted() {
    let permitted = identity(FormatPermission::Permitted);
    assert_eq!(
        decide(&VolumeState::Empty, &permitted, 0, Some(DIRECTORY)),
        Decision::Refuse(Refusal::EmptiedUnderThisPod)
    );
    // A new identity for a fresh start has another directory ID: the pod's memory of the old one does not count.
    assert_eq!(
        decide(&VolumeState::Empty, &permitted, 0, Some("another")),
        Decision::Format
    );
}

#[test]
fn a_volume_of_another_cluster_node_or_directory_is_refused() {
    let breaks: [fn(&mut Meta); 3] = [
        |m| m.cluster_id = "other".into(),
        |m| m.node_id = "1".into(),
        |m| m.directory_id = "other".into(),
    ];
    for break_it in breaks {
        let mut meta = own_meta(true);
        break_it(&mut meta);
        let state = VolumeState::Formatted(meta);
        for format in [FormatPermission::Permitted, FormatPermission::Withdrawn] {
            let decision = decide(&state, &identity(format), 0, None);
            assert!(
                matches!(decision, Decision::Refuse(Refusal::Belongs { .. })),
                "{decision:?}"
            );
        }
    }
}

#[test]
fn a_volume_that_ran_and_lost_its_vote_is_refused() {
    use FormatPermission::{Permitted, Withdrawn};
    let fresh = VolumeState::Formatted(own_meta(false));
    assert_eq!(decide(&fresh, &identity(Permitted), 0, None), Decision::Start);
    let refused = decide(&fresh, &identity(Withdrawn), 0, None);
    assert!(
        matches!(refused, Decision::Refuse(Refusal::Damaged(_))),
        "{refused:?}"
    );
    assert_eq!(
        decide(
            &VolumeState::Formatted(own_meta(true)),
            &identity(Withdrawn),
            0,
            None
        ),
        Decision::Start
    );
}

#[test]
fn the_marker_is_read_back_and_written_once() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(marker(state.path()).unwrap(), None);
    for _ in 0..2 {
        mark(state.path(), DIRECTORY).unwrap();
        assert_eq!(marker(state.path()).unwrap().as_deref(), Some(DIRECTORY));
    }
    mark(state.path(), "another").unwrap();
    assert_eq!(marker(state.path()).unwrap().as_deref(), Some("another"));
}

#[test]
fn refusals_name_what_to_do() {
    let all = [
        Refusal::UnknownNode,
        Refusal::Emptied,
        Refusal::EmptiedUnderThisPod,
        Refusal::Belongs {
            what: "cluster (cluster.id)",
            found: "a".into(),
            wanted: "b".into(),
        },
        Refusal::Damaged("x".into()),
        Refusal::Foreign(vec!["x".into()]),
    ];
    for refusal in all {
        let text = refusal.to_string();
        assert!(
            ["restore", "Restore", "Bring", "Mount"]
                .iter()
                .any(|word| text.contains(word)),
            "{text}"
        );
    }
}

fn any_state() -> impl Strategy<Value = VolumeState> {
    let id = prop_oneof![Just(DIRECTORY.to_owned()), Just("other".to_owned())];
    let cluster = prop_oneof![
        Just("3rJHqx9lQ9mWfC0o2kqWJw".to_owned()),
        Just("other".to_owned())
    ];
    let node = prop_oneof![Just("0".to_owned()), Just("1".to_owned())];
    prop_oneof![
        Just(VolumeState::Empty),
        Just(VolumeState::HalfFormatted),
        Just(VolumeState::Damaged("x".into())),
        Just(VolumeState::Foreign(vec!["x".into()])),
        (cluster, node, id, any::<bool>()).prop_map(|(cluster_id, node_id, directory_id, has_started)| {
            VolumeState::Formatted(Meta {
                cluster_id,
                node_id,
                directory_id,
                has_started,
            })
        }),
    ]
}

proptest! {
    /// Law 3, whatever is on the volume: nothing is formatted but an empty volume of a broker that never ran and that
    /// this pod never saw formatted; nothing is started but this broker's own.
    #[test]
    fn formats_only_what_may_be_empty_and_starts_only_its_own(
        state in any_state(),
        permitted in any::<bool>(),
        node in 0..2i32,
        seen in proptest::option::of(prop_oneof![Just(DIRECTORY), Just("other")]),
    ) {
        let format = if permitted { FormatPermission::Permitted } else { FormatPermission::Withdrawn };
        match decide(&state, &identity(format), node, seen) {
            Decision::Format => {
                prop_assert!(matches!(state, VolumeState::Empty | VolumeState::HalfFormatted));
                prop_assert!(permitted && node == 0 && seen != Some(DIRECTORY));
            }
            Decision::Start => {
                let VolumeState::Formatted(meta) = state else { panic!("{state:?}") };
                prop_assert_eq!(Meta { has_started: true, ..meta }, own_meta(true));
                prop_assert_eq!(node, 0);
            }
            Decision::Refuse(_) => {}
        }
    }
}
