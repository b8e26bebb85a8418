//! Passes against an API server of the test's own, which answers one list only when the test says so.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use axum::Router;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::super::cache::Latch;
use super::super::{Error, Requeue, SystemClock};
use super::*;

/// What a list that is answered is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a pass that begins too early would take to show.
const QUIET: Duration = Duration::from_millis(300);
/// What is watched besides the kinds.
const OWNED: [&str; 6] = [
    "pods",
    "statefulsets",
    "configmaps",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
];

/// Holds one ReplicationLink, and keeps the list of EdgeClusters back.
#[derive(Clone)]
struct Server {
    release: Latch,
    /// The types whose list was answered and whose watch is open.
    watched: Arc<watch::Sender<BTreeSet<String>>>,
    address: std::net::SocketAddr,
}

impl Server {
    async fn start() -> Self {
        // As good when another test did it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            release: Latch::default(),
            watched: Arc::new(watch::Sender::default()),
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn runtime(&self) -> Runtime {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        Runtime {
            client: Client::try_from(config).unwrap(),
            options: Options {
                namespaces: Some(["factory".to_owned()].into()),
                ..Options::default()
            },
            clock: Arc::new(SystemClock),
            metrics: Metrics::register(&mut Registry::default()),
            instance: "operator-a".into(),
            ready: Arc::default(),
        }
    }

    async fn watches(&self, types: impl IntoIterator<Item = &str>) {
        let types: Vec<_> = types.into_iter().collect();
        let mut watched = self.watched.subscribe();
        let all = watched.wait_for(|watched| types.iter().all(|t| watched.contains(*t)));
        timeout(PATIENCE, all).await.expect("watches in time").unwrap();
    }
}

async fn answer(State(server): State<Server>, uri: Uri) -> Response {
    let plural = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        server.watched.send_modify(|watched| {
            watched.insert(plural);
        });
        return std::future::pending().await;
    }
    let mut items = Vec::new();
    match plural.as_str() {
        "edgeclusters" => drop(server.release.wait().await),
        "replicationlinks" => items.push(link()),
        _ => {}
    }
    let list =
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

fn link() -> serde_json::Value {
    let side = |server: &str| {
        json!({"external": {"bootstrapServers": [server], "tls": {"mode": "Disabled"},
            "authentication": {"type": "None"}}})
    };
    json!({
        "apiVersion": "tributary.dev/v1alpha1", "kind": "ReplicationLink",
        "metadata": {"name": "to-eu", "namespace": "factory", "uid": "u1", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "source": side("a:1"), "target": side("b:1"), "delivery": "AtLeastOnce", "start": "Earliest",
            "topics": {"include": ["t"], "naming": {"type": "Prefix", "prefix": "p."}},
        },
    })
}

/// Counts passes and does nothing.
struct Counting<K> {
    passes: watch::Sender<usize>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Counting<K> {
    fn new() -> (Self, watch::Receiver<usize>) {
        let (passes, count) = watch::channel(0);
        let kind = PhantomData;
        (Self { passes, kind }, count)
    }
}

impl<K: Kind> Reconciler for Counting<K> {
    type Kind = K;

    async fn reconcile(&self, _: &Context, _: &K) -> Result<Requeue, Error> {
        self.passes.send_modify(|passes| *passes += 1);
        Ok(Requeue::After(Duration::from_secs(3600)))
    }

    async fn gone(&self, _: &Context, _: &ObjectKey) {}
}

/// Runs until `stop`; with it the number of passes over links.
fn start(
    server: &Server,
    stop: &CancellationToken,
) -> (
    tokio::task::JoinHandle<Result<(), RunError>>,
    watch::Receiver<usize>,
) {
    let (links, passes) = Counting::new();
    let running = run(
        server.runtime(),
        Counting::new().0,
        Counting::new().0,
        links,
        stop.clone(),
    );
    (tokio::spawn(Box::pin(running)), passes)
}

#[tokio::test]
async fn no_pass_begins_before_every_cache_is_filled() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let (running, mut passes) = start(&server, &stop);
    server
        .watches(OWNED.into_iter().chain(["replicationlinks", "bridgepipelines"]))
        .await;
    let early = timeout(QUIET, passes.wait_for(|count| *count > 0)).await.is_ok();
    assert!(
        !early,
        "a link whose EdgeClusters are not known yet was reconciled"
    );
    server.release.set(()).unwrap();
    timeout(PATIENCE, passes.wait_for(|count| *count == 1))
        .await
        .expect("a pass")
        .unwrap();
    stop.cancel();
    assert_eq!(running.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn it_stops_in_order_while_passes_are_held_back() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let (running, passes) = start(&server, &stop);
    server.watches(["replicationlinks"]).await;
    stop.cancel();
    let ended = timeout(DRAIN / 2, running).await.expect("sooner than it must");
    assert_eq!((ended.unwrap(), *passes.borrow()), (Ok(()), 0));
}

#[tokio::test(start_paused = true)]
async fn a_first_list_without_an_answer_is_no_bug_of_a_controller() {
    let server = Server::start().await;
    let (running, _) = start(&server, &CancellationToken::new());
    assert_eq!(running.await.unwrap(), Err(RunError::NotFilled));
}
