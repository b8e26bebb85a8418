//! From the tree to rows of cells and lines of text, each with its place in the tree. Pure.

use super::figures::{bytes, count, short_span, span, thousands};
use super::item::{Behind, Item};
use super::model::{Cluster, Fleet, Namespace, Site};
use super::note::Note;
use super::object::{Kind, Told};
use super::style::{Ink, Look};
use crate::api::{Verdict, condition_type as condition};

/// A line before it is fitted to a width.
#[derive(Debug)]
pub(super) enum Line {
    /// A context's or namespace's line.
    Head { prefix: String, text: String, ink: Ink },
    /// An object's line.
    Row(Box<Row>),
    /// What stands below it; wrapped to at most `lines`.
    Text {
        prefix: String,
        text: String,
        ink: Ink,
        lines: usize,
    },
}

/// An object's cells.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) prefix: String,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) alarm: bool,
    pub(super) verdict: String,
    pub(super) ink: Ink,
    /// From the fullest to the shortest.
    pub(super) behind: [String; 3],
    pub(super) since: String,
}

/// Lines that a cause may take when it is for a person, and otherwise.
const LINES_FOR_A_PERSON: usize = 4;
const LINES_OTHERWISE: usize = 1;

/// The characters of the tree.
struct Branches {
    child: &'static str,
    last: &'static str,
    through: &'static str,
    none: &'static str,
}

const UNICODE: Branches = Branches {
    child: "├─ ",
    last: "└─ ",
    through: "│  ",
    none: "   ",
};
const ASCII: Branches = Branches {
    child: "|- ",
    last: "`- ",
    through: "|  ",
    none: "   ",
};

/// Draws the tree.
pub(super) fn lines(fleet: &Fleet, look: Look) -> Vec<Line> {
    let mut drawing = Drawing {
        look,
        branches: if look.unicode { &UNICODE } else { &ASCII },
        lines: Vec::new(),
    };
    for site in &fleet.contexts {
        drawing.site(site);
    }
    drawing.lines
}

struct Drawing {
    look: Look,
    branches: &'static Branches,
    lines: Vec<Line>,
}

impl Drawing {
    fn head(&mut self, prefix: &str, text: &str, ink: Ink) {
        let text = self.look.plain(text).into_owned();
        self.lines.push(Line::Head {
            prefix: prefix.to_owned(),
            text,
            ink,
        });
    }

    fn text(&mut self, prefix: &str, text: &str, ink: Ink, lines: usize) {
        let text = self.look.plain(text).into_owned();
        self.lines.push(Line::Text {
            prefix: prefix.to_owned(),
            text,
            ink,
            lines,
        });
    }

    /// The prefix of a child, and that of what stands below the child.
    fn below(&self, prefix: &str, last: bool) -> (String, String) {
        let (own, below) = if last {
            (self.branches.last, self.branches.none)
        } else {
            (self.branches.child, self.branches.through)
        };
        (format!("{prefix}{own}"), format!("{prefix}{below}"))
    }

    fn site(&mut self, site: &Site) {
        let trouble = site.notes.iter().any(|n| n.needs_person);
        self.head("", &site.context, if trouble { Ink::Bad } else { Ink::Bold });
        let stem = if site.namespaces.is_empty() {
            self.branches.none
        } else {
            self.branches.through
        };
        for note in &site.notes {
            self.note(stem, note);
        }
        if site.namespaces.is_empty() && site.reachable && !trouble {
            let text = "no EdgeCluster, BridgePipeline or ReplicationLink";
            self.text(stem, text, Ink::Dim, LINES_OTHERWISE);
        }
        let count = site.namespaces.len();
        for (i, namespace) in site.namespaces.iter().enumerate() {
            let (own, below) = self.below("", i + 1 == count);
            self.namespace(&own, &below, namespace, site);
        }
    }

    fn note(&mut self, prefix: &str, note: &Note) {
        let (text, ink) = if note.needs_person {
            (format!("! {}", note.text), Ink::Bad)
        } else {
            (note.text.clone(), Ink::Dim)
        };
        self.text(prefix, &text, ink, LINES_FOR_A_PERSON);
    }

