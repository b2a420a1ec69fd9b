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
//! and a page those that its entries lie in, however long the history. Everything has a checksum
//! and tells the node's fingerprint, so that nothing of another node's is taken for ours.
//!
//! Invariants: an append is one write and no sync. What lies above the newest snapshot may be torn
//! or gone, for the log rebuilds it or a transfer brings it again; so opening goes back to there,
//! and what lies above is taken back only where it is whole, checked and read from the disk itself.
//! What lies below is synced, and whatever is missing or changed there is damage: it is said, with
//! the file and the place, and nothing is removed. **Any error of a write or a sync is final.**
//!
//! Why plain files: a database does no better at what an archive is. Beside the same in sled and in
//! redb, a million entries of 100 bytes, in batches of 64, a sync every 50,000, and pages of
//! 256 KiB from random slots:
//!
//! | | append, with its sync | page | open | on disk |
//! |---|---:|---:|---:|---:|
//! | segments | 1.1 us an entry | 2.7 ms | 1.2 ms | 116 bytes an entry |
//! | sled 0.34 | 11.4 times that | 1.7 times | 47 times | 255 bytes |
//! | redb 4.6 | 2.0 times that | 0.7 times | 3.0 times | 116 bytes |
//!
//! Medians of blocks in turn in one run of `cargo bench --bench archive`, on two shared, busy cores
//! with ext4 on a virtual disk, on 2026-11-26; idle, a page is a quarter of a millisecond. redb
//! reads a little better, but it appends at half the pace, and that is the node's own thread.

mod disk_shelf;
mod file;
mod segment;
mod segments;
mod snapshots;
#[cfg(test)]
mod tests;

pub use disk_shelf::DiskShelf;
