//! How a commit is laid out: one group of values, each below the size at which sled would move it
//! out of its log.
//!
//! A value has a number of its own, without gaps; it is its key. A group is whole or it counts for
//! nothing: its last value missing means a commit that was never acknowledged. (A run must never be
//! cut: phase 1 rests on whole ones.)
//!
//! | bytes | what |
//! |---:|---|
//! | 1 | version |
//! | 4 | CRC-32 of all that follows |
//! | 4 | fingerprint of the store's identity |
//! | 8 | number of this value |
//! | 4 | its place in the group |
//! | 4 | values in the group |
//! | .. | its share of what is encoded: [`Before`], and the records |

use super::mending::Before;
use crate::paxos::Record;
use crate::wire::codec;

/// The version of values; anything else is refused.
pub(super) const VERSION: u8 = 2;

/// The longest value, in bytes. sled moves a *page* above a quarter of a segment (2 MiB of 8 MiB)
/// out of its log into files it never syncs. A leaf splits above 16 items, and may hold a few more
/// for a moment: 64 KiB each leave room for thirty.
pub(super) const VALUE_BYTES_MAX: usize = 64 << 10;

const HEADER_BYTES: usize = 25;

/// Why a value is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Too short, or its checksum does not match.
    Checksum,
    /// Written by another version.
    Version(u8),
    /// Of another store.
    Foreign,
    /// It stands under another number than its own.
    Misplaced(u64),
}

/// A value that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) place: u32,
    pub(super) places: u32,
    pub(super) body: &'a [u8],
}

/// The values of a commit, the first of which has number `first`.
pub(super) fn lay_out(
    before: Before,
    records: &[Record],
    first: u64,
    fingerprint: u32,
) -> Vec<Vec<u8>> {
    let encoded = codec::encode(&(before, records));
    let shares: Vec<&[u8]> = encoded.chunks(VALUE_BYTES_MAX - HEADER_BYTES).collect();
    let places = shares.len() as u32;
    let value = |(share, (place, number)): (&&[u8], (u32, u64))| {
        let mut value = Vec::with_capacity(HEADER_BYTES + share.len());
        value.push(VERSION);
        value.extend_from_slice(&[0; 4]);
        value.extend_from_slice(&fingerprint.to_le_bytes());
        value.extend_from_slice(&number.to_le_bytes());
        value.extend_from_slice(&place.to_le_bytes());
        value.extend_from_slice(&places.to_le_bytes());
        value.extend_from_slice(share);
        let checksum = crc32fast::hash(&value[5..]);
        value[1..5].copy_from_slice(&checksum.to_le_bytes());
        value
    };
    shares.iter().zip((0..).zip(first..)).map(value).collect()
}

/// Examines the value that stands under a number.
pub(super) fn examine(value: &[u8], number: u64, fingerprint: u32) -> Result<Part<'_>, Flaw> {
    let (header, body) = value.split_at_checked(HEADER_BYTES).ok_or(Flaw::Checksum)?;
    if header[0] != VERSION {
        return Err(Flaw::Version(header[0]));
    }
    if header[1..5] != crc32fast::hash(&value[5..]).to_le_bytes() {
        return Err(Flaw::Checksum);
    }
    let word = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u32::from_le_bytes(bytes)
    };
    if word(5) != fingerprint {
        return Err(Flaw::Foreign);
    }
    let own = u64::from(word(9)) | u64::from(word(13)) << 32;
    if own != number {
        return Err(Flaw::Misplaced(own));
    }
    Ok(Part { place: word(17), places: word(21), body })
}

/// The values from the first that begins a group. A crash can stop the deletes of a trim, which go
/// upward, within a group; whether what stands before may be missing, the trim's record says.
pub(super) fn behind_broken_head<V: AsRef<[u8]>>(
    values: &[(u64, V)],
    fingerprint: u32,
) -> &[(u64, V)] {
    let is_inner = |(number, value): &&(u64, V)| {
        examine(value.as_ref(), *number, fingerprint).is_ok_and(|part| part.place > 0)
    };
    &values[values.iter().take_while(is_inner).count()..]
}

/// What the shares of a whole group say, put together.
pub(super) fn decode(encoded: &[u8]) -> Result<(Before, Vec<Record>), codec::Malformed> {
    codec::decode(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::{Command, Run, Slot, testing};

    fn big(bytes: usize) -> Vec<Record> {
        let mut commands = vec![Command::Noop; bytes / 4];
        commands.truncate(bytes / 4);
        let (ballot, first) = (testing::ballot(0, 0), Slot(0));
        vec![Record::Accepted(Run { ballot, after: first, first, commands })]
    }

    #[test]
    fn what_is_laid_out_comes_back_at_every_size_around_the_limit() {
        for bytes in [0, 100, 65_000, 65_460, 65_500, 65_536, 66_000, 200_000] {
            let records = big(bytes);
            let values = lay_out(Before::default(), &records, 7, 99);
            let mut encoded = Vec::new();
            for (place, value) in values.iter().enumerate() {
                assert!(value.len() <= VALUE_BYTES_MAX);
                let part = examine(value, 7 + place as u64, 99).expect("whole");
                assert_eq!((part.place, part.places), (place as u32, values.len() as u32));
                encoded.extend_from_slice(part.body);
            }
            assert_eq!(decode(&encoded).expect("records"), (Before::default(), records));
        }
    }

    #[test]
    fn every_flaw_has_its_name() {
        let value = &lay_out(Before::default(), &big(0), 7, 99)[0];
        assert_eq!(examine(value, 8, 99), Err(Flaw::Misplaced(7)));
        assert_eq!(examine(value, 7, 98), Err(Flaw::Foreign));
        assert_eq!(examine(&value[..10], 7, 99), Err(Flaw::Checksum));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(examine(&flipped, 7, 99).is_err(), "bit {bit}");
        }
    }
}
