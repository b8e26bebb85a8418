use super::*;

/// A fresh self-signed certificate and its key, both as PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["test-client".to_owned()]).expect("certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temp dir"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("write");
        path
    }
}

fn plain(password_file: PathBuf) -> KafkaEndpointFile {
    KafkaEndpointFile {
        authentication: AuthenticationFile::Plain {
            username: "munich".into(),
            password_file,
        },
        ..KafkaEndpointFile::plaintext(["kafka:9092"])
    }
}

fn verify(ca: Option<PathBuf>, certificate: Option<PathBuf>, key: Option<PathBuf>) -> KafkaEndpointFile {
    KafkaEndpointFile {
        tls: TlsFile::Verify {
            ca_file: ca,
            certificate_file: certificate,
            key_file: key,
        },
        ..KafkaEndpointFile::plaintext(["kafka:9094"])
    }
}

#[test]
fn yaml_of_every_field_reads_back_as_written() {
    let yaml = "
bootstrapServers: [kafka.eu.example:9094]
tls: {mode: Verify, caFile: /ca/ca.crt, certificateFile: /client/tls.crt, keyFile: /client/tls.key}
authentication: {type: Scram, mechanism: ScramSha512, username: munich, passwordFile: /sasl/password}
";
    let endpoint: KafkaEndpointFile = serde_yaml::from_str(yaml).expect("parses");
    assert_eq!(
        endpoint.files(),
        [
            "/ca/ca.crt",
            "/client/tls.crt",
            "/client/tls.key",
            "/sasl/password"
        ]
        .map(PathBuf::from)
    );
    let written = serde_yaml::to_string(&endpoint).expect("writes");
    assert_eq!(
        serde_yaml::from_str::<KafkaEndpointFile>(&written).expect("parses again"),
        endpoint
    );
}

#[test]
fn unknown_fields_are_refused_at_every_level() {
    for yaml in [
        "{bootstrapServers: [a:1], tls: {mode: Disabled}, authentication: {type: None}, extra: 1}",
        "{bootstrapServers: [a:1], tls: {mode: Disabled, caFile: /ca}, authentication: {type: None}}",
        "{bootstrapServers: [a:1], tls: {mode: Verify, insecure: true}, authentication: {type: None}}",
        "{bootstrapServers: [a:1], tls: {mode: Disabled}, authentication: {type: None, username: x}}",
        "{bootstrapServers: [a:1], tls: {mode: Disabled}, authentication: {type: Scram, username: x, passwordFile: /p}}",
        "{bootstrapServers: [a:1], tls: {mode: Disabled}}",
    ] {
        assert!(serde_yaml::from_str::<KafkaEndpointFile>(yaml).is_err(), "{yaml}");
    }
}

#[test]
fn one_trailing_line_end_is_not_part_of_the_password() {
    let files = Files::new();
    for (content, password) in [
        ("pass", "pass"),
        ("pass\n", "pass"),
        ("pass\r\n", "pass"),
        ("pass \n", "pass "),
        ("a\nb\n", "a\nb"),
    ] {
        let endpoint = plain(files.write("password", content));
        let sasl = endpoint.load().expect("loads").sasl.expect("SASL");
        assert_eq!(sasl.password.expose(), password, "{content:?}");
        assert_eq!(
            (sasl.username.as_str(), sasl.mechanism),
            ("munich", SaslMechanism::Plain)
        );
    }
}

#[test]
fn an_empty_or_missing_password_file_is_named_with_its_field() {
    let files = Files::new();
    for content in ["", "\n"] {
        let error = plain(files.write("password", content)).load().expect_err("empty");
        assert_eq!(error.reason(), "CredentialsInvalid");
        let text = error.to_string();
        assert!(
            text.contains("authentication.passwordFile") && text.contains("/password is empty"),
            "{text}"
        );
    }
    let error = plain(files.0.path().join("absent")).load().expect_err("missing");
    assert_eq!(error.reason(), "CredentialsMissing");
    assert!(error.to_string().contains("/absent"), "{error}");
}

