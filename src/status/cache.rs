//! The last that each context said, so that one that does not answer is shown with the age of what is known.
//!
//! One file for each context, server and scope in `$XDG_CACHE_HOME/tributary/status`, readable by its owner only; at
//! most [`MAX_FILES`] of at most [`MAX_BYTES`]. A cache that cannot be used is no reason to fail.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::context::Context;
use super::object::Object;

/// Files that are kept, the youngest.
const MAX_FILES: usize = 200;
/// Size of a file, at most: some thousand objects.
const MAX_BYTES: usize = 8 << 20;

/// The cache's folder; `None` where there is none.
#[derive(Clone, Debug)]
pub(super) struct Cache(Option<PathBuf>);

/// What a context said.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) read_at: Timestamp,
    pub(super) objects: Vec<Object>,
}

impl Cache {
    /// By the XDG Base Directory Specification.
    pub(super) fn of_user(variable: impl Fn(&str) -> Option<String>) -> Self {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self(base.map(|base| base.join("tributary/status")))
    }

    #[cfg(test)]
    pub(super) fn at(dir: &Path) -> Self {
        Self(Some(dir.to_owned()))
    }

    /// Keeps what was read; a failure is nobody's concern.
    pub(super) fn keep(
        &self,
        context: &Context,
        namespace: Option<&str>,
        read_at: Timestamp,
        objects: &[Object],
    ) {
        let Some(dir) = &self.0 else { return };
        let objects: Vec<Value> = objects.iter().cloned().map(Object::into_value).collect();
        let document = json!({
            "context": context.name,
            "server": context.server,
            "namespace": namespace,
            "readAt": read_at,
            "objects": objects,
        });
        let text = document.to_string();
        if text.len() > MAX_BYTES {
            return;
        }
        let path = dir.join(file_name(context, namespace));
        if let Err(why) = write(dir, &path, text.as_bytes()) {
            tracing::debug!(path = %path.display(), %why, "the last seen cannot be kept");
        }
    }

    /// The last that the context said about the namespace, or about all of them.
    pub(super) fn last(&self, context: &Context, namespace: Option<&str>) -> Option<Snapshot> {
        let dir = self.0.as_ref()?;
        let exact = read(&dir.join(file_name(context, namespace)));
        let Some(namespace) = namespace else { return exact };
        let wider = read(&dir.join(file_name(context, None))).map(|mut all| {
            all.objects.retain(|o| o.namespace() == namespace);
            all
        });
        [exact, wider].into_iter().flatten().max_by_key(|s| s.read_at)
    }
}

fn file_name(context: &Context, namespace: Option<&str>) -> String {
    // Names are used again for other clusters: the server belongs to the key.
    let key = [
        context.name.as_str(),
        context.server.as_deref().unwrap_or_default(),
        namespace.unwrap_or_default(),
    ];
    let digest = Sha256::digest(key.join("\0"));
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("{hex}.json")
}

fn write(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let written = create(&fresh)
        .and_then(|mut file| file.write_all(text))
        .and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // It may not even exist.
        let _ = fs::remove_file(&fresh);
    }
    written?;
    prune(dir)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Removes the oldest files beyond the bound.
fn prune(dir: &Path) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let excess = files.len().saturating_sub(MAX_FILES);
    for (_, path) in &files[..excess] {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn read(path: &Path) -> Option<Snapshot> {
    let mut text = Vec::new();
    let bound = u64::try_from(MAX_BYTES).ok()?;
    File::open(path).ok()?.take(bound).read_to_end(&mut text).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    let objects = value["objects"].as_array()?.iter();
    Some(Snapshot {
        read_at: value["readAt"].as_str()?.parse().ok()?,
        objects: objects.filter_map(|o| Object::read(None, o)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::note::{Note, NoteKind};
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn context(name: &str, server: &str) -> Context {
        Context {
            name: name.into(),
            server: Some(server.into()),
            namespace: "default".into(),
            access: Err(Note::new(NoteKind::Asking, "")),
        }
    }

    fn object(namespace: &str, name: &str) -> Object {
        let value = json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "EdgeCluster",
            "metadata": {"namespace": namespace, "name": name, "annotations": {"secret": "x"}}});
        Object::read(None, &value).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_kept_comes_back_for_the_same_context_and_server_only() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(&dir.path().join("a/b"));
        let munich = context("munich", "https://a");
        assert!(cache.last(&munich, None).is_none());
        cache.keep(&munich, None, at(5), &[object("factory", "munich")]);
        let last = cache.last(&munich, None).unwrap();
        assert_eq!(
            (last.read_at, last.objects),
            (at(5), vec![object("factory", "munich")])
        );
        assert!(cache.last(&context("munich", "https://b"), None).is_none());
    }

    #[test]
    fn one_namespace_is_known_from_all_of_them_when_that_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let munich = context("munich", "https://a");
        cache.keep(&munich, Some("factory"), at(1), &[object("factory", "old")]);
        cache.keep(
            &munich,
            None,
            at(2),
            &[object("factory", "new"), object("other", "x")],
        );
        let last = cache.last(&munich, Some("factory")).unwrap();
        assert_eq!(
            (last.read_at, last.objects),
            (at(2), vec![object("factory", "new")])
        );
    }

    #[test]
    fn files_are_for_their_owner_and_hold_only_what_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        Cache::at(dir.path()).keep(&context("a", "b"), None, at(1), &[object("n", "o")]);
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains("annotations"), "{text}");
    }

    #[test]
    fn the_number_of_files_is_bounded_and_a_damaged_file_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        for i in 0..MAX_FILES + 3 {
            cache.keep(&context(&format!("c{i}"), "s"), None, at(1), &[]);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MAX_FILES);
        let last = context("last", "s");
        fs::write(dir.path().join(file_name(&last, None)), "{").unwrap();
        assert!(cache.last(&last, None).is_none());
    }

    #[test]
    fn a_relative_folder_is_no_cache() {
        let variables = |name: &str| match name {
            "XDG_CACHE_HOME" => Some("relative".to_owned()),
            _ => Some("/home/me".to_owned()),
        };
        let path = Cache::of_user(variables).0;
        assert_eq!(path, Some(PathBuf::from("/home/me/.cache/tributary/status")));
        assert!(Cache::of_user(|_| None).0.is_none());
    }
}
