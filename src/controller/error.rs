//! What stops a pass of reconcile for reasons outside the object's spec.

use std::time::Duration;

use crate::api::Reason;

/// Why a call to the Kubernetes API did not do what was asked. None of these says anything about the object's spec:
/// that is a [`Problem`](super::Problem).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("cannot {what}: {source}")]
    Api {
        /// What was tried, such as `apply StatefulSet factory/line-bridge`.
        what: String,
        /// What came back.
        #[source]
        source: kube::Error,
    },
    /// The API server did not answer in time.
    #[error("cannot {what}: no answer within {} s", after.as_secs())]
    Timeout {
        /// What was tried.
        what: String,
        /// How long the call was given.
        after: Duration,
    },
    /// An object with the needed name exists and belongs to someone else.
    #[error("{what} exists and belongs to {owner}; rename or remove it, or give this object another name")]
    OwnershipConflict {
        /// Kind, namespace and name of the object.
        what: String,
        /// Whom it belongs to.
        owner: String,
    },
    /// An object of an earlier owner of the same name is still being deleted; it is waited for.
    #[error("{what} of an earlier object with this name is still being deleted")]
    StillDeleting {
        /// Kind, namespace and name of the object.
        what: String,
    },
    /// Something that should always be writable as JSON or YAML is not.
    #[error("cannot write {what}: {message}")]
    Serialize {
        /// What was to be written.
        what: String,
        /// The serializer's words.
        message: String,
    },
}

impl Error {
    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::OwnershipConflict { .. } => Reason::OwnershipConflict,
            Self::StillDeleting { .. } => Reason::Progressing,
            Self::Api { .. } | Self::Timeout { .. } | Self::Serialize { .. } => Reason::ApiError,
        }
    }

    /// Whether the API server says that the object, or its namespace, is gone or going.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. }
            if status.code == 404 || (status.code == 403 && status.message.contains("being terminated")))
    }
}
