//! A small value in a file of two checksummed slots, rewritten in place, one sync a time.
//!
//! Written alternately, so that a torn write spoils the older value at most. The slots lie in
//! sectors of their own. Cheaper than replacing a file, for a value that changes often.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file and its newer value.
#[derive(Debug)]
pub struct Slots {
    file: File,
    generation: u64,
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The newer of the whole values.
    Value(Vec<u8>),
    /// Neither slot was ever written.
    Nothing,
    /// Something is there, and none of it is whole.
    Damaged,
}

/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;

const SLOT_BYTES: usize = 512;
const SLOT_DISTANCE: u64 = 4096;
/// CRC-32, generation, length.
const HEADER_BYTES: usize = 4 + 8 + 2;

impl Slots {
    /// Opens or creates the file, and says what it holds.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or read.
    pub fn open(path: &Path) -> io::Result<(Slots, Found)> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let slots = [read(&file, 0)?, read(&file, SLOT_DISTANCE)?];
        let whole = slots.iter().filter_map(parse).max_by_key(|(age, _)| *age);
        let is_blank = slots.iter().all(|slot| slot.iter().all(|byte| *byte == 0));
        Ok(match whole {
            Some((generation, value)) => (Slots { file, generation }, Found::Value(value)),
            None if is_blank => (Slots { file, generation: 0 }, Found::Nothing),
            None => (Slots { file, generation: 0 }, Found::Damaged),
        })
    }

    /// Writes and syncs a value over the older one.
    ///
    /// # Errors
    ///
    /// The disk's: final.
    ///
    /// # Panics
    ///
    /// If the value is longer than [`VALUE_BYTES_MAX`].
    pub fn write(&mut self, value: &[u8]) -> io::Result<()> {
        assert!(value.len() <= VALUE_BYTES_MAX, "a value fits its slot");
        self.generation += 1;
        let mut slot = [0; SLOT_BYTES];
        slot[4..12].copy_from_slice(&self.generation.to_le_bytes());
        slot[12..14].copy_from_slice(&(value.len() as u16).to_le_bytes());
        slot[HEADER_BYTES..HEADER_BYTES + value.len()].copy_from_slice(value);
        let checksum = crc32fast::hash(&slot[4..]);
        slot[..4].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&slot, self.generation % 2 * SLOT_DISTANCE)?;
        self.file.sync_data()
    }
}

fn read(file: &File, offset: u64) -> io::Result<[u8; SLOT_BYTES]> {
    let mut slot = [0; SLOT_BYTES];
    let mut filled = 0;
    while filled < SLOT_BYTES {
        match file.read_at(&mut slot[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(slot)
}

fn parse(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Vec<u8>)> {
    let (checksum, rest) = slot.split_at(4);
    if checksum != crc32fast::hash(rest).to_le_bytes() {
        return None;
    }
    let generation = u64::from_le_bytes(rest[..8].try_into().ok()?);
    let length = usize::from(u16::from_le_bytes(rest[8..10].try_into().ok()?));
    let value = rest[10..].get(..length)?;
    (generation > 0).then(|| (generation, value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_whole_value_is_found_whatever_tears() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("slots");
        let (mut slots, found) = Slots::open(&path).expect("created");
        assert_eq!(found, Found::Nothing);
        slots.write(b"one").expect("written");
        slots.write(b"two").expect("written");
        assert_eq!(Slots::open(&path).expect("there").1, Found::Value(b"two".to_vec()));
        // The newer write tore: generation 2 lies in slot 0.
        slots.file.write_all_at(b"torn", 20).expect("written");
        assert_eq!(Slots::open(&path).expect("there").1, Found::Value(b"one".to_vec()));
        slots.file.write_all_at(b"torn", SLOT_DISTANCE + 20).expect("written");
        assert_eq!(Slots::open(&path).expect("there").1, Found::Damaged);
    }
}
