//! Asks one context for everything, all at once, within one deadline. What cannot be had becomes a note.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::time::{Instant, timeout_at};

use super::cache::{Cache, Snapshot};
use super::client::{Failure, Pending, Reply, connect, get, is_missing, stranger};
use super::context::{Access, Context};
use super::model::Answer;
use super::note::{Note, NoteKind};
use super::object::{Kind, Object};
use crate::api;

/// A context has this long to answer everything.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// Objects in one page of a list, and of one kind in all.
const PAGE: usize = 500;
const MAX_OBJECTS: usize = 5000;

/// A context, with its client as long as that works.
pub(super) struct Source {
    pub(super) context: Context,
    /// The one namespace that was asked for.
    pub(super) namespace: Option<String>,
    cache: Cache,
    client: Option<Client>,
    /// The client on its way: one that hangs is waited for again rather than begun again.
    pending: Option<Pending>,
    /// How far the API server's clock is ahead of ours.
    ahead: SignedDuration,
}

/// What became of one kind.
struct Listed {
    kind: Kind,
    objects: Vec<Object>,
    at: Option<Timestamp>,
    /// Why there is less than was asked for.
    note: Option<Shortfall>,
}

/// Stands for the kinds that a shortfall concerns. Not `{}`: that may be what a server said.
const KINDS: &str = "{kinds}";

/// Why there is less than was asked for: the same for several kinds is told once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shortfall {
    kind: NoteKind,
    /// With [`KINDS`] for the kinds.
    text: String,
    /// Nothing of this kind is known.
    nothing: bool,
}

impl Listed {
    fn is_nothing(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.nothing)
    }

    /// Not all came: no snapshot to keep, and a connection not to be trusted.
    fn is_short(&self) -> bool {
        self.note
            .as_ref()
            .is_some_and(|note| note.nothing || note.kind == NoteKind::Incomplete)
    }

    /// Other lists came: the server is there, this list is not.
    fn blame_the_list(&mut self) {
        if let Some(note) = self.note.as_mut().filter(|n| n.kind == NoteKind::Unreachable) {
            note.kind = NoteKind::Incomplete;
            note.text = format!("{KINDS} could not be listed: {}", note.text);
        }
    }
}

impl Source {
    pub(super) fn new(context: Context, namespace: Option<String>, cache: Cache) -> Self {
        Self {
            context,
            namespace,
            cache,
            client: None,
            pending: None,
            ahead: SignedDuration::ZERO,
        }
    }

