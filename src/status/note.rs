//! What keeps a context, or part of it, from being seen as it is: one plain line each.

use serde::Serialize;

/// Kinds of notes; stable names for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum NoteKind {
    /// The kubeconfig has no such context.
    UnknownContext,
    /// Its entry in the kubeconfig cannot be used.
    BadContext,
    /// The API server did not answer within the deadline, or cannot be reached.
    Unreachable,
    /// The API server refused the credentials.
    Unauthorized,
    /// No permission to list something at all.
    Forbidden,
    /// Something could not be listed for another reason.
    Incomplete,
    /// A CRD, or the whole API group, is not there.
    NotInstalled,
    /// The namespace that was asked for does not exist.
    NamespaceMissing,
    /// No permission for all namespaces: one namespace is shown.
    OneNamespace,
    /// The API server serves another version than this program was made for.
    OtherVersion,
    /// The namespace that was asked for is being deleted.
    NamespaceDeleting,
    /// There are more objects than are shown.
    Truncated,
    /// What is shown is the last that was seen.
    LastSeen,
    /// The question is on its way.
    Asking,
    /// What is shown comes from a file.
    FromFile,
}

impl NoteKind {
    /// Whether a person must do something about it: what was asked for could not be seen.
    #[must_use]
    pub const fn needs_person(self) -> bool {
        match self {
            Self::UnknownContext
            | Self::BadContext
            | Self::Unreachable
            | Self::Unauthorized
            | Self::Forbidden
            | Self::Incomplete
            // What was not read may be what needs somebody.
            | Self::Truncated
            | Self::NotInstalled
            | Self::NamespaceMissing => true,
            Self::OneNamespace
            | Self::OtherVersion
            | Self::NamespaceDeleting
            | Self::LastSeen
            | Self::Asking
            | Self::FromFile => false,
        }
    }
}

/// A plain line beside what can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// What kind of thing it says.
    pub kind: NoteKind,
    /// The line.
    pub text: String,
    /// Whether a person must do something about it.
    pub needs_person: bool,
}

impl Note {
    pub(super) fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            needs_person: kind.needs_person(),
        }
    }
}
