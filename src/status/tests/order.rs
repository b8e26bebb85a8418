//! The order of the tree, and where things stand in it.

use serde_json::json;

use super::super::note::{Note, NoteKind};
use super::{Make, answer, fleet};
use crate::health::Situation;

fn names(objects: Vec<Make>) -> Vec<String> {
    let fleet = fleet(&[answer("a", objects)]);
    fleet.contexts[0].items().map(|item| item.name.clone()).collect()
}

fn link(name: &str, situation: Situation) -> Make {
    Make::link("factory", name, "munich").in_situation(situation, "Whatever", "whatever", 60)
}

#[test]
fn the_worst_stands_first() {
    let lossy = link("lossy", Situation::Following).condition("Lossless", "False", "GapRecorded", "gone", 60);
    let stale = link("stale", Situation::Following).set("/status/observedAt", json!("2026-03-02T07:00:00Z"));
    let newer = link("strange", Situation::Following).set("/status/verdict", json!("Throttled"));
    let order = names(vec![
        Make::cluster("factory", "munich", 1),
        link("in-sync", Situation::Following),
        link("paused", Situation::Paused),
        link("catching-up", Situation::CatchingUp),
        newer,
        link("cut", Situation::Disconnected),
        stale,
        link("behind", Situation::FallingBehind),
        link("stuck", Situation::NotMoving),
        lossy,
    ]);
    let expected = [
        "munich",
        "lossy",
        "stuck",
        "behind",
        "stale",
        "cut",
        "strange",
        "catching-up",
        "paused",
        "in-sync",
    ];
    assert_eq!(order, expected);
}

#[test]
fn of_two_that_are_behind_the_one_further_behind_stands_first_but_what_is_in_sync_stays_in_place() {
    let behind = |name: &str, situation, seconds: i64| {
        link(name, situation).set("/status/lag", json!({"offsets": 10, "seconds": seconds}))
    };
    let order = names(vec![
        behind("a-far", Situation::CatchingUp, 100),
        behind("b-further", Situation::CatchingUp, 200),
        behind("c", Situation::Following, 1),
        behind("d", Situation::Following, 9),
    ]);
    assert_eq!(order, ["b-further", "a-far", "c", "d"]);
}

#[test]
fn a_trouble_lifts_its_cluster_its_namespace_and_its_context() {
    let calm = answer("calm", vec![Make::cluster("a", "x", 1)]);
    let mut away = answer("away", vec![]);
    away.notes.push(Note::new(NoteKind::Unreachable, "no answer"));
    let troubled = answer(
        "troubled",
        vec![
            Make::cluster("a", "fine", 1),
            Make::cluster("b", "fine", 1),
            Make::cluster("b", "hurt", 1),
            Make::link("b", "to-eu", "hurt").in_situation(Situation::NotMoving, "NotMoving", "stands", 60),
        ],
    );
    let fleet = fleet(&[calm, away, troubled]);
    let contexts: Vec<&str> = fleet.contexts.iter().map(|c| c.context.as_str()).collect();
    assert_eq!(contexts, ["away", "troubled", "calm"]);
    let namespaces = &fleet.contexts[1].namespaces;
    assert_eq!((&*namespaces[0].name, &*namespaces[1].name), ("b", "a"));
    assert_eq!(namespaces[0].clusters[0].item.name, "hurt");
}

#[test]
fn objects_stand_below_the_cluster_of_their_namespace_that_they_name() {
    let fleet = fleet(&[answer(
        "a",
        vec![
            Make::cluster("factory", "munich", 1),
            Make::cluster("other", "berlin", 1),
            Make::bridge("factory", "machines", "munich"),
            Make::link("factory", "to-eu", "munich"),
            // By its target when the source is no cluster of ours.
            Make::link("factory", "back", "nowhere").set(
                "/spec",
                json!({"source": {"external": {}}, "target": {"clusterRef": {"name": "munich"}}}),
            ),
            Make::link("factory", "lost", "berlin"),
        ],
    )]);
    let factory = fleet.contexts[0]
        .namespaces
        .iter()
        .find(|n| n.name == "factory")
        .unwrap();
    let members: Vec<&str> = factory.clusters[0]
        .members
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    assert_eq!(members, ["machines", "back", "to-eu"]);
    assert_eq!(factory.external.len(), 1);
    assert_eq!(factory.external[0].name, "lost");
}

#[test]
fn only_what_does_not_mend_itself_needs_a_person() {
    for (situation, needs) in [
        (Situation::Starting, false),
        (Situation::CannotWork, true),
        (Situation::Following, false),
        (Situation::CatchingUp, false),
        (Situation::FallingBehind, true),
        (Situation::NotMoving, true),
        (Situation::Disconnected, false),
        (Situation::Unmeasured, false),
        (Situation::Paused, false),
    ] {
        let fleet = fleet(&[answer("a", vec![link("x", situation)])]);
        assert_eq!(fleet.needs_person, needs, "{situation:?}");
    }
}

#[test]
fn since_when_is_told_by_the_condition_that_changed_with_the_verdict() {
    let item = |made: Make| {
        fleet(&[answer("a", vec![made])]).contexts[0]
            .items()
            .next()
            .unwrap()
            .clone()
    };
    // Ready has stood for a day, the line is down for two minutes.
    let cut = link("x", Situation::Disconnected)
        .condition("Ready", "True", "Following", "", 86_400)
        .condition("Connected", "False", "KafkaUnreachable", "", 120);
    assert_eq!(item(cut).since.unwrap().to_string(), super::ago(120));
    let behind = link("x", Situation::FallingBehind).condition("Ready", "True", "FallingBehind", "", 86_400);
    assert_eq!(item(behind).since.unwrap().to_string(), super::ago(60));
}

#[test]
fn the_document_is_camel_case_and_has_no_hidden_fields() {
    let fleet = fleet(&[answer(
        "a",
        vec![
            Make::cluster("factory", "munich", 1),
            link("to-eu", Situation::Disconnected),
        ],
    )]);
    let document = serde_json::to_value(&fleet).unwrap();
    let member = &document["contexts"][0]["namespaces"][0]["clusters"][0]["members"][0];
    assert_eq!(document["formatVersion"], 1);
    assert_eq!(document["needsPerson"], false);
    assert_eq!(
        document["contexts"][0]["namespaces"][0]["clusters"][0]["name"],
        "munich"
    );
    assert_eq!(member["verdict"], "Disconnected");
    assert_eq!(member["behind"]["upperBound"], true);
    assert_eq!(member["behind"]["offsets"], 41);
    assert_eq!(member["needsPerson"], false);
    assert!(member.get("rank").is_none());
    assert!(
        serde_yaml::to_string(&fleet)
            .unwrap()
            .contains("needsPerson: false")
    );
}
