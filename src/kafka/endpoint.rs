//! A Kafka endpoint as the data plane's YAML files have it: addresses in the file, secrets in files beside it.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::connection::{
    AddressError, BrokerAddress, ClientCertificate, DEFAULT_CLIENT_ID, KafkaConnection, Sasl, SaslMechanism,
    TlsMaterial,
};
use crate::telemetry::Redacted;

/// Addresses that are tried, at most: the CRDs' bound.
pub const MAX_BOOTSTRAP_SERVERS: usize = 20;
/// Bound of one credential file; a bundle of every public CA is 230 KiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a Kafka cluster is and which files hold trust and credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaEndpointFile {
    /// `host:port` of some brokers, 1 to [`MAX_BOOTSTRAP_SERVERS`].
    pub bootstrap_servers: Vec<String>,
    /// TLS towards the brokers.
    pub tls: TlsFile,
    /// How we prove who we are.
    pub authentication: AuthenticationFile,
}

/// TLS of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", deny_unknown_fields)]
pub enum TlsFile {
    /// Plaintext.
    Disabled {},
    /// TLS; the broker's certificate and host name are verified.
    #[serde(rename_all = "camelCase")]
    Verify {
        /// PEM file of the CAs to trust; the system's roots without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<PathBuf>,
        /// PEM file of our certificate, leaf first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate_file: Option<PathBuf>,
        /// PEM file of our unencrypted private key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_file: Option<PathBuf>,
    },
}

/// Authentication of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum AuthenticationFile {
    /// Anonymous.
    None {},
    /// SASL PLAIN.
    #[serde(rename_all = "camelCase")]
    Plain {
        /// The user.
        username: String,
        /// File of the password; one trailing line end is not part of it.
        password_file: PathBuf,
    },
    /// SASL SCRAM.
    #[serde(rename_all = "camelCase")]
    Scram {
        /// Which hash.
        mechanism: ScramMechanism,
        /// The user.
        username: String,
        /// File of the password; one trailing line end is not part of it.
        password_file: PathBuf,
    },
    /// The client certificate of `tls` is the identity.
    Mtls {},
}

/// The SCRAM mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScramMechanism {
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl From<ScramMechanism> for SaslMechanism {
    fn from(mechanism: ScramMechanism) -> Self {
        match mechanism {
            ScramMechanism::ScramSha256 => Self::ScramSha256,
            ScramMechanism::ScramSha512 => Self::ScramSha512,
        }
    }
}

