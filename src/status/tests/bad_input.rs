//! What older and newer operators, and broken objects, leave in a status: shown as far as it goes, never a failure.

use serde_json::{Value, json};

use super::super::item::Item;
use super::super::note::{Note, NoteKind};
use super::super::object::Object;
use super::{Make, WIDE, ago, answer, draw, fleet, now};
use crate::api::STALE_AFTER_SECONDS;
use crate::health::Situation;

fn item(made: Make) -> Item {
    fleet(&[answer("a", vec![made])]).contexts[0]
        .items()
        .next()
        .unwrap()
        .clone()
}

#[test]
fn a_verdict_of_a_newer_operator_is_shown_as_it_is_and_marked() {
    let made = || Make::link("factory", "to-eu", "munich").set("/status/verdict", json!("Throttled"));
    let read = item(made());
    assert_eq!(
        (&*read.verdict, read.verdict_known, read.needs_person),
        ("Throttled", false, false)
    );
    let text = draw(&[answer("a", vec![made()])], WIDE);
    assert!(
        text.contains("Throttled (?)") && text.contains("newer operator"),
        "{text}"
    );
}

#[test]
fn conditions_decide_even_when_the_verdict_is_not_known() {
    let made = Make::link("factory", "to-eu", "munich")
        .set("/status/verdict", json!("Throttled"))
        .condition("Stalled", "True", "BrandNewReason", "new", 60);
    assert!(item(made).needs_person);
}

#[test]
fn a_status_older_than_the_bound_is_unknown_whatever_it_says() {
    for (age, stale) in [(STALE_AFTER_SECONDS, false), (STALE_AFTER_SECONDS + 1, true)] {
        let read = item(Make::link("factory", "to-eu", "munich").set("/status/observedAt", json!(ago(age))));
        assert_eq!(read.stale, stale, "{age}");
        assert_eq!(read.verdict, if stale { "Unknown" } else { "InSync" });
        assert_eq!(read.reported_verdict.as_deref(), Some("InSync"));
        assert_eq!(read.needs_person, stale);
    }
    let old = Make::link("factory", "to-eu", "munich").set("/status/observedAt", json!(ago(720)));
    let text = draw(&[answer("a", vec![old])], WIDE);
    assert!(
        text.contains("Unknown (stale, 12 min)") && text.contains("last known: InSync"),
        "{text}"
    );
    assert!(!text.contains("done in"), "{text}");
}

#[test]
fn a_new_object_has_no_status_for_a_while_and_then_needs_a_person() {
    let made = |age: i64| {
        Make::cluster("factory", "munich", 1)
            .set("/status", Value::Null)
            .set("/metadata/creationTimestamp", json!(ago(age)))
    };
    let young = item(made(5));
    assert_eq!((&*young.verdict, young.needs_person), ("Unknown", false));
    assert!(item(made(181)).needs_person);
    assert!(draw(&[answer("a", vec![made(5)])], WIDE).contains("Unknown (no status)"));
}

#[test]
fn statuses_of_any_shape_are_read_as_far_as_they_go() {
    for status in [
        json!({}),
        json!([]),
        json!("text"),
        json!({"observedAt": 5, "conditions": "none", "verdict": {"a": 1}, "lag": []}),
        json!({"observedAt": "yesterday", "conditions": [null, 1, {}, {"type": 5}, {"type": "Ready"}]}),
        json!({"observedAt": ago(1), "lag": {"offsets": "many", "seconds": -5, "estimatedBytes": 1e30}}),
        json!({"observedAt": ago(-900), "verdict": "InSync", "lag": {"offsets": i64::MAX, "seconds": i64::MAX}}),
    ] {
        for made in [
            Make::cluster("factory", "x", 1),
            Make::bridge("factory", "x", "munich"),
            Make::link("factory", "x", "munich"),
        ] {
            let text = draw(&[answer("a", vec![made.set("/status", status.clone())])], WIDE);
            assert!(text.contains(" x"), "{status}: {text}");
        }
    }
}

#[test]
fn what_is_no_object_of_ours_is_left_out() {
    for value in [
        json!(null),
        json!({}),
        json!({"apiVersion": "tributary.dev/v1", "kind": "EdgeCluster", "metadata": {}}),
        json!({"apiVersion": "apps/v1", "kind": "EdgeCluster", "metadata": {"name": "a"}}),
        json!({"apiVersion": "tributary.dev/v9", "kind": "Hub", "metadata": {"name": "a"}}),
    ] {
        assert!(Object::read(None, &value).is_none(), "{value}");
    }
}

#[test]
fn what_is_being_deleted_says_so_and_needs_nobody() {
    let going = Make::link("factory", "to-eu", "munich")
        .in_situation(Situation::NotMoving, "NotMoving", "stands", 60)
        .set("/metadata/deletionTimestamp", json!(ago(5)));
    let answers = [answer("a", vec![going])];
    assert!(!fleet(&answers).needs_person);
    assert!(draw(&answers, WIDE).contains("being deleted"));
    let mut whole = answer(
        "a",
        vec![Make::link("factory", "x", "y").set("/status/observedAt", json!(ago(999)))],
    );
    whole.going.insert("factory".into());
    let answers = [whole];
    assert!(!fleet(&answers).needs_person);
    assert!(draw(&answers, WIDE).contains("factory (being deleted)"));
}

#[test]
fn a_spec_that_the_operator_has_not_seen_is_told() {
    let text = draw(
        &[answer(
            "a",
            vec![Make::link("factory", "to-eu", "munich").set("/metadata/generation", json!(2))],
        )],
        WIDE,
    );
    assert!(text.contains("the spec was changed"), "{text}");
}

