//! Which topics a link takes, and what they are called on the target. Pure.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use super::{Invalid, MAX_PATTERN_LENGTH, MAX_PATTERNS, Naming, TopicsConfig};
use crate::replicator::progress::RefusalReason;

/// Kafka's longest topic name, in bytes.
const MAX_TOPIC_LENGTH: usize = 249;
/// Bound of one compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// The compiled choice of topics. Matching is linear in the name's length whatever the pattern is.
#[derive(Clone, Debug)]
pub struct TopicSelection {
    include: Vec<Regex>,
    deny: Vec<Regex>,
    naming: Naming,
}

/// Why a topic that matches is not replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule.
    pub reason: RefusalReason,
    /// What stands against it, and what to do.
    pub message: String,
}

impl TopicSelection {
    /// Compiles the patterns of a configuration.
    ///
    /// # Errors
    /// The first pattern or name that cannot work.
    pub fn compile(topics: &TopicsConfig) -> Result<Self, Invalid> {
        if topics.include.is_empty() {
            let remedy = "name the topics, or '.*' for all but the internal ones";
            return Err(Invalid::new(
                "topics.include",
                "[]",
                "it is empty, so nothing would be replicated",
                remedy,
            ));
        }
        if let Naming::Prefix { prefix } = &topics.naming {
            validate_prefix(prefix)?;
        }
        Ok(Self {
            include: compile_all("topics.include", &topics.include)?,
            deny: compile_all("topics.deny", &topics.deny)?,
            naming: topics.naming.clone(),
        })
    }

    /// Whether a topic of the source is taken: a whole-name match of an include, of no deny, and not internal.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        !is_internal(topic)
            && self.include.iter().any(|pattern| pattern.is_match(topic))
            && !self.deny.iter().any(|pattern| pattern.is_match(topic))
    }

    /// The name on the target.
    #[must_use]
    pub fn target_name(&self, source: &str) -> String {
        match &self.naming {
            Naming::Identity {} => source.to_owned(),
            Naming::Prefix { prefix } => format!("{prefix}{source}"),
        }
    }

    /// Whether topics keep their names.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        matches!(self.naming, Naming::Identity {})
    }

    /// Whether the name on the target can be used at all.
    ///
    /// # Errors
    /// The refusal, when it is too long for Kafka.
    pub fn check_target_name(&self, source: &str) -> Result<String, Refusal> {
        let name = self.target_name(source);
        if name.len() > MAX_TOPIC_LENGTH {
            return Err(Refusal {
                reason: RefusalReason::InvalidTargetName,
                message: format!(
                    "the name on the target would have {} characters, Kafka allows {MAX_TOPIC_LENGTH}; use a shorter \
                     topics.naming.prefix or deny the topic",
                    name.len()
                ),
            });
        }
        Ok(name)
    }
}

/// Topics that Kafka or Tributary keep for themselves; never replicated. The `_` namespace of other products
/// (`_schemas`) is data like any other.
fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
}

/// Target names that more than one source topic would get, with the sources in order. Kafka itself treats `.` and `_` as
/// one letter in metric names and refuses the second of two such topics, so they collide here too.
#[must_use]
pub fn collisions<'a>(names: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, Vec<&'a str>> {
    let mut by_target: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (source, target) in names {
        by_target
            .entry(target.replace('.', "_"))
            .or_default()
            .push(source);
    }
    by_target.retain(|_, sources| {
        sources.sort_unstable();
        sources.dedup();
        sources.len() > 1
    });
    by_target
}

fn compile_all(field: &str, patterns: &[String]) -> Result<Vec<Regex>, Invalid> {
    if patterns.len() > MAX_PATTERNS {
        let why = format!(
            "there are {} patterns, at most {MAX_PATTERNS} are allowed",
            patterns.len()
        );
        return Err(Invalid::new(field, patterns.len(), why, "join some with '|'"));
    }
    patterns
        .iter()
        .enumerate()
        .map(|(i, pattern)| compile(&format!("{field}[{i}]"), pattern))
        .collect()
}

fn compile(field: &str, pattern: &str) -> Result<Regex, Invalid> {
    let invalid = |why: String| {
        Invalid::new(
            field,
            pattern,
            why,
            "give a regular expression for the whole name",
        )
    };
    if pattern.is_empty() || pattern.len() > MAX_PATTERN_LENGTH {
        return Err(invalid(format!(
            "it must have 1 to {MAX_PATTERN_LENGTH} characters"
        )));
    }
    // Alone first: 'a)|(b' must not become valid by the group around it.
    build(pattern).map_err(|e| invalid(short(&e)))?;
    build(&format!("^(?:{pattern})$")).map_err(|e| invalid(short(&e)))
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .build()
}

/// The last line of a regex error says what is wrong; the lines before draw an arrow.
fn short(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines()
        .last()
        .unwrap_or("it does not compile")
        .trim()
        .trim_start_matches("error: ")
        .to_owned()
}

fn validate_prefix(prefix: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if prefix.is_empty() || prefix.len() > 100 || !prefix.chars().all(allowed) {
        let why = "it must have 1 to 100 characters of A-Z a-z 0-9 . _ -";
        return Err(Invalid::new(
            "topics.naming.prefix",
            prefix,
            why,
            "choose another, such as 'munich.'",
        ));
    }
    if prefix.starts_with("__") {
        let why = "names that begin with '__' are internal";
        return Err(Invalid::new(
            "topics.naming.prefix",
            prefix,
            why,
            "choose another, such as 'munich.'",
        ));
    }
    Ok(())
}
