//! What every controller shares: context, server-side apply, back-off, conditions, events, status, leader election.
//!
//! A kind implements [`Reconciler`]; [`run`] drives it. Reconciling has five stages (observe, validate, build, apply,
//! report), each a function of the kind's room; what is here is the same for all three kinds.

mod apply;
mod backoff;
mod broker_ports;
mod cache;
mod clock;
mod condition_metrics;
mod conditions;
mod context;
mod endpoint;
mod error;
mod events;
mod figures;
mod kinds;
mod leader;
mod metadata;
mod metrics;
mod network;
mod options;
mod outcome;
mod pods;
mod problem;
mod progress;
mod reconciler;
mod report;
mod run;
mod sampler;
mod services;
mod status;
mod workload;

pub use apply::{Applied, Owned};
pub use backoff::Backoffs;
pub use broker_ports::BrokerPorts;
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
pub use figures::{BrokerFigures, Figures, TopicFigures};
pub use leader::{Election, Leadership, Timing as ElectionTiming};
pub use metadata::{
    KIND_LABEL, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL, owned_metadata, owner_reference, selector_labels,
};
pub use metrics::Metrics;
pub use network::{Peer, PodPort, dns, metrics_rule, network_policy, noted_broker_ports};
pub use options::Options;
pub use outcome::{StepOutcome, Steps};
pub use pods::{PodRun, PodState, PodView, failing};
pub use problem::Problem;
pub use progress::{PROGRESS_DEADLINE, ProgressError, read_progress, read_progress_at};
pub use reconciler::{Kind, Reconciler, Requeue};
pub use report::{Account, Told, first_of, reason_of, stands_in, starting_since};
pub use run::{RunError, Runtime, run};
pub use sampler::{Latest, Samplers};
pub use status::StatusWriter;
pub use workload::{
    CONFIG_HASH_ANNOTATION, WORKERS_ANNOTATION, Workload, container_security, pod_security, restart_hash,
};

/// Field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "tributary";
