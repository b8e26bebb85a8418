//! What a person sees when a context does not answer, or is none.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{Person, factory, notes, output_of};
use crate::harness::apiserver::{ApiServer, shared};
use crate::harness::fake_server::{Behaviour, FakeServer};
use crate::harness::ports::free_port;

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_beside_those_that_do() {
    let server = shared().await;
    let namespace = server.namespace("status-beside").await;
    factory(&server.admin(), &namespace).await;
    let silent = FakeServer::start(Behaviour::Silent).await;
    let url = format!("https://{}", silent.address());
    let person = Person::new()
        .entry(
            "silent",
            &json!({"server": url, "insecure-skip-tls-verify": true}),
            &json!({}),
            "default",
        )
        .entry(
            "refused",
            &json!({"server": format!("http://127.0.0.1:{}", free_port())}),
            &json!({}),
            "default",
        )
        .context("munich", server, server.admin_token(), "default");
    let arguments = format!("--context silent,nonsense --context refused,munich -n {namespace}");
    let said = person.asks(&arguments).await.expect(1);
    said.shows(&format!("{url}: no answer within 5 s"));
    said.shows("the kubeconfig has no such context; it has: silent, refused, munich");
    said.shows("refused")
        .shows("link to-eu")
        .shows("3 contexts need a person");
    let document = person
        .asks(&format!("{arguments} -o json"))
        .await
        .expect(1)
        .json();
    assert_eq!(notes(&document, "silent"), ["Unreachable"]);
    assert_eq!(notes(&document, "nonsense"), ["UnknownContext"]);
    assert_eq!(notes(&document, "refused"), ["Unreachable"]);
    assert_eq!(notes(&document, "munich"), Vec::<String>::new());
}

#[tokio::test]
async fn of_a_site_that_went_away_the_last_is_shown_with_its_age() {
    let server = ApiServer::start().await;
    let namespace = server.namespace("status-away").await;
    factory(&server.admin(), &namespace).await;
    let person = Person::new().context("munich", &server, server.admin_token(), "default");
    person.asks("").await.expect(0).shows("link to-eu");
    server.pause();
    let said = person.asks("").await;
    let document = person.asks(&format!("-n {namespace} -o json")).await;
    server.resume();
    let said = said.expect(1);
    said.shows("no answer within 5 s")
        .shows("what is shown was seen")
        .shows("link to-eu");
    let document = document.expect(1).json();
    assert_eq!(notes(&document, "munich"), ["Unreachable", "LastSeen"]);
    assert_eq!(document["contexts"][0]["reachable"], false);
    assert_eq!(document["contexts"][0]["namespaces"][0]["name"], json!(namespace));
}

#[tokio::test]
async fn what_is_no_api_server_is_told_as_that() {
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 18\r\nconnection: close\r\n\r\n<html>Login</html>";
    let portal = FakeServer::start(Behaviour::Answers(Bytes::from(page))).await;
    let person = Person::new().entry(
        "portal",
        &json!({"server": format!("http://{}", portal.address())}),
        &json!({}),
        "default",
    );
    person
        .asks("")
        .await
        .expect(1)
        .shows("what answers is no Kubernetes API server")
        .shows("<html>Login</html>");
}

/// A proxy that opens one tunnel after the other, for whoever asks with CONNECT.
async fn tunnels(listener: TcpListener, opened: Arc<AtomicUsize>) {
    loop {
        let (mut client, _) = listener.accept().await.expect("accept");
        opened.fetch_add(1, Ordering::Relaxed);
        crate::harness::spawn(async move {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                client.read_exact(&mut byte).await.expect("a request");
                head.extend(byte);
            }
            let head = String::from_utf8(head).expect("text");
            let wanted = head.strip_prefix("CONNECT ").expect("a tunnel is asked for");
            let address = wanted.split(' ').next().expect("an address");
            let mut server = TcpStream::connect(address).await.expect("the server");
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("write");
            // Either side may end it.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_is_used_whatever_the_environment_says() {
    let server = shared().await;
    let namespace = server.namespace("status-proxy").await;
    factory(&server.admin(), &namespace).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let opened = Arc::new(AtomicUsize::new(0));
    crate::harness::spawn(tunnels(listener, opened.clone()));
    let (url, ca) = server.address();
    let user = json!({"token": server.admin_token()});
    let person = Person::new()
        .entry(
            "behind",
            &json!({"server": url, "certificate-authority": &ca, "proxy-url": proxy}),
            &user,
            "default",
        )
        .entry(
            "strange",
            &json!({"server": url, "certificate-authority": &ca, "proxy-url": "ftp://me:geheim@127.0.0.1"}),
            &user,
            "default",
        )
        .context("direct", server, server.admin_token(), "default");
    let asks = |context: &str| format!("--context {context} -n {namespace}");
    let said = person.asks(&asks("strange")).await.expect(1);
    said.shows("must begin with http://, https:// or socks5://");
    assert!(!said.out.contains("geheim"), "{said:?}");
    // What the environment says is neither for this machine's own servers nor against the kubeconfig.
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let tunnelled = || opened.load(Ordering::Relaxed);
    for (context, uses_it) in [("direct", false), ("behind", true)] {
        let binary = Path::new(env!("CARGO_BIN_EXE_tributary"));
        let mut command = person.program(binary, &format!("status {}", asks(context)));
        command
            .env("HTTPS_PROXY", &nowhere)
            .env("NO_PROXY", "127.0.0.0/8");
        output_of(command).await.expect(0).shows("link to-eu");
        assert_eq!(tunnelled() > 0, uses_it, "{context}");
    }
}

#[tokio::test]
async fn a_credential_plugin_that_fails_or_hangs_is_told() {
    let exec = |arguments: &[&str]| {
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": arguments, "interactiveMode": "IfAvailable"}})
    };
    let cluster = json!({"server": format!("http://127.0.0.1:{}", free_port())});
    let person = Person::new()
        .entry(
            "fails",
            &cluster,
            &exec(&["-c", "echo secret; echo please log in >&2; exit 1"]),
            "default",
        )
        .entry(
            "hangs",
            &cluster,
            &exec(&["-c", "exec tail -f /dev/null --pid=$PPID"]),
            "default",
        );
    let said = person.asks("--context fails,hangs").await.expect(1);
    said.shows("please log in").shows("the credential plugin hangs");
    assert!(!said.out.contains("secret"), "{said:?}");
}

#[tokio::test]
async fn nothing_to_ask_is_a_failure_with_a_remedy() {
    let person = Person::new().entry(
        "only",
        &json!({"server": "http://127.0.0.1:1"}),
        &json!({}),
        "default",
    );
    let said = person.asks("--context olny").await.expect(3);
    assert!(said.err.contains("has no context olny; it has: only"), "{said:?}");
    let said = person.asks("--kubeconfig /no/such/file").await.expect(3);
    assert!(said.err.contains("/no/such/file"), "{said:?}");
    let said = person.asks("--watch").await.expect(3);
    assert!(said.err.contains("terminal"), "{said:?}");
}
