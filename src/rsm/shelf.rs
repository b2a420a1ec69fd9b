//! The shelf: where a node keeps what its log need not hold for ever.
//!
//! It has two halves. [`Shelf`] is the archive: a service's history, append-only and keyed by slot.
//! [`Keep`] is the snapshots of the small state beside it. An append needs no sync, because the log
//! can rebuild it; a [`Kept`] says that a snapshot, and the archive up to it, are synced, so that
//! the log below may go. At a restart the newest snapshot is restored, the archive is cut back to
//! the [`Extent`] that it names, and the log is applied from there: so nothing is appended twice.
//! What lies above the cut may be worth having, if it took long to come: it can be
//! [taken back](Shelf::regain), until something is appended in its place.
//!
//! ```
//! use indelible::{paxos::Slot, rsm::*};
//!
//! # fn main() -> Result<(), ShelfError> {
//! let mut shelf = MemoryShelf::default();
//! shelf.append(&[(Slot(3), "hello".into()), (Slot(7), "world".into())])?;
//! let extent = shelf.extent();
//! assert_eq!(extent, Extent::default().then(Slot(3), b"hello").then(Slot(7), b"world"));
//! assert_eq!(shelf.keep(Slot(8), extent, b"two lines")?, None);
//! shelf.append(&[(Slot(8), "again".into())])?;
//!
//! // After a crash:
//! let (slot, snapshot) = shelf.kept()?.remove(0);
//! assert_eq!((slot, &snapshot[..]), (Slot(8), &b"two lines"[..]));
//! shelf.cut(extent)?;
//! assert_eq!(shelf.page(Slot(4), 1000)?, [(Slot(7), "world".into())]);
//! # Ok(())
//! # }
//! ```

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::hash::Rolling;
use crate::paxos::Slot;

pub mod contract;
pub mod memory;

pub use memory::MemoryShelf;

/// How far an archive goes, and what it holds up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The slot after the last entry's: every entry lies below.
    pub end: Slot,
    /// How many entries there are.
    pub entries: u64,
    /// The bytes of their bodies.
    pub bytes: u64,
    /// The rolling hash over slot, length and body of each.
    pub hash: u64,
}

/// What went wrong with a shelf. After an error of a write or a sync nothing is written any more,
/// and nothing is kept.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk, or the operating system, failed.
    #[error(
        "{}: the archive is neither read nor written any more ({source}); make room, or see to the \
         disk, then start again",
        path.display()
    )]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Something that was kept is missing or changed.
    #[error(
        "{}: damaged: {what}; this node's history is not whole: restore the folder as it was when \
         the node last ran, or remove it and bring the node back with `indelible replace`",
        path.display()
    )]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
}

/// The archive: what a service keeps for ever. It belongs to the node's thread.
pub trait Shelf: std::fmt::Debug + Send {
    /// Adds entries behind the last. They are durable only when a later [`Keep::store`] is.
    ///
    /// # Errors
    ///
    /// The disk's: final.
    ///
    /// # Panics
    ///
    /// If the slots do not ascend: commands are applied in slot order.
    fn append(&mut self, entries: &[(Slot, Bytes)]) -> Result<(), ShelfError>;

    /// How far it goes.
    fn extent(&self) -> Extent;

    /// The entries from a slot on, ascending: at most so many bytes of bodies, but one entry at
    /// least if there is any.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are not what was appended.
    fn page(&self, from: Slot, bytes_max: usize) -> Result<Vec<(Slot, Bytes)>, ShelfError>;

    /// Goes back to an extent that it had: what lies above does not count any more, and is gone as
    /// soon as something is appended.
    ///
    /// # Errors
    ///
    /// If it holds less, or something else, up to there. Then nothing is changed.
    fn cut(&mut self, to: Extent) -> Result<(), ShelfError>;

