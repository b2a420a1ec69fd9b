//! The shelf on disk: where a node keeps what its log need not hold for ever.
//!
//! Two folders in that of the store:
//!
//! | file | what |
//! |---|---|
//! | `archive/SLOT.seg` | the entries from this slot on, up to the next segment's |
//! | `snapshots/SLOT.snap` | the state before this slot, and how far the archive went |
//!
//! Segments are small, so that their names are all the index there is: opening reads one segment,
//! and a page at most one more than it gives, however long the history. Everything carries a
//! checksum that begins from the node's fingerprint, so that no other node's is taken for ours.
//!
//! Invariants: an append is one write and no sync. What lies above the newest snapshot may be torn
//! or gone, for the log rebuilds it; so opening goes back to there, and nothing above is looked at.
//! What lies below is synced, and whatever is missing or changed there is damage: it is said, with
//! the file and the place, and nothing is removed. **Any error of a write or a sync is final.**

mod disk_shelf;
mod file;
mod segment;
mod segments;
mod snapshots;
#[cfg(test)]
mod tests;

pub use disk_shelf::DiskShelf;
