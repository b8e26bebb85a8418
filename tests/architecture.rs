//! The rooms of `src/` and the arrows between them, proved over every path in the sources.
//!
//! Works on tokens rather than on a syntax tree, so that a path inside a macro call counts like any other: every
//! `crate::…`, `super::…`, `self::…`, `$crate::…` and `tributary::…`, in `use` trees and inline, is resolved to the
//! room it leads to. Documentation (a string for the compiler) is free to link anywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What every room may import besides itself. `room::module` allows that module (and what is below it) only.
///
/// main -> operator -> kinds, bridge, replicator, probe, broker, status -> controller -> kafka, mqtt, health, telemetry -> api.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("telemetry", &["api"]),
    // Both clients hold credentials: the wrapper that keeps them out of logs is shared, nothing else of telemetry.
    ("kafka", &["telemetry::Redacted", "api"]),
    ("mqtt", &["telemetry::Redacted", "api"]),
    ("health", &["api"]),
    ("controller", &["kafka", "mqtt", "health", "telemetry", "api"]),
    ("broker", DATA_PLANE),
    ("bridge", DATA_PLANE),
    ("replicator", DATA_PLANE),
    ("probe", DATA_PLANE),
    ("status", &["health", "api"]),
    ("crds", &["health", "api"]),
    ("edge_cluster", KIND),
    ("bridge_pipeline", KIND),
    ("replication_link", KIND),
    ("operator", OPERATOR),
];
/// Starts the three controllers in one process.
const OPERATOR: &[&str] = &[
    "edge_cluster",
    "bridge_pipeline",
    "replication_link",
    "controller",
    "telemetry",
    "api",
];
/// The data plane runs without Kubernetes: no controller, no kind.
const DATA_PLANE: &[&str] = &["kafka", "mqtt", "health", "telemetry", "api"];
/// A kind writes what the data plane reads: one type for both sides.
const KIND: &[&str] = &[
    "controller",
    "kafka",
    "mqtt",
    "health",
    "telemetry",
    "api",
    "bridge::config",
    "bridge::progress",
    "replicator::config",
    "replicator::progress",
    "broker::config",
    "broker::progress",
];
/// The library's name, by which `main.rs` reaches the rooms.
const CRATE: &str = "tributary";

#[test]
fn every_arrow_points_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    let mut rooms = BTreeSet::new();
    for file in rust_files(&src) {
        let relative = file.strip_prefix(&src).unwrap();
        let module = module_of(relative);
        let text = fs::read_to_string(&file).unwrap();
        rooms.extend(module.first().cloned());
        faults.extend(
            faults_in(&module, &text)
                .into_iter()
                .map(|f| format!("src/{}: {f}", relative.display())),
        );
    }
    assert!(rooms.len() > 5, "the sources were not found: {rooms:?}");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `a/b/mod.rs` and `a/b.rs` are `[a, b]`; `main.rs` and `lib.rs` are the root.
fn module_of(relative: &Path) -> Vec<String> {
    let mut parts: Vec<String> = relative
        .with_extension("")
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|p| p == "mod") || parts == ["main"] || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// What is wrong with a source file that is the module `module`.
fn faults_in(module: &[String], text: &str) -> Vec<String> {
    let tokens: TokenStream = text.parse().expect("a source file must consist of Rust tokens");
    let mut walk = Walk {
        room: module.first().cloned(),
        faults: Vec::new(),
    };
    if let Some(room) = &walk.room
        && !ARROWS.iter().any(|(r, _)| r == room)
    {
        walk.faults.push(format!(
            "unknown room `{room}`: the rooms are fixed, see ARROWS in tests/architecture.rs"
        ));
        return walk.faults;
    }
    walk.tokens(&mut module.to_vec(), tokens);
    walk.faults
}

struct Walk {
    /// The top-level room; `None` is the root (`main.rs`, `lib.rs`), which may import everything.
    room: Option<String>,
    faults: Vec<String>,
}

impl Walk {
    /// Looks at all tokens that lie in the module `here`.
    fn tokens(&mut self, here: &mut Vec<String>, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut i = 0;
        while i < tokens.len() {
            if let Some((name, body)) = inline_module(&tokens[i..]) {
                here.push(name);
                self.tokens(here, body);
                here.pop();
                i += 3;
            } else if let Some(start) = path_start(&tokens, i, here) {
                i = self.path(start, &tokens, i + 1, here);
            } else {
                self.single(&tokens, i, here);
                i += 1;
            }
        }
    }

