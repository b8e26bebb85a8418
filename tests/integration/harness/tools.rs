//! Where the programs are that the tests start.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The path of a third-party tool, as `e2e/cluster/cluster path NAME` gives it; `TRIBUTARY_<NAME>` (upper case, `_` for
/// `-`) names another one.
pub(crate) fn tool(name: &str) -> PathBuf {
    static FOUND: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found
        .get_or_insert_default()
        .entry(name.to_owned())
        .or_insert_with(|| find(name))
        .clone()
}

fn find(name: &str) -> PathBuf {
    let variable = format!("TRIBUTARY_{}", name.to_uppercase().replace('-', "_"));
    if let Some(path) = std::env::var_os(&variable) {
        let path = PathBuf::from(path);
        assert!(
            path.exists(),
            "{variable} names {}, which does not exist",
            path.display()
        );
        return path;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster/cluster");
    let remedy = format!("install it with: make tools (or set {variable})");
    let output = Command::new(&script)
        .args(["path", name])
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{name} is needed, and {} cannot be run: {error}; {remedy}",
                script.display()
            )
        });
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(
        output.status.success() && path.is_absolute() && path.exists(),
        "{name} is needed and is not installed; {remedy}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    path
}
