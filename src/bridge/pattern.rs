//! Topic patterns with named captures, and the templates that use what was captured. Pure.

use crate::mqtt::filter::{self, FilterError};

/// Captures of one pattern, at most.
pub const MAX_CAPTURES: usize = 16;
/// Bytes of a capture's name, at most.
pub const MAX_CAPTURE_NAME: usize = 64;
/// The name by which a template gets the whole MQTT topic. The dot keeps it apart from every capture.
pub const WHOLE_TOPIC: &str = "mqtt.topic";

/// What a route matches: a topic filter in which `{name}` stands for one level and keeps it.
///
/// `factory/{line}/{machine}/telemetry` matches what `factory/+/+/telemetry` matches; `+` and a final `#` are allowed
/// too and keep nothing. A first level that is no literal matches no topic that begins with `$` (MQTT 4.7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern {
    levels: Vec<Level>,
    open: bool,
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    Any,
    Capture,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The filter below the captures is none.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// A brace that does not enclose a whole level.
    #[error("has a brace in level {level:?} that is not around the whole level")]
    PartialLevel {
        /// The level.
        level: String,
    },
    /// A capture's name that is none.
    #[error(
        "has the capture {name:?}, which is no name of letters, digits and _, first no digit, 64 at most"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The same name twice.
    #[error("captures {name:?} twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// More captures than [`MAX_CAPTURES`].
    #[error("has more than 16 captures")]
    TooMany,
}

impl TopicPattern {
    /// Parses a route's `match`.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut pattern = Self {
            levels: Vec::new(),
            open: false,
            names: Vec::new(),
        };
        for level in text.split('/') {
            if let Some(name) = level.strip_prefix('{').and_then(|l| l.strip_suffix('}')) {
                pattern.add_capture(name)?;
            } else if level.contains(['{', '}']) {
                return Err(PatternError::PartialLevel {
                    level: level.to_owned(),
                });
            } else if level == "+" {
                pattern.levels.push(Level::Any);
            } else if level == "#" {
                pattern.open = true;
            } else {
                pattern.levels.push(Level::Literal(level.to_owned()));
            }
        }
        // The filter's own rules see the text with every capture as `+`; that keeps a misplaced `#` an error.
        filter::check_filter(&filter_of(text))?;
        Ok(pattern)
    }

    fn add_capture(&mut self, name: &str) -> Result<(), PatternError> {
        let name_ok = !name.is_empty()
            && name.len() <= MAX_CAPTURE_NAME
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !name_ok {
            return Err(PatternError::Name {
                name: name.to_owned(),
            });
        }
        if self.names.iter().any(|n| n == name) {
            return Err(PatternError::Duplicate {
                name: name.to_owned(),
            });
        }
        if self.names.len() == MAX_CAPTURES {
            return Err(PatternError::TooMany);
        }
        self.names.push(name.to_owned());
        self.levels.push(Level::Capture);
        Ok(())
    }

    /// The names, in the order in which the topic has them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The plain topic filter: each capture as `+`.
    pub fn filter(&self) -> String {
        let levels = self.levels.iter().map(|level| match level {
            Level::Literal(text) => text.as_str(),
            Level::Any | Level::Capture => "+",
        });
        levels
            .chain(self.open.then_some("#"))
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Whether `topic` matches; `captured` then holds one value for each name, else nothing of use.
    pub fn matches<'t>(&self, topic: &'t str, captured: &mut Vec<&'t str>) -> bool {
        captured.clear();
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return false;
        }
        let mut rest = topic.split('/');
        for wanted in &self.levels {
            let Some(level) = rest.next() else { return false };
            match wanted {
                Level::Literal(text) if text != level => return false,
                Level::Literal(_) | Level::Any => {}
                Level::Capture => captured.push(level),
            }
        }
        self.open || rest.next().is_none()
    }
}

