//! A real API server with etcd, without controllers, scheduler and kubelet: what a StatefulSet asks for does not
//! happen by itself, so that tests play the part of the rest of Kubernetes. One for all tests of a process, each with a
//! namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::certificates::Authority;
use super::ports::free_port;
use super::process::{Process, data_dir};
use super::tools::tool;
use super::wait::{PATIENCE, eventually};

/// The operator's group, which has the rights that the chart gives it, and no others.
const OPERATORS: &str = "tributary-operators";
/// A user without any rights but those that a test gives it.
pub(crate) const OUTSIDER: &str = "outsider";

/// A running API server.
pub(crate) struct ApiServer {
    url: String,
    authority: String,
    admin: String,
    operator: String,
    outsider: String,
    dir: PathBuf,
    etcd: Process,
    server: Process,
}

/// The server that all tests of this process share, with the CRDs and the chart's ClusterRole installed.
pub(crate) async fn shared() -> &'static ApiServer {
    static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
    SHARED.get_or_init(ApiServer::start).await
}

impl ApiServer {
    /// Starts a server of a test's own, for what must not happen to the others.
    pub(crate) async fn start() -> Self {
        let dir = data_dir("apiserver");
        let (etcd, etcd_url) = start_etcd(&dir);
        let authority = Authority::new("apiserver tests");
        let pair = authority.server(&["127.0.0.1", "localhost"]);
        let key = KeyPair::generate().expect("a key");
        let token = || Uuid::new_v4().simple().to_string();
        let (admin, operator, outsider) = (token(), token(), token());
        let file = |name: &str, text: &str| fs::write(dir.join(name), text).expect("write");
        file("server.crt", &pair.certificate);
        file("server.key", &pair.key);
        file("sa.key", &key.serialize_pem());
        file("sa.pub", &key.public_key_pem());
        file(
            "tokens.csv",
            &format!(
                "{admin},admin,admin,system:masters\n{operator},operator,operator,{OPERATORS}\n\
                 {outsider},{OUTSIDER},{OUTSIDER}\n"
            ),
        );
        let port = free_port();
        let path = |name: &str| dir.join(name).display().to_string();
        let mut command = Command::new(tool("kube-apiserver"));
        command.args([
            format!("--etcd-servers={etcd_url}"),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", path("server.crt")),
            format!("--tls-private-key-file={}", path("server.key")),
            format!("--token-auth-file={}", path("tokens.csv")),
            format!("--service-account-key-file={}", path("sa.pub")),
            format!("--service-account-signing-key-file={}", path("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--service-cluster-ip-range=10.96.0.0/20".into(),
            "--authorization-mode=RBAC".into(),
            // Nobody makes service accounts here.
            "--disable-admission-plugins=ServiceAccount".into(),
            format!("--cert-dir={}", path("certs")),
        ]);
        let server = Process::start("kube-apiserver", &command);
        let url = format!("https://127.0.0.1:{port}");
        let mut started = Self {
            url,
            authority: authority.pem(),
            admin,
            operator,
            outsider,
            dir,
            etcd,
            server,
        };
        started.wait_until_ready().await;
        started.install_crds().await;
        started.install_role().await;
        started
    }

    async fn wait_until_ready(&mut self) {
        let client = self.admin();
        let Self { etcd, server, .. } = self;
        eventually("the API server to start", PATIENCE, async || {
            etcd.assert_running();
            server.assert_running();
            client.apiserver_version().await.map_err(|e| e.to_string())?;
            Api::<Namespace>::all(client.clone())
                .get("default")
                .await
                .map_err(|e| e.to_string())
        })
        .await;
    }

    /// A client of this test's runtime that may do everything.
    pub(crate) fn admin(&self) -> Client {
        self.client(&self.admin)
    }

    /// A client of this test's runtime with the rights that the chart gives the operator.
    pub(crate) fn operator(&self) -> Client {
        self.client(&self.operator)
    }

    fn client(&self, token: &str) -> Client {
        // Set already by another test: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = Config::new(self.url.parse().expect("a URL"));
        let certificates = rustls_pki(&self.authority);
        config.root_cert = Some(certificates);
        config.auth_info.token = Some(token.to_owned().into());
        Client::try_from(config).expect("a client")
    }

    /// Where it is reached, and the file with its CA's certificate.
    pub(crate) fn address(&self) -> (&str, PathBuf) {
        let ca = self.dir.join("ca.crt");
        fs::write(&ca, &self.authority).expect("write");
        (&self.url, ca)
    }

    /// The token of a user who may do everything.
    pub(crate) fn admin_token(&self) -> &str {
        &self.admin
    }

    /// The token of [`OUTSIDER`].
    pub(crate) fn outsider_token(&self) -> &str {
        &self.outsider
    }

    /// A new namespace.
    pub(crate) async fn namespace(&self, what: &str) -> String {
        let name = format!("{what}-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::all(self.admin())
            .create(&PostParams::default(), &namespace)
            .await
            .expect("a namespace");
        name
    }

    /// Stops answering, as if the line to it were cut, until [`resume`](Self::resume).
    pub(crate) fn pause(&self) {
        self.server.signal("STOP");
    }

    /// Answers again.
    pub(crate) fn resume(&self) {
        self.server.signal("CONT");
    }

    async fn install_crds(&self) {
        for (_, crd) in tributary::api::crds() {
            apply_crd(&self.admin(), &crd).await;
        }
    }

    /// Grants what the chart grants: its rules are read from the chart itself.
    async fn install_role(&self) {
        let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/tributary/templates/_helpers.tpl");
        let text = fs::read_to_string(helpers).expect("the chart");
        let (_, rules) = text
            .split_once(r#"define "tributary.rules" -}}"#)
            .expect("the chart's rules");
        let (rules, _) = rules.split_once("{{- end").expect("the end of the chart's rules");
        let mut rules: Vec<Value> = serde_yaml::from_str(rules).expect("YAML");
        rules.push(
            json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "verbs": ["create", "get", "update"]}),
        );
        let name = "tributary";
        let role: ClusterRole =
            serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).expect("a role");
        let binding = ClusterRoleBinding {
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".into(),
                kind: "ClusterRole".into(),
                name: name.into(),
            },
            subjects: Some(vec![Subject {
                kind: "Group".into(),
                name: OPERATORS.into(),
                ..Subject::default()
            }]),
        };
        let client = self.admin();
        Api::all(client.clone())
            .create(&PostParams::default(), &role)
            .await
            .expect("a role");
        Api::all(client)
            .create(&PostParams::default(), &binding)
            .await
            .expect("a binding");
    }
}

