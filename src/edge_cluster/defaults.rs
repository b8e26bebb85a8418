//! What applies where the spec is silent, sized for the edge. All of it is published in `status.effective`.

use std::collections::BTreeMap;

use crate::api::{Quantity, ResourceAmounts, Resources};

/// Memory of a broker's container where the spec gives none.
const REQUEST: &str = "512Mi";
const LIMIT: &str = "768Mi";
/// Share of the memory limit that the heap gets, percent: the rest is metaspace (128 MiB at most), compiled code (64 MiB
/// at most), threads, direct buffers and the page cache of recent records.
const HEAP_PERCENT: u64 = 40;
/// Kafka gains nothing from a larger heap; the page cache does.
const HEAP_MIB_MOST: u64 = 6 * 1024;
/// With less than this limit, MiB, a broker does not start reliably.
pub const MEMORY_MIB_LEAST: u64 = 384;

const MIB: u64 = 1 << 20;

/// Resources of a broker's container where the spec gives none.
pub fn resources() -> Resources {
    let memory = |text: &str| {
        Some(ResourceAmounts {
            cpu: None,
            memory: Some(Quantity(text.to_owned())),
        })
    };
    Resources {
        requests: memory(REQUEST),
        limits: memory(LIMIT),
    }
}

/// The heap, MiB, for a memory limit in bytes.
pub fn heap_mib(limit: u64) -> u32 {
    let share = (limit / MIB * HEAP_PERCENT / 100).min(HEAP_MIB_MOST);
    // At most HEAP_MIB_MOST, which fits.
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// Broker settings that differ from Kafka's own defaults, for this number of brokers and heap.
pub fn config(brokers: i32, heap_mib: u32) -> BTreeMap<String, String> {
    let single = brokers == 1;
    let replicas = brokers.min(3).to_string();
    let in_sync = if single { "1" } else { "2" };
    // The cleaner's map of keys is on the heap from the start; Kafka's own default is 128 MiB.
    let dedupe = u64::from(heap_mib).clamp(128, 1024) * MIB / 16;
    let mut config = BTreeMap::from([
        ("default.replication.factor", replicas.clone()),
        ("min.insync.replicas", in_sync.to_owned()),
        ("offsets.topic.replication.factor", replicas.clone()),
        ("transaction.state.log.replication.factor", replicas.clone()),
        ("transaction.state.log.min.isr", in_sync.to_owned()),
        ("share.coordinator.state.topic.replication.factor", replicas),
        ("share.coordinator.state.topic.min.isr", in_sync.to_owned()),
        // Kafka's own default is 50 each: files and time at start that a site's few clients do not need.
        ("offsets.topic.num.partitions", "3".to_owned()),
        ("transaction.state.log.num.partitions", "3".to_owned()),
        ("share.coordinator.state.topic.num.partitions", "3".to_owned()),
        ("log.cleaner.dedupe.buffer.size", dedupe.to_string()),
        ("num.network.threads", "2".to_owned()),
        ("num.io.threads", "4".to_owned()),
    ]);
    if single {
        // Law 1: without a second copy, an acknowledged record must be on disk.
        config.insert("log.flush.interval.messages", "1".to_owned());
    }
    config.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Settings that the operator owns (law 1): refused in the spec, the same on every broker.
pub fn fixed() -> [(&'static str, &'static str); 2] {
    [
        // A topic that nobody described would be made with settings that nobody chose.
        ("auto.create.topics.enable", "false"),
        // A replica that is behind must never become leader: it would drop what was acknowledged.
        ("unclean.leader.election.enable", "false"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_leaves_room_for_the_rest_of_the_process() {
        assert_eq!(heap_mib(768 * MIB), 307);
        assert_eq!(heap_mib(MEMORY_MIB_LEAST * MIB), 153);
        assert_eq!(heap_mib(64 * 1024 * MIB), 6144);
    }

    #[test]
    fn one_broker_flushes_every_append_and_three_replicate() {
        let one = config(1, 256);
        assert_eq!(one["log.flush.interval.messages"], "1");
        assert_eq!(
            (
                one["min.insync.replicas"].as_str(),
                one["default.replication.factor"].as_str()
            ),
            ("1", "1")
        );
        let three = config(3, 256);
        assert!(!three.contains_key("log.flush.interval.messages"));
        assert_eq!(
            (
                three["min.insync.replicas"].as_str(),
                three["default.replication.factor"].as_str()
            ),
            ("2", "3")
        );
    }

    #[test]
    fn the_cleaners_map_takes_a_sixteenth_of_the_heap() {
        assert_eq!(
            config(1, 256)["log.cleaner.dedupe.buffer.size"],
            (16 * MIB).to_string()
        );
        assert_eq!(
            config(1, 6144)["log.cleaner.dedupe.buffer.size"],
            (64 * MIB).to_string()
        );
    }
}