    /// The time by the API server's clock, as far as it is known.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now()
            .checked_add(self.ahead)
            .unwrap_or_else(|_| Timestamp::now())
    }

    /// Asks. Takes [`DEADLINE`] at most, however the other side behaves.
    pub(super) async fn ask(&mut self) -> Answer {
        let access = match &self.context.access {
            Ok(access) => access.clone(),
            Err(note) => return self.silent(note.clone()),
        };
        let deadline = Instant::now() + DEADLINE;
        let client = match self.client(access, deadline).await {
            Ok(client) => client,
            Err(note) => return self.silent(note),
        };
        let lists = Kind::ALL.map(|kind| self.list(&client, kind, deadline));
        let going = timeout_at(deadline, self.going(&client));
        let (lists, going) = tokio::join!(join_all(lists), going);
        let (going, missing) = going.unwrap_or_default();
        self.answer(client, lists, going, missing)
    }

    async fn client(&mut self, access: Access, deadline: Instant) -> Result<Client, Note> {
        if let Some(client) = self.client.take() {
            return Ok(client);
        }
        let name = &self.context.name;
        let pending = self.pending.get_or_insert_with(|| connect(access, name));
        let Ok(made) = timeout_at(deadline, pending).await else {
            let text = format!(
                "no credentials within {} s: the credential plugin hangs, or a file that the kubeconfig names",
                DEADLINE.as_secs()
            );
            return Err(Note::new(NoteKind::Unreachable, text));
        };
        self.pending = None;
        let made = made.unwrap_or_else(|_| Err("the client could not be made".to_owned()));
        made.map_err(|why| Note::new(NoteKind::BadContext, why))
    }

    fn answer(
        &mut self,
        client: Client,
        mut lists: Vec<Listed>,
        going: BTreeSet<String>,
        missing: Option<Note>,
    ) -> Answer {
        if let Some(at) = lists.iter().filter_map(|l| l.at).max() {
            self.ahead = skew(at, Timestamp::now());
        }
        let nothing = lists.iter().all(Listed::is_nothing);
        if !nothing {
            lists.iter_mut().for_each(Listed::blame_the_list);
        }
        let mut notes = notes(&lists);
        keep_one_unreachable(&mut notes);
        let lost = notes.iter().any(|n| n.kind == NoteKind::Unreachable);
        if nothing && !notes.iter().any(|n| n.kind == NoteKind::NotInstalled) {
            let first = if notes.is_empty() {
                None
            } else {
                Some(notes.remove(0))
            };
            let mut answer = self.silent(first.unwrap_or_else(|| unreachable_note(&self.context)));
            answer.reachable = !lost;
            answer.notes.extend(notes);
            return answer;
        }
        let complete = !lists.iter().any(Listed::is_short);
        let objects: Vec<Object> = lists.into_iter().flat_map(|l| l.objects).collect();
        let read_at = self.now();
        if complete {
            self.cache
                .keep(&self.context, self.namespace.as_deref(), read_at, &objects);
        }
        self.client = Some(client).filter(|_| complete);
        notes.extend(missing);
        notes.extend(self.going_note(&going));
        Answer {
            context: self.context.name.clone(),
            server: self.context.server.clone(),
            reachable: true,
            read_at: Some(read_at),
            now: read_at,
            objects,
            going,
            notes,
        }
    }

    fn going_note(&self, going: &BTreeSet<String>) -> Option<Note> {
        let name = self.namespace.as_ref().filter(|n| going.contains(*n))?;
        let text = format!("namespace {name} is being deleted: what is in it goes");
        Some(Note::new(NoteKind::NamespaceDeleting, text))
    }

    /// Nothing can be read: what was seen last, with its age, and why.
    fn silent(&self, note: Note) -> Answer {
        let now = self.now();
        let mut answer = Answer::empty(
            &self.context.name,
            self.context.server.as_deref(),
            now,
            vec![note],
        );
        let Some(Snapshot { read_at, objects }) = self.cache.last(&self.context, self.namespace.as_deref())
        else {
            return answer;
        };
        let age = super::figures::span(now.duration_since(read_at).as_secs());
        let text = format!(
            "what is shown was seen {age} ago, at {}",
            super::figures::whole_seconds(read_at)
        );
        answer.notes.push(Note::new(NoteKind::LastSeen, text));
        answer.read_at = Some(read_at);
        answer.objects = objects;
        answer
    }

    /// Lists one kind: in all namespaces, or where that is not permitted, in the context's own.
    async fn list(&self, client: &Client, kind: Kind, deadline: Instant) -> Listed {
        let wanted = self.namespace.as_deref();
        let mut result = any_version(client, kind, wanted, deadline).await;
        if matches!(result, Err(Failure::Refused(403, _))) && wanted.is_none() {
            let own = &self.context.namespace;
            result = any_version(client, kind, Some(own), deadline).await;
            if let Ok(listed) = &mut result {
                let text =
                    format!("no permission to list {KINDS} in all namespaces: only namespace {own} is shown");
                listed
                    .note
                    .get_or_insert(shortfall(NoteKind::OneNamespace, text, false));
            }
        }
        result.unwrap_or_else(|failure| Listed {
            kind,
            objects: Vec::new(),
            at: None,
            note: Some(self.explain(failure)),
        })
    }

    fn explain(&self, failure: Failure) -> Shortfall {
        match failure {
            Failure::Refused(401, _) => {
                let text = "the API server does not accept the credentials (401): log in again, or mend the user in the kubeconfig";
                shortfall(NoteKind::Unauthorized, text.to_owned(), true)
            }
            Failure::Refused(403, _) => {
                let own = self.namespace.as_ref().unwrap_or(&self.context.namespace);
                let text = format!(
                    "no permission to list {KINDS} in namespace {own}: ask for the verb list on them, or try -n with a namespace of yours"
                );
                shortfall(NoteKind::Forbidden, text, true)
            }
            Failure::Refused(404, message) => shortfall(NoteKind::NotInstalled, message, true),
            Failure::Refused(code, message) => {
                let text = format!("{KINDS} could not be listed: the API server answered {code}: {message}");
                shortfall(NoteKind::Incomplete, text, true)
            }
            Failure::Down(why) => {
                let server = self.context.server.as_deref().unwrap_or("the API server");
                shortfall(NoteKind::Unreachable, format!("{server}: {why}"), true)
            }
        }
    }

    /// Namespaces that are being deleted, as far as they may be read; and a note if the one asked for does not exist.
    async fn going(&self, client: &Client) -> (BTreeSet<String>, Option<Note>) {
        let path = match &self.namespace {
            Some(name) => format!("/api/v1/namespaces/{name}"),
            None => format!("/api/v1/namespaces?limit={MAX_OBJECTS}"),
        };
        match (get(client, &path).await, &self.namespace) {
            (Ok(reply), _) => {
                let list = reply.body["items"].as_array();
                let all = list.map_or_else(|| std::slice::from_ref(&reply.body), Vec::as_slice);
                let going = all
                    .iter()
                    .filter(|n| n["metadata"]["deletionTimestamp"].is_string());
                let names = going.filter_map(|n| n["metadata"]["name"].as_str().map(str::to_owned));
                (names.collect(), None)
            }
            (Err(failure), Some(name)) if is_missing(&failure) => {
                let text = format!("there is no namespace {name}");
                (BTreeSet::new(), Some(Note::new(NoteKind::NamespaceMissing, text)))
            }
            // Not permitted, or no answer in time: the lists tell.
            (Err(_), _) => (BTreeSet::new(), None),
        }
    }
}

