//! `tributary broker install --to DIR`: the init container copies this very program beside Kafka.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program's name in the directory.
pub const PROGRAM: &str = "tributary";

/// Why it is not installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy {} to {}: {source}", from.display(), to.display())]
pub struct InstallError {
    /// This program.
    pub from: PathBuf,
    /// Where it should go.
    pub to: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Copies the program `from` into the directory `to`, atomically and durably, for everyone to run. What else is in the
/// directory stays: the pod's memory of its volume is kept there, and this runs again after a reboot of the node.
///
/// # Errors
/// When it cannot be read or written.
pub fn install(from: &Path, to: &Path) -> Result<PathBuf, InstallError> {
    let target = to.join(PROGRAM);
    let temporary = to.join(format!(".{PROGRAM}.new"));
    let copy = || {
        std::fs::create_dir_all(to)?;
        std::fs::copy(from, &temporary)?;
        std::fs::set_permissions(&temporary, Permissions::from_mode(0o755))?;
        std::fs::File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, &target)?;
        super::volume::sync_directory(to)
    };
    copy().map_err(|source| InstallError {
        from: from.to_owned(),
        to: target.clone(),
        source,
    })?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_can_be_run_and_what_else_is_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("program");
        std::fs::write(&from, "#!/bin/sh\n").unwrap();
        let to = directory.path().join("to");
        std::fs::create_dir(&to).unwrap();
        std::fs::write(to.join("formatted"), "id").unwrap();
        for _ in 0..2 {
            let target = install(&from, &to).unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), b"#!/bin/sh\n");
            assert_eq!(
                std::fs::metadata(&target).unwrap().permissions().mode() & 0o777,
                0o755
            );
        }
        let mut names: Vec<_> = std::fs::read_dir(&to)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["formatted", PROGRAM]);
    }

    #[test]
    fn a_program_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = install(Path::new("/nonexistent/tributary"), directory.path()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/tributary"), "{error}");
    }
}
