use super::super::config::{Advertised, BrokerListener, Controller, Directories};
use super::super::volume::VolumeState;
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A stand-in for Java that does what the script says; `$@` are the tool's arguments. The real tool is run by the
/// integration tests.
fn jvm(directory: &Path, script: &str) -> Jvm {
    let java = directory.join("java");
    fs::write(&java, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).unwrap();
    Jvm {
        java,
        class_path: "/none.jar".into(),
        archive: None,
    }
}

/// What the real tool leaves behind.
const GOOD: &str = r#"for a in "$@"; do case $a in --config=*) . "${a#--config=}" 2>/dev/null || true; f=${a#--config=};; --cluster-id=*) c=${a#*=};; --initial-controllers=*) d=${a##*:};; esac; done
dir=$(sed -n 's/^log.dirs=//p' "$f"); mkdir -p "$dir/__cluster_metadata-0"; echo x > "$dir/__cluster_metadata-0/0.checkpoint"
printf 'node.id=0\ncluster.id=%s\ndirectory.id=%s\n' "$c" "$d" > "$dir/meta.properties""#;

struct Fixture {
    directory: tempfile::TempDir,
    config: BrokerConfig,
    identity: Identity,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sub = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let config = BrokerConfig {
            cluster: "factory/munich".into(),
            identity_file: "/i".into(),
            kafka_home: "/opt/kafka".into(),
            directories: Directories {
                volume: sub("volume"),
                state: sub("state"),
                scratch: sub("scratch"),
            },
            heap_mib: 256,
            controllers: vec![Controller {
                id: 0,
                host: "2001:db8::1".into(),
                port: 9093,
            }],
            listeners: vec![BrokerListener {
                name: "internal".into(),
                port: 9092,
                advertised: vec![Advertised {
                    id: 0,
                    host: Some("k".into()),
                    port: 9092,
                }],
            }],
            inter_broker_listener: "internal".into(),
            properties: Default::default(),
        };
        Self {
            directory,
            config,
            identity: Identity::draw(1),
        }
    }

    fn volume(&self) -> &Path {
        &self.config.directories.volume
    }

    async fn format(&self, script: &str, stop: &CancellationToken) -> Result<(), FormatError> {
        let jvm = jvm(self.directory.path(), script);
        let node = Node { id: 0, host_ip: None };
        format(
            &self.config,
            &self.identity,
            node,
            &jvm,
            Path::new("/l.yaml"),
            stop,
        )
        .await
    }
}

#[tokio::test]
async fn a_formatted_volume_carries_the_records_ids() {
    let f = Fixture::new();
    // Left over from an attempt that was killed.
    fs::create_dir_all(f.volume().join("kafka.formatting/old")).unwrap();
    f.format(GOOD, &CancellationToken::new()).await.unwrap();
    let VolumeState::Formatted(meta) = volume::inspect(f.volume()).unwrap() else {
        panic!("not formatted");
    };
    assert_eq!(meta.cluster_id, f.identity.cluster_id);
    assert_eq!(meta.directory_id, f.identity.brokers[0].directory_id.to_string());
    assert!(!f.volume().join("kafka/old").exists() && !f.volume().join(FORMATTING).exists());
}

#[tokio::test]
async fn a_failing_tool_leaves_the_volume_unformatted_and_its_words_in_the_error() {
    let f = Fixture::new();
    let error = f
        .format("echo 'Invalid cluster id'; exit 3", &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, FormatError::Tool { output, .. } if output == "Invalid cluster id"),
        "{error}"
    );
    assert_eq!(volume::inspect(f.volume()).unwrap(), VolumeState::HalfFormatted);
}

#[tokio::test]
async fn a_tool_that_says_it_formatted_and_did_not_is_not_believed() {
    let f = Fixture::new();
    let others = GOOD.replace("cluster.id=%s", "cluster.id=other%s");
    for script in ["exit 0", &others] {
        let error = f.format(script, &CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, FormatError::Unexpected(_)), "{error}");
        assert!(!f.volume().join(DATA).exists());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_hangs_is_ended_at_the_deadline() {
    let f = Fixture::new();
    let error = f
        .format("exec sleep 600", &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(matches!(error, FormatError::TooSlow), "{error}");
}

#[tokio::test]
async fn a_signal_ends_formatting_at_once() {
    let f = Fixture::new();
    let stop = CancellationToken::new();
    stop.cancel();
    let error = f.format("exec sleep 600", &stop).await.unwrap_err();
    assert!(matches!(error, FormatError::Cancelled), "{error}");
}

#[tokio::test]
async fn two_launchers_do_not_format_one_volume() {
    let f = Fixture::new();
    let _held = lock(f.volume()).unwrap();
    let error = f.format(GOOD, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, FormatError::InUse(_)), "{error}");
}

#[test]
fn initial_controllers_name_every_voter_with_its_directory() {
    let f = Fixture::new();
    let id = f.identity.brokers[0].directory_id;
    assert_eq!(
        initial_controllers(&f.config, &f.identity),
        Ok(format!("0@[2001:db8::1]:9093:{id}"))
    );
    let mut config = f.config.clone();
    config.controllers[0].id = 7;
    assert_eq!(initial_controllers(&config, &f.identity), Err(7));
}
