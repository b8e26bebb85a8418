//! The fleet as a tree: context, namespace, cluster, and what belongs to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::item::Item;
use super::note::{Note, NoteKind};
use super::object::{Kind, Object};

/// Version of the JSON and YAML documents; raised when a field changes its meaning or goes.
const FORMAT_VERSION: u32 = 1;

/// What one context said.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) context: String,
    pub(super) server: Option<String>,
    /// Whether the API server answered.
    pub(super) reachable: bool,
    /// When the objects were read, by the clock of the API server.
    pub(super) read_at: Option<Timestamp>,
    /// What the time is there now.
    pub(super) now: Timestamp,
    pub(super) objects: Vec<Object>,
    /// Namespaces that are being deleted.
    pub(super) going: BTreeSet<String>,
    pub(super) notes: Vec<Note>,
}

impl Answer {
    /// An answer without content.
    pub(super) fn empty(context: &str, server: Option<&str>, now: Timestamp, notes: Vec<Note>) -> Self {
        Self {
            context: context.to_owned(),
            server: server.map(str::to_owned),
            reachable: false,
            read_at: None,
            now,
            objects: Vec::new(),
            going: BTreeSet::new(),
            notes,
        }
    }
}

/// Everything that was asked for; the document of `-o json` and `-o yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Version of this document's format.
    pub format_version: u32,
    /// When it was made, by this machine's clock.
    pub generated_at: Timestamp,
    /// Whether a person must do something: exit status 1.
    pub needs_person: bool,
    /// The contexts, worst first.
    pub contexts: Vec<Site>,
}

/// One context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Site {
    /// Its name in the kubeconfig.
    pub context: String,
    /// Its API server.
    pub server: Option<String>,
    /// Whether the API server answered.
    pub reachable: bool,
    /// When the objects were read, by the API server's clock; long ago if it does not answer.
    pub read_at: Option<Timestamp>,
    /// How long ago that was, in seconds.
    pub age_seconds: Option<i64>,
    /// What keeps it, or part of it, from being seen.
    pub notes: Vec<Note>,
    /// Whether a person must do something about it or anything in it.
    pub needs_person: bool,
    /// Its namespaces that have objects, worst first.
    pub namespaces: Vec<Namespace>,
    #[serde(skip)]
    pub(super) now: Timestamp,
}

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// It is being deleted.
    pub being_deleted: bool,
    /// EdgeClusters with what belongs to them, worst first.
    pub clusters: Vec<Cluster>,
    /// Bridges and links between Kafkas that are no EdgeCluster of the namespace, worst first.
    pub external: Vec<Item>,
}

/// An EdgeCluster with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// The EdgeCluster itself.
    #[serde(flatten)]
    pub item: Item,
    /// Its bridges and links, worst first.
    pub members: Vec<Item>,
}

impl Cluster {
    fn rank(&self) -> u8 {
        worst(&self.members).min(self.item.rank())
    }
}

impl Namespace {
    fn rank(&self) -> u8 {
        let clusters = self.clusters.iter().map(Cluster::rank);
        clusters.fold(worst(&self.external), u8::min)
    }

    /// All its objects.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        let clusters = self.clusters.iter();
        clusters
            .flat_map(|c| std::iter::once(&c.item).chain(&c.members))
            .chain(&self.external)
    }
}

impl Site {
    fn rank(&self) -> u8 {
        if self.notes.iter().any(|n| n.needs_person) {
            return 0;
        }
        self.namespaces
            .iter()
            .map(Namespace::rank)
            .min()
            .unwrap_or(u8::MAX)
    }

    /// All its objects.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.namespaces.iter().flat_map(Namespace::items)
    }
}

impl Fleet {
    /// Builds the tree; `now` is this machine's time.
    pub(super) fn build(answers: &[Answer], now: Timestamp) -> Self {
        let mut contexts: Vec<Site> = answers.iter().map(site).collect();
        // Stable: what is equally well stays in the order in which it was asked for.
        contexts.sort_by_key(Site::rank);
        Self {
            format_version: FORMAT_VERSION,
            generated_at: now,
            needs_person: contexts.iter().any(|c| c.needs_person),
            contexts,
        }
    }
}

fn worst(items: &[Item]) -> u8 {
    items.iter().map(Item::rank).min().unwrap_or(u8::MAX)
}

fn site(answer: &Answer) -> Site {
    let remembered = answer.notes.iter().any(|n| n.kind == NoteKind::LastSeen);
    let mut by_namespace: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for object in &answer.objects {
        by_namespace.entry(object.namespace()).or_default().push(object);
    }
    let mut namespaces: Vec<Namespace> = by_namespace
        .into_iter()
        .map(|(name, objects)| namespace(name, &objects, answer, remembered))
        .collect();
    namespaces.sort_by_key(Namespace::rank);
    let mut site = Site {
        context: answer.context.clone(),
        server: answer.server.clone(),
        reachable: answer.reachable,
        read_at: answer.read_at,
        age_seconds: answer
            .read_at
            .map(|at| answer.now.duration_since(at).as_secs().max(0)),
        notes: answer.notes.clone(),
        needs_person: answer.notes.iter().any(|n| n.needs_person),
        namespaces,
        now: answer.now,
    };
    let needs_person = site.items().any(|item| item.needs_person);
    site.needs_person |= needs_person;
    site
}

fn namespace(name: &str, objects: &[&Object], answer: &Answer, remembered: bool) -> Namespace {
    let going = answer.going.contains(name);
    let read = |object: &Object| {
        let item = Item::read(object, answer.now);
        match (remembered, going) {
            (true, _) => item.remembered(),
            (false, true) => item.going(),
            (false, false) => item,
        }
    };
    let mut clusters: BTreeMap<&str, Cluster> = objects
        .iter()
        .filter(|o| o.kind == Kind::EdgeCluster)
        .map(|o| {
            let (item, members) = (read(o), Vec::new());
            (o.name(), Cluster { item, members })
        })
        .collect();
    let mut external = Vec::new();
    for object in objects.iter().filter(|o| o.kind != Kind::EdgeCluster) {
        let home = object.clusters().find(|c| clusters.contains_key(c));
        match home.and_then(|home| clusters.get_mut(home)) {
            Some(cluster) => cluster.members.push(read(object)),
            None => external.push(read(object)),
        }
    }
    let mut clusters: Vec<Cluster> = clusters.into_values().collect();
    for cluster in &mut clusters {
        cluster.members.sort_by_cached_key(Item::order);
    }
    clusters.sort_by_key(Cluster::rank);
    external.sort_by_cached_key(Item::order);
    Namespace {
        name: name.to_owned(),
        being_deleted: going,
        clusters,
        external,
    }
}
