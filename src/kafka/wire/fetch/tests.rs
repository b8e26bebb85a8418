use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_SEQUENCE, Record as Raw, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Default)]
struct Kind {
    transactional: bool,
    control: bool,
    producer: i64,
}

const PLAIN: Kind = Kind {
    transactional: false,
    control: false,
    producer: -1,
};

const fn of(producer: i64) -> Kind {
    Kind {
        transactional: true,
        control: false,
        producer,
    }
}

fn batch(kind: Kind, records: &[(i64, &[u8])]) -> Vec<u8> {
    let records: Vec<Raw> = records
        .iter()
        .map(|(offset, key)| Raw {
            transactional: kind.transactional,
            control: kind.control,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: kind.producer,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset: *offset,
            sequence: NO_SEQUENCE,
            timestamp: 1000 + offset,
            key: Some(Bytes::copy_from_slice(key)),
            value: Some(Bytes::from_static(b"v")),
            headers: Default::default(),
        })
        .collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).expect("encodes");
    buffer.to_vec()
}

fn marker(producer: i64, offset: i64, commit: bool) -> Vec<u8> {
    let kind = Kind {
        transactional: true,
        control: true,
        producer,
    };
    batch(kind, &[(offset, &[0, 0, 0, u8::from(commit)])])
}

/// Gives a batch another last offset, as compaction leaves it, with the checksum mended.
fn with_last_offset_delta(mut batch: Vec<u8>, delta: i32) -> Vec<u8> {
    batch[23..27].copy_from_slice(&delta.to_be_bytes());
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// CRC-32C, bit by bit: only tests need it.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

fn read(parts: &[Vec<u8>], from: i64, aborted: &[(i64, i64)]) -> Result<Fetched, KafkaError> {
    let aborted = aborted
        .iter()
        .map(|(producer, first)| {
            AbortedTransaction::default()
                .with_producer_id(ProducerId(*producer))
                .with_first_offset(*first)
        })
        .collect();
    let data = PartitionData::default()
        .with_records(Some(Bytes::from(parts.concat())))
        .with_high_watermark(100)
        .with_last_stable_offset(100)
        .with_aborted_transactions(Some(aborted));
    read_partition("partition t-0".into(), data, from)
}

fn offsets(fetched: &Fetched) -> Vec<i64> {
    fetched.records.iter().map(|record| record.offset).collect()
}

#[test]
fn records_of_all_batches_come_in_order() {
    let fetched = read(
        &[batch(PLAIN, &[(0, b"a"), (1, b"b")]), batch(PLAIN, &[(2, b"c")])],
        0,
        &[],
    )
    .expect("reads");
    assert_eq!(offsets(&fetched), [0, 1, 2]);
    assert_eq!(fetched.next_offset, 3);
    assert_eq!(
        (fetched.records[1].timestamp_ms, fetched.records[1].key.as_deref()),
        (1001, Some(&b"b"[..]))
    );
}

#[test]
fn what_lies_before_the_asked_offset_in_its_batch_is_left_out() {
    let fetched = read(&[batch(PLAIN, &[(5, b"a"), (6, b"b"), (7, b"c")])], 7, &[]).expect("reads");
    assert_eq!((offsets(&fetched), fetched.next_offset), (vec![7], 8));
}

#[test]
fn a_batch_that_was_cut_short_is_left_for_the_next_fetch() {
    let mut cut = batch(PLAIN, &[(2, b"c")]);
    for length in [cut.len() - 1, 61, 60, 12, 3, 0] {
        cut.truncate(length);
        let fetched = read(&[batch(PLAIN, &[(0, b"a"), (1, b"b")]), cut.clone()], 0, &[]).expect("reads");
        assert_eq!(
            (offsets(&fetched), fetched.next_offset),
            (vec![0, 1], 2),
            "{length}"
        );
    }
}

#[test]
fn reading_goes_on_past_records_that_compaction_took_from_a_batch() {
    let compacted = with_last_offset_delta(batch(PLAIN, &[(4, b"a")]), 9);
    let fetched = read(&[compacted], 0, &[]).expect("reads");
    assert_eq!((offsets(&fetched), fetched.next_offset), (vec![4], 14));
}

#[test]
fn records_of_aborted_transactions_are_left_out_and_later_ones_are_not() {
    let log = [
        batch(of(1), &[(0, b"aborted")]),
        batch(of(2), &[(1, b"committed")]),
        batch(PLAIN, &[(2, b"plain")]),
        marker(1, 3, false),
        marker(2, 4, true),
        batch(of(1), &[(5, b"committed later")]),
        marker(1, 6, true),
    ];
    let fetched = read(&log, 0, &[(1, 0)]).expect("reads");
    assert_eq!((offsets(&fetched), fetched.next_offset), (vec![1, 2, 5], 7));
}

#[test]
fn markers_alone_move_the_offset() {
    let fetched = read(&[marker(1, 7, true)], 7, &[]).expect("reads");
    assert_eq!((offsets(&fetched), fetched.next_offset), (vec![], 8));
}

#[test]
fn compressed_and_broken_batches_are_errors() {
    let mut compressed = batch(PLAIN, &[(0, b"a")]);
    compressed[22] |= 3;
    let error = read(&[compressed], 0, &[]).expect_err("compressed").to_string();
    assert!(error.contains("compression.type"), "{error}");
    let mut broken = batch(PLAIN, &[(0, b"a")]);
    *broken.last_mut().expect("not empty") ^= 1;
    let error = read(&[broken], 0, &[]).expect_err("broken").to_string();
    assert!(error.contains("broken batch"), "{error}");
}

#[test]
fn a_partitions_own_error_is_kept() {
    let data = PartitionData::default().with_error_code(1);
    let error = read_partition("partition t-0".into(), data, 0).expect_err("out of range");
    assert_eq!(error.to_string(), "partition t-0: OFFSET_OUT_OF_RANGE");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_or_go_back(bytes in prop::collection::vec(any::<u8>(), 0..300), from in 0..i64::MAX) {
        if let Ok(fetched) = read(&[bytes], from, &[(1, 0)]) {
            prop_assert!(fetched.next_offset >= from);
        }
    }

    #[test]
    fn a_flipped_byte_is_noticed_or_harmless(index in 0..80_usize, flip in 1..=255_u8) {
        let mut one = batch(PLAIN, &[(0, b"key-of-some-length")]);
        let index = index.min(one.len() - 1);
        one[index] ^= flip;
        // The checksum covers all but the base offset, the length and the leader epoch.
        if let Ok(fetched) = read(&[one], 0, &[]) {
            prop_assert!(index < 17 || fetched.records.is_empty());
        }
    }
}

#[test]
fn the_tests_own_checksum_is_crc_32c() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let mut check = BytesMut::new();
    check.put_slice(&batch(PLAIN, &[(0, b"a")]));
    assert_eq!(crc32c(&check[21..]).to_be_bytes(), check[17..21]);
}