/// The text with each whole-level brace as `+`.
fn filter_of(text: &str) -> String {
    let plain = |level| if level_is_capture(level) { "+" } else { level };
    text.split('/').map(plain).collect::<Vec<_>>().join("/")
}

fn level_is_capture(level: &str) -> bool {
    level.len() >= 2 && level.starts_with('{') && level.ends_with('}')
}

/// A text with `{name}` for what a pattern captured, `{mqtt.topic}` for the whole topic, `{{` and `}}` for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Capture(usize),
    Topic,
}

/// Why a text is no template for a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error("has a {{ without its }}")]
    Unclosed,
    /// A `}` without its `{`.
    #[error("has a }} without its {{")]
    Unopened,
    /// A name that the pattern does not capture.
    #[error("uses {{{name}}}, which the route's match does not capture")]
    UnknownCapture {
        /// The name.
        name: String,
    },
}

impl Template {
    /// Parses `text` against the names that a pattern captures.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn parse(text: &str, names: &[String]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Unopened);
            }
            let (name, behind) = rest.split_once('}').ok_or(TemplateError::Unclosed)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Self::placeholder(name, names)?);
            rest = behind;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    fn placeholder(name: &str, names: &[String]) -> Result<Part, TemplateError> {
        if name == WHOLE_TOPIC {
            return Ok(Part::Topic);
        }
        let known = names.iter().position(|n| n == name);
        known
            .map(Part::Capture)
            .ok_or_else(|| TemplateError::UnknownCapture {
                name: name.to_owned(),
            })
    }

    /// The template that is the whole MQTT topic.
    pub fn whole_topic() -> Self {
        Self {
            parts: vec![Part::Topic],
        }
    }

    /// Appends the text for one message to `out`. `captured` comes from the pattern the template was parsed against.
    pub fn render(&self, topic: &str, captured: &[&str], out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Topic => out.push_str(topic),
                // Parsed against the same names, so the index is always there; nothing is the safe answer if not.
                Part::Capture(index) => out.push_str(captured.get(*index).copied().unwrap_or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(of: &str) -> Vec<String> {
        TopicPattern::parse(of).unwrap().names().to_vec()
    }

    #[test]
    fn a_pattern_keeps_the_levels_it_names() {
        let pattern = TopicPattern::parse("factory/{line}/{machine}/telemetry").unwrap();
        let mut captured = Vec::new();
        assert!(pattern.matches("factory/l1/m7/telemetry", &mut captured));
        assert_eq!(captured, ["l1", "m7"]);
        assert!(!pattern.matches("factory/l1/m7/telemetry/x", &mut captured));
        assert!(!pattern.matches("factory/l1/m7", &mut captured));
        assert_eq!(pattern.filter(), "factory/+/+/telemetry");
        assert_eq!(pattern.names(), ["line", "machine"]);
    }

    #[test]
    fn an_open_pattern_matches_its_parent_and_everything_below() {
        let pattern = TopicPattern::parse("a/{x}/#").unwrap();
        let mut captured = Vec::new();
        for topic in ["a/b", "a/b/", "a/b/c/d"] {
            assert!(pattern.matches(topic, &mut captured), "{topic}");
            assert_eq!(captured, ["b"]);
        }
        assert!(!pattern.matches("a", &mut captured));
        assert_eq!(pattern.filter(), "a/+/#");
    }

    #[test]
    fn a_first_level_capture_leaves_the_servers_own_topics_alone() {
        let mut captured = Vec::new();
        assert!(
            !TopicPattern::parse("{first}/#")
                .unwrap()
                .matches("$SYS/broker", &mut captured)
        );
        assert!(
            !TopicPattern::parse("#")
                .unwrap()
                .matches("$SYS/broker", &mut captured)
        );
        assert!(
            TopicPattern::parse("$SYS/{x}")
                .unwrap()
                .matches("$SYS/broker", &mut captured)
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_cause() {
        let error = |text: &str| TopicPattern::parse(text).unwrap_err();
        assert_eq!(
            error("a/line-{x}"),
            PatternError::PartialLevel {
                level: "line-{x}".into()
            }
        );
        assert_eq!(error("a/{x"), PatternError::PartialLevel { level: "{x".into() });
        for name in ["", "1x", "a-b", "a.b", "ä", "{x}"] {
            assert_eq!(
                error(&format!("a/{{{name}}}")),
                PatternError::Name { name: name.into() }
            );
        }
        assert_eq!(error("{x}/{x}"), PatternError::Duplicate { name: "x".into() });
        assert_eq!(error("a/#/b"), PatternError::Filter(FilterError::MultiLevel));
        assert_eq!(error("#/#"), PatternError::Filter(FilterError::MultiLevel));
        assert_eq!(error("a/b+"), PatternError::Filter(FilterError::SingleLevel));
        assert_eq!(error(""), PatternError::Filter(FilterError::Empty));
        assert_eq!(error("$share/g/{x}"), PatternError::Filter(FilterError::Shared));
        let many = (0..=MAX_CAPTURES)
            .map(|i| format!("{{c{i}}}"))
            .collect::<Vec<_>>()
            .join("/");
        assert_eq!(error(&many), PatternError::TooMany);
    }

    #[test]
    fn a_template_is_filled_from_captures_and_topic() {
        let names = names("f/{line}/{machine}");
        let fill = |text: &str| {
            let mut out = String::new();
            Template::parse(text, &names)
                .unwrap()
                .render("f/l1/m7", &["l1", "m7"], &mut out);
            out
        };
        assert_eq!(fill("{line}/{machine}"), "l1/m7");
        assert_eq!(fill("{machine}{machine}"), "m7m7");
        assert_eq!(fill("{mqtt.topic}"), "f/l1/m7");
        assert_eq!(fill("{{{line}}}"), "{l1}");
        assert_eq!(fill("munich"), "munich");
        assert_eq!(fill(""), "");
    }

    #[test]
    fn a_template_that_cannot_be_filled_is_refused() {
        let names = names("f/{line}");
        let error = |text: &str| Template::parse(text, &names).unwrap_err();
        assert_eq!(
            error("{site}"),
            TemplateError::UnknownCapture { name: "site".into() }
        );
        assert_eq!(error("{}"), TemplateError::UnknownCapture { name: String::new() });
        assert_eq!(error("{line"), TemplateError::Unclosed);
        assert_eq!(error("line}"), TemplateError::Unopened);
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_its_filter_matches(
            levels in prop::collection::vec(prop_oneof![
                "[ab$]{0,2}", Just("+".to_owned()), Just("{c}".to_owned()),
            ], 1..4),
            open in any::<bool>(),
            topic in prop::collection::vec("[ab$]{0,2}", 1..5),
        ) {
            let mut levels = levels;
            let mut n = 0;
            for level in &mut levels {
                if level == "{c}" { *level = format!("{{c{n}}}"); n += 1; }
            }
            if open { levels.push("#".into()); }
            let (text, topic) = (levels.join("/"), topic.join("/"));
            prop_assume!(!text.is_empty());
            let pattern = TopicPattern::parse(&text).unwrap();
            let mut captured = Vec::new();
            let matched = pattern.matches(&topic, &mut captured);
            prop_assert_eq!(matched, filter::matches(&pattern.filter(), &topic));
            if matched {
                prop_assert_eq!(captured.len(), n);
                let parts: Vec<&str> = topic.split('/').collect();
                let expected: Vec<&str> = levels.iter().enumerate()
                    .filter(|(_, l)| l.starts_with("{c")).map(|(i, _)| parts[i]).collect();
                prop_assert_eq!(captured, expected);
            }
        }

        #[test]
        fn parsing_never_panics(text in "[ab/{}+#$_]{0,12}") {
            let _ = TopicPattern::parse(&text);
            let _ = Template::parse(&text, &["a".to_owned()]);
        }
    }
}
