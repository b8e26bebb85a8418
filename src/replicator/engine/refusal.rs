//! Records that the target did not take, and which of them is at fault. Pure.

use rdkafka::error::RDKafkaErrorCode;

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
}

impl Refusal {
    /// The first report.
    #[must_use]
    pub const fn new(offset: i64, bytes: u32, code: RDKafkaErrorCode) -> Self {
        Self {
            first: offset,
            culprit: None,
            bytes,
            code,
        }
    }

    /// Another report of the same turn. Reports come in the order of offsets, so those of innocent records may come
    /// before the one that says why.
    pub fn add(&mut self, offset: i64, bytes: u32, code: RDKafkaErrorCode) {
        match (is_innocent(self.code), is_innocent(code)) {
            (true, false) => {
                *self = Self {
                    first: self.first,
                    culprit: Some(offset),
                    bytes,
                    code,
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
    fn the_size_is_that_of_the_record_at_fault() {
        let mut refusal = Refusal::new(5, 100, INNOCENT);
        refusal.add(6, 200, GUILTY);
        refusal.add(7, 300, INNOCENT);
        assert_eq!(refusal.bytes, 200);
    }
}
