//! Lists in pages, from a small server that stops answering when it is told to.

use std::convert::Infallible;

use axum::Router;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::*;

/// What the server says to the page after the first.
#[derive(Clone, Copy)]
enum Later {
    Silent,
    Gone,
    Endless,
    /// It says where the list goes on in words that no API server uses.
    Elsewhere,
    /// It was never an API server.
    Login,
}

fn page(from: usize, next: Option<&str>) -> String {
    let items: Vec<Value> = (from..from + PAGE)
        .map(|n| {
            let metadata = json!({"name": format!("link-{n}"), "namespace": "factory"});
            json!({"apiVersion": "tributary.dev/v1alpha1", "kind": "ReplicationLink", "metadata": metadata})
        })
        .collect();
    json!({"kind": "ReplicationLinkList", "metadata": {"continue": next}, "items": items}).to_string()
}

async fn answer(uri: Uri, later: Later) -> Result<(StatusCode, String), Infallible> {
    let first = !uri.query().unwrap_or_default().contains("continue=");
    Ok(match later {
        Later::Login => (StatusCode::OK, json!({"login": "please"}).to_string()),
        Later::Elsewhere => (StatusCode::OK, page(0, Some("a&limit=1"))),
        _ if first => (StatusCode::OK, page(0, Some("next"))),
        Later::Silent => std::future::pending().await,
        Later::Gone => (StatusCode::GONE, json!({"message": "too old"}).to_string()),
        Later::Endless => (StatusCode::OK, page(PAGE, Some("next"))),
    })
}

async fn listed(later: Later, deadline: Duration) -> Listed {
    let listed = asked(later, deadline).await;
    listed.unwrap_or_else(|failure| panic!("{failure:?}"))
}

async fn asked(later: Later, deadline: Duration) -> Result<Listed, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move |uri: Uri| answer(uri, later));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let deadline = Instant::now() + deadline;
    let listed = any_version(&client, Kind::ReplicationLink, None, deadline).await;
    server.abort();
    listed
}

fn note(listed: Listed) -> Note {
    assert!(listed.is_short() || listed.note.as_ref().unwrap().kind == NoteKind::Truncated);
    notes(&[listed]).remove(0)
}

#[tokio::test]
async fn pages_that_came_are_kept_when_a_later_one_does_not() {
    for (later, why) in [
        (Later::Silent, "no answer within 5 s"),
        (Later::Gone, "answered 410: too old"),
        (Later::Elsewhere, "cannot be sent back"),
    ] {
        let listed = listed(later, Duration::from_secs(2)).await;
        assert_eq!(listed.objects.len(), PAGE);
        assert!(!listed.is_nothing() && listed.is_short());
        let note = note(listed);
        assert_eq!((note.kind, note.needs_person), (NoteKind::Incomplete, true));
        assert!(
            note.text.contains("only the first 500 replicationlinks came") && note.text.contains(why),
            "{}",
            note.text
        );
    }
}

#[tokio::test]
async fn more_objects_than_are_read_need_a_person_for_nobody_knows_how_the_rest_is() {
    let listed = listed(Later::Endless, Duration::from_secs(60)).await;
    assert_eq!(listed.objects.len(), MAX_OBJECTS);
    let note = note(listed);
    assert_eq!((note.kind, note.needs_person), (NoteKind::Truncated, true));
    assert!(
        note.text
            .contains("only the first 5000 replicationlinks are shown"),
        "{}",
        note.text
    );
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_not_an_empty_fleet() {
    let failure = asked(Later::Login, Duration::from_secs(60)).await.err();
    let Some(Failure::Down(why)) = failure else {
        panic!("{failure:?}");
    };
    assert!(
        why.contains("no Kubernetes API server") && why.contains("please"),
        "{why}"
    );
}

#[test]
fn a_server_that_went_away_between_two_lists_is_told_once() {
    let lost = |kind, why: &str| Listed {
        kind,
        objects: Vec::new(),
        at: None,
        note: Some(shortfall(NoteKind::Unreachable, why.to_owned(), true)),
    };
    let forbidden = Listed {
        note: Some(shortfall(NoteKind::Forbidden, "no permission".to_owned(), true)),
        ..lost(Kind::BridgePipeline, "")
    };
    let mut notes = notes(&[
        lost(Kind::EdgeCluster, "connection reset"),
        forbidden,
        lost(Kind::ReplicationLink, "connection refused"),
    ]);
    keep_one_unreachable(&mut notes);
    let kinds: Vec<NoteKind> = notes.iter().map(|note| note.kind).collect();
    assert_eq!(kinds, [NoteKind::Unreachable, NoteKind::Forbidden]);
}
