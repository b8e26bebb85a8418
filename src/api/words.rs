//! Words in lists of the status and in dead letters that are no condition's reason: one table for `tributary explain`
//! and the book.

/// A word with where it stands, what it means and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub name: &'static str,
    /// Where it stands.
    pub place: &'static str,
    /// What happened.
    pub cause: &'static str,
    /// What a person can do about it.
    pub remedy: &'static str,
}

/// In `status.gaps` of a link, in the message of `PartitionStopped` and in `tributary_replicator_partition_stopped`.
pub const STOPPED: &str = "status.gaps, a stopped partition";
/// In `status.refused` of a link and in `tributary_replicator_topic_refused`.
pub const REFUSED: &str = "status.refused of a link";
/// In the message of a link that stands still as a whole, and in `tributary_replicator_link_stopped`.
pub const LINK_STOPPED: &str = "a stopped link";
/// In `status.topics` of an EdgeCluster.
pub const TOPICS: &str = "status.topics of an EdgeCluster";
/// In the header `tributary.reason` of a dead letter, and in `tributary_bridge_dead_letters_total`.
pub const DEAD_LETTER: &str = "a dead letter";

macro_rules! words {
    ($($place:ident { $($name:ident: $cause:literal, $remedy:literal;)+ })+) => {
        /// Every word, in the order of the documentation. A word may stand in several places.
        pub const WORDS: &[Word] = &[$($(Word {
            name: stringify!($name),
            place: $place,
            cause: $cause,
            remedy: $remedy,
        },)+)+];
    };
}

words! {
    STOPPED {
        BelowLogStart: "The source deleted records (retention) before they were replicated.",
            "Raise the source's retention, then decide where to go on.";
        BeyondLogEnd: "The source ends before the position: it lost records that were replicated.",
            "Find out what happened to the source, then decide where to go on.";
        LogTruncated: "The source has other records at offsets that were replicated (leader epochs say so).",
            "Find out what happened to the source, then decide where to go on.";
        TopicRecreated: "The source's topic was deleted and created again.",
            "Decide where to go on; what the former topic held beyond the position is gone.";
        SourceTopicMissing: "The source's topic is gone.",
            "Restore it, or nothing: a restarted link no longer lists it.";
        TargetTopicMissing: "The target's topic was deleted after records were replicated to it.",
            "Create it there and decide where to go on; --from earliest fills it with what the source still holds.";
        TargetTopicRecreated: "The target's topic was deleted and created again after records were replicated to it.",
            "Decide where to go on; --from earliest fills it with what the source still holds.";
        TargetNotEmpty: "The target's partition holds records that no position accounts for.",
            "Decide where to go on, or restore the positions.";
        RecordTooLarge: "A record exceeds max.message.bytes of the target's topic.",
            "Raise it there: the partition goes on by itself; or decide to go on behind the record.";
        RecordRefused: "The target refuses a record: without key for a compacted topic, or with a timestamp out of bounds.",
            "Change the target topic's settings: it is tried again, at least hourly; or decide to go on behind the record.";
        NotAuthorized: "Rights are missing on the source's or the target's topic.",
            "Grant what the message names: the partition goes on by itself.";
    }
    REFUSED {
        LoopUnknown: "The positions on the source cannot be read, so a loop cannot be ruled out.",
            "Allow Describe and Read on the topic __tributary_positions there.";
        InvalidTargetName: "With the prefix, the topic's name is longer than Kafka allows.",
            "Use a shorter prefix, or deny the topic.";
        TooFewPartitions: "The topic exists on the target with fewer partitions than on the source.",
            "Give it as many partitions, or delete it to have it created.";
        NotAuthorized: "Rights are missing on the source's topic.",
            "Grant what the message names.";
    }
    LINK_STOPPED {
        PositionsUnusable: "The topic __tributary_positions cannot be read or written, or is not compacted.",
            "The message names what: grant the rights, or set cleanup.policy=compact.";
        PositionsTooNew: "A newer version wrote the positions.",
            "Run that version, or a later one.";
    }
    TOPICS {
        Refused: "Kafka refuses what the spec asks, or cannot do it now.",
            "The message has Kafka's words; it is tried again until it works.";
        Differs: "Kafka cannot change the topic to what the spec asks: fewer partitions, or other replicas.",
            "Change the spec to what is there, or move the data to a topic of another name.";
        Kept: "The topic was removed from the spec and is kept with its data.",
            "Nothing, or delete it with Kafka's own tools.";
        SettingsKept: "Settings were removed from the spec and are kept in Kafka.",
            "Nothing, or remove them with Kafka's own tools.";
    }
    DEAD_LETTER {
        NoRoute: "A subscription takes the message, no route's match does.",
            "Add a route, or narrow the subscription's filter.";
        InvalidPayload: "The route's format is Json, the payload is not.",
            "Use format Raw, or mend the device.";
        PayloadTooLarge: "The payload exceeds limits.maxPayloadBytes or what the topic takes; the dead letter may be cut.",
            "Raise max.message.bytes, or make the device send less.";
        RecordRefused: "Kafka refuses this very record: without key for a compacted topic, or with a timestamp out of bounds.",
            "Set the route's key, change the topic's settings, or mend the device's clock.";
    }
}

/// The words of one place.
pub fn words_of(place: &str) -> impl Iterator<Item = &'static Word> {
    WORDS.iter().filter(move |word| word.place == place)
}