    fn namespace(&mut self, own: &str, below: &str, namespace: &Namespace, site: &Site) {
        let going = if namespace.being_deleted {
            " (being deleted)"
        } else {
            ""
        };
        self.head(own, &format!("{}{going}", namespace.name), Ink::Plain);
        let count = namespace.clusters.len() + usize::from(!namespace.external.is_empty());
        for (i, cluster) in namespace.clusters.iter().enumerate() {
            let (own, below) = self.below(below, i + 1 == count);
            self.cluster(&own, &below, cluster, site);
        }
        if !namespace.external.is_empty() {
            let (own, below) = self.below(below, true);
            self.head(&own, "external", Ink::Dim);
            self.items(&below, &namespace.external, site);
        }
    }

    fn cluster(&mut self, own: &str, below: &str, cluster: &Cluster, site: &Site) {
        let stem = if cluster.members.is_empty() {
            format!("{below}{}", self.branches.none)
        } else {
            format!("{below}{}", self.branches.through)
        };
        self.item(own, &stem, &cluster.item, site);
        self.items(below, &cluster.members, site);
    }

    fn items(&mut self, prefix: &str, items: &[Item], site: &Site) {
        for (i, item) in items.iter().enumerate() {
            let (own, below) = self.below(prefix, i + 1 == items.len());
            self.item(&own, &format!("{below}{}", self.branches.none), item, site);
        }
    }

    fn item(&mut self, own: &str, below: &str, item: &Item, site: &Site) {
        let (verdict, ink) = verdict(item);
        let since = item.since.map(|at| site.now.duration_since(at).as_secs());
        self.lines.push(Line::Row(Box::new(Row {
            prefix: own.to_owned(),
            kind: item.kind.word(),
            name: self.look.plain(&item.name).into_owned(),
            alarm: item.needs_person,
            verdict: self.look.plain(&verdict).into_owned(),
            ink,
            behind: [Detail::All, Detail::NoBytes, Detail::Bare]
                .map(|detail| self.look.plain(&behind(item, detail)).into_owned()),
            since: since.map(short_span).unwrap_or_default(),
        })));
        let lines = if item.needs_person {
            LINES_FOR_A_PERSON
        } else {
            LINES_OTHERWISE
        };
        for text in remarks(item) {
            self.text(below, &text, Ink::Dim, LINES_OTHERWISE);
        }
        for told in &item.conditions {
            let ink = if item.needs_person { Ink::Warn } else { Ink::Dim };
            self.text(below, &cause(told, site), ink, lines);
        }
    }
}

/// What is to be known of an object besides its conditions.
fn remarks(item: &Item) -> Vec<String> {
    let mut remarks = Vec::new();
    if item.being_deleted {
        remarks.push("being deleted".to_owned());
    }
    let then = item.reported_verdict.as_deref();
    if let Some(then) = then.filter(|_| item.stale && item.was_observed()) {
        remarks.push(format!("last known: {then}"));
    }
    if !item.verdict_known {
        let verdict = item.reported_verdict.as_deref().unwrap_or_default();
        remarks.push(format!(
            "verdict {verdict} is not known to this version of tributary: a newer operator wrote it"
        ));
    }
    for told in &item.unknown_conditions {
        remarks.push(format!(
            "condition {}={} is not known to this version of tributary",
            told.type_, told.status
        ));
    }
    if item.spec_not_seen {
        remarks.push("the spec was changed; the status does not speak of it yet".to_owned());
    }
    remarks
}

/// A condition in words: `NotMoving: the position … (12 min)`.
fn cause(told: &Told, site: &Site) -> String {
    let lossless = if told.type_ == condition::LOSSLESS {
        format!("Lossless={} ", told.status)
    } else {
        String::new()
    };
    let since = told
        .since
        .map(|at| format!(" ({})", span(site.now.duration_since(at).as_secs())))
        .unwrap_or_default();
    let what = match (told.reason.as_str(), told.message.as_str()) {
        ("", "") => format!("{}={}", told.type_, told.status),
        (reason, "") => reason.to_owned(),
        ("", message) => format!("{}={}: {message}", told.type_, told.status),
        (reason, message) => format!("{reason}: {message}"),
    };
    format!("{lossless}{what}{since}")
}