/// Applies a CRD and waits until its objects are served.
pub(crate) async fn apply_crd(client: &Client, crd: &CustomResourceDefinition) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("tests").force();
    let name = crd.name_any();
    api.patch(&name, &params, &Patch::Apply(crd))
        .await
        .unwrap_or_else(|e| panic!("CRD {name}: {e}"));
    eventually("the CRD to be established", PATIENCE, async || {
        let crd = api.get(&name).await.map_err(|e| e.to_string())?;
        let conditions = crd.status.and_then(|s| s.conditions).unwrap_or_default();
        match conditions.iter().find(|c| c.type_ == "Established") {
            Some(c) if c.status == "True" => Ok(()),
            _ => Err(format!("{conditions:?}")),
        }
    })
    .await;
}

/// Plays scheduler and kubelet: creates the pod that a StatefulSet asks for, running at `ip` (any of 127/8, so that a
/// test can answer there).
pub(crate) async fn run_pod(
    client: &Client,
    namespace: &str,
    stateful_set: &str,
    ordinal: u32,
    ip: &str,
) -> Pod {
    use k8s_openapi::api::apps::v1::StatefulSet;
    let set: StatefulSet = Api::namespaced(client.clone(), namespace)
        .get(stateful_set)
        .await
        .expect("the StatefulSet");
    let wanted = set.spec.expect("a spec");
    let template = wanted.template;
    let mut spec = template.spec.expect("a pod's spec");
    spec.node_name = Some("node".into());
    let claims = wanted.volume_claim_templates.unwrap_or_default();
    let claims = claims.iter().map(|claim| {
        let volume = claim.name_any();
        let name = format!("{volume}-{stateful_set}-{ordinal}");
        serde_json::from_value(json!({"name": volume, "persistentVolumeClaim": {"claimName": name}}))
            .expect("a volume")
    });
    spec.volumes.get_or_insert_default().extend(claims);
    let meta = template.metadata.expect("metadata");
    let name = format!("{stateful_set}-{ordinal}");
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: meta.labels,
            annotations: meta.annotations,
            ..ObjectMeta::default()
        },
        spec: Some(spec.clone()),
        status: None,
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &pod).await.expect("a pod");
    let containers: Vec<Value> = spec
        .containers
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "image": c.image, "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            })
        })
        .collect();
    let status = json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": containers,
    }});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .expect("a pod's status")
}

fn start_etcd(dir: &Path) -> (Process, String) {
    let (client, peer) = (free_port(), free_port());
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let mut command = Command::new(tool("etcd"));
    command.args([
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
    ]);
    (Process::start("etcd", &command), client)
}

fn rustls_pki(pem: &str) -> Vec<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|c| c.expect("a certificate").to_vec())
        .collect()
}
