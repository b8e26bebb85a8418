//! For tests: metrics are what the book lists, and are named as Prometheus' conventions ask.
//!
//! Dashboards, rules and their checks go by the book's tables (`.ci/metrics`), so a metric that is renamed, gets other
//! labels or another type must fail here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/metrics.md");
/// Suffixes that a name ends in if and only if its unit says so.
const BASE_UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];
/// What conventions know better: base units, or other types.
const UNUSUAL: [&str; 9] = [
    "_milliseconds",
    "_ms",
    "_minutes",
    "_hours",
    "_kilobytes",
    "_megabytes",
    "_percent",
    "_count",
    "_sum",
];

/// One metric, by the name that a query uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    name: String,
    kind: String,
    unit: String,
    labels: BTreeSet<String>,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.labels.iter().map(String::as_str).collect();
        let (name, kind, unit) = (&self.name, &self.kind, &self.unit);
        write!(f, "{name} | {kind} | {unit} | {}", labels.join(", "))
    }
}

/// Fails unless the section of the book lists exactly the metrics of the registry, with type, unit and labels. Every
/// metric must have a sample: its labels are read from there.
pub fn assert_documented(section: &str, registry: &Registry) {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let served = served(&text);
    for metric in &served {
        assert_eq!(faults(metric), Vec::<String>::new(), "{metric}");
    }
    let lines = |metrics: &[Metric]| metrics.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (listed, served) = (lines(&listed(section)), lines(&served));
    let only = |these: &[String], those: &[String]| {
        let alone = these.iter().filter(|line| !those.contains(line)).cloned();
        alone.collect::<Vec<_>>().join("\n  ")
    };
    assert!(
        listed == served,
        "docs/src/metrics.md, section {section:?}, is not what the code serves\nonly in the code:\n  {}\nonly in the book:\n  {}",
        only(&served, &listed),
        only(&listed, &served)
    );
}

/// What a scrape gives, sorted by name.
fn served(text: &str) -> Vec<Metric> {
    let declared = |what: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines
            .filter_map(|line| line.trim().split_once(' '))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let (types, units) = (declared("# TYPE"), declared("# UNIT"));
    let mut labels: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["", "_total", "_bucket", "_sum", "_count", "_info"].into_iter();
        let mut family = family.filter_map(|suffix| types.get_key_value(name.strip_suffix(suffix)?));
        let (family, _) = family.next_back().unwrap_or_else(|| panic!("no type for {line}"));
        labels.entry(family).or_default().extend(label_names(line));
    }
    let metric = |(family, kind): (&String, &String)| {
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let sampled = labels.get(family.as_str());
        Metric {
            name: format!("{family}{suffix}"),
            kind: kind.clone(),
            unit: units.get(family).cloned().unwrap_or_default(),
            labels: sampled
                .unwrap_or_else(|| panic!("{family} has no sample: the test must make one"))
                .clone(),
        }
    };
    let mut metrics: Vec<_> = types.iter().map(metric).collect();
    metrics.sort();
    metrics
}

/// Names of a sample's labels, but for a bucket's own.
fn label_names(line: &str) -> Vec<String> {
    let Some((_, rest)) = line.split_once('{') else {
        return Vec::new();
    };
    // Outside of quotes there are only names, `=` and `,`: every second part.
    let outside = rest.split('"').step_by(2);
    let names = outside.filter_map(|part| part.strip_suffix('='));
    names
        .map(|name| name.trim_start_matches(',').to_owned())
        .filter(|name| name != "le")
        .collect()
}