    fn single(&mut self, tokens: &[TokenTree], i: usize, here: &mut Vec<String>) {
        match &tokens[i] {
            TokenTree::Group(g) => self.tokens(here, g.stream()),
            TokenTree::Ident(id) if self.room.is_some() => {
                let next = |n: usize| tokens.get(i + n).map(ToString::to_string).unwrap_or_default();
                // What unit and integration tests share lies under tests/, which is no room.
                let shared = next(2).starts_with("\"../../tests/");
                let attribute = id == "path" && next(1) == "=" && next(2).starts_with('"') && i == 0 && !shared;
                let whole =
                    (id == "crate" || id == CRATE) && next(1) == "as" || id == "extern" && next(1) == "crate";
                if attribute || whole {
                    self.faults
                        .push(format!("`{id} {} {}` hides where a path leads", next(1), next(2)));
                }
            }
            _ => {}
        }
    }

    /// Follows a path (or a tree of `use`) that has led to `at` before the token `i`; returns where it ends.
    fn path(
        &mut self,
        mut at: Vec<String>,
        tokens: &[TokenTree],
        mut i: usize,
        here: &mut Vec<String>,
    ) -> usize {
        while is_colons(tokens, i) {
            match tokens.get(i + 2) {
                Some(TokenTree::Ident(id)) => match id.to_string().as_str() {
                    "self" => self.arrive(&at),
                    "super" if at.is_empty() => self.faults.push("`super` leads out of the crate".to_owned()),
                    "super" => drop(at.pop()),
                    name => at.push(name.trim_start_matches("r#").to_owned()),
                },
                Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Brace => {
                    self.branches(&at, &g.stream().into_iter().collect::<Vec<_>>(), here);
                    return i + 3;
                }
                Some(TokenTree::Punct(p)) if p.as_char() == '*' => {
                    self.arrive(&at);
                    return i + 3;
                }
                // `crate::a::<T>`: the types are looked at on their own.
                _ => break,
            }
            i += 3;
        }
        self.arrive(&at);
        i
    }

    /// `{a::x, b::{y, z}}` below `at`.
    fn branches(&mut self, at: &[String], tokens: &[TokenTree], here: &mut Vec<String>) {
        for branch in tokens.split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ',')) {
            if branch.is_empty() {
                continue;
            }
            // Read each branch as a continuation of the path: put the `::` before it.
            let mut whole: Vec<TokenTree> = "::".parse::<TokenStream>().unwrap().into_iter().collect();
            whole.extend(branch.iter().cloned());
            self.path(at.to_vec(), &whole, 0, here);
        }
    }

    /// A path ended in `at`: is there an arrow from this room?
    fn arrive(&mut self, at: &[String]) {
        let Some(room) = &self.room else { return };
        let Some(target) = at.first() else {
            self.faults
                .push("imports the crate's root as a whole; name the room".to_owned());
            return;
        };
        if target == room {
            return;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(r, _)| r == room) else {
            return;
        };
        let path = at.join("::");
        let ok = allowed
            .iter()
            .any(|a| path == *a || path.starts_with(&format!("{a}::")));
        if !ok {
            self.faults.push(format!(
                "`{room}` must not import `{path}`; it may import {allowed:?}"
            ));
        }
    }
}

/// `mod name { … }`
fn inline_module(tokens: &[TokenTree]) -> Option<(String, TokenStream)> {
    match tokens {
        [
            TokenTree::Ident(keyword),
            TokenTree::Ident(name),
            TokenTree::Group(body),
            ..,
        ] if keyword == "mod" && body.delimiter() == Delimiter::Brace => {
            Some((name.to_string(), body.stream()))
        }
        _ => None,
    }
}

