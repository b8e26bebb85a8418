//! One subscriber for the whole process: lines for people on a terminal, JSON for pods.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// `Text` when standard error is a terminal, else `Json`.
    #[default]
    Auto,
    /// One line per event, for people.
    Text,
    /// One JSON object per line with an RFC 3339 timestamp, for log collectors.
    Json,
}

impl LogFormat {
    /// Whether lines are written as JSON.
    #[must_use]
    pub fn is_json(self) -> bool {
        match self {
            Self::Auto => !std::io::stderr().is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` or the default filter does not parse.
    #[error(
        "RUST_LOG={value:?} is not a log filter ({reason}); use for example `info` or `tributary=debug,warn`"
    )]
    Filter {
        /// What was given.
        value: String,
        /// What the parser says.
        reason: String,
    },
    /// A subscriber is installed already.
    #[error("logging is set up twice in this process")]
    Twice,
}

/// Installs the process's subscriber. Logs go to standard error, so that standard output holds results only.
///
/// `RUST_LOG` decides what is logged; without it `default_filter` does (`"info"` for what runs in pods).
///
/// # Errors
/// When the filter does not parse, or a subscriber is installed already.
pub fn init_tracing(json: bool, default_filter: &str) -> Result<(), LoggingError> {
    let directives = match std::env::var("RUST_LOG") {
        Ok(v) if !v.trim().is_empty() => v,
        _ => default_filter.to_owned(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse_filter(&directives)?)
        .with_writer(std::io::stderr)
        .with_ansi(!json && std::io::stderr().is_terminal());
    let done = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
    done.map_err(|_| LoggingError::Twice)
}

fn parse_filter(directives: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(directives).map_err(|e| LoggingError::Filter {
        value: directives.to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_named_with_its_remedy() {
        let message = parse_filter("tributary=loud").unwrap_err().to_string();
        assert!(
            message.contains("tributary=loud") && message.contains("for example"),
            "{message}"
        );
    }

    #[test]
    fn the_usual_filters_parse() {
        for ok in ["info", "warn,tributary=debug", "off"] {
            assert!(parse_filter(ok).is_ok(), "{ok}");
        }
    }
}
