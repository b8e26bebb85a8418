//! Notices when credential files change. Kubernetes replaces mounted Secrets by moving a link, editors replace files:
//! so the contents are compared, not times or names.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of one file that are compared; credentials are refused beyond it anyway.
const MAX_BYTES: usize = 1024 * 1024;

/// Files, and what was in them when somebody began to care.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<PathBuf>,
    before: Fingerprint,
}

/// A hash of all contents.
pub type Fingerprint = [u8; 32];

impl FileWatch {
    /// Remembers the files as they are now; call before loading them, so that no change falls in between.
    pub async fn new(files: Vec<PathBuf>) -> Self {
        let before = fingerprint(&files).await;
        Self { files, before }
    }

    /// Looks until `token` is cancelled and adds one to `changes` whenever a file is not what it was.
    pub async fn run(mut self, changes: watch::Sender<u64>, token: CancellationToken) {
        if self.files.is_empty() {
            return;
        }
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let now = fingerprint(&self.files).await;
            if now != self.before {
                tracing::info!(files = ?self.files, "credential files have changed");
                self.before = now;
                changes.send_modify(|n| *n += 1);
            }
        }
    }
}

/// Reads them all; a file that cannot be read has a hash too.
pub async fn fingerprint(files: &[PathBuf]) -> Fingerprint {
    let mut hash = Sha256::new();
    for file in files {
        match tokio::fs::read(file).await {
            Ok(content) => {
                let content = &content[..content.len().min(MAX_BYTES)];
                hash.update([1]);
                hash.update(content.len().to_be_bytes());
                hash.update(content);
            }
            Err(_) => hash.update([0]),
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_a_removal_and_a_return_are_noticed_and_a_touch_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|n| dir.path().join(n)).to_vec();
        let print = || fingerprint(&files);
        let nothing = print().await;
        std::fs::write(&files[0], "x").unwrap();
        let one = print().await;
        std::fs::write(&files[0], "x").unwrap();
        assert_eq!(print().await, one);
        std::fs::write(&files[0], "y").unwrap();
        assert_ne!(print().await, one);
        std::fs::remove_file(&files[0]).unwrap();
        assert_eq!(print().await, nothing);
        // The same bytes, split differently between the files.
        std::fs::write(&files[0], "xy").unwrap();
        std::fs::write(&files[1], "").unwrap();
        let split = print().await;
        std::fs::write(&files[0], "x").unwrap();
        std::fs::write(&files[1], "y").unwrap();
        assert_ne!(print().await, split);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let (sender, mut changes) = watch::channel(0);
        let token = CancellationToken::new();
        let watched = FileWatch::new(vec![file.clone()]).await;
        let task = tokio::spawn(watched.run(sender, token.clone()));
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(!changes.has_changed().unwrap());
        std::fs::write(&file, "x").unwrap();
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow_and_update(), 1);
        token.cancel();
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_between_the_load_and_the_first_look_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let (sender, mut changes) = watch::channel(0);
        let watched = FileWatch::new(vec![file.clone()]).await;
        std::fs::write(&file, "x").unwrap();
        let token = CancellationToken::new();
        let task = tokio::spawn(watched.run(sender, token.clone()));
        changes.changed().await.unwrap();
        token.cancel();
        task.await.unwrap();
    }
}