#[test]
fn of_a_context_that_does_not_answer_the_last_is_shown_and_the_context_alone_needs_a_person() {
    let stuck = Make::link("factory", "to-eu", "munich")
        .in_situation(Situation::NotMoving, "NotMoving", "stands", 60)
        .set("/status/observedAt", json!(ago(3600)));
    let mut away = answer("lyon", vec![stuck]);
    away.reachable = false;
    away.read_at = Some(now() - jiff::SignedDuration::from_mins(59));
    away.notes = vec![
        Note::new(NoteKind::Unreachable, "no answer within 5 s"),
        Note::new(NoteKind::LastSeen, "what is shown was seen 59 min ago"),
    ];
    let fleet = fleet(&[away.clone()]);
    let site = &fleet.contexts[0];
    assert!(site.needs_person && !site.reachable);
    assert_eq!(site.age_seconds, Some(59 * 60));
    let item = site.items().next().unwrap();
    assert_eq!((&*item.verdict, item.needs_person), ("Unknown", false));
    let text = draw(&[away], WIDE);
    assert!(text.contains("1 context needs a person"), "{text}");
}

#[test]
fn of_a_context_that_went_a_moment_ago_nothing_is_claimed_either() {
    let link = Make::link("factory", "to-eu", "munich")
        .in_situation(Situation::CatchingUp, "Following", "following 2 topics", 60)
        .set(
            "/status/lag",
            json!({"offsets": 120, "seconds": 3, "catchUpSeconds": 95}),
        )
        .set("/status/observedAt", json!(ago(20)));
    let mut away = answer("lyon", vec![Make::cluster("factory", "munich", 1), link]);
    away.reachable = false;
    away.read_at = Some(now() - jiff::SignedDuration::from_secs(15));
    away.notes = vec![Note::new(NoteKind::LastSeen, "what is shown was seen 15 s ago")];
    for item in fleet(&[away.clone()]).contexts[0].items() {
        assert_eq!((&*item.verdict, item.stale, item.since), ("Unknown", true, None));
    }
    let text = draw(&[away], WIDE);
    assert!(
        text.contains("Unknown (stale, 20 s)") && !text.contains("done in"),
        "{text}"
    );
}

#[test]
fn of_a_list_that_is_cut_off_nobody_says_that_no_one_is_needed() {
    let mut cut = answer("lyon", vec![Make::link("factory", "to-eu", "munich")]);
    cut.notes = vec![Note::new(
        NoteKind::Truncated,
        "only the first 5000 replicationlinks are shown",
    )];
    assert!(fleet(&[cut.clone()]).needs_person);
    let text = draw(&[cut], WIDE);
    assert!(
        text.contains("only the first 5000") && !text.contains("Nothing needs a person"),
        "{text}"
    );
}

#[test]
fn nothing_in_an_object_can_write_to_the_terminal() {
    let evil = "x\x1b]0;title\x07\x1b[2J\x1b[H\r\nFAKE\u{202e}";
    let link = || Make::link("factory", "to-eu", "munich").condition("Stalled", "True", "Gone", "gone", 60);
    let strange = || {
        let condition = json!({"type": evil, "status": evil, "reason": evil, "message": evil});
        Make::link("factory", "to-eu", "munich").set("/status/conditions", json!([condition]))
    };
    let objects = [
        link()
            .set("/status/conditions/0/reason", json!(evil))
            .set("/status/conditions/0/message", json!(evil)),
        link().set("/metadata/name", json!(evil)),
        link().set("/metadata/namespace", json!(evil)),
        link().set("/spec/source/clusterRef/name", json!(evil)),
        link().set("/status/verdict", json!(evil)),
        strange(),
        Make::cluster("factory", "munich", 1).set("/status/readyBrokers", json!(evil)),
    ];
    for (i, object) in objects.into_iter().enumerate() {
        let text = draw(&[answer("a", vec![object])], WIDE);
        let wild = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(wild, None, "{i}: {text:?}");
        assert!(!text.contains("\nFAKE"), "{i}: {text}");
    }
}

#[test]
fn a_status_of_the_future_is_not_believed() {
    for (ahead, believed) in [(STALE_AFTER_SECONDS, true), (STALE_AFTER_SECONDS + 1, false)] {
        let made = || Make::link("factory", "to-eu", "munich").set("/status/observedAt", json!(ago(-ahead)));
        let read = item(made());
        assert_eq!((read.stale, read.needs_person), (!believed, !believed), "{ahead}");
        let text = draw(&[answer("a", vec![made()])], WIDE);
        assert_eq!(text.contains("Unknown (3 min ahead)"), !believed, "{text}");
    }
}

#[test]
fn a_condition_of_a_newer_operator_is_told_when_it_is_not_true() {
    let made = |status: &str| {
        Make::link("factory", "to-eu", "munich").condition("Encrypted", status, "KeyLeaked", "leaked", 60)
    };
    let told = "condition Encrypted=False is not known to this version";
    assert!(draw(&[answer("a", vec![made("False")])], WIDE).contains(told));
    assert!(!draw(&[answer("a", vec![made("True")])], WIDE).contains("Encrypted"));
}

#[test]
fn a_status_without_the_condition_ready_needs_a_person_unless_the_object_is_new() {
    for (age, needs) in [(60, false), (600, true)] {
        let made = Make::cluster("factory", "munich", 1)
            .set("/metadata/creationTimestamp", json!(ago(age)))
            .set("/status/conditions", json!([]));
        assert_eq!(item(made).needs_person, needs, "{age} s");
    }
}
