//! All reading: the API server, Kafka. Plain data comes out, each fact with its time.

mod kafka;
mod kubernetes;
mod pods;

pub use kafka::{KafkaFacts, Sample, TopicFacts, Unanswered, sample, sample_for_ever, topics_of};
pub use kubernetes::{
    Claim, FoundIdentity, FoundRecord, Memory, SetFacts, is_set_current, observe, pods_now,
};
pub use pods::{PodFacts, pod_facts};

use std::collections::BTreeMap;

/// What was read from the API server.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Each broker's pod, by ID.
    pub pods: BTreeMap<i32, PodFacts>,
    /// The StatefulSet, if there is one.
    pub set: Option<SetFacts>,
    /// The identity record, if there is one.
    pub identity: Option<FoundIdentity>,
    /// Each broker's volume claim that exists, by ID; of all IDs, wanted or not.
    pub claims: BTreeMap<i32, Claim>,
    /// The record of topics, if there is one.
    pub topics: Option<FoundRecord>,
}
