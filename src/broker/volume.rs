//! What is on the volume, and what may be done with it (law 3): the decision is pure, the look is read-only.
//!
//! Formatting is atomic: Kafka's tool formats `kafka.formatting/`, everything is synced, and a rename makes it
//! `kafka/`. So a crash leaves the volume empty, half formatted, or formatted; never something that looks formatted
//! and is not.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::config::{FormatPermission, Identity};

#[cfg(test)]
mod tests;

/// Kafka's data directory on the volume.
pub const DATA: &str = "kafka";
/// The directory that is being formatted.
pub const FORMATTING: &str = "kafka.formatting";
/// In the state directory: the directory ID of the formatted volume that this pod has seen.
const MARKER: &str = "formatted";
const META: &str = "meta.properties";
const METADATA_LOG: &str = "__cluster_metadata-0";
/// Names of foreign entries that a message lists.
const LISTED: usize = 5;
/// Bytes of `meta.properties`, at most.
const MAX_META_BYTES: u64 = 64 * 1024;

/// What is on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// Nothing of Kafka's.
    Empty,
    /// Formatting began and did not end; no broker ever ran on it.
    HalfFormatted,
    /// Formatted, by us or by Kafka's own tool.
    Formatted(Meta),
    /// Kafka's directory is there, but something is missing from it.
    Damaged(String),
    /// Something that is not ours.
    Foreign(Vec<String>),
}

/// What `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `cluster.id`.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: String,
    /// `directory.id`.
    pub directory_id: String,
    /// Whether the KRaft log has its vote file, which Kafka writes at its first start.
    pub has_started: bool,
}

/// What may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The volume is this broker's: start.
    Start,
    /// The volume is empty, and may be: format, then start.
    Format,
    /// Neither.
    Refuse(Refusal),
}

/// Why neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The record does not know this node.
    UnknownNode,
    /// The volume is empty, but the broker ran before.
    Emptied,
    /// The volume is empty, but this very pod has seen it formatted; the permission that it sees is stale.
    EmptiedUnderThisPod,
    /// Another cluster's, node's or directory's volume.
    Belongs {
        /// The property that differs.
        what: &'static str,
        /// What the volume says.
        found: String,
        /// What the record says.
        wanted: String,
    },
    /// Part of Kafka's directory is missing.
    Damaged(String),
    /// Something that is not ours.
    Foreign(Vec<String>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownNode => f.write_str(
                "the identity record has no entry for this broker; restore the record that belongs to the volumes",
            ),
            Self::Emptied => f.write_str(
                "the volume is empty, but this broker ran before: its data are gone or another volume is mounted. Bring \
                 the volume back; if its data may go, set `format: Permitted` for this broker in the identity record",
            ),
            Self::EmptiedUnderThisPod => f.write_str(
                "the volume is empty, but was formatted when this pod started first: its data are gone or another volume \
                 is mounted. Bring the volume back; if its data may go, set `format: Permitted` for this broker in the \
                 identity record and delete the pod",
            ),
            Self::Belongs { what, found, wanted } => write!(
                f,
                "the volume belongs to another {what}: it says {found}, the identity record says {wanted}. Mount the \
                 right volume, or restore the record that belongs to this one",
            ),
            Self::Damaged(why) => write!(f, "the volume is damaged: {why}. Restore it from a backup or a snapshot"),
            Self::Foreign(names) => write!(
                f,
                "the volume holds what is not this broker's ({}) and no Kafka data. Mount the right volume, or remove \
                 these entries",
                names.join(", ")
            ),
        }
    }
}

/// Decides what may be done. `seen` is what [`marker`] gave.
#[must_use]
pub fn decide(state: &VolumeState, identity: &Identity, node: i32, seen: Option<&str>) -> Decision {
    let Some(broker) = identity.broker(node) else {
        return Decision::Refuse(Refusal::UnknownNode);
    };
    let directory = broker.directory_id.to_string();
    match state {
        VolumeState::Foreign(names) => Decision::Refuse(Refusal::Foreign(names.clone())),
        VolumeState::Damaged(why) => Decision::Refuse(Refusal::Damaged(why.clone())),
        VolumeState::Formatted(meta) => {
            let pairs = [
                ("cluster (cluster.id)", &meta.cluster_id, &identity.cluster_id),
                ("node (node.id)", &meta.node_id, &node.to_string()),
                (
                    "broker's directory (directory.id)",
                    &meta.directory_id,
                    &directory,
                ),
            ];
            if let Some((what, found, wanted)) = pairs.into_iter().find(|(_, a, b)| a != b) {
                return Decision::Refuse(Refusal::Belongs {
                    what,
                    found: found.clone(),
                    wanted: wanted.clone(),
                });
            }
            if broker.format == FormatPermission::Withdrawn && !meta.has_started {
                let why = "the broker ran before, but its vote file (quorum-state) is missing";
                return Decision::Refuse(Refusal::Damaged(why.to_owned()));
            }
            Decision::Start
        }
        VolumeState::Empty | VolumeState::HalfFormatted => match broker.format {
            FormatPermission::Withdrawn => Decision::Refuse(Refusal::Emptied),
            FormatPermission::Permitted if seen == Some(&directory) => {
                Decision::Refuse(Refusal::EmptiedUnderThisPod)
            }
            FormatPermission::Permitted => Decision::Format,
        },
    }
}

