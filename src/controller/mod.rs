//! What every controller shares: context, server-side apply, back-off, conditions, events, status, leader election.
//!
//! A kind implements [`Reconciler`]; [`run`] drives it. Reconciling has five stages (observe, validate, build, apply,
//! report), each a function of the kind's room; what is here is the same for all three kinds.

mod apply;
mod backoff;
mod cache;
mod clock;
mod conditions;
mod context;
mod endpoint;
mod error;
mod events;
mod kinds;
mod leader;
mod metadata;
mod metrics;
mod options;
mod outcome;
mod problem;
mod reconciler;
mod run;
mod sampler;
mod status;

pub use apply::{Applied, Owned};
pub use backoff::Backoffs;
pub use cache::{Cached, Caches, Scope, Trigger};
pub use clock::{Clock, ManualClock, SystemClock};
pub use conditions::Conditions;
pub use context::{API_DEADLINE, Context, ObjectKey};
pub use endpoint::{
    CREDENTIALS_DIR, KafkaPeer, PodEndpoint, ResolvedEndpoint, SECRET_TTL, SecretMounts, Unresolved,
    bootstrap_host,
};
pub use error::Error;
pub use events::{EventKind, Events};
pub use leader::{Election, Leadership};
pub use metadata::{
    KIND_LABEL, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL, owned_metadata, owner_reference, selector_labels,
};
pub use metrics::Metrics;
pub use options::Options;
pub use outcome::{StepOutcome, Steps};
pub use problem::Problem;
pub use reconciler::{Kind, Reconciler, Requeue};
pub use run::{Runtime, run};
pub use sampler::{Latest, Samplers};
pub use status::StatusWriter;

/// Field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "tributary";
