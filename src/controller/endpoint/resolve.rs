//! From a spec's endpoint to a connection, or to what is missing.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::super::{Context, Error, Problem};
use super::pod::{PodEndpoint, SecretMounts};
use crate::api::{
    ClientTlsMode, ClusterRef, EdgeCluster, ExternalKafka, KafkaAuthenticationType, KafkaEndpoint,
    ListenerType, Reason, ScramMechanism,
};
use crate::kafka::connection::{
    BrokerAddress, ClientCertificate, KafkaConnection, Sasl, SaslMechanism, TlsMaterial,
};
use crate::kafka::endpoint::{self as file, AuthenticationFile, KafkaEndpointFile, TlsFile};

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
