//! A shelf in memory, for tests, the simulator and the exhaustive search: it never fails to write.
//!
//! Each clone is a shelf of its own, so that a test may go on from one moment twice.

use std::path::Path;

use bytes::Bytes;

use super::{Extent, Keep, Shelf, ShelfError};
use crate::paxos::Slot;

/// An archive and two snapshots.
#[derive(Clone, Debug, Default)]
pub struct MemoryShelf {
    entries: Vec<(Slot, Bytes)>,
    extent: Extent,
    /// What was cut, until something is appended.
    above: Vec<(Slot, Bytes)>,
    /// Oldest first.
    snapshots: Vec<(Slot, Extent, Bytes)>,
}

/// Entries that are taken back at a time.
const PIECE: usize = 7;

impl Shelf for MemoryShelf {
    fn append(&mut self, entries: &[(Slot, Bytes)]) -> Result<(), ShelfError> {
        if !entries.is_empty() {
            self.above.clear();
        }
        self.extent = extent(self.extent, entries);
        self.entries.extend_from_slice(entries);
        Ok(())
    }

    fn extent(&self) -> Extent {
        self.extent
    }

    fn page(&self, from: Slot, bytes_max: usize) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        let start = self.entries.partition_point(|(slot, _)| *slot < from);
        let rest = &self.entries[start..];
        let mut bytes = 0;
        let fits = |(_, body): &&(Slot, Bytes)| {
            bytes += body.len();
            bytes <= bytes_max
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        Ok(rest[..count].to_vec())
    }

    fn cut(&mut self, to: Extent) -> Result<(), ShelfError> {
        let length = self.entries.partition_point(|(slot, _)| *slot < to.end);
        let held = extent(Extent::default(), &self.entries[..length]);
        if held != to {
            return Err(ShelfError::damaged(Path::new("memory"), format!("{held}, not {to}")));
        }
        let cut = self.entries.split_off(length);
        self.above.splice(0..0, cut);
        self.extent = to;
        self.snapshots.retain(|(_, archive, _)| archive.entries <= to.entries);
        Ok(())
    }

    fn regain(&mut self) -> Result<bool, ShelfError> {
        let piece: Vec<_> = self.above.drain(..PIECE.min(self.above.len())).collect();
        self.extent = extent(self.extent, &piece);
        self.entries.extend_from_slice(&piece);
        Ok(!piece.is_empty())
    }

    fn clone_box(&self) -> Box<dyn Shelf> {
        Box::new(self.clone())
    }
}

fn extent(from: Extent, entries: &[(Slot, Bytes)]) -> Extent {
    entries.iter().fold(from, |extent, (slot, body)| extent.then(*slot, body))
}

#[cfg(test)]
impl MemoryShelf {
    /// The last entry that lies here is gone.
    pub(super) fn tear(&mut self) {
        let last = self.entries.pop();
        self.extent = extent(Extent::default(), &self.entries);
        assert!(last.is_some() && self.above.is_empty());
    }
}

impl Keep for MemoryShelf {
    fn store(&mut self, slot: Slot, archive: Extent, snapshot: &[u8]) -> Result<(), ShelfError> {
        assert!(archive.entries <= self.extent.entries, "what a snapshot names is appended before");
        self.snapshots.retain(|(other, ..)| *other < slot);
        self.snapshots.drain(..self.snapshots.len().saturating_sub(1));
        self.snapshots.push((slot, archive, Bytes::copy_from_slice(snapshot)));
        Ok(())
    }

    fn kept(&self) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        let newest_first = self.snapshots.iter().rev();
        Ok(newest_first.map(|(slot, _, snapshot)| (*slot, snapshot.clone())).collect())
    }
}
