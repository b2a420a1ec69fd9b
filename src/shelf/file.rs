//! The shelf's files: their names, and the seal at the head of each.
//!
//! A seal is a magic, a version, and the CRC-32 of the content that follows. It is checked before
//! anything of the content is believed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::paxos::Slot;

/// What kind of file it is.
#[derive(Debug)]
pub(super) struct Kind {
    magic: [u8; 8],
    suffix: &'static str,
}

/// A part of the archive.
pub(super) const SEGMENT: Kind = Kind { magic: *b"INDELARC", suffix: "seg" };

/// A snapshot.
pub(super) const SNAPSHOT: Kind = Kind { magic: *b"INDELSNP", suffix: "snap" };

/// The length of a seal.
pub(super) const SEAL_BYTES: usize = 8 + 1 + 4;

const VERSION: u8 = 1;

/// A slot in a name: of one length, so that names sort as slots do.
const DIGITS: usize = 20;

impl Kind {
    /// Where the file of a slot lies.
    pub(super) fn path(&self, folder: &Path, slot: Slot) -> PathBuf {
        folder.join(format!("{:0DIGITS$}.{}", slot.0, self.suffix))
    }

    /// The slots of all files of this kind, ascending.
    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for entry in fs::read_dir(folder)? {
            slots.extend(entry?.file_name().to_str().and_then(|name| self.slot(name)));
        }
        slots.sort_unstable();
        Ok(slots)
    }

    fn slot(&self, name: &str) -> Option<Slot> {
        let digits = name.strip_suffix(self.suffix)?.strip_suffix('.')?;
        (digits.len() == DIGITS).then(|| digits.parse().ok().map(Slot))?
    }

    /// The content with its seal before it.
    pub(super) fn seal(&self, content: &[u8]) -> Vec<u8> {
        let mut sealed = self.magic.to_vec();
        sealed.push(VERSION);
        sealed.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
        sealed.extend_from_slice(content);
        sealed
    }

    /// The content, if the seal is whole; what is wrong, if not.
    pub(super) fn unseal<'a>(&self, sealed: &'a [u8]) -> Result<&'a [u8], String> {
        let rest = sealed.strip_prefix(&self.magic).ok_or("its first bytes are not ours")?;
        let (version, rest) = rest.split_first().ok_or("it is cut short")?;
        if *version != VERSION {
            return Err(format!("of version {version}, but this program knows {VERSION}"));
        }
        let (checksum, content) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
        if u32::from_le_bytes(*checksum) != crc32fast::hash(content) {
            return Err("its checksum does not match".to_owned());
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red if names are compared as text of any length, or any digits are taken for a slot.
    #[test]
    fn names_sort_as_slots_and_others_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        for slot in [900, 1000, u64::MAX] {
            fs::write(SEGMENT.path(folder.path(), Slot(slot)), "").expect("written");
        }
        for other in ["12.seg", "00000000000000000012.snap", ".tmp12", "x"] {
            fs::write(folder.path().join(other), "").expect("written");
        }
        let slots = SEGMENT.list(folder.path()).expect("read");
        assert_eq!(slots, [Slot(900), Slot(1000), Slot(u64::MAX)]);
    }

    /// Red if a seal leaves out its magic, its version or its checksum.
    #[test]
    fn a_seal_shows_every_flip_and_every_kind() {
        let sealed = SEGMENT.seal(b"content");
        assert_eq!(SEGMENT.unseal(&sealed).as_deref(), Ok(&b"content"[..]));
        assert!(SNAPSHOT.unseal(&sealed).is_err(), "of another kind");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SEGMENT.unseal(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(SEGMENT.unseal(&sealed[..length]).is_err(), "the first {length} bytes");
        }
    }
}