fn verdict(item: &Item) -> (String, Ink) {
    if item.stale {
        let age = item.age_seconds.map_or_else(
            || {
                (if item.reported_verdict.is_some() {
                    "no time"
                } else {
                    "no status"
                })
                .to_owned()
            },
            |age| {
                if age < 0 {
                    format!("{} ahead", short_span(-age))
                } else {
                    format!("stale, {}", short_span(age))
                }
            },
        );
        let ink = if item.needs_person { Ink::Bad } else { Ink::Warn };
        return (format!("{} ({age})", item.verdict), ink);
    }
    if !item.verdict_known {
        return (format!("{} (?)", item.verdict), Ink::Strange);
    }
    let ink = match item.verdict.as_str() {
        word if word == Verdict::InSync.as_str() || word == "Ready" => Ink::Good,
        word if word == Verdict::CatchingUp.as_str() => Ink::Moving,
        word if word == Verdict::Paused.as_str() => Ink::Dim,
        word if word == Verdict::NotMoving.as_str() => Ink::Bad,
        _ => Ink::Warn,
    };
    let ink = if item.needs_person && ink == Ink::Good {
        Ink::Warn
    } else {
        ink
    };
    (item.verdict.clone(), ink)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    NoBytes,
    Bare,
}

fn behind(item: &Item, detail: Detail) -> String {
    match (&item.behind, &item.brokers) {
        (_, Some(brokers)) if item.kind == Kind::EdgeCluster => format!("{brokers} brokers"),
        (Some(behind), _) => lag(behind, detail),
        _ => String::new(),
    }
}

/// `120,000 offsets, 88 MiB, 5 min 40 s; done in 1 min 35 s`.
fn lag(behind: &Behind, detail: Detail) -> String {
    let lags = |figure: Option<i64>| figure.filter(|f| *f > 0);
    let mut parts = Vec::new();
    if let Some(offsets) = behind.offsets {
        let most = if behind.upper_bound && offsets > 0 {
            "at most "
        } else {
            ""
        };
        let s = if offsets == 1 { "" } else { "s" };
        parts.push(format!("{most}{} offset{s}", thousands(offsets)));
    }
    if let Some(in_flight) = behind.in_flight {
        parts.push(format!("{} in flight", thousands(in_flight)));
    }
    if let Some(estimated) = lags(behind.estimated_bytes).filter(|_| detail == Detail::All) {
        parts.push(bytes(estimated));
    }
    if let Some(seconds) = lags(behind.seconds) {
        parts.push(span(seconds));
    }
    let forecast = lags(behind.catch_up_seconds)
        .filter(|_| detail != Detail::Bare)
        .map(|seconds| format!("; done in {}", span(seconds)))
        .unwrap_or_default();
    format!("{}{forecast}", parts.join(", "))
}

/// The last line: who needs a person.
pub(super) fn summary(fleet: &Fleet) -> (String, Ink) {
    let objects = fleet.contexts.iter().flat_map(Site::items);
    let objects = objects.filter(|item| item.needs_person).count();
    let troubled = |site: &&Site| site.notes.iter().any(|n| n.needs_person);
    let contexts = fleet.contexts.iter().filter(troubled).count();
    let mut who = Vec::new();
    if contexts > 0 {
        who.push(count(contexts, "context"));
    }
    if objects > 0 {
        who.push(count(objects, "object"));
    }
    if who.is_empty() {
        return ("Nothing needs a person.".to_owned(), Ink::Dim);
    }
    let verb = if contexts + objects == 1 { "needs" } else { "need" };
    let hint = if objects > 0 {
        "; what a reason means: tributary explain REASON"
    } else {
        ""
    };
    (format!("{} {verb} a person{hint}", who.join(" and ")), Ink::Bold)
}
