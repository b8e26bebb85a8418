//! How large a batch may be, where the target's topics do not tell, or take less than they tell. Pure.

use rdkafka::error::RDKafkaErrorCode;

use crate::replicator::engine::Refusal;
use crate::replicator::settings::{DEFAULT_MAX_MESSAGE_BYTES, Limits};

/// Whether a record, or the batch that it came in, was larger than the topic takes.
pub(super) fn is_too_large(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge
    )
}

/// A limit that was found by having a batch of several records refused: by halves it comes down to what the topic takes,
/// or to records that go alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundLimit {
    pub(super) bytes: u64,
    /// The topic's decisive settings at that time: it holds as long as they are the same.
    settings: String,
}

impl FoundLimit {
    /// What a refusal says about the size of batches; `None` when it is about a record alone. `used` is the limit that
    /// the batch was made for, `known` what was found before.
    pub(super) fn new(refusal: &Refusal, used: u64, settings: &str, known: Option<&Self>) -> Option<Self> {
        if refusal.records < 2 || !is_too_large(refusal.code) {
            return None;
        }
        let half = (refusal.batch_bytes.min(used) / 2).max(1);
        let known = known.filter(|known| known.settings == settings);
        Some(Self {
            bytes: known.map_or(half, |known| known.bytes.min(half)),
            settings: settings.to_owned(),
        })
    }
}

/// The limit that batches for a topic are made for.
pub(super) fn batch_limit(limits: &Limits, found: Option<&FoundLimit>) -> u64 {
    let told = limits.largest_batch.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES);
    let found = found.filter(|found| found.settings == limits.fingerprint);
    found.map_or(told, |found| told.min(found.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_LARGE: RDKafkaErrorCode = RDKafkaErrorCode::MessageSizeTooLarge;

    fn refusal(records: i64, bytes: u32, code: RDKafkaErrorCode) -> Refusal {
        let mut refusal = Refusal::new(0, bytes, code);
        for offset in 1..records {
            refusal.add(offset, bytes, code);
        }
        refusal
    }

    fn untold() -> Limits {
        Limits {
            largest_batch: None,
            fingerprint: "max.message.bytes=?".to_owned(),
        }
    }

    #[test]
    fn a_limit_that_is_not_told_is_found_by_halves_and_ends_at_records_that_go_alone() {
        let (limits, takes, record) = (untold(), 20_000, 1000);
        let (mut found, mut attempts) = (None, 0);
        loop {
            let limit = batch_limit(&limits, found.as_ref());
            let records = i64::try_from(limit / 1064).unwrap().max(1);
            if records * 1064 <= takes {
                break;
            }
            let refused = refusal(records, record, TOO_LARGE);
            found = FoundLimit::new(&refused, limit, &limits.fingerprint, found.as_ref());
            attempts += 1;
        }
        assert!(attempts <= 6, "{attempts}");
        assert!(batch_limit(&limits, found.as_ref()) > 10_000, "and not far below");
        let alone = refusal(1, 60_000, TOO_LARGE);
        assert_eq!(FoundLimit::new(&alone, 20_000, &limits.fingerprint, None), None);
    }

    #[test]
    fn a_batch_that_was_far_below_the_limit_counts_by_its_own_size() {
        let refused = refusal(2, 10_000, RDKafkaErrorCode::MessageBatchTooLarge);
        let found = FoundLimit::new(&refused, 1_000_000, "s", None).unwrap();
        assert_eq!(found.bytes, 10_064);
        let larger = refusal(2, 100_000, TOO_LARGE);
        let again = FoundLimit::new(&larger, 1_000_000, "s", Some(&found)).unwrap();
        assert_eq!(again, found, "what is known already is not forgotten");
    }

    #[test]
    fn only_a_size_that_is_refused_says_something_about_the_limit() {
        for code in [RDKafkaErrorCode::InvalidRecord, RDKafkaErrorCode::PurgeQueue] {
            assert_eq!(
                FoundLimit::new(&refusal(9, 10, code), 1000, "", None),
                None,
                "{code}"
            );
        }
    }

    #[test]
    fn what_was_found_holds_until_the_topics_settings_change_and_never_raises_what_they_tell() {
        let told = |bytes: u64| Limits {
            largest_batch: Some(bytes),
            fingerprint: format!("max.message.bytes={bytes}"),
        };
        let refused = refusal(10, 1000, TOO_LARGE);
        let found = FoundLimit::new(&refused, 20_000, &told(20_000).fingerprint, None);
        assert_eq!(batch_limit(&told(20_000), found.as_ref()), 5320);
        assert_eq!(batch_limit(&told(50_000), found.as_ref()), 50_000);
        assert_eq!(batch_limit(&untold(), found.as_ref()), DEFAULT_MAX_MESSAGE_BYTES);
        let small = FoundLimit::new(&refused, 20_000, &told(100).fingerprint, None);
        assert_eq!(batch_limit(&told(100), small.as_ref()), 100);
    }
}
