//! A wrapper for secrets: whatever is printed of it is `***`.

use std::fmt;

/// A secret that never appears in a log line, an error, an event or a test's output.
///
/// `Debug` and `Display` print `***`; there is no `Serialize`. The value comes out only through
/// [`Redacted::expose`], so that every place which uses a secret can be found by that name.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Redacted(String);

impl Redacted {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself: hand it to the client library, never to a formatter.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Redacted {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl From<&str> for Redacted {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_stars_whatever_the_formatter() {
        let secret = Redacted::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {secret:#?} {secret:>9}"),
            "*** *** *** ***"
        );
        assert_eq!(secret.expose(), "hunter2");
    }
}
