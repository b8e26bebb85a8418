//! Which contexts are asked: the kubeconfig as kubectl finds it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::config::Kubeconfig;

use super::StatusError;
use super::note::{Note, NoteKind};

/// The namespace of a context that names none.
const DEFAULT_NAMESPACE: &str = "default";
/// Names that are listed in a message, at most.
const NAMES_TOLD: usize = 10;

/// A context that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) name: String,
    /// Its API server, for people and as part of the cache's key.
    pub(super) server: Option<String>,
    /// The namespace to fall back to.
    pub(super) namespace: String,
    /// Where the client comes from; the note if it cannot come from anywhere.
    pub(super) access: Result<Access, Note>,
}

/// Where a client comes from.
#[derive(Clone, Debug)]
pub(super) enum Access {
    Kubeconfig(Arc<Kubeconfig>),
    /// A pod's service account.
    InCluster,
}

/// The contexts that the command line names; without any, the current one; in a pod without a kubeconfig, its cluster.
pub(super) fn contexts(file: Option<&Path>, wanted: &[String]) -> Result<Vec<Context>, StatusError> {
    let variable = std::env::var_os("KUBECONFIG");
    let paths = match file {
        Some(file) => vec![file.to_owned()],
        None => paths(variable, std::env::home_dir()),
    };
    let config = read(&paths, file.is_some())?;
    match config {
        Some(config) => select(Arc::new(config), wanted),
        None if wanted.is_empty() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Ok(vec![Context {
                name: "in-cluster".into(),
                server: None,
                namespace: DEFAULT_NAMESPACE.into(),
                access: Ok(Access::InCluster),
            }])
        }
        None => Err(StatusError::NoKubeconfig {
            looked: list(paths.iter().map(|p| p.display().to_string())),
        }),
    }
}

/// Where kubectl looks.
fn paths(variable: Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let variable = variable.unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&variable)
        .filter(|p| !p.as_os_str().is_empty())
        .collect();
    if named.is_empty() {
        return home.map(|home| home.join(".kube/config")).into_iter().collect();
    }
    named
}

/// All files merged, the first one winning; files that do not exist are skipped as kubectl does, unless `strict`.
fn read(paths: &[PathBuf], strict: bool) -> Result<Option<Kubeconfig>, StatusError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|p| strict || p.exists()) {
        let bad = |e: kube::config::KubeconfigError| StatusError::BadKubeconfig {
            path: path.display().to_string(),
            why: e.to_string(),
        };
        let next = Kubeconfig::read_from(path).map_err(bad)?;
        merged = Some(match merged {
            Some(before) => before.merge(next).map_err(bad)?,
            None => next,
        });
    }
    Ok(merged)
}

fn select(config: Arc<Kubeconfig>, wanted: &[String]) -> Result<Vec<Context>, StatusError> {
    let known = || list(config.contexts.iter().map(|c| c.name.clone()));
    let mut names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    if names.is_empty() {
        let current = config.current_context.as_deref().filter(|c| !c.is_empty());
        names.push(current.ok_or_else(|| StatusError::NoContext { known: known() })?);
    }
    let mut chosen: Vec<Context> = Vec::new();
    for name in names {
        if !chosen.iter().any(|c| c.name == name) {
            chosen.push(context(&config, name));
        }
    }
    let unknown = |c: &Context| matches!(&c.access, Err(note) if note.kind == NoteKind::UnknownContext);
    if chosen.iter().all(unknown) {
        return Err(StatusError::UnknownContexts {
            names: list(chosen.into_iter().map(|c| c.name)),
            known: known(),
        });
    }
    Ok(chosen)
}

