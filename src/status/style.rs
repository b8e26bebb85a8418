//! How the terminal is written to: colour, characters, width. Decided once from the environment, then passed on.

use std::borrow::Cow;

use clap::ValueEnum;
use console::Style;

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Also into files and pipes
    Always,
    /// Not at all
    Never,
}

/// How the tree is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Columns; `None` for files and pipes, where nothing is cut.
    pub(super) width: Option<usize>,
    pub(super) colour: bool,
    pub(super) unicode: bool,
}

impl Look {
    /// Decides by the environment; `size` is the terminal's width, `None` if it is none.
    pub(super) fn decide(
        colour: Colour,
        terminal: bool,
        width: Option<usize>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_lowercase();
        Self {
            width: width.filter(|_| terminal),
            colour: match colour {
                Colour::Auto => terminal && !dumb && set("NO_COLOR").is_none(),
                Colour::Always => true,
                Colour::Never => false,
            },
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    /// Text in a colour, or as it is.
    pub(super) fn paint(self, ink: Ink, text: &str) -> String {
        if !self.colour || text.trim().is_empty() {
            return text.to_owned();
        }
        ink.style().force_styling(true).apply_to(text).to_string()
    }

    /// What ends a text that was cut.
    pub(super) const fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// A foreign text as it may be written to a terminal: no control characters, nothing that turns the direction, and
    /// nothing that the locale cannot show. A status is written by others: it must not move the cursor.
    pub(super) fn plain(self, text: &str) -> Cow<'_, str> {
        let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        let bad = |c: char| c.is_control() || turns(c) || !(self.unicode || c.is_ascii());
        if !text.contains(bad) {
            return Cow::Borrowed(text);
        }
        let written = text.chars().filter(|c| !turns(*c)).map(|c| {
            if c.is_control() {
                ' '
            } else if bad(c) {
                '?'
            } else {
                c
            }
        });
        Cow::Owned(written.collect())
    }
}

/// Colours by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Dim,
    Good,
    Moving,
    Warn,
    Bad,
    Strange,
}

impl Ink {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Bold => Style::new().bold(),
            Self::Dim => Style::new().dim(),
            Self::Good => Style::new().green(),
            Self::Moving => Style::new().cyan(),
            Self::Warn => Style::new().yellow(),
            Self::Bad => Style::new().red().bold(),
            Self::Strange => Style::new().magenta(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(colour: Colour, terminal: bool, variables: &[(&str, &str)]) -> Look {
        Look::decide(colour, terminal, Some(80), |name| {
            let found = variables.iter().find(|(n, _)| *n == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn colours_are_for_terminals_unless_somebody_says_otherwise() {
        for (colour, terminal, variables, expected) in [
            (Colour::Auto, true, &[][..], true),
            (Colour::Auto, false, &[], false),
            (Colour::Auto, true, &[("NO_COLOR", "1")], false),
            (Colour::Auto, true, &[("NO_COLOR", "")], true),
            (Colour::Auto, true, &[("TERM", "dumb")], false),
            (Colour::Always, false, &[("NO_COLOR", "1")], true),
            (Colour::Never, true, &[], false),
        ] {
            assert_eq!(
                look(colour, terminal, variables).colour,
                expected,
                "{colour:?} {terminal} {variables:?}"
            );
        }
    }

    #[test]
    fn lines_are_drawn_as_the_locale_allows() {
        for (variables, unicode) in [
            (&[("LANG", "en_US.UTF-8")][..], true),
            (&[("LANG", "de_DE.utf8")], true),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LANG", "C"), ("LC_CTYPE", "C.UTF-8")], true),
            (&[("LC_ALL", ""), ("LANG", "C.UTF-8")], true),
            (&[], false),
        ] {
            assert_eq!(
                look(Colour::Auto, true, variables).unicode,
                unicode,
                "{variables:?}"
            );
        }
    }

    #[test]
    fn a_pipe_has_no_width() {
        assert_eq!(look(Colour::Auto, false, &[]).width, None);
        assert_eq!(look(Colour::Auto, true, &[]).width, Some(80));
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        let look = look(Colour::Always, true, &[("LANG", "C.UTF-8")]);
        assert_eq!(look.plain("a\x1b[2Jb\nc\u{202e}d\u{7}"), "a [2Jb cd ");
        assert_eq!(look.plain("Köln … 1"), "Köln … 1");
        let ascii = Look {
            unicode: false,
            ..look
        };
        assert_eq!(ascii.plain("Köln"), "K?ln");
    }
}
