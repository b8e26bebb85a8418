use std::sync::atomic::{AtomicBool, Ordering};

use axum::serve::Listener;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

struct Served {
    addr: SocketAddr,
    token: CancellationToken,
    task: JoinHandle<Result<(), HttpError>>,
}

async fn serve(server: HttpServer) -> Served {
    let running = server.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (addr, token) = (running.local_addr(), CancellationToken::new());
    Served {
        addr,
        token: token.clone(),
        task: tokio::spawn(running.serve(token)),
    }
}

async fn fetch(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_are_openmetrics_with_the_process_figures() {
    let mut registry = Registry::default();
    let counter = Counter::<u64>::default();
    registry.register("tributary_things", "Things", counter.clone());
    counter.inc_by(3);
    let served = serve(HttpServer::new(registry)).await;
    let answer = fetch(served.addr, "/metrics").await;
    assert!(answer.contains(OPENMETRICS), "{answer}");
    assert!(answer.contains("\ntributary_things_total 3\n"), "{answer}");
    assert!(answer.contains("\nprocess_resident_memory_bytes "), "{answer}");
    assert!(answer.contains("\nprocess_cpu_seconds_total "), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[test]
fn what_every_process_serves_is_in_the_book() {
    let server = HttpServer::new(Registry::default());
    crate::telemetry::documented::assert_documented("Every process", &server.registry);
}

#[tokio::test]
async fn readiness_follows_its_check_and_gives_the_reason_while_liveness_stays() {
    let subscribed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&subscribed);
    let server = HttpServer::new(Registry::default()).ready(move || {
        if seen.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("not subscribed".to_owned())
        }
    });
    let served = serve(server).await;
    let answer = fetch(served.addr, "/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.ends_with("not subscribed\n"),
        "{answer}"
    );
    assert!(fetch(served.addr, "/healthz").await.starts_with("HTTP/1.1 200"));
    subscribed.store(true, Ordering::Relaxed);
    assert!(fetch(served.addr, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn progress_is_json_or_not_there() {
    let with = serve(HttpServer::new(Registry::default()).progress(|| vec![1, 2])).await;
    assert!(fetch(with.addr, "/progress").await.ends_with("\r\n\r\n[1,2]"));
    let without = serve(HttpServer::new(Registry::default())).await;
    assert!(fetch(without.addr, "/progress").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_client_that_says_nothing() {
    let served = serve(HttpServer::new(Registry::default())).await;
    let _mute = TcpStream::connect(served.addr).await.unwrap();
    assert!(fetch(served.addr, "/healthz").await.starts_with("HTTP/1.1 200"));
    served.token.cancel();
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_used_address_is_refused_by_name() {
    let served = serve(HttpServer::new(Registry::default())).await;
    let error = HttpServer::new(Registry::default())
        .bind(served.addr)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&served.addr.to_string()), "{error}");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_until_one_ends() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut limited = LimitedListener::new(listener, 1, IDLE_LIMIT);
    let _clients = (
        TcpStream::connect(addr).await.unwrap(),
        TcpStream::connect(addr).await.unwrap(),
    );
    let (first, _) = limited.accept().await;
    let mut second = std::pin::pin!(limited.accept());
    // The second client is in the backlog already, and every 61 turns the runtime looks at its sockets.
    for _ in 0..1000 {
        assert!(
            futures::poll!(second.as_mut()).is_pending(),
            "accepted beyond the limit"
        );
        tokio::task::yield_now().await;
    }
    drop(first);
    second.await;
}

#[tokio::test]
async fn a_connection_that_stands_still_is_closed() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let limited = LimitedListener::new(listener, 1, Duration::from_millis(20));
    tokio::spawn(axum::serve(limited, router(HttpServer::new(Registry::default()))).into_future());
    let mut mute = TcpStream::connect(addr).await.unwrap();
    mute.write_all(b"GET /heal").await.unwrap();
    // Ends only when the server closes: end of file or a reset.
    let mut rest = Vec::new();
    let _ = mute.read_to_end(&mut rest).await;
}