fn context(config: &Arc<Kubeconfig>, name: &str) -> Context {
    let bare = |note: Note| Context {
        name: name.to_owned(),
        server: None,
        namespace: DEFAULT_NAMESPACE.to_owned(),
        access: Err(note),
    };
    let Some(entry) = config.contexts.iter().find(|c| c.name == name) else {
        let known = list(config.contexts.iter().map(|c| c.name.clone()));
        let text = format!("the kubeconfig has no such context; it has: {known}");
        return bare(Note::new(NoteKind::UnknownContext, text));
    };
    let Some(inner) = &entry.context else {
        let text = "the context is empty in the kubeconfig; give it a cluster and a user";
        return bare(Note::new(NoteKind::BadContext, text));
    };
    let cluster = config.clusters.iter().find(|c| c.name == inner.cluster);
    let namespace = inner.namespace.as_deref().filter(|n| !n.is_empty());
    if let Some(Err(why)) = namespace.map(super::dns_label) {
        return bare(Note::new(
            NoteKind::BadContext,
            format!("its namespace in the kubeconfig is none: {why}"),
        ));
    }
    Context {
        name: name.to_owned(),
        server: cluster
            .and_then(|c| c.cluster.as_ref()?.server.as_deref())
            .map(without_user),
        namespace: namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
        access: Ok(Access::Kubeconfig(Arc::clone(config))),
    }
}

/// A URL may hold a password: it is not for screens and files.
fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => url.to_owned(),
    }
}

fn list(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n <= NAMES_TOLD => names.join(", "),
        n => format!("{} and {} more", names[..NAMES_TOLD].join(", "), n - NAMES_TOLD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Arc<Kubeconfig> {
        let text = r#"{"clusters": [{"name": "c", "cluster": {"server": "https://me:secret@munich.example:6443/k8s"}}],
            "users": [],
            "contexts": [{"name": "munich", "context": {"cluster": "c", "user": "u", "namespace": "factory"}},
                         {"name": "hollow"}],
            "current-context": "munich"}"#;
        Arc::new(Kubeconfig::from_yaml(text).unwrap())
    }

    #[test]
    fn without_a_name_the_current_context_is_asked() {
        let chosen = select(config(), &[]).unwrap();
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0].name, "munich");
        assert_eq!(chosen[0].namespace, "factory");
        assert!(chosen[0].access.is_ok());
    }

    #[test]
    fn a_password_in_the_servers_address_is_not_shown() {
        let chosen = select(config(), &[]).unwrap();
        assert_eq!(
            chosen[0].server.as_deref(),
            Some("https://munich.example:6443/k8s")
        );
    }

    #[test]
    fn an_unknown_context_is_told_beside_the_others_and_asked_for_once() {
        let wanted = ["nope", "munich", "munich", "hollow"].map(str::to_owned);
        let chosen = select(config(), &wanted).unwrap();
        assert_eq!(chosen.len(), 3);
        let note = chosen[0].access.as_ref().unwrap_err();
        assert_eq!(note.kind, NoteKind::UnknownContext);
        assert!(note.text.contains("munich, hollow"), "{}", note.text);
        assert!(chosen[1].access.is_ok());
        assert_eq!(chosen[2].access.as_ref().unwrap_err().kind, NoteKind::BadContext);
    }

    #[test]
    fn when_no_context_is_known_the_command_fails_and_names_those_that_are() {
        let error = select(config(), &["nope".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("nope") && error.contains("munich"), "{error}");
        let without_current = Kubeconfig {
            current_context: None,
            ..(*config()).clone()
        };
        let error = select(Arc::new(without_current), &[]).unwrap_err().to_string();
        assert!(error.contains("--context"), "{error}");
    }

    #[test]
    fn the_variable_wins_over_the_home_folder() {
        let home = Some(PathBuf::from("/home/me"));
        assert_eq!(
            paths(None, home.clone()),
            [PathBuf::from("/home/me/.kube/config")]
        );
        assert_eq!(
            paths(Some("/a::/b".into()), home),
            [PathBuf::from("/a"), PathBuf::from("/b")]
        );
    }

    #[test]
    fn a_broken_kubeconfig_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, "contexts: [").unwrap();
        let error = read(std::slice::from_ref(&path), false).unwrap_err().to_string();
        assert!(error.contains("config"), "{error}");
        let gone = dir.path().join("gone");
        assert!(read(std::slice::from_ref(&gone), false).unwrap().is_none());
        assert!(read(&[gone], true).is_err());
    }
}
