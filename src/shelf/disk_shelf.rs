//! The handle of a shelf on disk: the node's thread appends by one, the keeper's keeps by another.
//!
//! No append and no page waits for a sync: the keeper holds the archive only while it takes the
//! descriptors to sync.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::segments::Segments;
use super::snapshots::Snapshots;
use crate::disk::sync;
use crate::paxos::Slot;
use crate::rsm::{Extent, Keep, Shelf, ShelfError};

/// A shelf on disk. Clones are the same shelf.
#[derive(Clone, Debug)]
pub struct DiskShelf {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    segments: Mutex<Segments>,
    snapshots: Mutex<Snapshots>,
    failed: AtomicBool,
}

/// A thousand files hold ten million short entries. With a quarter of it a page takes half the
/// time, and an append twice: each file is a sync of its own.
const SEGMENT_BYTES: u64 = 1 << 20;

const POISONED: &str = "nothing is written after a panic on the other thread";

impl DiskShelf {
    /// Makes an empty one in the folder of a store. Whatever is there already stays.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn format(store: &Path) -> Result<(), ShelfError> {
        for folder in folders(store) {
            fs::create_dir_all(&folder).map_err(|error| ShelfError::io(&folder, error))?;
        }
        sync::folder(store).map_err(|error| ShelfError::io(store, error))
    }

    /// Opens the one in the folder of a store whose lock the caller holds. It goes as far as its
    /// newest snapshot whose archive is whole; with no snapshot, it is empty. Nothing is removed
    /// until something is appended.
    ///
    /// # Errors
    ///
    /// If it is not there, cannot be read, or no snapshot's archive is there.
    pub fn open(store: &Path, fingerprint: u32) -> Result<DiskShelf, ShelfError> {
        DiskShelf::with_segments(store, fingerprint, SEGMENT_BYTES)
    }

    pub(super) fn with_segments(
        store: &Path,
        fingerprint: u32,
        segment_bytes: u64,
    ) -> Result<DiskShelf, ShelfError> {
        let [archive, snapshots] = folders(store);
        for folder in [&archive, &snapshots] {
            if !folder.is_dir() {
                return Err(ShelfError::damaged(folder, "the folder is gone"));
            }
        }
        let mut snapshots = Snapshots::open(&snapshots, fingerprint)?;
        let mut segments = Segments::new(&archive, fingerprint, segment_bytes);
        go_to_newest(&mut segments, &snapshots)?;
        snapshots.cut(segments.extent());
        let shared = Shared {
            path: store.to_owned(),
            segments: Mutex::new(segments),
            snapshots: Mutex::new(snapshots),
            failed: AtomicBool::new(false),
        };
        Ok(DiskShelf { shared: Arc::new(shared) })
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.shared.segments.lock().expect(POISONED)
    }

    fn snapshots(&self) -> MutexGuard<'_, Snapshots> {
        self.shared.snapshots.lock().expect(POISONED)
    }

    /// Does what writes, unless that failed before.
    fn write<T>(&self, act: impl FnOnce() -> Result<T, ShelfError>) -> Result<T, ShelfError> {
        if self.shared.failed.load(Ordering::Acquire) {
            let before = io::Error::other("it failed before, and that is final");
            return Err(ShelfError::io(&self.shared.path, before));
        }
        act().inspect_err(|_| self.shared.failed.store(true, Ordering::Release))
    }
}

fn folders(store: &Path) -> [PathBuf; 2] {
    [store.join("archive"), store.join("snapshots")]
}

/// The log goes back to the older snapshot, so that the newer one's archive may be lost.
fn go_to_newest(segments: &mut Segments, snapshots: &Snapshots) -> Result<(), ShelfError> {
    let mut first = None;
    for snapshot in snapshots.whole()? {
        match segments.find(snapshot.archive) {
            Ok(()) => return Ok(()),
            Err(error @ ShelfError::Io { .. }) => return Err(error),
            Err(damaged @ ShelfError::Damaged { .. }) => {
                tracing::warn!(slot = snapshot.slot.0, "a snapshot is left out: {damaged}");
                first.get_or_insert(damaged);
            }
        }
    }
    first.map_or(Ok(()), Err)
}

impl Shelf for DiskShelf {
    fn append(&mut self, entries: &[(Slot, Bytes)]) -> Result<(), ShelfError> {
        self.write(|| self.segments().append(entries))
    }

    fn extent(&self) -> Extent {
        self.segments().extent()
    }

    fn page(&self, from: Slot, bytes_max: usize) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        self.segments().page(from, bytes_max)
    }

    fn cut(&mut self, to: Extent) -> Result<(), ShelfError> {
        self.segments().cut(to)?;
        self.snapshots().cut(to);
        Ok(())
    }

    fn regain(&mut self) -> Result<bool, ShelfError> {
        // Not a write, but a sync.
        self.write(|| self.segments().regain())
    }

    fn clone_box(&self) -> Box<dyn Shelf> {
        Box::new(self.clone())
    }
}

impl Keep for DiskShelf {
    fn store(&mut self, slot: Slot, archive: Extent, snapshot: &[u8]) -> Result<(), ShelfError> {
        self.write(|| {
            let mut snapshots = self.snapshots();
            let unsynced = self.segments().unsynced(archive);
            unsynced.sync()?;
            snapshots.store(slot, archive, snapshot)
        })
    }

    fn kept(&self) -> Result<Vec<(Slot, Bytes)>, ShelfError> {
        let held = self.snapshots().held()?;
        Ok(held.into_iter().map(|snapshot| (snapshot.slot, snapshot.state)).collect())
    }
}
