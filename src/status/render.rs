//! Rows into text of a given width: columns, truncation by display width, wrapping. Pure.

use std::borrow::Cow;

use console::{measure_text_width, truncate_str};

use super::model::Fleet;
use super::rows::{self, Line, Row};
use super::style::{Ink, Look};

/// Between two columns.
const GAP: &str = "  ";
/// Narrower than this nothing is laid out any more, only cut.
const MIN_NAME: usize = 12;

/// The whole picture, one line for each line of the terminal, without line ends.
pub(super) fn picture(fleet: &Fleet, look: Look) -> Vec<String> {
    let mut out = tree(fleet, look);
    let (summary, ink) = rows::summary(fleet);
    out.push(String::new());
    for piece in wrapped(&summary, 0, 3, look) {
        out.push(cut(&look.paint(ink, &piece), look));
    }
    out
}

/// The picture without its last line, which says who needs a person.
pub(super) fn tree(fleet: &Fleet, look: Look) -> Vec<String> {
    let lines = rows::lines(fleet, look);
    let columns = Columns::fit(&lines, look);
    let mut out = Vec::new();
    if lines.iter().any(|line| matches!(line, Line::Row(_))) {
        out.push(columns.header(look));
    }
    for line in &lines {
        match line {
            Line::Head { prefix, text, ink } => {
                out.push(format!(
                    "{}{}",
                    look.paint(Ink::Dim, prefix),
                    look.paint(*ink, text)
                ));
            }
            Line::Row(row) => out.push(columns.row(row, look)),
            Line::Text {
                prefix,
                text,
                ink,
                lines,
            } => {
                for piece in wrapped(text, measure_text_width(prefix), *lines, look) {
                    out.push(format!(
                        "{}{}",
                        look.paint(Ink::Dim, prefix),
                        look.paint(*ink, &piece)
                    ));
                }
            }
        }
    }
    out.iter().map(|line| cut(line, look)).collect()
}

/// What does not fit is cut; blanks at the end are nothing.
pub(super) fn cut(line: &str, look: Look) -> String {
    let line = match look.width {
        Some(width) => shortened(line, width, look),
        None => line.into(),
    };
    line.trim_end().to_owned()
}

/// Cut to a width, with an ellipsis where there is room for one.
fn shortened(text: &str, width: usize, look: Look) -> Cow<'_, str> {
    let tail = if width > measure_text_width(look.ellipsis()) {
        look.ellipsis()
    } else {
        ""
    };
    truncate_str(text, width, tail)
}

/// Widths of the columns; 0 leaves a column out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    name: usize,
    verdict: usize,
    behind: usize,
    since: usize,
    /// How much the column BEHIND says: an index into [`Row::behind`].
    detail: usize,
}

impl Columns {
    /// The fullest layout that fits: first BEHIND says less, then SINCE goes, then names are cut, then BEHIND goes.
    fn fit(lines: &[Line], look: Look) -> Self {
        let rows: Vec<&Row> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Row(row) => Some(&**row),
                _ => None,
            })
            .collect();
        let widest = |title: usize, cell: &dyn Fn(&Row) -> usize| {
            rows.iter().map(|row| cell(row)).fold(title, usize::max)
        };
        let with = |detail: usize| Self {
            name: widest(4, &|row| {
                measure_text_width(&row.prefix) + row.kind.len() + 1 + measure_text_width(&row.name)
            }),
            verdict: widest(7, &|row| measure_text_width(&row.verdict)),
            behind: widest(6, &|row| measure_text_width(&row.behind[detail])),
            since: widest(5, &|row| measure_text_width(&row.since)),
            detail,
        };
        let Some(width) = look.width else {
            return with(0);
        };
        let bare = Self { since: 0, ..with(2) };
        let fits = |c: &Self| c.total() <= width;
        [with(0), with(1), with(2), bare]
            .into_iter()
            .find(fits)
            .unwrap_or_else(|| bare.squeezed(width))
    }

    fn total(self) -> usize {
        let optional = |column: usize| if column == 0 { 0 } else { GAP.len() + column };
        // The mark for "needs a person" and a blank stand before the verdict.
        self.name + GAP.len() + 2 + self.verdict + optional(self.behind) + optional(self.since)
    }

    fn squeezed(self, width: usize) -> Self {
        let over = |c: Self| c.total().saturating_sub(width);
        let shorter = |c: Self| Self {
            name: c.name.saturating_sub(over(c)).max(MIN_NAME.min(c.name)),
            ..c
        };
        let cut = shorter(self);
        if over(cut) == 0 {
            return cut;
        }
        shorter(Self { behind: 0, ..self })
    }

    fn header(self, look: Look) -> String {
        let mut text = format!(
            "{}{GAP}  {}",
            pad("NAME", self.name),
            pad("VERDICT", self.verdict)
        );
        for (title, width) in [("BEHIND", self.behind), ("SINCE", self.since)] {
            if width > 0 {
                text.push_str(GAP);
                text.push_str(&pad(title, width));
            }
        }
        look.paint(Ink::Dim, &text)
    }

    fn row(self, row: &Row, look: Look) -> String {
        let room = self
            .name
            .saturating_sub(measure_text_width(&row.prefix) + row.kind.len() + 1);
        let name = shortened(&row.name, room, look);
        let used = measure_text_width(&row.prefix) + row.kind.len() + 1 + measure_text_width(&name);
        let mark = if row.alarm {
            look.paint(Ink::Bad, "!")
        } else {
            " ".to_owned()
        };
        let mut text = format!(
            "{}{} {name}{}{GAP}{mark} {}",
            look.paint(Ink::Dim, &row.prefix),
            look.paint(Ink::Dim, row.kind),
            " ".repeat(self.name.saturating_sub(used)),
            look.paint(row.ink, &pad(&row.verdict, self.verdict)),
        );
        for (cell, width) in [(&row.behind[self.detail], self.behind), (&row.since, self.since)] {
            if width > 0 {
                text.push_str(GAP);
                text.push_str(&pad(cell, width));
            }
        }
        text
    }
}

fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Breaks a text at blanks so that it fits beside a prefix; what does not fit into `lines` is cut.
fn wrapped(text: &str, indent: usize, lines: usize, look: Look) -> Vec<String> {
    let Some(room) = look.width.map(|width| width.saturating_sub(indent).max(1)) else {
        return vec![text.to_owned()];
    };
    let mut pieces: Vec<String> = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let width = measure_text_width(word);
        if used > 0 && used + 1 + width > room && pieces.len() < lines {
            pieces.push(String::new());
            used = 0;
        }
        let last = pieces.len() - 1;
        if used > 0 {
            pieces[last].push(' ');
            used += 1;
        }
        pieces[last].push_str(word);
        used += width;
        // The last line takes the rest, and is cut: nothing behind its end is seen.
        if used > room && pieces.len() == lines {
            break;
        }
    }
    pieces
        .iter()
        .map(|piece| shortened(piece, room, look).into_owned())
        .collect()
}
