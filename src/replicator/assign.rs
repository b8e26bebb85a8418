//! Which worker copies which partition: fixed by topic name, partition and number of workers alone, so that a topic
//! that joins or leaves moves no other, and no worker has to agree with another on anything. Pure.

use sha2::{Digest, Sha256};

/// The worker, from 0, of one partition. A topic's partitions go round robin from a place that its name decides.
#[must_use]
pub fn worker_of(topic: &str, partition: i32, workers: u32) -> u32 {
    let digest = Sha256::digest(topic.as_bytes());
    let start = digest
        .iter()
        .take(8)
        .fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let workers = u64::from(workers.max(1));
    let worker = (start % workers + u64::from(partition.unsigned_abs()) % workers) % workers;
    // Below `workers`, which is a u32.
    u32::try_from(worker).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_assignment_never_changes_between_versions() {
        let workers: Vec<u32> = (0..6)
            .map(|partition| worker_of("telemetry", partition, 4))
            .collect();
        assert_eq!(
            workers,
            [0, 1, 2, 3, 0, 1].map(|w| (w + worker_of("telemetry", 0, 4)) % 4)
        );
        assert_eq!(worker_of("telemetry", 0, 1000), 841);
    }

    proptest! {
        #[test]
        fn every_partition_has_one_worker_in_range(topic in ".{0,40}", partition in 0..i32::MAX, workers in 1_u32..=16) {
            prop_assert!(worker_of(&topic, partition, workers) < workers);
        }

        #[test]
        fn a_topics_partitions_spread_evenly(topic in "[a-z.]{1,20}", partitions in 1..200_i32, workers in 1_u32..=16) {
            let mut counts = vec![0; workers as usize];
            for partition in 0..partitions {
                counts[worker_of(&topic, partition, workers) as usize] += 1;
            }
            let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
            prop_assert!(spread <= 1);
        }

        #[test]
        fn many_small_topics_spread_too(seed in 0..1000_u32) {
            let mut counts = [0; 4];
            for i in 0..400 {
                counts[worker_of(&format!("topic-{seed}-{i}"), 0, 4) as usize] += 1;
            }
            prop_assert!(counts.iter().all(|count| (50..=160).contains(count)), "{counts:?}");
        }
    }
}
