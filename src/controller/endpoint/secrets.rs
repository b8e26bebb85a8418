//! Credentials of a spec, read from Secrets and ConfigMaps by name and checked to be what they should be.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;

use super::super::{Context, Error, Problem};
use super::resolve::Unresolved;
use crate::api::{CaSource, Reason, SecretKeyRef};
use crate::telemetry::Redacted;

/// How long what was read from a Secret or ConfigMap is used before it is read again.
pub const SECRET_TTL: Duration = Duration::from_secs(30);

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

impl Context {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_none_is_refused_without_showing_it() {
        let problem = check_certificates("spec.x", "Secret", "ca", "ca.crt", "top secret").unwrap_err();
        assert_eq!(problem.reason, Reason::CredentialsInvalid);
        assert!(!problem.to_string().contains("top secret"));
    }
}