/// Why an endpoint cannot be used. Each message names the field, the file where there is one, and the remedy; none
/// shows a file's content.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No address, or more than the bound.
    #[error("bootstrapServers has {count} entries; give 1 to {MAX_BOOTSTRAP_SERVERS}")]
    BootstrapServers {
        /// How many there are.
        count: usize,
    },
    /// An address that is none.
    #[error("bootstrapServers: {0}")]
    Address(#[from] AddressError),
    /// A file that cannot be read.
    #[error("{field}: cannot read {}: {source}; check that the Secret has this key and is mounted there", file.display())]
    Unreadable {
        /// The field that names the file.
        field: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file whose content cannot be used.
    #[error("{field}: {} {why}; {remedy}", file.display())]
    Content {
        /// The field that names the file.
        field: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with the content.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Fields that do not go together.
    #[error("{field} {why}; {remedy}")]
    Fields {
        /// The field at fault.
        field: &'static str,
        /// What is wrong.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

impl EndpointError {
    /// A stable word for conditions and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BootstrapServers { .. } | Self::Address(_) => "InvalidBootstrapServers",
            Self::Unreadable { .. } => "CredentialsMissing",
            Self::Content { .. } => "CredentialsInvalid",
            Self::Fields { .. } => "InvalidEndpoint",
        }
    }
}

impl KafkaEndpointFile {
    /// An endpoint without TLS and credentials.
    pub fn plaintext(bootstrap_servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into_iter().map(Into::into).collect(),
            tls: TlsFile::Disabled {},
            authentication: AuthenticationFile::None {},
        }
    }

    /// Reads the files and checks the whole.
    ///
    /// # Errors
    /// The first thing that does not fit; nothing is guessed and nothing is skipped.
    pub fn load(&self) -> Result<KafkaConnection, EndpointError> {
        if !(1..=MAX_BOOTSTRAP_SERVERS).contains(&self.bootstrap_servers.len()) {
            return Err(EndpointError::BootstrapServers {
                count: self.bootstrap_servers.len(),
            });
        }
        for server in &self.bootstrap_servers {
            server.parse::<BrokerAddress>()?;
        }
        let tls = self.load_tls()?;
        if matches!(self.authentication, AuthenticationFile::Mtls {})
            && tls.as_ref().is_none_or(|tls| tls.client.is_none())
        {
            return Err(EndpointError::Fields {
                field: "authentication.type",
                why: "is Mtls, but there is no client certificate",
                remedy: "set tls.mode to Verify, with tls.certificateFile and tls.keyFile",
            });
        }
        Ok(KafkaConnection {
            bootstrap_servers: self.bootstrap_servers.clone(),
            tls,
            sasl: self.load_sasl()?,
            client_id: DEFAULT_CLIENT_ID.to_owned(),
        })
    }

    /// Every file that `load` reads: watch them, and load again when one changes.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let TlsFile::Verify {
            ca_file,
            certificate_file,
            key_file,
        } = &self.tls
        {
            files.extend(
                [ca_file, certificate_file, key_file]
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        if let AuthenticationFile::Plain { password_file, .. }
        | AuthenticationFile::Scram { password_file, .. } = &self.authentication
        {
            files.push(password_file.clone());
        }
        files
    }

    fn load_tls(&self) -> Result<Option<TlsMaterial>, EndpointError> {
        let TlsFile::Verify {
            ca_file,
            certificate_file,
            key_file,
        } = &self.tls
        else {
            return Ok(None);
        };
        let ca_pem = ca_file
            .as_deref()
            .map(|file| certificates("tls.caFile", file))
            .transpose()?;
        let client = match (certificate_file, key_file) {
            (Some(certificate), Some(key)) => Some(ClientCertificate {
                certificate_pem: certificates("tls.certificateFile", certificate)?,
                key_pem: private_key("tls.keyFile", key)?,
            }),
            (None, None) => None,
            (Some(_), None) => return Err(half_pair("tls.keyFile", "is missing beside tls.certificateFile")),
            (None, Some(_)) => return Err(half_pair("tls.certificateFile", "is missing beside tls.keyFile")),
        };
        Ok(Some(TlsMaterial { ca_pem, client }))
    }

    fn load_sasl(&self) -> Result<Option<Sasl>, EndpointError> {
        let (mechanism, username, password_file) = match &self.authentication {
            AuthenticationFile::None {} | AuthenticationFile::Mtls {} => return Ok(None),
            AuthenticationFile::Plain {
                username,
                password_file,
            } => (SaslMechanism::Plain, username, password_file),
            AuthenticationFile::Scram {
                mechanism,
                username,
                password_file,
            } => ((*mechanism).into(), username, password_file),
        };
        if username.is_empty() || username.contains('\0') {
            return Err(EndpointError::Fields {
                field: "authentication.username",
                why: "is empty or has a NUL",
                remedy: "give the user's name",
            });
        }
        let password = password("authentication.passwordFile", password_file)?;
        Ok(Some(Sasl {
            mechanism,
            username: username.clone(),
            password,
        }))
    }
}

fn half_pair(field: &'static str, why: &'static str) -> EndpointError {
    EndpointError::Fields {
        field,
        why,
        remedy: "give both or none",
    }
}

fn read(field: &'static str, file: &Path) -> Result<String, EndpointError> {
    let unreadable = |source| EndpointError::Unreadable {
        field,
        file: file.to_owned(),
        source,
    };
    let content = |why, remedy| EndpointError::Content {
        field,
        file: file.to_owned(),
        why,
        remedy,
    };
    if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(content("is larger than 1 MiB", "mount the credential itself"));
    }
    String::from_utf8(std::fs::read(file).map_err(unreadable)?)
        .map_err(|_| content("is not text in UTF-8", "mount PEM or plain text"))
}

/// The text of a password file without one trailing line end: editors and `kubectl create secret --from-file` add it.
fn password(field: &'static str, file: &Path) -> Result<Redacted, EndpointError> {
    let text = read(field, file)?;
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    let content = |why, remedy| EndpointError::Content {
        field,
        file: file.to_owned(),
        why,
        remedy,
    };
    if text.is_empty() {
        return Err(content("is empty", "put the password into the Secret's key"));
    }
    if text.contains('\0') {
        return Err(content("has a NUL byte", "store the password as plain text"));
    }
    Ok(Redacted::new(text))
}

fn certificates(field: &'static str, file: &Path) -> Result<String, EndpointError> {
    let text = read(field, file)?;
    let mut found = 0_usize;
    let good = CertificateDer::pem_slice_iter(text.as_bytes()).all(|item| {
        found += 1;
        item.is_ok()
    });
    if good && found > 0 {
        return Ok(text);
    }
    Err(EndpointError::Content {
        field,
        file: file.to_owned(),
        why: "has no PEM certificate, or a broken one",
        remedy: "store the certificates between their -----BEGIN CERTIFICATE----- lines",
    })
}

fn private_key(field: &'static str, file: &Path) -> Result<Redacted, EndpointError> {
    let text = read(field, file)?;
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(_) => Ok(Redacted::new(text)),
        Err(_) => Err(EndpointError::Content {
            field,
            file: file.to_owned(),
            why: "has no unencrypted PEM private key",
            remedy: "store it as PKCS#8, for example with: openssl pkcs8 -topk8 -nocrypt",
        }),
    }
}

#[cfg(test)]
mod tests;
