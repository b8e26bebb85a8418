//! From a spec's endpoint to a connection, or to what is missing.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;

use super::super::{Context, Error, Problem};
use super::pod::{PodEndpoint, SecretMounts};
use crate::api::{
    CaSource, ClientTlsMode, ClusterRef, EdgeCluster, ExternalKafka, KafkaAuthenticationType, KafkaEndpoint,
    ListenerType, Reason, ScramMechanism, SecretKeyRef,
};
use crate::kafka::connection::{
    BrokerAddress, ClientCertificate, KafkaConnection, Sasl, SaslMechanism, TlsMaterial,
};
use crate::kafka::endpoint::{self as file, AuthenticationFile, KafkaEndpointFile, TlsFile};
use crate::telemetry::Redacted;

/// How long what was read from a Secret or ConfigMap is used before it is read again.
pub const SECRET_TTL: Duration = Duration::from_secs(30);

/// A Kafka endpoint with everything that is needed to use it.
#[derive(Clone, Debug)]
pub struct ResolvedEndpoint {
    /// For the operator's own clients.
    pub connection: KafkaConnection,
    /// Changes with anything in `connection`, secrets included.
    pub digest: u64,
    /// For the data plane's pods.
    pub pod: PodEndpoint,
    /// For NetworkPolicies.
    pub peer: KafkaPeer,
}

/// Where the brokers are, as a NetworkPolicy needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaPeer {
    /// The brokers of an EdgeCluster of the same namespace, at this container port.
    Cluster {
        /// Its name.
        name: String,
        /// The listener's container port.
        port: i32,
    },
    /// Anywhere; these are the addresses to begin with.
    External {
        /// The bootstrap addresses.
        addresses: Vec<BrokerAddress>,
    },
}

type Data = BTreeMap<String, Vec<u8>>;

