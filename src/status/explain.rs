//! `tributary explain`: what a reason, a condition, a verdict or a word of a status list means and what to do about it.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::StatusError;
use super::person::verdict_needs_person;
use crate::api::words::{self, WORDS, Word};
use crate::api::{Reason, Verdict, condition_type as condition};
use crate::health::TABLE;

/// Where the book's runbooks are.
const RUNBOOKS_AT: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/src/runbooks/");
/// A name this similar to a known one (Jaro-Winkler, 0 to 1) was perhaps meant.
const SIMILAR: f64 = 0.75;
const SUGGESTIONS: usize = 3;

/// Condition, the kinds that have it, what True means.
const CONDITIONS: [(&str, &str, &str); 10] = [
    (
        condition::READY,
        "all kinds",
        "The object does what its spec asks.",
    ),
    (
        condition::RECONCILING,
        "all kinds",
        "The operator works towards the spec; present only while True.",
    ),
    (
        condition::STALLED,
        "all kinds",
        "The operator cannot get further without help; present only while True. Its reason says why.",
    ),
    (
        condition::QUORUM_HEALTHY,
        "EdgeCluster",
        "The KRaft quorum has a leader and a majority of caught-up voters.",
    ),
    (
        condition::PARTITIONS_HEALTHY,
        "EdgeCluster",
        "No partition is offline or under-replicated.",
    ),
    (
        condition::TOPICS_SYNCED,
        "EdgeCluster",
        "Every topic of the spec exists as described.",
    ),
    (
        condition::UP_TO_DATE,
        "EdgeCluster",
        "Every broker runs the built configuration.",
    ),
    (
        condition::CONNECTED,
        "BridgePipeline, ReplicationLink",
        "Connected to both sides. False alone needs nobody at a link: sites are often offline. A bridge's broker drops when its queue is full.",
    ),
    (
        condition::KEEPING_UP,
        "ReplicationLink",
        "The link is not falling behind.",
    ),
    (
        condition::LOSSLESS,
        "BridgePipeline, ReplicationLink",
        "Nothing acknowledged is known to be lost. Unknown: something may be; False: something is.",
    ),
];

/// The book's runbooks: file, title, the names that lead there.
const RUNBOOKS: [(&str, &str, &[&str]); 14] = [
    (
        "volume-refused.md",
        "A broker refuses its volume",
        &["VolumeRefused", "IdentityMissing", "IdentityMismatch"],
    ),
    (
        "behind.md",
        "A site is behind",
        &["FallingBehind", "NotMoving", "Disconnected", "KeepingUp"],
    ),
    (
        "partition-stopped.md",
        "A partition stopped",
        &["PartitionStopped", "GapRecorded", "RecordsExpired"],
    ),
    ("positions-lost.md", "Positions lost", &["PositionsLost"]),
    (
        "bridge-stands.md",
        "The bridge stands still",
        &["MessageRefused", "TopicMissing", "MqttUnreachable"],
    ),
    (
        "session-lost.md",
        "The MQTT session was lost",
        &["SessionLost", "BrokerDroppedMessages"],
    ),
    ("roll-waits.md", "A roll waits", &["RollWaiting"]),
    (
        "topics-differ.md",
        "Topics differ",
        &["TopicsDiffer", "TopicsSynced"],
    ),
    ("data-lost.md", "Data is lost", &["Lossless"]),
    ("not-ready.md", "An object is not Ready", &["Ready"]),
    (
        "link-refuses.md",
        "A link, or a topic of it, is refused",
        &["LoopRefused", "NameCollision", "TopicNotCreated"],
    ),
    (
        "kafka-unhealthy.md",
        "Kafka is unhealthy",
        &[
            "QuorumHealthy",
            "PartitionsHealthy",
            "QuorumLost",
            "PartitionsOffline",
            "UnderReplicated",
            "BrokerFailing",
        ],
    ),
    ("disk-full.md", "A disk fills", &["DiskFull"]),
    ("operator.md", "The operator is absent or fails", &["Stale"]),
];

/// Where the book tells more of the words of a place.
const PLACES: [(&str, &str, &str); 4] = [
    (words::STOPPED, "partition-stopped.md", "A partition stopped"),
    (
        words::REFUSED,
        "link-refuses.md",
        "A link, or a topic of it, is refused",
    ),
    (
        words::LINK_STOPPED,
        "link-refuses.md",
        "A link, or a topic of it, is refused",
    ),
    (words::DEAD_LETTER, "dead-letters.md", "Dead letters"),
];

/// Say what a reason, condition, verdict or word of a status list means, and what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 done; 3 no such name; 64 the command line is wrong.")]
pub struct Args {
    /// A reason, condition, verdict or word of a list as `tributary status` and `kubectl describe` show it; without one, all are listed
    #[arg(value_name = "REASON|CONDITION|VERDICT")]
    name: Option<String>,
}

