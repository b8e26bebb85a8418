//! What one probe message carries, and how it is found again on the other side.
//!
//! ```json
//! {"probe":1,"run":"20261121T093634-5f3a","device":17,"seq":42,"sentNs":1763716200123456789,"pad":"x…"}
//! ```
//!
//! `seq` counts from 0 without gaps for each device of a run; `sentNs` is the sender's wall clock when the message was
//! first handed to the network, nanoseconds since 1970 (a repeated message keeps its stamp). `pad` fills the message to
//! the size asked for.

use serde::Deserialize;

/// Version of the payload's format; other versions are not taken for probe messages.
const FORMAT: u8 = 1;
/// Bytes of a run's name, at most.
pub const MAX_RUN_BYTES: usize = 32;
/// Sequence numbers stay below 2^53, so that every JSON reader sees them exactly.
pub const MAX_SEQUENCE: u64 = 1 << 53;
/// Devices of one run, at most: the bound of what sender and auditor hold for each device.
pub const MAX_DEVICES: u32 = 100_000;
/// A payload is at most this long: MQTT's own limit is 256 MiB, no broker takes that by default.
pub const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;

/// What one message says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The run it belongs to.
    pub run: &'a str,
    /// Which device sent it, from 0.
    pub device: u32,
    /// Its place among the device's messages, from 0.
    pub sequence: u64,
    /// The sender's wall clock, nanoseconds since 1970.
    pub sent_ns: u64,
}

/// The payload as JSON has it.
#[derive(Deserialize)]
struct Wire<'a> {
    probe: u8,
    run: &'a str,
    device: u32,
    seq: u64,
    #[serde(rename = "sentNs")]
    sent_ns: u64,
}

impl<'a> Stamp<'a> {
    /// The stamp of a record's value; `None` for anything that is no probe message of this version.
    #[must_use]
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let wire: Wire<'a> = serde_json::from_slice(payload).ok()?;
        let Wire {
            probe,
            run,
            device,
            seq,
            sent_ns,
        } = wire;
        let sane = probe == FORMAT && is_run_name(run) && device < MAX_DEVICES && seq < MAX_SEQUENCE;
        sane.then_some(Self {
            run,
            device,
            sequence: seq,
            sent_ns,
        })
    }
}

/// Whether `name` can name a run: 1 to 32 of letters, digits and `.`, `_`, `-`; so it needs no escape anywhere.
#[must_use]
pub fn is_run_name(name: &str) -> bool {
    (1..=MAX_RUN_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Why there can be no messages of that size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--payload-size is {size}; the stamp alone takes {least} bytes, so give {least} to {MAX_PAYLOAD_BYTES}"
)]
pub struct SizeError {
    size: usize,
    least: usize,
}

/// Writes stamped payloads of one exact size for one run.
#[derive(Debug, Clone)]
pub struct Stamper {
    run: String,
    size: usize,
    filler: Vec<u8>,
}

impl Stamper {
    /// For payloads of exactly `size` bytes.
    ///
    /// # Errors
    /// When the largest possible stamp does not fit into `size`, or `size` exceeds [`MAX_PAYLOAD_BYTES`].
    pub fn new(run: &str, size: usize) -> Result<Self, SizeError> {
        let mut largest = Vec::new();
        let stamp = Stamp {
            run,
            device: MAX_DEVICES - 1,
            sequence: MAX_SEQUENCE - 1,
            sent_ns: u64::MAX,
        };
        write_head(&mut largest, &stamp);
        let least = largest.len() + TAIL.len();
        if !(least..=MAX_PAYLOAD_BYTES).contains(&size) {
            return Err(SizeError { size, least });
        }
        Ok(Self {
            run: run.to_owned(),
            size,
            filler: filler(size),
        })
    }

    /// The payload of one message.
    #[must_use]
    pub fn payload(&self, device: u32, sequence: u64, sent_ns: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size);
        write_head(
            &mut out,
            &Stamp {
                run: &self.run,
                device,
                sequence,
                sent_ns,
            },
        );
        let pad = self.size - out.len() - TAIL.len();
        // Another piece of the filler each time: neighbours in a batch are not copies of each other.
        let offset = usize::try_from(sequence.wrapping_mul(31) % (FILLER_BYTES as u64)).unwrap_or(0);
        out.extend_from_slice(&self.filler[offset..offset + pad]);
        out.extend_from_slice(TAIL);
        out
    }
}

const TAIL: &[u8] = b"\"}";
/// How much filler there is beyond one payload.
const FILLER_BYTES: usize = 64 * 1024;

fn write_head(out: &mut Vec<u8>, stamp: &Stamp<'_>) {
    use std::io::Write as _;
    let Stamp {
        run,
        device,
        sequence,
        sent_ns,
    } = stamp;
    // Writing into a Vec cannot fail.
    let _ = write!(
        out,
        r#"{{"probe":{FORMAT},"run":"{run}","device":{device},"seq":{sequence},"sentNs":{sent_ns},"pad":""#
    );
}

/// Letters and digits in no order that a compressor would profit from much (xorshift64, fixed seed).
fn filler(payload: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..FILLER_BYTES + payload)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            LETTERS[(state >> 58) as usize]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_payload_has_the_exact_size_and_gives_its_stamp_back(
            run in "[A-Za-z0-9._-]{1,32}", device in 0..MAX_DEVICES, sequence in 0..MAX_SEQUENCE,
            sent_ns: u64, size in 160usize..2000,
        ) {
            let payload = Stamper::new(&run, size).unwrap().payload(device, sequence, sent_ns);
            prop_assert_eq!(payload.len(), size);
            prop_assert_eq!(Stamp::parse(&payload), Some(Stamp { run: &run, device, sequence, sent_ns }));
        }

        #[test]
        fn foreign_payloads_are_not_taken_for_probe_messages(bytes: Vec<u8>) {
            prop_assert_eq!(Stamp::parse(&bytes), None);
        }
    }

    #[test]
    fn the_least_size_fits_the_largest_stamp_and_one_byte_less_is_refused() {
        let run = "r".repeat(MAX_RUN_BYTES);
        let least = Stamper::new(&run, 1).unwrap_err().least;
        let payload = Stamper::new(&run, least)
            .unwrap()
            .payload(MAX_DEVICES - 1, MAX_SEQUENCE - 1, u64::MAX);
        assert_eq!(payload.len(), least);
        assert!(
            Stamper::new(&run, least - 1)
                .unwrap_err()
                .to_string()
                .contains(&least.to_string())
        );
        assert!(Stamper::new(&run, MAX_PAYLOAD_BYTES + 1).is_err());
    }

    #[test]
    fn almost_right_payloads_are_refused() {
        for payload in [
            r#"{"probe":2,"run":"a","device":0,"seq":0,"sentNs":1}"#,
            r#"{"run":"a","device":0,"seq":0,"sentNs":1}"#,
            r#"{"probe":1,"run":"","device":0,"seq":0,"sentNs":1}"#,
            r#"{"probe":1,"run":"a b","device":0,"seq":0,"sentNs":1}"#,
            r#"{"probe":1,"run":"a","device":100000,"seq":0,"sentNs":1}"#,
            r#"{"probe":1,"run":"a","device":0,"seq":-1,"sentNs":1}"#,
            r#"{"probe":1,"run":"a","device":0,"seq":9007199254740992,"sentNs":1}"#,
            r#"{"probe":1,"run":"a","device":0,"seq":0,"sentNs":1"#,
        ] {
            assert_eq!(Stamp::parse(payload.as_bytes()), None, "{payload}");
        }
    }
}
