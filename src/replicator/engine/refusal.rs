//! Records that the target did not take, and which of them is at fault. Pure.

use rdkafka::error::RDKafkaErrorCode;

use super::batch::record_cost;

/// What one turn's delivery reports say against a partition's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Source offset of the first record that was not taken.
    pub first: i64,
    /// Source offset of the one at fault (of several, the first), where it is named: others failed for being in its
    /// batch. librdkafka names them only where several are at fault.
    pub culprit: Option<i64>,
    /// Bytes of the record at [`Self::offset`]: key, value and headers.
    pub bytes: u32,
    /// librdkafka's or Kafka's code for it.
    pub code: RDKafkaErrorCode,
    /// How many records have that code: those of the batch, where it is refused as a whole.
    pub records: u32,
    /// Bytes of these records as they count in a batch, before compression.
    pub batch_bytes: u64,
}

impl Refusal {
    /// The first report.
    #[must_use]
    pub fn new(offset: i64, bytes: u32, code: RDKafkaErrorCode) -> Self {
        Self {
            first: offset,
            culprit: None,
            bytes,
            code,
            records: 1,
            batch_bytes: record_cost(bytes),
        }
    }

    /// Another report of the same turn. Reports come in the order of offsets, so those of innocent records may come
    /// before the one that says why.
    pub fn add(&mut self, offset: i64, bytes: u32, code: RDKafkaErrorCode) {
        if code == self.code {
            self.records = self.records.saturating_add(1);
            self.batch_bytes = self.batch_bytes.saturating_add(record_cost(bytes));
        }
        match (is_innocent(self.code), is_innocent(code)) {
            (true, false) => {
                *self = Self {
                    first: self.first,
                    culprit: Some(offset),
                    ..Self::new(offset, bytes, code)
                }
            }
            (false, true) => self.culprit = self.culprit.or(Some(self.first)),
            _ => {}
        }
    }

    /// Source offset of the record at fault; of the first record of the batch, when any of it may be.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.culprit.unwrap_or(self.first)
    }
}

/// librdkafka's code for a record which the target would take, if it were not for another one of its batch.
fn is_innocent(code: RDKafkaErrorCode) -> bool {
    code == RDKafkaErrorCode::InvalidDifferentRecord
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNOCENT: RDKafkaErrorCode = RDKafkaErrorCode::InvalidDifferentRecord;
    const GUILTY: RDKafkaErrorCode = RDKafkaErrorCode::InvalidRecord;

    /// Offset, culprit and code of a batch that begins at offset 5, reported in order.
    fn told(codes: &[RDKafkaErrorCode]) -> (i64, Option<i64>, RDKafkaErrorCode) {
        let mut refusal = Refusal::new(5, 100, codes[0]);
        for (offset, code) in (6..).zip(&codes[1..]) {
            refusal.add(offset, 200, *code);
        }
        assert_eq!(refusal.first, 5);
        (refusal.offset(), refusal.culprit, refusal.code)
    }

    #[test]
    fn the_record_at_fault_is_found_wherever_it_is_in_its_batch() {
        assert_eq!(told(&[GUILTY, INNOCENT, INNOCENT]), (5, Some(5), GUILTY));
        assert_eq!(told(&[INNOCENT, GUILTY, INNOCENT]), (6, Some(6), GUILTY));
        assert_eq!(told(&[INNOCENT, INNOCENT, GUILTY, GUILTY]), (7, Some(7), GUILTY));
        assert_eq!(told(&[GUILTY, INNOCENT, GUILTY]), (5, Some(5), GUILTY));
    }

    #[test]
    fn a_batch_that_is_refused_as_a_whole_has_no_known_culprit() {
        let too_large = RDKafkaErrorCode::MessageSizeTooLarge;
        assert_eq!(told(&[too_large, too_large]), (5, None, too_large));
        assert_eq!(told(&[INNOCENT, INNOCENT]), (5, None, INNOCENT));
    }

    #[test]
    fn a_batch_that_is_refused_as_a_whole_is_counted_without_what_failed_behind_it() {
        let too_large = RDKafkaErrorCode::MessageSizeTooLarge;
        let mut refusal = Refusal::new(5, 100, too_large);
        assert_eq!((refusal.records, refusal.batch_bytes), (1, record_cost(100)));
        refusal.add(6, 200, too_large);
        refusal.add(7, 300, RDKafkaErrorCode::PurgeQueue);
        assert_eq!(
            (refusal.records, refusal.batch_bytes),
            (2, record_cost(100) + record_cost(200))
        );
        let mut named = Refusal::new(5, 100, INNOCENT);
        named.add(6, 200, GUILTY);
        assert_eq!((named.records, named.batch_bytes), (1, record_cost(200)));
    }

    #[test]
    fn the_size_is_that_of_the_record_at_fault() {
        let mut refusal = Refusal::new(5, 100, INNOCENT);
        refusal.add(6, 200, GUILTY);
        refusal.add(7, 300, INNOCENT);
        assert_eq!(refusal.bytes, 200);
    }
}
