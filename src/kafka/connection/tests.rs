use super::*;

fn secured(mechanism: SaslMechanism) -> KafkaConnection {
    KafkaConnection {
        bootstrap_servers: vec!["a.example:9094".into(), "b.example:9094".into()],
        tls: Some(TlsMaterial {
            ca_pem: Some("ca".into()),
            client: Some(ClientCertificate {
                certificate_pem: "certificate".into(),
                key_pem: "k3y".into(),
            }),
        }),
        sasl: Some(Sasl {
            mechanism,
            username: "munich".into(),
            password: "hunter2".into(),
        }),
        client_id: "test".into(),
    }
}

#[test]
fn debug_shows_neither_password_nor_key() {
    let text = format!(
        "{:?} {:#?}",
        secured(SaslMechanism::Plain),
        secured(SaslMechanism::ScramSha256)
    );
    assert!(!text.contains("hunter2") && !text.contains("k3y"), "{text}");
    assert!(text.contains("munich") && text.contains("***"), "{text}");
}

#[test]
fn material_goes_to_librdkafka_inline_without_any_path() {
    let config = secured(SaslMechanism::ScramSha512).client_config();
    for (key, value) in [
        ("bootstrap.servers", "a.example:9094,b.example:9094"),
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.pem", "ca"),
        ("ssl.certificate.pem", "certificate"),
        ("ssl.key.pem", "k3y"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "munich"),
        ("sasl.password", "hunter2"),
        ("client.id", "test"),
        ("enable.ssl.certificate.verification", "true"),
        ("ssl.endpoint.identification.algorithm", "https"),
    ] {
        assert_eq!(config.get(key), Some(value), "{key}");
    }
    assert_eq!(config.get("ssl.ca.location"), None);
}

#[test]
fn security_protocol_follows_tls_and_sasl() {
    let mut connection = secured(SaslMechanism::Plain);
    assert_eq!(connection.security_protocol(), "SASL_SSL");
    connection.tls = None;
    assert_eq!(connection.security_protocol(), "SASL_PLAINTEXT");
    connection.sasl = None;
    assert_eq!(connection.security_protocol(), "PLAINTEXT");
    connection.tls = Some(TlsMaterial::default());
    assert_eq!(connection.security_protocol(), "SSL");
    assert_eq!(connection.client_config().get("ssl.ca.location"), Some("probe"));
}

#[test]
fn librdkafka_knows_every_key_that_we_set() {
    KafkaConnection::plaintext(["localhost:9092"])
        .client_config()
        .create_native_config()
        .expect("plaintext configuration");
    secured(SaslMechanism::ScramSha256)
        .client_config()
        .create_native_config()
        .expect("secured configuration");
}

#[test]
fn addresses_are_taken_apart_and_printed_alike() {
    for text in ["kafka.eu.example:9094", "10.0.0.1:1", "[2001:db8::1]:65535"] {
        let address: BrokerAddress = text.parse().expect(text);
        assert_eq!(address.to_string(), text);
    }
    assert_eq!("[::1]:9092".parse::<BrokerAddress>().expect("IPv6").host, "::1");
}

#[test]
fn what_is_no_address_is_refused_with_the_reason() {
    for (text, why) in [
        ("kafka.example", "port is missing"),
        (":9092", "host is missing"),
        ("kafka:0", "65535"),
        ("kafka:70000", "65535"),
        ("kafka:9092 ", "65535"),
        ("PLAINTEXT://kafka:9092", "scheme"),
        ("::1:9092", "brackets"),
        ("[::1:9092", "closed"),
        ("a,b:9092", "character"),
        ("user@kafka:9092", "character"),
        ("", "port is missing"),
    ] {
        let error = text.parse::<BrokerAddress>().expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert!(error.contains("kafka.eu.example:9094"), "{error}");
    }
}
