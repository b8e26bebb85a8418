//! What people read about a partition that stands still.

use super::admit::Candidate;
use crate::replicator::book::Route;
use crate::replicator::progress::StopReason;
use crate::replicator::verdict::{Missing, SourceFacts, Stored};

/// Why a partition stopped and what to do, with the figures at hand.
pub(super) fn explain(
    reason: StopReason,
    candidate: &Candidate,
    source: &SourceFacts,
    missing: Option<&Missing>,
) -> String {
    let position = match candidate.stored {
        Stored::Known(known) => known.position.next_offset,
        _ => 0,
    };
    let what = match reason {
        StopReason::BelowLogStart => format!(
            "the source deleted offsets {position} to {} before they were replicated (retention is shorter than the \
             link was behind)",
            source.log_start
        ),
        StopReason::BeyondLogEnd => format!(
            "the source's log ends at {} and {position} was replicated: the source has lost records",
            source.log_end
        ),
        StopReason::LogTruncated => format!(
            "the source's log was cut back to {} and went on with other records, and {position} was replicated (an \
             unclean leader election, or a restored volume)",
            missing.map_or(source.log_start, |missing| missing.from)
        ),
        StopReason::TopicRecreated => format!(
            "the source's topic was deleted and created anew; the former one was replicated up to offset {position}, \
             and what came after it there is gone"
        ),
        StopReason::TargetTopicMissing => format!(
            "topic {} is gone from the target, with what was replicated up to source offset {position}",
            candidate.route.target
        ),
        StopReason::TargetTopicRecreated => format!(
            "topic {} was deleted and created anew on the target; what was replicated up to source offset {position} \
             is gone from it",
            candidate.route.target
        ),
        StopReason::TargetNotEmpty => not_empty(&candidate.route),
        // These are told by other means; the word itself is better than nothing.
        StopReason::SourceTopicMissing
        | StopReason::RecordTooLarge
        | StopReason::RecordRefused
        | StopReason::NotAuthorized => reason.as_str().to_owned(),
    };
    let partition = &candidate.partition;
    format!(
        "{what}; decide where it goes on: tributary replicator resume --topic {} --partition {} --from \
         earliest|latest|OFFSET",
        partition.topic, partition.partition
    )
}

/// A target that holds records which no position accounts for.
pub(super) fn not_empty(route: &Route) -> String {
    format!(
        "topic {} on the target holds records, and no position says that this link wrote them: another writer feeds \
         it, or the positions are lost; use a prefix, deny the topic, empty the topic on the target, or decide where to \
         go on with `tributary replicator resume`",
        route.target
    )
}