/// What conventions say against a metric.
fn faults(metric: &Metric) -> Vec<String> {
    let mut faults = Vec::new();
    let Metric { name, kind, unit, .. } = metric;
    if !name.starts_with("tributary_") && !name.starts_with("process_") {
        faults.push("it begins with tributary_".to_owned());
    }
    if name.chars().any(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_')) || name.contains("__") {
        faults.push("it is in snake case".to_owned());
    }
    let base = match kind.as_str() {
        "counter" => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    if base.ends_with("_total") {
        faults.push("_total ends a counter, and once".to_owned());
    }
    for suffix in UNUSUAL {
        if base.ends_with(suffix) {
            faults.push(format!("{suffix} is no base unit, or belongs to a type"));
        }
    }
    for suffix in BASE_UNITS {
        if (base.ends_with(&format!("_{suffix}"))) != (unit == suffix) {
            faults.push(format!("the unit {suffix:?} is declared and ends the name"));
        }
    }
    let known = documented_labels();
    for label in metric.labels.iter().filter(|label| !known.contains(*label)) {
        faults.push(format!(
            "label {label:?} is not in the book's table of labels with its bound"
        ));
    }
    faults
}

fn page() -> String {
    fs::read_to_string(PAGE).unwrap()
}

/// The cells of a section's table rows, without its head; a row begins with a name in code.
fn rows(page: &str, section: &str) -> Vec<Vec<String>> {
    let heading = format!("## {section}");
    let after = page.lines().skip_while(|line| **line != heading).skip(1);
    let lines = after.take_while(|line| !line.starts_with("## "));
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    lines.filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// What a section of the book lists, sorted by name.
fn listed(section: &str) -> Vec<Metric> {
    let page = page();
    let metric = |row: Vec<String>| {
        let [name, kind, unit, labels, meaning] = row.try_into().unwrap();
        assert!(!meaning.is_empty(), "{name} says what it means");
        let labels = labels.split(',').map(|l| l.trim().to_owned());
        Metric {
            name: name.trim_matches('`').to_owned(),
            kind,
            unit,
            labels: labels.filter(|l| !l.is_empty()).collect(),
        }
    };
    let mut metrics: Vec<_> = rows(&page, section).into_iter().map(metric).collect();
    assert!(
        !metrics.is_empty(),
        "docs/src/metrics.md has no table in a section {section:?}"
    );
    metrics.sort();
    metrics
}

fn documented_labels() -> BTreeSet<String> {
    let rows = rows(&page(), "Labels");
    rows.into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect()
}

/// Sections whose tables are compared with a registry, each in the room that serves it.
const SECTIONS: [&str; 4] = ["Operator", "Bridge", "Replicator", "Every process"];

#[test]
fn every_metric_of_the_book_is_in_a_section_that_is_compared_and_every_label_is_used() {
    let page = page();
    let compared: Vec<Metric> = SECTIONS.iter().flat_map(|section| listed(section)).collect();
    let anywhere = page
        .lines()
        .filter(|line| line.starts_with("| `tributary_") || line.starts_with("| `process_"));
    assert_eq!(anywhere.count(), compared.len());
    let names: BTreeSet<_> = compared.iter().map(|metric| &metric.name).collect();
    assert_eq!(names.len(), compared.len(), "a name means one thing");
    let used: BTreeSet<String> = compared.iter().flat_map(|metric| metric.labels.clone()).collect();
    assert_eq!(documented_labels(), used);
}

#[test]
fn names_against_the_conventions_are_noticed() {
    let metric = |name: &str, kind: &str, unit: &str| Metric {
        name: name.to_owned(),
        kind: kind.to_owned(),
        unit: unit.to_owned(),
        labels: BTreeSet::new(),
    };
    for (name, kind, unit) in [
        ("bridge_up", "gauge", ""),
        ("tributary_Up", "gauge", ""),
        ("tributary_wait_ms", "gauge", ""),
        ("tributary_wait_seconds", "histogram", ""),
        ("tributary_wait", "histogram", "seconds"),
        ("tributary_used_percent", "gauge", ""),
        ("tributary_things_total", "gauge", ""),
        ("tributary_things_total_total", "counter", ""),
    ] {
        assert_ne!(faults(&metric(name, kind, unit)), Vec::<String>::new(), "{name}");
    }
    for (name, kind, unit) in [
        ("tributary_wait_seconds", "histogram", "seconds"),
        ("process_cpu_seconds_total", "counter", "seconds"),
        ("tributary_build_info", "info", ""),
    ] {
        assert_eq!(faults(&metric(name, kind, unit)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_is_served_is_read_with_types_units_and_labels_also_when_values_hold_odd_characters() {
    let text = "# HELP a_seconds b\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                a_seconds_bucket{x=\"1,y=\",le=\"+Inf\"} 1\na_seconds_sum{x=\"1\"} 1\n\
                # TYPE c counter\nc_total 1\n# TYPE d info\nd_info{v=\"{}\"} 1\n# EOF\n";
    let lines: Vec<_> = served(text).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "a_seconds | histogram | seconds | x",
            "c_total | counter |  | ",
            "d_info | info |  | v"
        ]
    );
}
