//! Against an API server that stores one status and writes down what it is asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, Uri, header};
use axum::response::IntoResponse;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::*;
use crate::api::ReplicationLink;
use crate::controller::{Caches, ManualClock, Metrics, Options};

/// The object as stored, and the methods of the requests for it.
#[derive(Clone)]
struct Server {
    object: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn answer(
    State(server): State<Server>,
    method: Method,
    uri: Uri,
    body: axum::body::Bytes,
) -> impl IntoResponse {
    server.asked.lock().unwrap().push(method.to_string());
    let mut object = server.object.lock().unwrap();
    if method == Method::PATCH {
        assert!(uri.path().ends_with("/replicationlinks/to-eu/status"), "{uri}");
        assert!(uri.query().unwrap_or_default().contains("force=true"), "{uri}");
        let patch: Value = serde_json::from_slice(&body).unwrap();
        object["status"] = patch["status"].clone();
    }
    ([(header::CONTENT_TYPE, "application/json")], object.to_string())
}

struct World {
    server: Server,
    clock: Arc<ManualClock>,
    address: std::net::SocketAddr,
    ctx: Context,
}

impl World {
    async fn new(status: Value) -> Self {
        // As good when another test did it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let object =
            json!({"metadata": {"name": "to-eu", "namespace": "factory", "uid": "u1"}, "status": status});
        let server = Server {
            object: Arc::new(Mutex::new(object)),
            asked: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clock = Arc::new(ManualClock::new(at(100)));
        let ctx = context(address, &clock);
        Self {
            server,
            clock,
            address,
            ctx,
        }
    }

    fn restart_operator(&mut self) {
        self.ctx = context(self.address, &self.clock);
    }

    fn later(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// What a pass asks the server.
    async fn pass(&self) -> Vec<String> {
        let key = ObjectKey::new("ReplicationLink", "factory", "to-eu");
        let invalid = InvalidObject {
            error: "unknown variant `Sometimes`".into(),
            metadata: ObjectMeta {
                uid: Some("u1".into()),
                generation: Some(4),
                ..ObjectMeta::default()
            },
        };
        let writing = self
            .ctx
            .statuses()
            .write_invalid::<ReplicationLink>(&self.ctx, &key, &invalid);
        writing.await.unwrap();
        std::mem::take(&mut *self.server.asked.lock().unwrap())
    }

    fn status(&self) -> Value {
        self.server.object.lock().unwrap()["status"].clone()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

fn context(address: std::net::SocketAddr, clock: &Arc<ManualClock>) -> Context {
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    Context::new(
        kube::Client::try_from(config).unwrap(),
        Options {
            status_refresh: Duration::from_secs(60),
            ..Options::default()
        },
        Arc::clone(clock) as Arc<dyn crate::controller::Clock>,
        Caches::new([]),
        Metrics::register(&mut Registry::default()),
        "operator-a",
    )
}

fn condition(type_: &str, status: &str, reason: Reason) -> Value {
    json!({"type": type_, "status": status, "reason": reason.as_str(), "message": "before", "observedGeneration": 3,
        "lastTransitionTime": "2025-06-15T12:00:00Z"})
}

/// A link that followed, after a loss.
fn followed() -> Value {
    json!({
        "observedGeneration": 3, "observedAt": "2025-06-15T12:00:00Z", "verdict": "InSync",
        "lag": {"offsets": 0}, "topics": [{"name": "t", "partitions": 1, "lag": {"offsets": 0}}],
        "gaps": [{"topic": "t", "partition": 0, "from": 4, "to": 9, "reason": "BelowLogStart",
            "seenAt": "2025-06-15T11:00:00Z"}],
        "effective": {"linkId": "id", "positionsSeen": true},
        "ofALaterVersion": "kept",
        "conditions": [
            condition("Ready", "True", Reason::Following), condition("Connected", "True", Reason::Following),
            condition("Lossless", "False", Reason::GapRecorded), condition("Reconciling", "True", Reason::Starting),
        ],
    })
}

fn conditions_of(status: &Value) -> Vec<String> {
    let list = status["conditions"].as_array().unwrap();
    let text = |c: &Value, field: &str| c[field].as_str().unwrap().to_owned();
    list.iter()
        .map(|c| [text(c, "type"), text(c, "status"), text(c, "reason")].join(" "))
        .collect()
}

#[tokio::test]
async fn what_the_status_told_stays_and_what_was_measured_goes() {
    let world = World::new(followed()).await;
    assert_eq!(world.pass().await, ["GET", "PATCH"]);
    let (old, status) = (followed(), world.status());
    for kept in ["gaps", "effective", "ofALaterVersion"] {
        assert_eq!(status[kept], old[kept], "{kept}");
    }
    assert_eq!((&status["lag"], &status["topics"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&status["verdict"], &status["observedGeneration"]),
        (&json!("Unknown"), &json!(4))
    );
    assert_eq!(
        conditions_of(&status),
        [
            "Ready False InvalidSpec",
            "Connected Unknown InvalidSpec",
            "Lossless False GapRecorded",
            "Stalled True InvalidSpec",
        ]
    );
    assert_eq!(
        status["conditions"][2], old["conditions"][2],
        "the loss, word for word"
    );
}

#[tokio::test]
async fn it_is_written_once_and_then_only_refreshed_with_the_times_of_its_transitions() {
    let mut world = World::new(followed()).await;
    world.pass().await;
    let first = world.status();
    world.later(30);
    assert_eq!(world.pass().await, Vec::<String>::new());
    world.restart_operator();
    assert_eq!(world.pass().await, ["GET"], "it stands there already");
    assert_eq!(world.pass().await, Vec::<String>::new());
    world.later(30);
    assert_eq!(world.pass().await, ["GET", "PATCH"]);
    let second = world.status();
    assert_eq!(second["conditions"], first["conditions"]);
    assert_ne!(second["observedAt"], first["observedAt"]);
}

#[tokio::test]
async fn an_object_of_the_same_name_that_took_its_place_is_left_alone() {
    let world = World::new(followed()).await;
    world.server.object.lock().unwrap()["metadata"]["uid"] = json!("u2");
    assert_eq!(world.pass().await, ["GET"]);
    assert_eq!(world.status(), followed());
}

#[tokio::test]
async fn without_any_status_it_gets_one() {
    let world = World::new(Value::Null).await;
    world.pass().await;
    assert_eq!(
        conditions_of(&world.status()),
        ["Ready False InvalidSpec", "Stalled True InvalidSpec"]
    );
    assert_eq!(world.status()["verdict"], Value::Null);
}