fn shortfall(kind: NoteKind, text: String, nothing: bool) -> Shortfall {
    Shortfall { kind, text, nothing }
}

fn unreachable_note(context: &Context) -> Note {
    let server = context.server.as_deref().unwrap_or("the API server");
    Note::new(NoteKind::Unreachable, format!("{server}: no answer"))
}

/// One note for each shortfall, whichever kinds it concerns.
fn notes(lists: &[Listed]) -> Vec<Note> {
    let mut kinds: BTreeMap<&Shortfall, Vec<&str>> = BTreeMap::new();
    for list in lists {
        if let Some(note) = &list.note {
            kinds.entry(note).or_default().push(list.kind.plural());
        }
    }
    kinds
        .into_iter()
        .map(|(note, kinds)| Note::new(note.kind, note.text.replace(KINDS, &kinds.join(", "))))
        .collect()
}

/// A server that is away is told once, also when the lists failed in different ways.
fn keep_one_unreachable(notes: &mut Vec<Note>) {
    let mut told = false;
    notes.retain(|note| note.kind != NoteKind::Unreachable || !std::mem::replace(&mut told, true));
}

/// All of a list, in the version that this program was made for, or else in the one that is served.
async fn any_version(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
    deadline: Instant,
) -> Result<Listed, Failure> {
    match pages(client, kind, namespace, api::VERSION, deadline).await {
        Err(failure) if is_missing(&failure) => other_version(client, kind, namespace, deadline).await,
        other => other,
    }
}

/// An answer in time.
async fn get_by(deadline: Instant, client: &Client, path: &str) -> Result<Reply, Failure> {
    timeout_at(deadline, get(client, path)).await.unwrap_or_else(|_| {
        Err(Failure::Down(format!(
            "no answer within {} s",
            DEADLINE.as_secs()
        )))
    })
}

/// A later page did not come: what came before it is shown, and that it is not all.
fn broken_off(mut listed: Listed, failure: Failure) -> Listed {
    let why = match failure {
        Failure::Down(why) => why,
        Failure::Refused(code, message) => format!("the API server answered {code}: {message}"),
    };
    let count = listed.objects.len();
    let text = format!("only the first {count} {KINDS} came, there are more: {why}");
    listed.note = Some(shortfall(NoteKind::Incomplete, text, false));
    listed
}

