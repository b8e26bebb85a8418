//! Five situations as they look on a terminal of 100 columns: the files in `docs/src/status/`, which the book shows.
//! After a change of the output: `REGENERATE=1 cargo test --lib status::tests::situations`.

use std::fs;
use std::path::Path;

use jiff::SignedDuration;
use serde_json::json;

use super::super::model::Answer;
use super::super::note::{Note, NoteKind};
use super::{Make, WIDE, ago, answer, draw, fleet, now};
use crate::health::Situation;

const REMEDY: &str = "if it should be: REGENERATE=1 cargo test --lib status::tests::situations";

fn munich(bridge: Make, link: Make) -> Answer {
    answer(
        "factory-munich",
        vec![Make::cluster("factory", "munich", 1), bridge, link],
    )
}

fn region() -> Answer {
    answer("region-eu", vec![Make::cluster("region", "eu", 3)])
}

fn bridge() -> Make {
    Make::bridge("factory", "machines", "munich")
}

fn link() -> Make {
    Make::link("factory", "to-eu", "munich")
}

fn in_sync() -> Vec<Answer> {
    vec![munich(bridge(), link()), region()]
}

fn cut() -> Vec<Answer> {
    let message = "target kafka.eu.example:31092: connection refused";
    let link = link()
        .in_situation(Situation::Disconnected, "KafkaUnreachable", message, 134)
        .condition("Ready", "True", "KafkaUnreachable", message, 90_000)
        .set(
            "/status/lag",
            json!({"offsets": 268_114, "estimatedBytes": 68_637_184, "seconds": 135}),
        )
        .set("/status/positionReadAt", json!(ago(136)));
    vec![munich(bridge(), link), region()]
}

fn catching_up() -> Vec<Answer> {
    let link = link()
        .in_situation(Situation::CatchingUp, "Following", "following 2 topics", 90_000)
        .condition("Connected", "True", "Following", "following 2 topics", 41)
        .set(
            "/status/lag",
            json!({"offsets": 120_000, "estimatedBytes": 92_274_688, "seconds": 340, "catchUpSeconds": 95}),
        );
    vec![munich(bridge(), link), region()]
}

fn wrong() -> Vec<Answer> {
    let refused = "the message at the head, on factory/line-2/press/telemetry, does not pass: route telemetry takes \
                   Json, and the payload is not JSON; correct the route, or set deadLetter";
    let bridge = bridge()
        .in_situation(Situation::NotMoving, "MessageRefused", refused, 840)
        .set("/status/lag", json!({"inFlight": 100, "oldestSeconds": 843}));
    let gap = "offsets 81200 to 90417 of telemetry-3 are not on the target: BelowLogStart";
    let link = link().condition("Lossless", "False", "GapRecorded", gap, 10_800);
    let behind = Make::link("factory", "to-archive", "munich")
        .in_situation(
            Situation::FallingBehind,
            "FallingBehind",
            "the source grows faster than the link carries; give it more workers or a faster line",
            5_400,
        )
        .set(
            "/status/lag",
            json!({"offsets": 5_200_000, "estimatedBytes": 5_368_709_120_i64, "seconds": 5_760}),
        );
    let mut munich = munich(bridge, link);
    munich.objects.push(behind.done());
    vec![munich, region()]
}

fn unreachable() -> Vec<Answer> {
    let mut lyon = answer(
        "factory-lyon",
        vec![
            Make::cluster("factory", "lyon", 1).set("/status/observedAt", json!(ago(11_580))),
            Make::link("factory", "to-eu", "lyon").set("/status/observedAt", json!(ago(11_580))),
        ],
    );
    lyon.reachable = false;
    lyon.read_at = Some(now() - SignedDuration::from_secs(11_570));
    lyon.notes = vec![
        Note::new(
            NoteKind::Unreachable,
            "https://lyon.example:6443: no answer within 5 s",
        ),
        Note::new(
            NoteKind::LastSeen,
            "what is shown was seen 3 h 12 min ago, at 2026-03-02T04:47:10Z",
        ),
    ];
    vec![munich(bridge(), link()), lyon, region()]
}

#[test]
fn the_five_situations_look_as_the_book_shows_them() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src");
    let page = fs::read_to_string(docs.join("status.md")).unwrap();
    for (name, answers, needs_person) in [
        ("in-sync", in_sync(), false),
        ("cut", cut(), false),
        ("catching-up", catching_up(), false),
        ("wrong", wrong(), true),
        ("unreachable", unreachable(), true),
    ] {
        assert_eq!(fleet(&answers).needs_person, needs_person, "{name}");
        let contexts: Vec<&str> = answers.iter().map(|a| a.context.as_str()).collect();
        let drawn = format!(
            "$ tributary status --context {}\n{}",
            contexts.join(","),
            draw(&answers, WIDE)
        );
        let path = docs.join(format!("status/{name}.txt"));
        if std::env::var_os("REGENERATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &drawn).unwrap();
        }
        let shown = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shown, drawn, "{} is not what is drawn; {REMEDY}", path.display());
        let included = format!("{{{{#include status/{name}.txt}}}}");
        assert!(
            page.contains(&included),
            "docs/src/status.md does not show {name}"
        );
    }
}