/// Prints what the command line asks for.
///
/// # Errors
/// When the name is unknown, or standard output is closed.
pub fn run(args: &Args) -> Result<ExitCode, StatusError> {
    let text = match &args.name {
        Some(name) => explain(name)?,
        None => everything(),
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether this program knows what the condition's statuses mean.
pub(super) fn knows_condition(type_: &str) -> bool {
    CONDITIONS.iter().any(|(name, ..)| *name == type_)
}

fn names() -> impl Iterator<Item = &'static str> {
    let reasons = Reason::ALL.iter().map(|r| r.as_str());
    let conditions = CONDITIONS.iter().map(|(name, ..)| *name);
    reasons
        .chain(conditions)
        .chain(Verdict::ALL.iter().map(|v| v.as_str()))
        .chain(WORDS.iter().map(|word| word.name))
}

/// All that has this name: a word may be a reason and a verdict.
fn explain(name: &str) -> Result<String, StatusError> {
    // `Lossless=False` is how a condition stands in the tree.
    let asked = name.split('=').next().unwrap_or_default().trim();
    let is = |known: &str| known.eq_ignore_ascii_case(asked);
    let mut parts = Vec::new();
    parts.extend(Verdict::ALL.into_iter().filter(|v| is(v.as_str())).map(verdict));
    parts.extend(CONDITIONS.iter().filter(|(n, ..)| is(n)).map(condition_text));
    parts.extend(Reason::ALL.iter().filter(|r| is(r.as_str())).map(|r| reason(*r)));
    parts.extend(WORDS.iter().filter(|w| is(w.name)).map(word));
    if parts.is_empty() {
        return Err(StatusError::UnknownName {
            name: name.to_owned(),
            similar: similar(asked),
        });
    }
    Ok(parts.join("\n"))
}

fn similar(asked: &str) -> String {
    let asked = asked.to_lowercase();
    let mut near: Vec<(f64, &str)> = names()
        .map(|name| (strsim::jaro_winkler(&asked, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    // A word that stands in several places is one suggestion.
    near.dedup_by_key(|(_, name)| *name);
    let near: Vec<&str> = near.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect();
    match near.as_slice() {
        [] => "`tributary explain` lists all".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    }
}

fn runbook(name: &str) -> String {
    let found = RUNBOOKS.iter().find(|(_, _, names)| names.contains(&name));
    found.map_or_else(String::new, |(file, title, _)| {
        format!("  Runbook        {title}: {RUNBOOKS_AT}{file}\n")
    })
}

fn word_runbook(word: &Word) -> String {
    let found = PLACES.iter().find(|(place, ..)| *place == word.place);
    found.map_or_else(String::new, |(_, file, title)| {
        format!("  Runbook        {title}: {RUNBOOKS_AT}{file}\n")
    })
}

fn reason(reason: Reason) -> String {
    let (name, said) = (reason.as_str(), reason.text());
    format!(
        "{name} (reason)\n  What happened  {}\n  What to do     {}\n{}",
        said.cause,
        said.remedy,
        runbook(name)
    )
}

fn word(word: &Word) -> String {
    format!(
        "{} (in {})\n  What happened  {}\n  What to do     {}\n{}",
        word.name,
        word.place,
        word.cause,
        word.remedy,
        word_runbook(word)
    )
}

fn condition_text((name, kinds, meaning): &(&str, &str, &str)) -> String {
    format!(
        "{name} (condition of {kinds})\n  True means     {meaning}\n{}",
        runbook(name)
    )
}

/// What health's table says about it.
fn verdict(verdict: Verdict) -> String {
    let name = verdict.as_str();
    let mut text = format!("{name} (verdict)\n");
    for (i, row) in TABLE.iter().filter(|row| row.verdict == verdict).enumerate() {
        let label = if i == 0 { "Means" } else { "or" };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "  {label:<13}  {} (Argo CD: {})",
            row.text,
            row.argo.as_str()
        );
    }
    let person = match verdict {
        Verdict::Unknown => {
            "when Stalled stands, or nothing has been known for 10 min; the conditions say why"
        }
        v if verdict_needs_person(v) => "yes",
        _ => "no",
    };
    let _ = writeln!(text, "  Needs a person {person}");
    text + &runbook(name)
}

fn everything() -> String {
    let mut text = String::from("Verdicts\n");
    for verdict in Verdict::ALL {
        let rows = TABLE.iter().filter(|row| row.verdict == verdict);
        let means: Vec<&str> = rows.map(|row| row.text).collect();
        let _ = writeln!(text, "  {:<25} {}", verdict.as_str(), means.join("; or "));
    }
    text.push_str("\nConditions\n");
    for (name, kinds, meaning) in &CONDITIONS {
        let _ = writeln!(text, "  {name:<25} {meaning} ({kinds})");
    }
    text.push_str("\nReasons\n");
    for reason in Reason::ALL {
        let _ = writeln!(text, "  {:<25} {}", reason.as_str(), reason.text().cause);
    }
    let mut place = "";
    for word in WORDS {
        if std::mem::replace(&mut place, word.place) != word.place {
            let _ = writeln!(text, "\nIn {place}");
        }
        let _ = writeln!(text, "  {:<25} {}", word.name, word.cause);
    }
    text.push_str("\ntributary explain NAME says what to do.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn docs(file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src").join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    #[test]
    fn every_reason_has_cause_and_remedy_in_any_case() {
        for reason in Reason::ALL {
            let text = explain(&reason.as_str().to_lowercase()).unwrap();
            assert!(text.contains(reason.text().cause), "{text}");
            assert!(text.contains(reason.text().remedy), "{text}");
        }
    }

    #[test]
    fn every_word_of_a_list_is_explained_and_stands_in_its_runbook() {
        for word in WORDS {
            let text = explain(&word.name.to_lowercase()).unwrap();
            assert!(text.contains(word.cause) && text.contains(word.remedy), "{text}");
            if let Some((_, file, title)) = PLACES.iter().find(|(place, ..)| *place == word.place) {
                let page = docs(&format!("runbooks/{file}"));
                assert!(page.starts_with(&format!("# {title}\n")), "{file}");
                assert!(
                    page.contains(&format!("`{}`", word.name)),
                    "{file}: {}",
                    word.name
                );
            }
        }
    }

    #[test]
    fn a_word_of_two_lists_is_told_for_both() {
        let text = explain("RecordRefused").unwrap();
        assert!(
            text.contains("(in a dead letter)") && text.contains("a stopped partition)"),
            "{text}"
        );
    }

    #[test]
    fn every_verdict_says_what_the_table_says() {
        for row in &TABLE {
            let text = explain(row.verdict.as_str()).unwrap();
            assert!(text.contains(row.text), "{text}");
        }
    }

    #[test]
    fn a_word_that_is_a_verdict_and_a_reason_is_told_as_both() {
        let text = explain("NotMoving").unwrap();
        assert!(text.contains("(verdict)") && text.contains("(reason)"), "{text}");
        assert!(text.contains("runbooks/behind.md"), "{text}");
    }

    #[test]
    fn conditions_are_explained_as_the_book_explains_them() {
        let book = docs("verdicts.md").to_lowercase();
        for (name, kinds, meaning) in &CONDITIONS {
            assert!(explain(name).unwrap().contains(meaning));
            if [condition::RECONCILING, condition::STALLED].contains(name) {
                continue;
            }
            let first = meaning.split('.').next().unwrap_or_default();
            let kinds = kinds.trim_end_matches(" kinds");
            let row = format!("| `{name}` | {kinds} | ").to_lowercase();
            let line = book.lines().find(|l| l.starts_with(&row)).unwrap_or_default();
            let same = first.to_lowercase().replace("the link is ", "");
            assert!(line.contains(&same), "{name}: {line:?} in docs, {same:?} here");
        }
        assert!(explain("lossless=false").unwrap().contains("(condition of"));
    }

    #[test]
    fn runbooks_are_those_of_the_book() {
        let index = docs("runbooks/index.md");
        for (file, title, names) in &RUNBOOKS {
            assert!(
                docs(&format!("runbooks/{file}")).starts_with(&format!("# {title}\n")),
                "{file}"
            );
            for name in *names {
                assert!(super::names().any(|known| known == *name), "{name}");
            }
        }
        // Every name in the index that is one of ours leads to the same page here.
        for line in index.lines().filter(|l| l.starts_with("| ")) {
            let page = RUNBOOKS.iter().find(|(file, ..)| line.contains(file));
            let words = line.split('`').map(|w| w.split('=').next().unwrap_or_default());
            // Of several pages, or told by `explain` as a word of a list.
            let elsewhere = ["Lossless", "TopicRefused", "PositionsUnusable"];
            for word in words.filter(|w| !elsewhere.contains(w) && names().any(|known| known == *w)) {
                let leads = page.is_some_and(|page| page.2.contains(&word));
                assert!(leads, "{word} is in the book's index: {line}");
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let text = explain("FalingBehind").unwrap_err().to_string();
        assert!(text.contains("did you mean FallingBehind"), "{text}");
        let text = explain("xyzzy").unwrap_err().to_string();
        assert!(text.contains("lists all"), "{text}");
    }

    #[test]
    fn the_list_has_every_name() {
        let text = everything();
        for name in names() {
            assert!(text.contains(&format!("  {name} ")), "{name}");
        }
    }
}
