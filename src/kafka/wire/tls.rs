//! TLS for our own client: rustls with ring, the same material as librdkafka gets.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::kafka::connection::{BrokerAddress, TlsMaterial};
use crate::kafka::error::KafkaError;

/// A connector for this material. Reads the system's roots when no CA is given.
pub(super) fn connector(material: &TlsMaterial) -> Result<TlsConnector, KafkaError> {
    let roots = match &material.ca_pem {
        Some(pem) => given_roots(pem)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| misconfigured(format!("TLS: {e}")))?
        .with_root_certificates(roots);
    let config = match &material.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = certificates("the client certificate", &client.certificate_pem)?;
            // The parser's own error could quote the key's text.
            let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose().as_bytes())
                .map_err(|_| misconfigured("the client key is not an unencrypted PEM private key"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| misconfigured(format!("the client certificate: {e}")))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name that the broker's certificate must carry.
pub(super) fn server_name(address: &BrokerAddress) -> Result<ServerName<'static>, KafkaError> {
    ServerName::try_from(address.host.clone())
        .map_err(|_| misconfigured(format!("\"{}\" cannot be in a certificate", address.host)))
}

fn given_roots(pem: &str) -> Result<RootCertStore, KafkaError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the CA", pem)? {
        roots
            .add(certificate)
            .map_err(|e| misconfigured(format!("the CA: {e}")))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, KafkaError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(misconfigured(
            "no CA is given and this system has no root certificates; give one (tls.ca)",
        ));
    }
    Ok(roots)
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, KafkaError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| misconfigured(format!("{what} is not PEM")))?;
    if found.is_empty() {
        return Err(misconfigured(format!("{what} has no PEM certificate")));
    }
    Ok(found)
}

fn misconfigured(why: impl Into<String>) -> KafkaError {
    KafkaError::Misconfigured { why: why.into() }
}

/// The TLS error inside an I/O error, told for users; `None` if it is of another kind.
pub(super) fn explain(address: &BrokerAddress, error: &io::Error) -> Option<KafkaError> {
    let tls = error.get_ref()?.downcast_ref::<Error>()?;
    Some(explain_tls(address, tls))
}

fn explain_tls(address: &BrokerAddress, error: &Error) -> KafkaError {
    let failed = |why: String, remedy| KafkaError::Tls {
        address: address.to_string(),
        why,
        remedy,
    };
    match error {
        Error::InvalidCertificate(certificate) => explain_certificate(address, certificate),
        Error::AlertReceived(alert) if refuses_client(*alert) => KafkaError::Refused {
            address: address.to_string(),
            why: format!("it does not accept our client certificate, or wants one (TLS alert {alert:?})"),
        },
        Error::AlertReceived(alert) => failed(
            format!("the broker ended the handshake (TLS alert {alert:?})"),
            "check the broker's TLS protocols and whether it wants a client certificate",
        ),
        Error::InvalidMessage(_) => failed(
            "what answers there does not speak TLS".into(),
            "set tls.mode to Disabled, or use the TLS listener's port",
        ),
        other => failed(other.to_string(), "check the broker's TLS settings"),
    }
}

fn explain_certificate(address: &BrokerAddress, error: &CertificateError) -> KafkaError {
    use CertificateError as E;
    let (why, remedy) = match error {
        E::UnknownIssuer => (
            "the broker's certificate is not signed by a CA that is trusted here".to_owned(),
            "give the CA that signed it (tls.ca)",
        ),
        E::NotValidForName | E::NotValidForNameContext { .. } => (
            format!("the broker's certificate is not for the name {}", address.host),
            "use a bootstrap or advertised name that is in the certificate's subject alternative names",
        ),
        E::Expired | E::ExpiredContext { .. } => (
            "the broker's certificate has expired".to_owned(),
            "renew it, or set this machine's clock",
        ),
        E::NotValidYet | E::NotValidYetContext { .. } => (
            "the broker's certificate is not valid yet".to_owned(),
            "set this machine's clock",
        ),
        // webpki's word for a self-signed certificate that is marked as a CA and serves a listener.
        E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => (
            "the broker presents a CA certificate as its own".to_owned(),
            "give the broker a server certificate that this CA signs",
        ),
        other => (
            format!("the broker's certificate is refused: {other}"),
            "replace the broker's certificate",
        ),
    };
    KafkaError::Tls {
        address: address.to_string(),
        why,
        remedy,
    }
}

fn refuses_client(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::CertificateRequired
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
    )
}

#[cfg(test)]
mod tests {
    use crate::kafka::connection::ClientCertificate;

    use super::*;

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["kafka".to_owned()]).expect("certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn material_makes_a_connector() {
        let (certificate_pem, key) = pem();
        let material = TlsMaterial {
            ca_pem: Some(certificate_pem.clone()),
            client: Some(ClientCertificate {
                certificate_pem,
                key_pem: key.into(),
            }),
        };
        assert!(connector(&material).is_ok());
    }

    #[test]
    fn broken_material_is_refused_without_showing_it() {
        let (certificate_pem, key) = pem();
        let (_, other_key) = pem();
        let client = |certificate: &str, key: &str| TlsMaterial {
            ca_pem: Some(certificate_pem.clone()),
            client: Some(ClientCertificate {
                certificate_pem: certificate.into(),
                key_pem: key.into(),
            }),
        };
        for material in [
            TlsMaterial {
                ca_pem: Some("junk".into()),
                client: None,
            },
            TlsMaterial {
                ca_pem: Some(certificate_pem.replace('M', "!")),
                client: None,
            },
            client(&certificate_pem, "s3cret"),
            client(&certificate_pem, &other_key),
            client("junk", &key),
        ] {
            let Err(error) = connector(&material) else {
                panic!("accepted {material:?}")
            };
            assert_eq!(error.reason(), "InvalidEndpoint");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn host_names_and_addresses_can_be_verified() {
        for host in ["kafka.eu.example", "10.0.0.1", "2001:db8::1"] {
            let address = BrokerAddress {
                host: host.into(),
                port: 1,
            };
            assert!(server_name(&address).is_ok(), "{host}");
        }
        assert!(
            server_name(&BrokerAddress {
                host: "a b".into(),
                port: 1
            })
            .is_err()
        );
    }
}
