//! What each step of a pass came to.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use crate::api::Reason;

use super::Error;

/// What a step of reconcile came to.
#[derive(Debug)]
pub enum StepOutcome {
    /// It was done: something was written.
    Applied,
    /// Everything was already as wanted: nothing was written.
    Unchanged,
    /// It cannot be done yet; what is waited for is told.
    Waiting {
        /// The condition's reason.
        reason: Reason,
        /// What is waited for, for people.
        message: String,
    },
    /// It was not to be done now, such as for a paused object.
    Skipped {
        /// Why, for people.
        why: String,
    },
    /// It failed.
    Failed(Error),
}

impl StepOutcome {
    /// The word for metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Waiting { .. } => "waiting",
            Self::Skipped { .. } => "skipped",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether the steps behind this one may run.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        !matches!(self, Self::Failed(_) | Self::Waiting { .. })
    }
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied | Self::Unchanged => f.write_str(self.as_str()),
            Self::Waiting { message, .. } => write!(f, "waiting: {message}"),
            Self::Skipped { why } => write!(f, "skipped: {why}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

impl From<Result<super::Applied, Error>> for StepOutcome {
    fn from(result: Result<super::Applied, Error>) -> Self {
        match result {
            Ok(super::Applied::Written) => Self::Applied,
            Ok(super::Applied::Unchanged) => Self::Unchanged,
            Err(error @ Error::StillDeleting { .. }) => Self::Waiting {
                reason: error.reason(),
                message: error.to_string(),
            },
            Err(error) => Self::Failed(error),
        }
    }
}

impl From<Result<(), Error>> for StepOutcome {
    fn from(result: Result<(), Error>) -> Self {
        result.map(|()| super::Applied::Unchanged).into()
    }
}

/// The steps of one pass with their outcomes and durations, in order; at most a few dozen.
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<(&'static str, StepOutcome, Duration)>,
}

impl Steps {
    /// Runs a step unless an earlier one failed or waits, and notes what it came to. Yields whether the next may run.
    pub async fn run<F, O>(&mut self, name: &'static str, step: F) -> bool
    where
        F: Future<Output = O>,
        O: Into<StepOutcome>,
    {
        if !self.go_on() {
            return false;
        }
        let begun = Instant::now();
        let outcome = step.await.into();
        let duration = begun.elapsed();
        match &outcome {
            StepOutcome::Applied => tracing::info!(step = name, ?duration, "applied"),
            StepOutcome::Failed(error) => tracing::warn!(step = name, ?duration, %error, "failed"),
            other => tracing::debug!(step = name, ?duration, outcome = %other, "step done"),
        }
        self.done.push((name, outcome, duration));
        self.go_on()
    }

    /// Whether no step failed or waits.
    #[must_use]
    pub fn go_on(&self) -> bool {
        self.done.last().is_none_or(|(_, outcome, _)| outcome.goes_on())
    }

    /// The step that stopped the pass, if one did: reason and message for conditions.
    #[must_use]
    pub fn stopped_by(&self) -> Option<(Reason, String)> {
        self.done.last().and_then(|(_, outcome, _)| match outcome {
            StepOutcome::Waiting { reason, message } => Some((*reason, message.clone())),
            StepOutcome::Failed(error) => Some((error.reason(), error.to_string())),
            _ => None,
        })
    }

    /// Every step with its outcome and duration.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &StepOutcome, Duration)> {
        self.done
            .iter()
            .map(|(name, outcome, duration)| (*name, outcome, *duration))
    }

    /// The failure, for the back-off.
    #[must_use]
    pub fn into_error(self) -> Option<Error> {
        self.done.into_iter().find_map(|(_, outcome, _)| match outcome {
            StepOutcome::Failed(error) => Some(error),
            _ => None,
        })
    }

    /// Whether anything was written.
    #[must_use]
    pub fn wrote(&self) -> bool {
        self.done
            .iter()
            .any(|(_, outcome, _)| matches!(outcome, StepOutcome::Applied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_that_waits_stops_the_later_ones_and_is_told() {
        let mut steps = Steps::default();
        assert!(steps.run("one", async { StepOutcome::Unchanged }).await);
        let waiting = StepOutcome::Waiting {
            reason: Reason::RollWaiting,
            message: "broker 1".into(),
        };
        assert!(!steps.run("two", async { waiting }).await);
        assert!(!steps.run("three", async { StepOutcome::Applied }).await);
        assert_eq!(
            steps.iter().map(|(name, ..)| name).collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(steps.stopped_by(), Some((Reason::RollWaiting, "broker 1".into())));
        assert!(!steps.wrote());
        assert!(steps.into_error().is_none());
    }
}