    /// Takes back a piece of what lies above the end since a [`cut`](Shelf::cut), in this life or
    /// an earlier one: entries that are whole and go on from the end. They are durable, whatever
    /// became of them before. False if there are none; that what lies there is damaged is no error.
    ///
    /// # Errors
    ///
    /// The disk's: final.
    fn regain(&mut self) -> Result<bool, ShelfError>;

    /// The archive once more. For one on disk that is a handle of the same.
    fn clone_box(&self) -> Box<dyn Shelf>;
}

/// That a snapshot, and the archive up to it, are synced. Made by [`Keep::keep`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    slot: Slot,
}

/// The snapshots: the two newest of the small state.
pub trait Keep {
    /// Syncs the archive up to `archive` at least, then keeps the snapshot of the state before
    /// `slot` durably, in place of the older of the two before it. Those of a history that was cut,
    /// or of later slots, go, too.
    ///
    /// # Errors
    ///
    /// The disk's: final.
    ///
    /// # Panics
    ///
    /// If the archive does not go so far: what a snapshot names is appended before.
    fn store(&mut self, slot: Slot, archive: Extent, snapshot: &[u8]) -> Result<(), ShelfError>;

    /// [Stores](Keep::store) a snapshot. Returns the token of the older of the two that are now
    /// kept, if there are two: below that one the log may go, and one of them may be lost.
    ///
    /// # Errors
    ///
    /// The disk's: final.
    fn keep(
        &mut self,
        slot: Slot,
        archive: Extent,
        snapshot: &[u8],
    ) -> Result<Option<Kept>, ShelfError> {
        self.store(slot, archive, snapshot)?;
        Ok(self.kept()?.get(1).map(|(slot, _)| Kept { slot: *slot }))
    }

    /// The snapshots that are whole and whose archive was not cut, newest first, each by its slot.
    ///
    /// # Errors
    ///
    /// If they cannot be read. A damaged one is no error: it is left out.
    fn kept(&self) -> Result<Vec<(Slot, Bytes)>, ShelfError>;
}

impl ShelfError {
    /// An error of the operating system about a file.
    pub(crate) fn io(path: &Path, source: io::Error) -> ShelfError {
        ShelfError::Io { path: path.to_owned(), source }
    }

    /// Something that was kept is missing or changed.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> ShelfError {
        ShelfError::Damaged { path: path.to_owned(), what: what.into() }
    }
}

impl Default for Extent {
    /// That of nothing.
    fn default() -> Extent {
        Extent { end: Slot(0), entries: 0, bytes: 0, hash: Rolling::default().value() }
    }
}

impl Extent {
    /// With one entry more.
    ///
    /// # Panics
    ///
    /// If its slot does not lie above those of all before.
    #[must_use]
    pub fn then(self, slot: Slot, body: &[u8]) -> Extent {
        assert!(self.end <= slot, "the archive grows in slot order");
        let length = body.len() as u64;
        let mut hash = Rolling::from_value(self.hash);
        hash.mix(&slot.0.to_le_bytes());
        hash.mix(&length.to_le_bytes());
        hash.mix(body);
        Extent {
            end: slot.next(),
            entries: self.entries + 1,
            bytes: self.bytes + length,
            hash: hash.value(),
        }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Extent { end, entries, bytes, hash } = self;
        write!(f, "{entries} entries of {bytes} bytes below slot {}, hash {hash:016x}", end.0)
    }
}

impl Kept {
    /// The snapshot's: every slot below it may leave the log.
    #[must_use]
    pub fn slot(self) -> Slot {
        self.slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red if the hash leaves out the slot or the length: other entries would pass for these.
    #[test]
    fn an_extent_is_over_slot_length_and_body() {
        let mut hash = Rolling::default();
        for part in [&[5, 0, 0, 0, 0, 0, 0, 0][..], &[2, 0, 0, 0, 0, 0, 0, 0], b"hi"] {
            hash.mix(part);
        }
        let extent = Extent { end: Slot(6), entries: 1, bytes: 2, hash: hash.value() };
        assert_eq!(Extent::default().then(Slot(5), b"hi"), extent);
    }
}
