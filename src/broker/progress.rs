//! What the broker's launcher says when it does not start Kafka: one line in the container's termination message,
//! `Reason: message`, which the operator reads from the pod's status.

use std::fmt;

/// Bytes of a termination message that the kubelet keeps.
pub const MAX_TERMINATION_BYTES: usize = 4096;

/// Why the launcher ended. The name is the first word of the termination message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaunchReason {
    /// The volume is empty, foreign or damaged: formatting it or starting on it could lose data.
    VolumeRefused,
    /// The identity record is missing, damaged or lacks this broker.
    IdentityRefused,
    /// The volume has no space left to start on.
    DiskFull,
    /// The volume was nearly full when Kafka started; written before the start, so that it stands there if Kafka dies.
    DiskLow,
    /// Formatting failed.
    FormatFailed,
    /// The configuration cannot work.
    InvalidConfig,
    /// Anything else, such as no Java in the image.
    StartFailed,
}

impl LaunchReason {
    const ALL: [Self; 7] = [
        Self::VolumeRefused,
        Self::IdentityRefused,
        Self::DiskFull,
        Self::DiskLow,
        Self::FormatFailed,
        Self::InvalidConfig,
        Self::StartFailed,
    ];

    /// The word in the message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VolumeRefused => "VolumeRefused",
            Self::IdentityRefused => "IdentityRefused",
            Self::DiskFull => "DiskFull",
            Self::DiskLow => "DiskLow",
            Self::FormatFailed => "FormatFailed",
            Self::InvalidConfig => "InvalidConfig",
            Self::StartFailed => "StartFailed",
        }
    }
}

/// A launcher's last words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWords {
    /// Why.
    pub reason: LaunchReason,
    /// One sentence for people: what, where, why, remedy.
    pub message: String,
}

impl LastWords {
    /// Reads a termination message; `None` when it is not the launcher's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (word, message) = text.trim().split_once(": ")?;
        let reason = LaunchReason::ALL.into_iter().find(|r| r.as_str() == word)?;
        Some(Self {
            reason,
            message: message.to_owned(),
        })
    }
}

impl fmt::Display for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!(
            "{}: {}",
            self.reason.as_str(),
            self.message.replace(['\r', '\n'], " ")
        );
        let end = line.floor_char_boundary(MAX_TERMINATION_BYTES);
        f.write_str(&line[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for reason in LaunchReason::ALL {
            let words = LastWords {
                reason,
                message: "the volume /x is empty: restore it".to_owned(),
            };
            assert_eq!(LastWords::parse(&words.to_string()), Some(words));
        }
    }

    #[test]
    fn a_message_of_kafka_is_not_taken_for_the_launchers() {
        for text in ["", "Error: java.lang.OutOfMemoryError", "VolumeRefused"] {
            assert_eq!(LastWords::parse(text), None);
        }
    }

    #[test]
    fn a_long_message_is_cut_at_what_the_kubelet_keeps() {
        let words = LastWords {
            reason: LaunchReason::FormatFailed,
            message: "é\n".repeat(5000),
        };
        let text = words.to_string();
        assert!(text.len() <= MAX_TERMINATION_BYTES && !text.contains('\n'));
    }
}