fn is_colons(tokens: &[TokenTree], i: usize) -> bool {
    let colon = |n: usize| matches!(tokens.get(n), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(i) && colon(i + 1)
}

/// Where the path that begins at token `i` starts, when it begins one: `crate::`, `tributary::`, `super::`, `self::`.
fn path_start(tokens: &[TokenTree], i: usize, here: &[String]) -> Option<Vec<String>> {
    let TokenTree::Ident(id) = &tokens[i] else {
        return None;
    };
    let inside_a_path =
        i >= 2 && is_colons(tokens, i - 2) && i >= 3 && matches!(tokens[i - 3], TokenTree::Ident(_));
    if !is_colons(tokens, i + 1) || inside_a_path {
        return None;
    }
    match id.to_string().as_str() {
        "crate" | CRATE => Some(Vec::new()),
        "self" => Some(here.to_vec()),
        "super" => Some(here.split_last()?.1.to_vec()),
        _ => None,
    }
}

/// The proof that this test can fail.
mod self_test {
    use super::*;

    fn faults(module: &str, text: &str) -> Vec<String> {
        let module: Vec<String> = module
            .split("::")
            .filter(|m| !m.is_empty())
            .map(str::to_owned)
            .collect();
        faults_in(&module, text)
    }

    #[track_caller]
    fn refused(module: &str, text: &str, what: &str) {
        let faults = faults(module, text);
        assert!(
            faults.iter().any(|f| f.contains(what)),
            "{module}: {text}: {faults:?}"
        );
    }

    #[test]
    fn a_wrong_arrow_is_caught_however_it_is_written() {
        for (module, text, what) in [
            ("api", "use crate::kafka::Endpoint;", "kafka::Endpoint"),
            (
                "kafka::wire",
                "use super::super::controller::Context;",
                "controller::Context",
            ),
            ("kafka", "use super::controller;", "controller"),
            (
                "bridge",
                "use crate::{kafka::Client, controller::{apply, events}, api::A};",
                "controller::apply",
            ),
            ("health", "fn f() -> u8 { crate::mqtt::limit() }", "mqtt::limit"),
            (
                "health",
                "fn f() { let x: Vec<crate::mqtt::A> = g::<u8>(); }",
                "mqtt::A",
            ),
            (
                "mqtt",
                "fn f() { assert_eq!(1, tributary::bridge::one()); }",
                "bridge::one",
            ),
            ("mqtt", "fn f() { ::tributary::bridge::one(); }", "bridge::one"),
            (
                "telemetry",
                "mod a { mod b { use super::super::super::probe::X; } }",
                "probe::X",
            ),
            (
                "probe",
                "#[cfg(test)] mod tests { use crate::replicator::config::Config; }",
                "replicator::config",
            ),
            ("replicator", "use crate::bridge::*;", "bridge"),
            ("replicator", "use crate::r#bridge::{self, config};", "bridge"),
            (
                "controller",
                "macro_rules! m { () => { $crate::edge_cluster::x() } }",
                "edge_cluster::x",
            ),
            (
                "edge_cluster",
                "use crate::replication_link::build;",
                "replication_link::build",
            ),
            (
                "bridge_pipeline",
                "use crate::bridge::pipeline::Pipeline;",
                "bridge::pipeline",
            ),
            (
                "bridge_pipeline",
                "use crate::bridge::configuration::X;",
                "bridge::configuration",
            ),
        ] {
            refused(module, text, what);
        }
    }

    #[test]
    fn ways_around_the_check_are_caught() {
        refused("kafka", "use crate as root;", "hides");
        refused("kafka", "use tributary as root;", "hides");
        refused("kafka", "extern crate tributary as root;", "hides");
        refused(
            "kafka",
            "#[path = \"../controller/apply.rs\"] mod apply;",
            "hides",
        );
        refused("kafka", "use super::*;", "root as a whole");
        refused("kafka", "use crate::{self as root};", "root as a whole");
    }

    #[test]
    fn an_unknown_room_is_caught() {
        refused("utils", "fn f() {}", "unknown room `utils`");
        refused("common::strings", "fn f() {}", "unknown room `common`");
    }

    #[test]
    fn right_arrows_pass() {
        for (module, text) in [
            ("", "use tributary::{bridge, edge_cluster}; pub mod api;"),
            (
                "kafka::wire::codec",
                "use super::super::Client; use self::a::B; use crate::api::{C, D};",
            ),
            (
                "kafka::admin",
                "#[cfg(test)] mod tests { use super::*; use super::super::x; }",
            ),
            (
                "bridge_pipeline::build",
                "use crate::{bridge::{config, progress::Report}, controller::apply};",
            ),
            (
                "edge_cluster",
                "/// Unlike [`crate::bridge::pipeline`].\nfn f() { std::process::exit(crate::api::X); }",
            ),
            (
                "probe",
                "pub(crate) fn f() {} pub(in crate::probe) fn g() { self::f(); Self::h(); self.x(); }",
            ),
            (
                "kafka",
                "fn f() { other::crate_::bridge::x(); serde::bridge::y(); }",
            ),
        ] {
            assert_eq!(faults(module, text), Vec::<String>::new(), "{module}: {text}");
        }
    }

    #[test]
    fn files_map_to_modules() {
        for (file, module) in [
            ("main.rs", ""),
            ("api/mod.rs", "api"),
            ("api/a/b.rs", "api::a::b"),
            ("x.rs", "x"),
        ] {
            assert_eq!(module_of(Path::new(file)).join("::"), module, "{file}");
        }
    }

    #[test]
    fn the_table_is_acyclic_and_names_existing_rooms() {
        let layer = |room: &str| ARROWS.iter().position(|(r, _)| *r == room);
        for (room, allowed) in ARROWS {
            for target in *allowed {
                let target = target.split("::").next().unwrap();
                assert!(
                    layer(target) < layer(room),
                    "{room} -> {target} points up or nowhere"
                );
            }
        }
    }
}