#[test]
fn certificates_are_loaded_with_their_key() {
    let files = Files::new();
    let (certificate_pem, key_pem) = certificate();
    let (crt, key) = (
        files.write("tls.crt", &certificate_pem),
        files.write("tls.key", &key_pem),
    );
    let ca = files.write(
        "ca.crt",
        format!("# two of them\n{certificate_pem}{certificate_pem}"),
    );
    let tls = verify(Some(ca), Some(crt), Some(key))
        .load()
        .expect("loads")
        .tls
        .expect("TLS");
    assert_eq!(
        tls.ca_pem.map(|pem| pem.matches("BEGIN CERTIFICATE").count()),
        Some(2)
    );
    let client = tls.client.expect("client certificate");
    assert_eq!(
        (client.certificate_pem.as_str(), client.key_pem.expose()),
        (&*certificate_pem, &*key_pem)
    );
}

#[test]
fn broken_pem_is_refused_without_showing_it() {
    let files = Files::new();
    let junk = files.write("junk", "c2VjcmV0LXRoaW5n");
    let (certificate_pem, key_pem) = certificate();
    let broken = files.write("broken", certificate_pem.replace("-----END CERTIFICATE-----", ""));
    let binary = files.write("binary", [0xff, 0xfe]);
    let big = files.write("big", vec![b'a'; 1024 * 1024 + 1]);
    let (crt, key) = (
        files.write("tls.crt", &certificate_pem),
        files.write("tls.key", &key_pem),
    );
    for (endpoint, field) in [
        (verify(Some(junk.clone()), None, None), "tls.caFile"),
        (verify(Some(broken), None, None), "tls.caFile"),
        (verify(Some(binary), None, None), "tls.caFile"),
        (verify(Some(big), None, None), "tls.caFile"),
        (verify(None, Some(key.clone()), Some(key)), "tls.certificateFile"),
        (verify(None, Some(crt.clone()), Some(junk)), "tls.keyFile"),
        (verify(None, Some(crt.clone()), Some(crt)), "tls.keyFile"),
    ] {
        let error = endpoint.load().expect_err(field);
        assert_eq!(error.reason(), "CredentialsInvalid", "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(field) && !text.contains("c2VjcmV0"), "{text}");
    }
}

#[test]
fn fields_that_do_not_go_together_are_refused() {
    let files = Files::new();
    let (certificate_pem, key_pem) = certificate();
    let (crt, key) = (
        files.write("tls.crt", &certificate_pem),
        files.write("tls.key", &key_pem),
    );
    let mtls = |endpoint: KafkaEndpointFile| KafkaEndpointFile {
        authentication: AuthenticationFile::Mtls {},
        ..endpoint
    };
    assert!(
        mtls(verify(None, Some(crt.clone()), Some(key.clone())))
            .load()
            .is_ok()
    );
    for endpoint in [
        verify(None, Some(crt), None),
        verify(None, None, Some(key)),
        mtls(verify(None, None, None)),
        mtls(KafkaEndpointFile::plaintext(["kafka:9092"])),
    ] {
        assert_eq!(
            endpoint.load().expect_err("does not fit").reason(),
            "InvalidEndpoint"
        );
    }
}

#[test]
fn bootstrap_servers_are_checked_and_bounded() {
    for servers in [
        vec![],
        vec!["kafka:1".to_owned(); MAX_BOOTSTRAP_SERVERS + 1],
        vec!["kafka:1".into(), "kafka".into()],
    ] {
        let error = KafkaEndpointFile::plaintext(servers).load().expect_err("refused");
        assert_eq!(error.reason(), "InvalidBootstrapServers");
    }
    assert!(KafkaEndpointFile::plaintext(["kafka:9092"]).load().is_ok());
}
