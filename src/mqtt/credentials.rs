//! Credentials and trust, read from their files at each connect: a changed Secret is used without a restart.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::endpoint::{MqttAuthenticationFile, MqttTlsFile};
use super::error::MqttError;
use crate::telemetry::Redacted;

/// Bound of one credential file; a bundle of every public CA is 230 KiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What a connect needs beside the address. `Debug` shows no secret.
#[derive(Clone)]
pub struct Credentials {
    /// User and password, for CONNECT.
    pub login: Option<(String, Redacted)>,
    /// TLS with trust and our certificate; `None` is plain TCP.
    pub tls: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("login", &self.login)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file that cannot be used, by name; nothing is guessed and nothing is skipped.
    pub fn load(authentication: &MqttAuthenticationFile, tls: &MqttTlsFile) -> Result<Self, MqttError> {
        let login = match authentication {
            MqttAuthenticationFile::Password {
                username,
                password_file,
            } => Some((username.clone(), password(password_file)?)),
            MqttAuthenticationFile::None {} | MqttAuthenticationFile::Mtls { .. } => None,
        };
        let tls = match tls {
            MqttTlsFile::Disabled {} => None,
            MqttTlsFile::Verify { ca_file } => Some(client_config(authentication, ca_file.as_deref())?),
        };
        Ok(Self { login, tls })
    }
}

fn content(file: &Path, why: impl Into<String>, remedy: &'static str) -> MqttError {
    MqttError::Content {
        file: file.to_owned(),
        why: why.into(),
        remedy,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, MqttError> {
    let unreadable = |source| MqttError::Unreadable {
        file: file.to_owned(),
        source,
    };
    if std::fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(content(
            file,
            "is larger than 1 MiB",
            "mount the credential itself",
        ));
    }
    std::fs::read(file).map_err(unreadable)
}

/// The text of a password file without one trailing line end: editors and `kubectl create secret --from-file` add it.
fn password(file: &Path) -> Result<Redacted, MqttError> {
    let text = String::from_utf8(read(file)?)
        .map_err(|_| content(file, "is not text in UTF-8", "store the password as plain text"))?;
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(content(
            file,
            "is empty",
            "put the password into the Secret's key",
        ));
    }
    Ok(Redacted::new(text))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, MqttError> {
    let bytes = read(file)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(content(
            file,
            "has no PEM certificate, or a broken one",
            "store the certificates between their -----BEGIN CERTIFICATE----- lines",
        )),
    }
}

fn client_config(
    authentication: &MqttAuthenticationFile,
    ca_file: Option<&Path>,
) -> Result<Arc<ClientConfig>, MqttError> {
    let roots = match ca_file {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|e| content(file, e.to_string(), "store the CA's own certificate"))?;
            }
            roots
        }
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| tls_failed(&e))?
        .with_root_certificates(roots);
    let config = match authentication {
        MqttAuthenticationFile::Mtls {
            certificate_file,
            key_file,
        } => {
            let chain = certificates(certificate_file)?;
            let key = PrivateKeyDer::from_pem_slice(&read(key_file)?).map_err(|_| {
                content(
                    key_file,
                    "has no unencrypted PEM private key",
                    "store it as PKCS#8, for example with: openssl pkcs8 -topk8 -nocrypt",
                )
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|e| {
                content(
                    certificate_file,
                    format!("does not go with the key ({e})"),
                    "store the pair that belongs together",
                )
            })?
        }
        MqttAuthenticationFile::None {} | MqttAuthenticationFile::Password { .. } => {
            builder.with_no_client_auth()
        }
    };
    Ok(Arc::new(config))
}

fn tls_failed(error: &rustls::Error) -> MqttError {
    MqttError::Tls {
        server: "TLS".to_owned(),
        reason: error.to_string(),
    }
}

fn system_roots() -> Result<RootCertStore, MqttError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let reason = "this system has no public CAs; set mqtt.tls.ca".to_owned();
        return Err(MqttError::Tls {
            server: "mqtt.tls".to_owned(),
            reason,
        });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn login(password_file: PathBuf) -> Result<Credentials, MqttError> {
        let authentication = MqttAuthenticationFile::Password {
            username: "bridge".into(),
            password_file,
        };
        Credentials::load(&authentication, &MqttTlsFile::Disabled {})
    }

    #[test]
    fn a_password_loses_one_line_end_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        for (text, expected) in [
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
        ] {
            std::fs::write(&file, text).unwrap();
            let credentials = login(file.clone()).unwrap();
            assert!(!format!("{credentials:?}").contains("s3cret"));
            assert_eq!(credentials.login.unwrap().1.expose(), expected);
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let message = |r: Result<Credentials, MqttError>| r.unwrap_err().to_string();
        assert!(message(login(file.clone())).starts_with(&format!("cannot read {}", file.display())));
        std::fs::write(&file, "").unwrap();
        assert!(message(login(file.clone())).contains("is empty"));
        let tls = MqttTlsFile::Verify {
            ca_file: Some(file.clone()),
        };
        let none = MqttAuthenticationFile::None {};
        assert!(message(Credentials::load(&none, &tls)).contains("has no PEM certificate"));
    }

    #[test]
    fn a_certificate_and_a_key_that_do_not_belong_together_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|n| rcgen::generate_simple_self_signed([n.to_owned()]).unwrap());
        let write = |name: &str, text: String| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let certificate_file = write("crt", one.cert.pem());
        let tls = MqttTlsFile::Verify {
            ca_file: Some(certificate_file.clone()),
        };
        let load = |key: String| {
            let key_file = write("key", key);
            let certificate_file = certificate_file.clone();
            Credentials::load(
                &MqttAuthenticationFile::Mtls {
                    certificate_file,
                    key_file,
                },
                &tls,
            )
        };
        assert!(load(one.signing_key.serialize_pem()).unwrap().tls.is_some());
        let error = load(two.signing_key.serialize_pem()).unwrap_err().to_string();
        assert!(error.contains("does not go with the key"), "{error}");
        let error = load("nothing".into()).unwrap_err().to_string();
        assert!(error.contains("no unencrypted PEM private key"), "{error}");
    }
}
