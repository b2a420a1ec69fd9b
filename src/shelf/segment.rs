//! A segment: one file of the archive, read as a whole.
//!
//! Its header, under a seal, says whose it is and how far the archive went before it. Then come
//! entries: a CRC-32, the length, the slot and the body of each. The checksum begins from the
//! node's fingerprint.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file::{SEAL_BYTES, SEGMENT};
use crate::paxos::Slot;
use crate::rsm::{Extent, ShelfError};
use crate::wire::codec;

/// One segment's bytes.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    fingerprint: u32,
    base: Extent,
    bytes: Vec<u8>,
}

/// The entries of a segment, each checked before it is given.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    segment: &'a Segment,
    offset: usize,
    end: Slot,
}

/// The seal, the fingerprint, and the four numbers of an extent.
pub(super) const HEADER_BYTES: usize = SEAL_BYTES + 4 + 4 * 8;

/// Checksum, length, slot.
const ENTRY_HEADER_BYTES: usize = 4 + 4 + 8;

/// The header of a segment that begins where the archive goes to `base`.
pub(super) fn header(fingerprint: u32, base: Extent) -> Vec<u8> {
    SEGMENT.seal(&codec::encode(&(fingerprint, base)))
}

/// How many bytes an entry takes.
pub(super) fn entry_bytes(body: &[u8]) -> usize {
    ENTRY_HEADER_BYTES + body.len()
}

/// Adds an entry's bytes.
pub(super) fn encode(fingerprint: u32, slot: Slot, body: &[u8], bytes: &mut Vec<u8>) {
    let length = u32::try_from(body.len()).expect("a body is no longer than a frame");
    let mut header = [0; ENTRY_HEADER_BYTES];
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..].copy_from_slice(&slot.0.to_le_bytes());
    let checksum = checksum(fingerprint, &header[4..], body);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(body);
}

fn checksum(fingerprint: u32, header: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(fingerprint);
    hasher.update(header);
    hasher.update(body);
    hasher.finalize()
}

impl Segment {
    /// Reads the segment that begins at `start`, up to so many bytes.
    pub(super) fn read(
        folder: &Path,
        start: Slot,
        fingerprint: u32,
        limit: u64,
    ) -> Result<Segment, ShelfError> {
        let path = SEGMENT.path(folder, start);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ShelfError::damaged(&path, "it is gone"));
            }
            Err(error) => return Err(ShelfError::io(&path, error)),
        };
        bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let base = base(&bytes, fingerprint)
            .and_then(|base| if base.end == start { Ok(base) } else { Err(misnamed(base)) })
            .map_err(|what| ShelfError::damaged(&path, format!("the header: {what}")))?;
        Ok(Segment { path, fingerprint, base, bytes })
    }

    /// All entries.
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries { segment: self, offset: HEADER_BYTES, end: self.base.end }
    }

    /// Reads on to an extent, hash and all. Returns the offset at which it is reached.
    pub(super) fn reach(&self, to: Extent) -> Result<u64, ShelfError> {
        let (mut entries, mut extent) = (self.entries(), self.base);
        while extent.entries < to.entries
            && let Some(entry) = entries.next()
        {
            let (slot, body) = entry?;
            extent = extent.then(slot, body);
        }
        if extent == to { Ok(entries.offset as u64) } else { Err(self.short(extent, to)) }
    }

    /// How far entries go on from an extent that it holds, up to the first that is not whole, and
    /// the offset there.
    pub(super) fn beyond(&self, from: Extent) -> Result<(Extent, u64), ShelfError> {
        let mut offset = self.reach(from)?;
        let rest = Entries { segment: self, offset: offset as usize, end: from.end };
        let extent = rest.map_while(Result::ok).fold(from, |extent, (slot, body)| {
            offset += entry_bytes(body) as u64;
            extent.then(slot, body)
        });
        Ok((extent, offset))
    }

    fn short(&self, found: Extent, to: Extent) -> ShelfError {
        let what = format!("it goes to {found}, but the snapshot names {to}");
        ShelfError::damaged(&self.path, what)
    }

    /// That the entries end where the next segment begins, or the archive ends.
    pub(super) fn ends_at(&self, end: Slot, expected: Slot) -> Result<(), ShelfError> {
        if end == expected {
            return Ok(());
        }
        let what = format!("entries are missing from slot {} up to slot {}", end.0, expected.0);
        Err(ShelfError::damaged(&self.path, what))
    }

    fn entry(&self, offset: usize) -> Result<(Slot, &[u8]), &'static str> {
        const SHORT: &str = "it is cut short";
        let rest = &self.bytes[offset..];
        let (header, rest) = rest.split_at_checked(ENTRY_HEADER_BYTES).ok_or(SHORT)?;
        let (checksummed, fields) = header.split_at(4);
        let (length, slot) = fields.split_at(4);
        let length = u32::from_le_bytes(length.try_into().map_err(|_| SHORT)?);
        let body = rest.get(..length as usize).ok_or(SHORT)?;
        if checksummed != checksum(self.fingerprint, fields, body).to_le_bytes() {
            return Err("its checksum does not match");
        }
        Ok((Slot(u64::from_le_bytes(slot.try_into().map_err(|_| SHORT)?)), body))
    }
}

fn base(bytes: &[u8], fingerprint: u32) -> Result<Extent, String> {
    let header = bytes.get(..HEADER_BYTES).ok_or("it is cut short")?;
    let content = SEGMENT.unseal(header)?;
    let (owner, base): (u32, Extent) = codec::decode(content).map_err(|error| error.to_string())?;
    if owner == fingerprint { Ok(base) } else { Err("it is another node's".to_owned()) }
}

fn misnamed(base: Extent) -> String {
    format!("it begins at slot {}, which its name does not say", base.end.0)
}

impl Entries<'_> {
    /// The slot after the last entry given.
    pub(super) fn end(&self) -> Slot {
        self.end
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(Slot, &'a [u8]), ShelfError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (segment, offset) = (self.segment, self.offset);
        if offset == segment.bytes.len() {
            return None;
        }
        let entry = segment.entry(offset).and_then(|(slot, body)| {
            let is_ascending = self.end <= slot;
            is_ascending.then_some((slot, body)).ok_or("its slot is not above the last")
        });
        Some(match entry {
            Ok((slot, body)) => {
                self.offset += entry_bytes(body);
                self.end = slot.next();
                Ok((slot, body))
            }
            Err(what) => {
                self.offset = segment.bytes.len();
                let what = format!("the entry at byte {offset}: {what}");
                Err(ShelfError::damaged(&segment.path, what))
            }
        })
    }
}