/// Looks at the volume. Changes nothing.
///
/// # Errors
/// When it cannot be read: then nothing may be concluded from it.
pub fn inspect(volume: &Path) -> io::Result<VolumeState> {
    let (mut data, mut formatting, mut foreign) = (false, false, Vec::new());
    for entry in std::fs::read_dir(volume)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            DATA => data = true,
            FORMATTING => formatting = true,
            // `lost+found` belongs to the file system, dot files to snapshotters and to our lock.
            _ if name == "lost+found" || name.starts_with('.') => {}
            _ => foreign.push(name),
        }
    }
    if data && !blank(&volume.join(DATA))? {
        return inspect_data(&volume.join(DATA));
    }
    if !foreign.is_empty() {
        foreign.sort();
        foreign.truncate(LISTED);
        return Ok(VolumeState::Foreign(foreign));
    }
    Ok(if formatting {
        VolumeState::HalfFormatted
    } else {
        VolumeState::Empty
    })
}

/// Whether a data directory holds nothing: Kafka's lock file, which has no content, does not count.
fn blank(data: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(data)? {
        if entry?.file_name() != ".lock" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks at a data directory that is not empty.
pub(super) fn inspect_data(data: &Path) -> io::Result<VolumeState> {
    let damaged = |why: &str| Ok(VolumeState::Damaged(format!("{}: {why}", data.display())));
    let file = data.join(META);
    match std::fs::metadata(&file) {
        Ok(meta) if meta.len() > MAX_META_BYTES => return damaged("meta.properties is far too long"),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return damaged("meta.properties is missing beside other files");
        }
        Err(e) => return Err(e),
    }
    let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|l| l.split_once('='));
        lines
            .find(|(k, _)| k.trim() == key)
            .map(|(_, v)| v.trim().to_owned())
    };
    let (Some(cluster_id), Some(node_id), Some(directory_id)) =
        (value("cluster.id"), value("node.id"), value("directory.id"))
    else {
        return damaged("meta.properties lacks cluster.id, node.id or directory.id");
    };
    let log = data.join(METADATA_LOG);
    match blank(&log) {
        Ok(false) => {}
        Ok(true) => return damaged("the metadata log __cluster_metadata-0 is empty"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return damaged("the metadata log __cluster_metadata-0 is missing");
        }
        Err(e) => return Err(e),
    }
    Ok(VolumeState::Formatted(Meta {
        cluster_id,
        node_id,
        directory_id,
        has_started: log.join("quorum-state").try_exists()?,
    }))
}

/// The directory ID of the formatted volume that this pod has seen, if any.
///
/// # Errors
/// When the state directory cannot be read.
pub fn marker(state: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(state.join(MARKER)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Remembers, durably, that this pod has seen the volume of `directory_id` formatted.
///
/// # Errors
/// When the state directory cannot be written.
pub fn mark(state: &Path, directory_id: &str) -> io::Result<()> {
    if marker(state)?.as_deref() == Some(directory_id) {
        return Ok(());
    }
    let temporary = state.join(format!("{MARKER}.new"));
    std::fs::write(&temporary, format!("{directory_id}\n"))?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, state.join(MARKER))?;
    sync_directory(state)
}

/// Makes renames and new entries in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

/// Makes a whole tree durable, leaves first.
pub(super) fn sync_tree(root: &Path) -> io::Result<()> {
    let mut directories: Vec<PathBuf> = vec![root.to_owned()];
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        next += 1;
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                std::fs::File::open(entry.path())?.sync_all()?;
            }
        }
    }
    directories.iter().rev().try_for_each(|d| sync_directory(d))
}
