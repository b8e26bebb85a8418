//! Widths, colours, characters.

use console::measure_text_width;
use serde_json::json;

use super::super::style::Look;
use super::{Make, WIDE, answer, draw};
use crate::health::Situation;

fn sample() -> Vec<super::Answer> {
    let long = "the position of telemetry-3 does not move although the source has more; see the log of the link's pods";
    vec![answer(
        "factory-munich",
        vec![
            Make::cluster("factory", "munich", 1),
            Make::bridge("factory", "a-bridge-with-quite-a-long-name-äöü", "munich"),
            Make::link("factory", "to-eu", "munich")
                .in_situation(Situation::NotMoving, "NotMoving", long, 900)
                .set(
                    "/status/lag",
                    json!({"offsets": 1_234_567, "estimatedBytes": 92_274_688, "seconds": 3_720}),
                ),
        ],
    )]
}

#[test]
fn no_line_is_wider_than_the_terminal_however_narrow() {
    for width in 1..130 {
        for (colour, unicode) in [(false, true), (true, true), (true, false)] {
            let look = Look {
                width: Some(width),
                colour,
                unicode,
            };
            for line in draw(&sample(), look).lines() {
                assert!(measure_text_width(line) <= width, "{width}: {line:?}");
            }
        }
    }
}

#[test]
fn a_narrow_terminal_still_shows_name_and_verdict() {
    let narrow = Look {
        width: Some(40),
        ..WIDE
    };
    let text = draw(&sample(), narrow);
    let line = text
        .lines()
        .find(|l| l.contains("NotMoving") && l.contains("link"))
        .unwrap();
    assert!(line.contains("to-eu") && line.contains("! NotMoving"), "{text}");
    let middle = Look {
        width: Some(80),
        ..WIDE
    };
    assert!(draw(&sample(), middle).contains("1,234,567 offsets"));
}

#[test]
fn a_cause_is_wrapped_and_not_lost_on_a_terminal() {
    let look = Look {
        width: Some(60),
        ..WIDE
    };
    let words = draw(&sample(), look).replace(['│', '├', '└', '─'], " ");
    let words: Vec<&str> = words.split_whitespace().collect();
    assert!(
        words.join(" ").contains("see the log of the link's pods"),
        "{words:?}"
    );
}

#[test]
fn nothing_is_cut_in_a_pipe() {
    let pipe = Look { width: None, ..WIDE };
    let text = draw(&sample(), pipe);
    assert!(text.contains("NotMoving: the position of telemetry-3 does not move although the source has more; see the log of the link's pods (15 min)"), "{text}");
    assert!(text.contains("1,234,567 offsets, 88 MiB, 1 h 2 min"), "{text}");
    assert!(!text.contains('…'), "{text}");
}

#[test]
fn without_colour_there_is_no_escape_and_with_it_the_text_is_the_same() {
    let plain = draw(&sample(), WIDE);
    assert!(!plain.contains('\x1b'));
    let colour = Look { colour: true, ..WIDE };
    let coloured = draw(&sample(), colour);
    assert!(coloured.contains('\x1b'));
    let stripped: Vec<String> = coloured
        .lines()
        .map(|line| console::strip_ansi_codes(line).trim_end().to_owned())
        .collect();
    assert_eq!(stripped, plain.lines().collect::<Vec<_>>());
}

#[test]
fn without_utf_8_every_character_is_ascii() {
    let ascii = Look {
        unicode: false,
        width: Some(50),
        ..WIDE
    };
    let text = draw(&sample(), ascii);
    assert!(text.is_ascii(), "{text}");
    assert!(text.contains("`- ") && text.contains("|- "), "{text}");
}
