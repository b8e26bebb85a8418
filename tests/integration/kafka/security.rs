//! TLS and SASL: what is right gets in with both clients, what is wrong is told apart.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tributary::kafka::connection::{ClientCertificate, SaslMechanism, TlsMaterial};
use tributary::kafka::wire::Admin;
use tributary::kafka::{KafkaConnection, KafkaError};

use crate::harness::certificates::Authority;
use crate::harness::kafka::{KafkaCluster, Listener, PASSWORD, shared};
use crate::harness::tls_server::TlsServer;
use crate::harness::wait::{PATIENCE, eventually};

const MECHANISMS: [SaslMechanism; 3] = [
    SaslMechanism::Plain,
    SaslMechanism::ScramSha256,
    SaslMechanism::ScramSha512,
];

async fn refused(connection: &KafkaConnection) -> KafkaError {
    let admin = Admin::new(connection).expect("a client");
    // A machine that stands still for a moment refuses nobody: asked again.
    let error = eventually("a refusal", PATIENCE, async || match admin.cluster().await {
        Err(error) if error.reason() == "KafkaTimeout" => Err(error),
        answer => Ok(answer.expect_err("refused")),
    })
    .await;
    let text = format!("{error} {error:?} {}", error.explain());
    assert!(
        !text.contains(PASSWORD) && !text.contains("wr0ng") && !text.contains("PRIVATE KEY"),
        "{text}"
    );
    error
}

/// Every listener with the credentials that it wants.
fn right(kafka: &KafkaCluster) -> Vec<KafkaConnection> {
    let mut connections: Vec<_> = [Listener::Plain, Listener::Tls, Listener::Mtls]
        .iter()
        .map(|listener| kafka.connection(*listener))
        .collect();
    for listener in [Listener::Sasl, Listener::SaslTls] {
        for mechanism in MECHANISMS {
            let sasl = Some(KafkaCluster::sasl(mechanism));
            connections.push(KafkaConnection {
                sasl,
                ..kafka.connection(listener)
            });
        }
    }
    connections
}

#[tokio::test]
async fn our_own_client_gets_in_with_every_kind_of_security() {
    let kafka = shared().await;
    for connection in right(kafka) {
        let cluster = Admin::new(&connection).expect("a client").cluster().await;
        let cluster = cluster.unwrap_or_else(|error| panic!("{connection:?}: {}", error.explain()));
        assert_eq!(cluster.id, kafka.id());
        let advertised: Vec<String> = cluster
            .brokers
            .values()
            .map(|broker| broker.address.to_string())
            .collect();
        assert_eq!(
            advertised, connection.bootstrap_servers,
            "the same listener is advertised"
        );
    }
}

#[tokio::test]
async fn librdkafka_gets_in_with_the_same_connections() {
    for connection in right(shared().await) {
        let consumer: BaseConsumer = connection.client_config().create().expect("a client");
        let fetched = tokio::task::spawn_blocking(move || {
            consumer
                .fetch_metadata(Some("no-such-topic"), Duration::from_secs(20))
                .map(|metadata| metadata.brokers().len())
        });
        let brokers = fetched
            .await
            .expect("no panic")
            .unwrap_or_else(|error| panic!("{connection:?}: {error}"));
        assert_eq!(brokers, 1);
    }
}

#[tokio::test]
async fn a_wrong_password_or_user_is_refused_as_such() {
    let kafka = shared().await;
    for mechanism in MECHANISMS {
        for (user, password) in [("factory", "wr0ng"), ("nobody", PASSWORD)] {
            let mut connection = kafka.connection(Listener::SaslTls);
            let sasl = connection.sasl.as_mut().expect("SASL");
            (sasl.mechanism, sasl.username, sasl.password) = (mechanism, user.into(), password.into());
            let error = refused(&connection).await;
            assert_eq!(
                error.reason(),
                "AuthenticationFailed",
                "{mechanism} {user}: {error}"
            );
            assert!(
                error.to_string().contains("SASL_AUTHENTICATION_FAILED"),
                "{mechanism} {user}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn sasl_where_there_is_none_and_none_where_it_is_wanted_are_told() {
    let kafka = shared().await;
    let sasl = Some(KafkaCluster::sasl(SaslMechanism::Plain));
    let error = refused(&KafkaConnection {
        sasl,
        ..kafka.connection(Listener::Plain)
    })
    .await;
    assert!(
        matches!(error, KafkaError::Refused { .. }) && error.to_string().contains("no SASL"),
        "{error}"
    );
    for listener in [Listener::Sasl, Listener::SaslTls] {
        let error = refused(&KafkaConnection {
            sasl: None,
            ..kafka.connection(listener)
        })
        .await;
        assert!(
            matches!(error, KafkaError::Refused { .. }) && error.to_string().contains("requires SASL"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_broker_of_an_unknown_authority_is_not_trusted() {
    let mut connection = shared().await.connection(Listener::SaslTls);
    let stranger = Authority::new("stranger").pem();
    connection.tls = Some(TlsMaterial {
        ca_pem: Some(stranger),
        client: None,
    });
    let error = refused(&connection).await;
    assert!(
        matches!(error, KafkaError::Tls { .. }) && error.remedy().contains("tls.ca"),
        "{}",
        error.explain()
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_with_the_name() {
    let authority = Authority::new("names");
    let server = TlsServer::start(&authority.server(&["kafka.example"])).await;
    let mut connection = KafkaConnection::plaintext([format!("127.0.0.1:{}", server.port())]);
    connection.tls = Some(TlsMaterial {
        ca_pem: Some(authority.pem()),
        client: None,
    });
    let error = refused(&connection).await;
    assert!(
        matches!(error, KafkaError::Tls { .. }) && error.to_string().contains("127.0.0.1"),
        "{error}"
    );
    assert!(
        error.remedy().contains("subject alternative names"),
        "{}",
        error.remedy()
    );
}

#[tokio::test]
async fn a_missing_or_foreign_client_certificate_is_refused_as_such() {
    let kafka = shared().await;
    let foreign = Authority::new("stranger").client("factory-client");
    let foreign = ClientCertificate {
        certificate_pem: foreign.certificate,
        key_pem: foreign.key.into(),
    };
    for client in [None, Some(foreign)] {
        let mut connection = kafka.connection(Listener::Mtls);
        connection.tls.as_mut().expect("TLS").client = client.clone();
        let error = refused(&connection).await;
        assert_eq!(error.reason(), "AuthenticationFailed", "{client:?}: {error}");
        assert!(error.to_string().contains("client certificate"), "{error}");
    }
}

#[tokio::test]
async fn tls_spoken_to_a_plaintext_listener_is_explained() {
    let kafka = shared().await;
    let tls = kafka.connection(Listener::Tls).tls;
    let error = refused(&KafkaConnection {
        tls,
        ..kafka.connection(Listener::Plain)
    })
    .await;
    assert!(
        matches!(error, KafkaError::Tls { .. }) && error.explain().contains("Disabled"),
        "{}",
        error.explain()
    );
}

#[tokio::test]
async fn plaintext_spoken_to_a_tls_listener_is_explained() {
    let kafka = shared().await;
    let error = refused(&KafkaConnection {
        tls: None,
        ..kafka.connection(Listener::Tls)
    })
    .await;
    assert!(
        matches!(error, KafkaError::NotKafka { .. }) && error.explain().contains("Verify"),
        "{}",
        error.explain()
    );
}