/// What was read from Secrets and ConfigMaps in the last [`SECRET_TTL`]. `Debug` shows nothing of it.
#[derive(Default)]
pub struct Credentials(Mutex<HashMap<(&'static str, String, String), (Instant, Arc<Data>)>>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

impl Credentials {
    fn get(&self, key: &(&'static str, String, String)) -> Option<Arc<Data>> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, (read, _)| read.elapsed() < SECRET_TTL);
        found.get(key).map(|(_, data)| Arc::clone(data))
    }

    fn set(&self, key: (&'static str, String, String), data: Arc<Data>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, (Instant::now(), data));
    }
}

/// A finding, or a failure to look.
#[derive(Debug)]
pub enum Unresolved {
    /// The spec, or what it refers to, cannot be used.
    Problem(Problem),
    /// It is not known: the API server did not tell.
    Error(Error),
}

impl From<Problem> for Unresolved {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Unresolved {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Context {
    /// Resolves an endpoint of an object in `namespace`. `field` is its path for messages, such as `spec.target`;
    /// `peer` names its credentials' directory and volume.
    ///
    /// # Errors
    /// What is missing or wrong, as a [`Problem`] that names the field; or that the API server did not tell.
    pub async fn resolve_endpoint(
        &self,
        namespace: &str,
        field: &str,
        peer: &str,
        endpoint: &KafkaEndpoint,
    ) -> Result<ResolvedEndpoint, Unresolved> {
        match (&endpoint.cluster_ref, &endpoint.external) {
            (Some(reference), None) => {
                let cluster = self.caches().edge_cluster(namespace, &reference.name);
                Ok(cluster_endpoint(namespace, field, peer, reference, cluster)?)
            }
            (None, Some(external)) => self.external_endpoint(namespace, field, peer, external).await,
            _ => Err(Problem::new(
                Reason::InvalidSpec,
                field,
                "",
                "exactly one of clusterRef and external is needed",
                "set one of them",
            )
            .into()),
        }
    }

    async fn external_endpoint(
        &self,
        namespace: &str,
        field: &str,
        peer: &str,
        external: &ExternalKafka,
    ) -> Result<ResolvedEndpoint, Unresolved> {
        let field = format!("{field}.external");
        let mut addresses = Vec::new();
        for server in &external.bootstrap_servers {
            addresses.push(server.parse::<BrokerAddress>().map_err(|e| {
                let remedy = "write host:port, such as kafka.eu.example:9094";
                Problem::new(
                    Reason::InvalidSpec,
                    format!("{field}.bootstrapServers"),
                    server,
                    e.why,
                    remedy,
                )
            })?);
        }
        let mut mounts = SecretMounts::new(peer);
        let (tls, tls_file) = self.tls(namespace, &field, external, &mut mounts).await?;
        let (sasl, authentication) = self.sasl(namespace, &field, external, &mut mounts).await?;
        let mut connection = KafkaConnection::plaintext(external.bootstrap_servers.clone());
        (connection.tls, connection.sasl) = (tls, sasl);
        let file = KafkaEndpointFile {
            bootstrap_servers: external.bootstrap_servers.clone(),
            tls: tls_file,
            authentication,
        };
        Ok(ResolvedEndpoint {
            digest: digest(&connection),
            connection,
            pod: PodEndpoint { file, mounts },
            peer: KafkaPeer::External { addresses },
        })
    }

    async fn tls(
        &self,
        namespace: &str,
        field: &str,
        external: &ExternalKafka,
        mounts: &mut SecretMounts,
    ) -> Result<(Option<TlsMaterial>, TlsFile), Unresolved> {
        let authentication = &external.authentication;
        if external.tls.mode == ClientTlsMode::Disabled {
            if authentication.type_ == KafkaAuthenticationType::Mtls {
                let (why, remedy) = ("needs an encrypted connection", "set tls.mode to Verify");
                let field = format!("{field}.authentication.type");
                return Err(Problem::new(Reason::InvalidSpec, field, "Mtls", why, remedy).into());
            }
            return Ok((None, TlsFile::Disabled {}));
        }
        let (mut material, mut ca_file) = (TlsMaterial::default(), None);
        if let Some(ca) = &external.tls.ca {
            material.ca_pem = Some(self.read_ca(namespace, &format!("{field}.tls.ca"), ca).await?);
            ca_file = mounts.ca(ca, "ca.crt").map(Into::into);
        }
        let (mut certificate_file, mut key_file) = (None, None);
        if let (KafkaAuthenticationType::Mtls, Some(certificate), Some(key)) = (
            authentication.type_,
            &authentication.certificate_secret_ref,
            &authentication.key_secret_ref,
        ) {
            let field = format!("{field}.authentication");
            material.client = Some(ClientCertificate {
                certificate_pem: self
                    .read_certificates(namespace, &format!("{field}.certificateSecretRef"), certificate)
                    .await?,
                key_pem: self
                    .read_private_key(namespace, &format!("{field}.keySecretRef"), key)
                    .await?,
            });
            certificate_file = Some(mounts.secret(certificate, "tls.crt").into());
            key_file = Some(mounts.secret(key, "tls.key").into());
        }
        Ok((
            Some(material),
            TlsFile::Verify {
                ca_file,
                certificate_file,
                key_file,
            },
        ))
    }

    async fn sasl(
        &self,
        namespace: &str,
        field: &str,
        external: &ExternalKafka,
        mounts: &mut SecretMounts,
    ) -> Result<(Option<Sasl>, AuthenticationFile), Unresolved> {
        let authentication = &external.authentication;
        let mechanism = match (authentication.type_, authentication.mechanism) {
            (KafkaAuthenticationType::None, _) => return Ok((None, AuthenticationFile::None {})),
            (KafkaAuthenticationType::Mtls, _) => return Ok((None, AuthenticationFile::Mtls {})),
            (KafkaAuthenticationType::Plain, _) => SaslMechanism::Plain,
            (KafkaAuthenticationType::Scram, Some(ScramMechanism::ScramSha256)) => SaslMechanism::ScramSha256,
            (KafkaAuthenticationType::Scram, _) => SaslMechanism::ScramSha512,
        };
        let field = format!("{field}.authentication");
        let (Some(username), Some(reference)) =
            (&authentication.username, &authentication.password_secret_ref)
        else {
            let (why, remedy) = ("username and passwordSecretRef are needed", "set both");
            return Err(Problem::new(Reason::InvalidSpec, field, mechanism.as_str(), why, remedy).into());
        };
        let password = self
            .read_password(namespace, &format!("{field}.passwordSecretRef"), reference)
            .await?;
        let password_file = mounts.secret(reference, "password").into();
        let username = username.clone();
        let file = match mechanism {
            SaslMechanism::Plain => AuthenticationFile::Plain {
                username: username.clone(),
                password_file,
            },
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => AuthenticationFile::Scram {
                mechanism: match mechanism {
                    SaslMechanism::ScramSha256 => file::ScramMechanism::ScramSha256,
                    _ => file::ScramMechanism::ScramSha512,
                },
                username: username.clone(),
                password_file,
            },
        };
        Ok((
            Some(Sasl {
                mechanism,
                username,
                password,
            }),
            file,
        ))
    }

    /// Reads a CA bundle and checks that it is one.
    ///
    /// # Errors
    /// What is missing or wrong, or that the API server did not tell.
    pub async fn read_ca(
        &self,
        namespace: &str,
        field: &str,
        source: &CaSource,
    ) -> Result<String, Unresolved> {
        let (kind, name, key, field) = match (&source.secret_ref, &source.config_map_ref) {
            (Some(secret), _) => ("Secret", &secret.name, &secret.key, format!("{field}.secretRef")),
            (None, Some(map)) => ("ConfigMap", &map.name, &map.key, format!("{field}.configMapRef")),
            (None, None) => {
                let (why, remedy) = ("secretRef or configMapRef is needed", "set one of them");
                return Err(Problem::new(Reason::InvalidSpec, field, "", why, remedy).into());
            }
        };
        let text = self.read_key(namespace, &field, kind, name, key).await?;
        check_certificates(&field, kind, name, key, &text)?;
        Ok(text)
    }

    /// Reads a certificate chain and checks that it is one.
    ///
    /// # Errors
    /// What is missing or wrong, or that the API server did not tell.
    pub async fn read_certificates(
        &self,
        namespace: &str,
        field: &str,
        reference: &SecretKeyRef,
    ) -> Result<String, Unresolved> {
        let text = self
            .read_key(namespace, field, "Secret", &reference.name, &reference.key)
            .await?;
        check_certificates(field, "Secret", &reference.name, &reference.key, &text)?;
        Ok(text)
    }

    /// Reads a private key and checks that it is one.
    ///
    /// # Errors
    /// What is missing or wrong, or that the API server did not tell.
    pub async fn read_private_key(
        &self,
        namespace: &str,
        field: &str,
        reference: &SecretKeyRef,
    ) -> Result<Redacted, Unresolved> {
        let text = self
            .read_key(namespace, field, "Secret", &reference.name, &reference.key)
            .await?;
        if PrivateKeyDer::from_pem_slice(text.as_bytes()).is_err() {
            let why = "has no unencrypted PEM private key";
            let remedy = "store it as PKCS#8, for example with: openssl pkcs8 -topk8 -nocrypt";
            return Err(invalid(field, "Secret", &reference.name, &reference.key, why, remedy).into());
        }
        Ok(Redacted::new(text))
    }

    /// Reads a password; one trailing line end is not part of it.
    ///
    /// # Errors
    /// What is missing or wrong, or that the API server did not tell.
    pub async fn read_password(
        &self,
        namespace: &str,
        field: &str,
        reference: &SecretKeyRef,
    ) -> Result<Redacted, Unresolved> {
        let text = self
            .read_key(namespace, field, "Secret", &reference.name, &reference.key)
            .await?;
        let line = text
            .strip_suffix('\n')
            .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() || line.contains('\0') {
            let (why, remedy) = ("is empty or has a NUL byte", "store the password as plain text");
            return Err(invalid(field, "Secret", &reference.name, &reference.key, why, remedy).into());
        }
        Ok(Redacted::new(line))
    }

    async fn read_key(
        &self,
        namespace: &str,
        field: &str,
        kind: &'static str,
        name: &str,
        key: &str,
    ) -> Result<String, Unresolved> {
        let Some(data) = self.read_data(namespace, kind, name).await? else {
            let why = format!("there is no {kind} {name} in namespace {namespace}");
            let remedy = "create it, or correct the reference; this goes on by itself then";
            return Err(
                Problem::new(Reason::SecretNotFound, format!("{field}.name"), name, why, remedy).into(),
            );
        };
        let Some(value) = data.get(key).filter(|value| !value.is_empty()) else {
            let keys: Vec<_> = data.keys().map(String::as_str).collect();
            let why = format!(
                "{kind} {name} has no such key, or it is empty (it has: {})",
                keys.join(", ")
            );
            let remedy = "add the key, or correct the reference; this goes on by itself then";
            return Err(Problem::new(
                Reason::SecretKeyNotFound,
                format!("{field}.key"),
                key,
                why,
                remedy,
            )
            .into());
        };
        String::from_utf8(value.clone()).map_err(|_| {
            invalid(
                field,
                kind,
                name,
                key,
                "is not text in UTF-8",
                "store PEM or plain text",
            )
            .into()
        })
    }

    async fn read_data(
        &self,
        namespace: &str,
        kind: &'static str,
        name: &str,
    ) -> Result<Option<Arc<Data>>, Error> {
        let key = (kind, namespace.to_owned(), name.to_owned());
        if let Some(data) = self.credentials().get(&key) {
            return Ok(Some(data));
        }
        let what = || format!("read {kind} {namespace}/{name}");
        let data = if kind == "Secret" {
            let found = self
                .call(what, self.api::<Secret>(namespace).get_opt(name))
                .await?;
            found.map(|s| {
                s.data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(k, v)| (k, v.0))
                    .collect::<Data>()
            })
        } else {
            let found = self
                .call(what, self.api::<ConfigMap>(namespace).get_opt(name))
                .await?;
            found.map(|c| {
                c.data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(k, v)| (k, v.into_bytes()))
                    .collect()
            })
        };
        let Some(data) = data.map(Arc::new) else {
            return Ok(None);
        };
        self.credentials().set(key, Arc::clone(&data));
        Ok(Some(data))
    }
}

fn invalid(field: &str, kind: &str, name: &str, key: &str, why: &str, remedy: &str) -> Problem {
    let why = format!("key {key} of {kind} {name} {why}");
    Problem::new(
        Reason::CredentialsInvalid,
        field,
        format!("{name}/{key}"),
        why,
        remedy,
    )
}

fn check_certificates(field: &str, kind: &str, name: &str, key: &str, text: &str) -> Result<(), Problem> {
    let mut found = 0_usize;
    let good = CertificateDer::pem_slice_iter(text.as_bytes()).all(|item| {
        found += 1;
        item.is_ok()
    });
    if good && found > 0 {
        return Ok(());
    }
    let remedy = "store the certificates between their -----BEGIN CERTIFICATE----- lines";
    Err(invalid(
        field,
        kind,
        name,
        key,
        "has no PEM certificate, or a broken one",
        remedy,
    ))
}

/// The address of a cluster's listener. Internal ones follow from the spec; of others the status knows.
fn cluster_endpoint(
    namespace: &str,
    field: &str,
    peer: &str,
    reference: &ClusterRef,
    cluster: Option<Result<EdgeCluster, String>>,
) -> Result<ResolvedEndpoint, Problem> {
    let ClusterRef { name, listener } = reference;
    let name_field = format!("{field}.clusterRef.name");
    let Some(cluster) = cluster else {
        let why = format!("there is no EdgeCluster {name} in namespace {namespace}");
        let remedy = "correct the name, or create the EdgeCluster; use external for a Kafka elsewhere";
        return Err(Problem::new(
            Reason::ClusterNotFound,
            name_field,
            name,
            why,
            remedy,
        ));
    };
    let cluster = cluster.map_err(|error| {
        let why = format!("the stored EdgeCluster cannot be read: {error}");
        Problem::new(
            Reason::ClusterNotFound,
            name_field,
            name,
            why,
            "correct the EdgeCluster",
        )
    })?;
    let listener_field = format!("{field}.clusterRef.listener");
    let Some(found) = cluster.spec.listeners.iter().find(|l| l.name == *listener) else {
        let names: Vec<_> = cluster.spec.listeners.iter().map(|l| l.name.as_str()).collect();
        let why = format!(
            "EdgeCluster {name} has no such listener (it has: {})",
            names.join(", ")
        );
        return Err(Problem::new(
            Reason::ListenerNotFound,
            listener_field,
            listener,
            why,
            "correct the listener",
        ));
    };
    let address = match found.type_ {
        ListenerType::Internal => format!("{}:{}", bootstrap_host(name, namespace), found.port),
        ListenerType::NodePort => {
            let status = cluster
                .status
                .as_ref()
                .and_then(|s| s.listeners.iter().find(|l| l.name == *listener));
            status.map(|l| l.bootstrap_servers.clone()).ok_or_else(|| {
                let why = format!("EdgeCluster {name} has not published its address yet");
                Problem::new(
                    Reason::Progressing,
                    listener_field,
                    listener,
                    why,
                    "wait for it, or use an Internal one",
                )
            })?
        }
    };
    let servers: Vec<String> = address.split(',').map(str::to_owned).collect();
    let connection = KafkaConnection::plaintext(servers.clone());
    Ok(ResolvedEndpoint {
        digest: digest(&connection),
        connection,
        pod: PodEndpoint {
            file: KafkaEndpointFile::plaintext(servers),
            mounts: SecretMounts::new(peer),
        },
        peer: KafkaPeer::Cluster {
            name: name.clone(),
            port: found.port,
        },
    })
}

/// The name under which an EdgeCluster's Internal listeners are reached: that of its Service, which spreads over all
/// ready brokers.
#[must_use]
pub fn bootstrap_host(cluster: &str, namespace: &str) -> String {
    format!("{cluster}-kafka.{namespace}.svc")
}

fn digest(connection: &KafkaConnection) -> u64 {
    let mut hasher = DefaultHasher::new();
    connection.bootstrap_servers.hash(&mut hasher);
    if let Some(tls) = &connection.tls {
        tls.ca_pem.hash(&mut hasher);
        let client = tls.client.as_ref();
        client
            .map(|c| (c.certificate_pem.as_str(), c.key_pem.expose()))
            .hash(&mut hasher);
    }
    connection.tls.is_some().hash(&mut hasher);
    let sasl = connection.sasl.as_ref();
    sasl.map(|s| (s.mechanism.as_str(), s.username.as_str(), s.password.expose()))
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
