//! Notices that a mounted Secret has changed.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::config::ReplicatorConfig;
use crate::kafka::connection::KafkaConnection;
use crate::kafka::endpoint::EndpointError;
use crate::replicator::progress::Side;

/// How often the files are read: at most 16 files of 1 MiB.
const EVERY: Duration = Duration::from_secs(2);

/// Both clusters' connections, as the files had them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Connections {
    pub(super) source: KafkaConnection,
    pub(super) target: KafkaConnection,
}

impl Connections {
    /// Reads the files of both endpoints.
    ///
    /// # Errors
    /// The first endpoint that cannot be used, and which.
    pub(super) fn load(config: &ReplicatorConfig) -> Result<Self, (Side, EndpointError)> {
        let client_id = format!("tributary-replicator-{}", config.name.replace('/', "-"));
        let load = |side, endpoint: &crate::kafka::endpoint::KafkaEndpointFile| {
            let connection = endpoint.load().map_err(|error| (side, error))?;
            Ok(connection.with_client_id(client_id.clone()))
        };
        Ok(Self {
            source: load(Side::Source, &config.source)?,
            target: load(Side::Target, &config.target)?,
        })
    }
}

/// The files' content at one time.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    seen: [u8; 32],
    /// When they are read next; kept here so that a wait which is cancelled again and again comes to an end.
    due: Instant,
}

impl Watch {
    /// Remembers the files as they are now; call before loading them, so that no change falls in between.
    pub(super) async fn new(config: &ReplicatorConfig) -> Self {
        let mut files = config.source.files();
        files.extend(config.target.files());
        let seen = digest(files.clone()).await;
        Self {
            files,
            seen,
            due: Instant::now() + EVERY,
        }
    }

    /// Returns when the files are no longer as they were last seen. Cancel safe. Without files: never.
    pub(super) async fn changed(&mut self) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep_until(self.due).await;
            let now = digest(self.files.clone()).await;
            // Only now: a wait that was cut short while the files were read must read them at once the next time.
            self.due = Instant::now() + EVERY;
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// A digest of all files; one that cannot be read counts as its error's kind.
async fn digest(files: Vec<PathBuf>) -> [u8; 32] {
    let digest = move || {
        let mut sha = Sha256::new();
        for file in &files {
            let content = std::fs::read(file).unwrap_or_else(|error| error.kind().to_string().into_bytes());
            sha.update(Sha256::digest(&content));
        }
        sha.finalize().into()
    };
    // A panic in there is not possible; an ending runtime is, and then nobody asks.
    tokio::task::spawn_blocking(digest).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::endpoint::{AuthenticationFile, KafkaEndpointFile};

    fn config(password_file: PathBuf) -> ReplicatorConfig {
        let text = "name: a\nsource: {bootstrapServers: ['a:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                    target: {bootstrapServers: ['b:1'], tls: {mode: Disabled}, authentication: {type: None}}\n\
                    topics: {include: ['.*'], naming: {type: Identity}}\ndelivery: AtLeastOnce\nstart: Earliest\n";
        let mut config = ReplicatorConfig::parse(text).unwrap();
        let authentication = AuthenticationFile::Plain {
            username: "u".to_owned(),
            password_file,
        };
        config.target = KafkaEndpointFile {
            authentication,
            ..config.target
        };
        config
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_password_is_noticed_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "old").unwrap();
        let config = config(file.clone());
        let mut watch = Watch::new(&config).await;
        let before = Connections::load(&config).unwrap();
        std::fs::write(&file, "new").unwrap();
        watch.changed().await;
        assert_ne!(Connections::load(&config).unwrap(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_vanishes_is_a_change_and_names_its_side() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "old").unwrap();
        let config = config(file.clone());
        let mut watch = Watch::new(&config).await;
        std::fs::remove_file(&file).unwrap();
        watch.changed().await;
        let (side, error) = Connections::load(&config).unwrap_err();
        assert_eq!((side, error.reason()), (Side::Target, "CredentialsMissing"));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_that_are_cut_short_still_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "old").unwrap();
        let mut watch = Watch::new(&config(file.clone())).await;
        std::fs::write(&file, "new").unwrap();
        let mut noticed = false;
        for _ in 0..10 {
            noticed |= tokio::time::timeout(EVERY / 4, watch.changed()).await.is_ok();
        }
        assert!(noticed);
    }

    #[tokio::test(start_paused = true)]
    async fn unchanged_files_are_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "same").unwrap();
        let mut watch = Watch::new(&config(file.clone())).await;
        std::fs::write(&file, "same").unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(60), watch.changed()).await;
        assert!(waited.is_err());
    }
}
