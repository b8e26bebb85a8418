//! Lag, history and reachability into a verdict. Pure: no I/O, no clock; time comes in with each observation.
//!
//! [`Tracker`] turns ends and positions into lag, [`History`] judges a window of it, [`TABLE`] says what each
//! [`Situation`] means for the verdict, the conditions and Argo CD's health.

mod table;
mod tracker;
mod verdict;

pub use table::{ArgoHealth, ReadyStatus, Row, Situation, TABLE, row, table_markdown};
pub use tracker::{LagFigures, PartitionLag, Tracker};
pub use verdict::{
    Facts, History, IN_SYNC_SECONDS, Judgement, Observation, PARTITION_STUCK, Reach, STALLED_AFTER, STUCK,
    WINDOW,
};
