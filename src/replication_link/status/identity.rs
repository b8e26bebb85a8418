//! Who the link is: its positions' ID, the two clusters, and whether it ever stored a position. Pure.

use crate::api::{EffectiveReplicationLink, ReplicationLink};
use crate::replicator::config::ReplicatorConfig;
use crate::replicator::progress::Progress;

use super::super::sampling::Sample;

/// What is known of the link's identity, from whatever knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Identity {
    /// Identity of the positions; absent until the source's cluster ID is known, if the spec has none.
    pub(in super::super) link_id: Option<String>,
    pub(in super::super) source_cluster_id: Option<String>,
    pub(in super::super) target_cluster_id: Option<String>,
    /// A position of this link ID was on the target once. Never forgotten while the link ID stays: it is read from
    /// the positions themselves, from what the pods say, from the status, and from a note on the ConfigMap.
    pub(in super::super) positions_seen: bool,
}

impl Identity {
    /// Puts together what is known. `config` is absent while the spec cannot work; `noted` is the link ID in the note.
    pub(in super::super) fn of(
        object: &ReplicationLink,
        config: Option<&ReplicatorConfig>,
        sample: Option<&Sample>,
        noted: Option<&str>,
    ) -> Self {
        let old = object.status.as_ref().and_then(|s| s.effective.clone());
        let old = old.unwrap_or_default();
        let told: Vec<&Progress> = sample
            .map(|s| s.workers.values().filter_map(|told| told.as_ref().ok()).collect())
            .unwrap_or_default();
        let source = sample
            .and_then(|s| s.source.as_ref().ok())
            .map(|s| s.cluster_id.clone());
        let target = sample
            .and_then(|s| s.target.as_ref().ok())
            .map(|t| t.cluster_id.clone());
        let source_cluster_id = source
            .or_else(|| told.iter().find_map(|p| p.source.cluster_id.clone()))
            .or_else(|| old.source_cluster_id.clone());
        let target_cluster_id = target
            .or_else(|| told.iter().find_map(|p| p.target.cluster_id.clone()))
            .or_else(|| old.target_cluster_id.clone());
        let link_id = match (config, &source_cluster_id) {
            (Some(config), Some(source)) => Some(config.effective_link_id(source)),
            (
                Some(ReplicatorConfig {
                    link_id: Some(id), ..
                }),
                None,
            ) => Some(id.clone()),
            _ => old.link_id.clone().or_else(|| noted.map(str::to_owned)),
        };
        let positions_seen = sample.is_some_and(|s| s.target.as_ref().is_ok_and(|t| t.any))
            || told
                .iter()
                .any(|p| p.positions_seen && p.link_id.is_some() && p.link_id == link_id)
            || remembered(&old, link_id.as_deref())
            || (noted.is_some() && noted == link_id.as_deref());
        Self {
            link_id,
            source_cluster_id,
            target_cluster_id,
            positions_seen,
        }
    }

    /// The link ID, if positions of it were seen.
    pub(in super::super) fn seen(&self) -> Option<&str> {
        self.link_id.as_deref().filter(|_| self.positions_seen)
    }
}

/// Another link ID (its default has the source's cluster ID in it) is another link, which has not begun yet.
fn remembered(old: &EffectiveReplicationLink, link_id: Option<&str>) -> bool {
    old.positions_seen && (old.link_id.is_none() || old.link_id.as_deref() == link_id)
}
