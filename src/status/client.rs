//! One context's API server: a client, and its answers as JSON with the server's own time.

use std::error::Error;

use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::client::{AuthError, Body};
use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde_json::Value;
use tokio::sync::oneshot;

use super::context::Access;
use super::proxy;

/// An answer that is larger is not read: a page of 500 objects has a few MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// What is told of an answer that makes no sense.
const MAX_TOLD_CHARS: usize = 200;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server said no: HTTP status and its words.
    Refused(u16, String),
    /// Nothing, or nothing sensible, came back.
    Down(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) body: Value,
    /// The server's clock.
    pub(super) at: Option<Timestamp>,
}

/// A client that is being made.
pub(super) type Pending = oneshot::Receiver<Result<Client, String>>;

/// Begins to make a client. In a thread of its own that nobody must wait for: a credential plugin is a foreign program,
/// and may hang.
pub(super) fn connect(access: Access, context: &str) -> Pending {
    let context = context.to_owned();
    let runtime = tokio::runtime::Handle::current();
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let client = runtime.block_on(client(access, context));
        // Nobody waits any more.
        let _ = tell.send(client);
    });
    told
}

async fn client(access: Access, context: String) -> Result<Client, String> {
    let mut config = match access {
        Access::InCluster => Config::incluster().map_err(|e| chain(&e))?,
        Access::Kubeconfig(kubeconfig) => of_kubeconfig(&kubeconfig, context).await?,
    };
    // Each question has its deadline; a second one that ends with it would tell the same in other words.
    config.connect_timeout = None;
    // What a busy server says is told, not waited out.
    config.default_retry = false;
    if let Some(exec) = &mut config.auth_info.exec {
        // Its questions would be lost behind the tree.
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
    Client::try_from(config).map_err(|e| told(&e))
}

async fn of_kubeconfig(kubeconfig: &Kubeconfig, context: String) -> Result<Config, String> {
    let cluster = kubeconfig.contexts.iter().find(|c| c.name == context);
    let cluster = cluster.and_then(|c| c.context.as_ref()).map(|c| &c.cluster);
    let cluster = kubeconfig.clusters.iter().find(|c| Some(&c.name) == cluster);
    let proxy = cluster.and_then(|c| c.cluster.as_ref()?.proxy_url.clone());
    let options = KubeConfigOptions {
        context: Some(context),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await;
    let mut config = config.map_err(|e| match e {
        KubeconfigError::ParseNoProxy(why) => {
            format!("NO_PROXY cannot be read: {why}; take out what is empty, such as a comma at its end")
        }
        // The address may hold a password.
        KubeconfigError::ParseProxyUrl(_) => {
            "proxy-url in the kubeconfig, or HTTPS_PROXY, is no address of a proxy".to_owned()
        }
        other => chain(&other),
    })?;
    // kube compares NO_PROXY with the proxy instead of the server (kube 5.0).
    config.proxy_url = proxy::chosen(&config.cluster_url, proxy.as_deref(), |name| {
        std::env::var(name).ok()
    })?;
    Ok(config)
}

/// Asks for a path.
pub(super) async fn get(client: &Client, path: &str) -> Result<Reply, Failure> {
    let down = |what: String| Failure::Down(what);
    let request = Request::get(path)
        .header("accept", "application/json")
        .body(Body::empty())
        .map_err(|e| down(e.to_string()))?;
    let response = client.send(request).await.map_err(|e| down(told(&e)))?;
    let status = response.status();
    let at = response
        .headers()
        .get("date")
        .and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await;
    let bytes = body.map_err(|e| down(chain(&*e)))?.to_bytes();
    let json = serde_json::from_slice::<Value>(&bytes);
    if !status.is_success() {
        let message = json.ok().and_then(|v| v["message"].as_str().map(str::to_owned));
        let message = message.map_or_else(|| beginning(&bytes), |m| beginning(m.as_bytes()));
        return Err(Failure::Refused(status.as_u16(), message));
    }
    match json {
        Ok(body) if body.is_object() => Ok(Reply { body, at }),
        _ => Err(stranger(&bytes)),
    }
}

/// What answers speaks another language: a login page, another program behind the same address.
pub(super) fn stranger(said: &[u8]) -> Failure {
    Failure::Down(format!(
        "what answers is no Kubernetes API server: it said {:?}",
        beginning(said)
    ))
}

/// Whether an answer means that what was asked for is not there.
pub(super) fn is_missing(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(code, _) if *code == StatusCode::NOT_FOUND)
}

fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().take(MAX_TOLD_CHARS).collect()
}

/// An error of the client in words, without what may hold a secret.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
            // Arguments and standard output may hold credentials.
            let words = String::from_utf8_lossy(&out.stderr);
            let last = words.trim().lines().last().unwrap_or_default();
            let last: String = last.chars().take(MAX_TOLD_CHARS).collect();
            format!("the credential plugin failed ({}): {last}", out.status)
        }
        kube::Error::Auth(AuthError::AuthExecStart(why)) => {
            format!("the credential plugin cannot be started: {why}")
        }
        kube::Error::Service(inner) => chain(&**inner),
        other => chain(other),
    }
}

/// The innermost causes say what happened; the layers above only say that something did.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut layers = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        layers.push(inner.to_string());
        cause = inner.source();
    }
    let last = layers.pop().unwrap_or_default();
    match layers.pop() {
        Some(above) if !above.contains(&last) && above.len() < MAX_TOLD_CHARS => format!("{above}: {last}"),
        Some(above) if above.contains(&last) && above.len() < MAX_TOLD_CHARS => above,
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{ExitStatus, Output};

    #[test]
    fn a_failed_credential_plugin_is_told_without_its_arguments_and_output() {
        let error = kube::Error::Auth(AuthError::AuthExecRun {
            cmd: "login --password secret1".into(),
            out: Box::new(Output {
                status: ExitStatus::from_raw(256),
                stdout: b"token secret2".to_vec(),
                stderr: b"a stack\nplease log in\n".to_vec(),
            }),
        });
        let text = told(&error);
        assert!(text.ends_with("please log in"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
