use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::tests::{object, objects};
use super::*;
use crate::controller::{Caches, Metrics, Options, SystemClock};

/// An API server that takes everything and writes down what it is asked.
#[derive(Clone, Default)]
struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    exists: Arc<AtomicBool>,
    /// The object appears when the Job does.
    comes_back: bool,
    /// Since when the Job is being deleted, once it was asked for.
    deleting: Option<Timestamp>,
}

async fn answer(State(server): State<Server>, method: Method, uri: Uri, body: Bytes) -> impl IntoResponse {
    let path: Vec<&str> = uri.path().rsplit('/').collect();
    let creates = method == Method::POST;
    let type_ = if creates { path[0] } else { path[1] };
    server.asked.lock().unwrap().push(format!("{method} {type_}"));
    let exists = server.exists.load(Ordering::Relaxed);
    if creates && type_ == "jobs" {
        server.exists.store(server.comes_back, Ordering::Relaxed);
    }
    let mut object: Value = serde_json::from_slice(&body).unwrap_or_default();
    let status = match (type_, exists, method) {
        ("jobs", _, Method::DELETE) if server.deleting.is_some() => {
            let at = server.deleting;
            assert_eq!(object["propagationPolicy"], "Foreground", "its pods go first");
            object = json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": {"deletionTimestamp": at}});
            StatusCode::OK
        }
        ("bridgepipelines", false, _) | ("jobs", _, Method::DELETE) => {
            object = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                "message": "not found", "code": 404});
            StatusCode::NOT_FOUND
        }
        _ => {
            object["metadata"]["uid"] = json!("u2");
            StatusCode::OK
        }
    };
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        object.to_string(),
    )
}

const KEY: fn() -> ObjectKey = || ObjectKey::new("BridgePipeline", "factory", "machines");

/// What the server is asked for a session's end.
async fn ended(server: Server) -> Vec<String> {
    let ctx = context(&server).await;
    end(&ctx, &KEY(), Ending::of(&objects(&object())).unwrap()).await;
    std::mem::take(&mut *server.asked.lock().unwrap())
}

async fn context(server: &Server) -> Context {
    // As good when another test did it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    Context::new(
        kube::Client::try_from(config).unwrap(),
        Options::default(),
        Arc::new(SystemClock),
        Caches::new([]),
        Metrics::register(&mut Registry::default()),
        "operator-a",
    )
}

#[tokio::test]
async fn a_session_is_ended_by_a_job_and_its_configuration() {
    let asked = ended(Server::default()).await;
    assert_eq!(
        asked,
        [
            "GET bridgepipelines",
            "POST jobs",
            "GET bridgepipelines",
            "POST configmaps"
        ]
    );
}

#[tokio::test]
async fn an_object_that_exists_again_keeps_its_session() {
    let server = Server::default();
    server.exists.store(true, Ordering::Relaxed);
    assert_eq!(ended(server).await, ["GET bridgepipelines"]);
}

#[tokio::test]
async fn a_job_that_was_overtaken_by_the_objects_return_goes_before_it_can_begin() {
    let server = Server {
        comes_back: true,
        ..Server::default()
    };
    assert_eq!(
        ended(server).await,
        [
            "GET bridgepipelines",
            "POST jobs",
            "GET bridgepipelines",
            "DELETE jobs"
        ]
    );
}

#[tokio::test]
async fn a_successor_waits_until_the_job_and_its_pods_are_gone_or_cannot_run_any_more() {
    let cancelled = async |deleting| {
        let server = Server {
            deleting,
            ..Server::default()
        };
        cancel(&context(&server).await, &KEY()).await
    };
    let ago = |seconds| Some(Timestamp::now() - SignedDuration::from_secs(seconds));
    assert!(matches!(cancelled(None).await, StepOutcome::Unchanged), "gone");
    for since in [ago(0), ago(80)] {
        let StepOutcome::Waiting { message, .. } = cancelled(since).await else {
            panic!("its pod may run")
        };
        assert!(message.contains("Job machines-bridge-end-session"), "{message}");
    }
    let dead_node = cancelled(ago(90)).await;
    assert!(matches!(dead_node, StepOutcome::Unchanged), "{dead_node:?}");
}

#[test]
fn a_session_is_ended_only_when_nothing_goes_on_with_it() {
    let running = || PodState::Running {
        ip: "10.0.0.1".into(),
        ready: true,
    };
    let seconds = Duration::from_secs;
    let ending = [PodState::Terminating];
    assert_eq!(wait(false, &[], seconds(0)), Wait::Over);
    assert_eq!(
        wait(false, &ending, seconds(4)),
        Wait::More,
        "it settles what it has"
    );
    assert_eq!(wait(false, &ending, seconds(5)), Wait::Over, "it hangs");
    for pod in [
        running(),
        PodState::Starting,
        PodState::Failing("CrashLoopBackOff".into()),
    ] {
        let pods = [pod, PodState::Terminating];
        assert_eq!(wait(false, &pods, seconds(59)), Wait::More, "{pods:?}");
        assert_eq!(wait(false, &pods, seconds(60)), Wait::InVain, "{pods:?}");
    }
    assert_eq!(wait(true, &[], seconds(59)), Wait::More, "it makes another pod");
    assert_eq!(wait(true, &ending, seconds(60)), Wait::InVain);
}

#[test]
fn the_job_runs_the_last_configuration_with_the_same_secrets_and_the_same_security() {
    let objects = objects(&object());
    let key = KEY();
    let (job, config_map) = build(&key, Ending::of(&objects).unwrap());
    assert_eq!(config_map.data, objects.config_map.data);
    assert_eq!(
        config_map.metadata.owner_references, None,
        "the deleted object's garbage collection must spare it"
    );
    let pod = job.spec.unwrap().template.spec.unwrap();
    let bridge = objects.stateful_set.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.security_context, bridge.security_context);
    assert_eq!(
        pod.active_deadline_seconds,
        Some(DEADLINE_SECONDS),
        "also on a node that nobody reaches"
    );
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(
        pod.containers[0].args.as_ref().unwrap().last().unwrap(),
        "end-session"
    );
    let names = |pod: &k8s_openapi::api::core::v1::PodSpec| {
        pod.volumes
            .clone()
            .unwrap()
            .into_iter()
            .map(|v| v.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&pod), names(&bridge));
    let config = &pod.volumes.unwrap()[0].config_map.clone().unwrap().name;
    assert_eq!(Some(config), config_map.metadata.name.as_ref());
}