/// All pages of a list in one version; those that came, when a later one does not.
async fn pages(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
    version: &str,
    deadline: Instant,
) -> Result<Listed, Failure> {
    let place = namespace.map_or_else(String::new, |n| format!("namespaces/{n}/"));
    let path = format!("/apis/{}/{version}/{place}{}", api::GROUP, kind.plural());
    let mut listed = Listed {
        kind,
        objects: Vec::new(),
        at: None,
        note: None,
    };
    let mut token = String::new();
    loop {
        let page = get_by(deadline, client, &format!("{path}?limit={PAGE}{token}")).await;
        let Reply { body, at } = match page.and_then(|reply| of_kind("List", reply)) {
            Ok(reply) => reply,
            Err(failure) if token.is_empty() => return Err(failure),
            Err(failure) => return Ok(broken_off(listed, failure)),
        };
        listed.at = at;
        let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        listed
            .objects
            .extend(items.iter().filter_map(|item| Object::read(Some(kind), item)));
        let next = match next_page(&body) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(listed),
            Err(failure) => return Ok(broken_off(listed, failure)),
        };
        if listed.objects.len() >= MAX_OBJECTS {
            let text = format!("only the first {MAX_OBJECTS} {KINDS} are shown, there are more: try -n");
            listed.note = Some(shortfall(NoteKind::Truncated, text, false));
            return Ok(listed);
        }
        token = format!("&continue={next}");
    }
}

/// An answer whose `kind` ends in this word. Any other object, of a login page perhaps, must not pass for a list without
/// items: nothing there would need a person.
fn of_kind(word: &str, reply: Reply) -> Result<Reply, Failure> {
    let kind = reply.body["kind"].as_str().unwrap_or_default();
    if kind.ends_with(word) {
        return Ok(reply);
    }
    Err(stranger(reply.body.to_string().as_bytes()))
}

/// Where a list goes on. The token is URL-safe base64; anything else would change the question.
fn next_page(body: &serde_json::Value) -> Result<Option<&str>, Failure> {
    let word = |token: &str| {
        token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b))
    };
    match body["metadata"]["continue"]
        .as_str()
        .filter(|token| !token.is_empty())
    {
        Some(token) if !word(token) => Err(Failure::Down(
            "the API server's word for where the list goes on cannot be sent back".to_owned(),
        )),
        token => Ok(token),
    }
}

/// The version that this program was made for is not served: which one is?
async fn other_version(
    client: &Client,
    kind: Kind,
    namespace: Option<&str>,
    deadline: Instant,
) -> Result<Listed, Failure> {
    let missing = |what: String| Failure::Refused(404, what);
    let group = get_by(deadline, client, &format!("/apis/{}", api::GROUP)).await;
    let group = match group.and_then(|reply| of_kind("APIGroup", reply)) {
        Ok(reply) => reply.body,
        Err(failure) if is_missing(&failure) => {
            return Err(missing(format!(
                "Tributary's CRDs are not installed: the API server does not know the group {}; install the chart",
                api::GROUP
            )));
        }
        Err(failure) => return Err(failure),
    };
    let absent = || {
        missing(format!(
            "{KINDS}.{}: this CRD is not installed; upgrade the chart",
            api::GROUP
        ))
    };
    let preferred = group["preferredVersion"]["version"].as_str();
    let versions = group["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let served = versions.iter().any(|v| v["version"] == api::VERSION);
    let Some(version) = preferred.filter(|v| !served && is_word(v)) else {
        return Err(absent());
    };
    let mut listed = match pages(client, kind, namespace, version, deadline).await {
        Err(failure) if is_missing(&failure) => return Err(absent()),
        other => other?,
    };
    let text = format!(
        "the API server serves {KINDS} as {}/{version}, this program was made for {}: what both know is shown",
        api::GROUP,
        api::VERSION
    );
    listed
        .note
        .get_or_insert(shortfall(NoteKind::OtherVersion, text, false));
    Ok(listed)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The server's clock against ours; HTTP's dates have whole seconds, and the answer took some time.
fn skew(server: Timestamp, ours: Timestamp) -> SignedDuration {
    let ahead = server.duration_since(ours);
    if ahead.abs() < SignedDuration::from_secs(3) {
        SignedDuration::ZERO
    } else {
        ahead
    }
}

#[cfg(test)]
mod tests;
