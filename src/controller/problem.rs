//! What is wrong with an object or with what it refers to, told so that a person can mend it.

use std::fmt;

use crate::api::Reason;

/// A finding for a condition: which field, its value, what is wrong, and what to do. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The condition's reason.
    pub reason: Reason,
    /// Path of the field, list entries by key: `spec.target.external.authentication.passwordSecretRef`.
    pub field: String,
    /// The field's value as the spec has it.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// Builds a finding.
    pub fn new(
        reason: Reason,
        field: impl Into<String>,
        value: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            field: field.into(),
            value: value.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}; {}", self.field, self.why, self.remedy)
        } else {
            write!(
                f,
                "{} \"{}\": {}; {}",
                self.field, self.value, self.why, self.remedy
            )
        }
    }
}

impl std::error::Error for Problem {}
