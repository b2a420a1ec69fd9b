//! The snapshots: a file each, written beside and renamed, two of them kept.
//!
//! A file says whose it is, before which slot, and how far the archive went, all under its seal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::file::SNAPSHOT;
use crate::disk::sync;
use crate::paxos::Slot;
use crate::rsm::{Extent, ShelfError};
use crate::wire::codec;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// The node's.
    fingerprint: u32,
    /// It is the state before this slot.
    pub(super) slot: Slot,
    /// How far the archive went.
    pub(super) archive: Extent,
    /// The state, as the machine wrote it.
    pub(super) state: Bytes,
}

/// The folder of the snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    folder: PathBuf,
    fingerprint: u32,
    /// A snapshot that names more entries tells of a history that was cut.
    entries: u64,
}

/// So many are kept: of two, one may be lost.
const COUNT: usize = 2;

impl Snapshots {
    /// Those of a folder. What a crash left half written is removed.
    pub(super) fn open(folder: &Path, fingerprint: u32) -> Result<Snapshots, ShelfError> {
        let snapshots = Snapshots { folder: folder.to_owned(), fingerprint, entries: u64::MAX };
        remove_temporaries(folder).map_err(|error| snapshots.error(error))?;
        Ok(snapshots)
    }

    /// The archive goes no further now: from here on its history may be another.
    pub(super) fn cut(&mut self, to: Extent) {
        self.entries = self.entries.min(to.entries);
    }

    /// Keeps one durably, beside the newest of those below that hold; all others are removed.
    pub(super) fn store(
        &mut self,
        slot: Slot,
        archive: Extent,
        state: &[u8],
    ) -> Result<(), ShelfError> {
        let older = self.held()?.into_iter().map(|older| older.slot).find(|older| *older < slot);
        let fingerprint = self.fingerprint;
        let state = Bytes::copy_from_slice(state);
        let content = codec::encode(&Snapshot { fingerprint, slot, archive, state });
        let path = SNAPSHOT.path(&self.folder, slot);
        sync::replace(&path, &SNAPSHOT.seal(&content))
            .map_err(|error| ShelfError::io(&path, error))?;
        self.entries = archive.entries;
        self.remove_all_but([Some(slot), older]).map_err(|error| self.error(error))
    }

    /// Synced, for one of a history that was cut must not come back.
    fn remove_all_but(&self, keep: [Option<Slot>; COUNT]) -> io::Result<()> {
        let mut others = SNAPSHOT.list(&self.folder)?;
        others.retain(|slot| !keep.contains(&Some(*slot)));
        for slot in &others {
            fs::remove_file(SNAPSHOT.path(&self.folder, *slot))?;
        }
        if others.is_empty() { Ok(()) } else { sync::folder(&self.folder) }
    }

    /// The two newest that are whole and tell of this archive, newest first.
    pub(super) fn held(&self) -> Result<Vec<Snapshot>, ShelfError> {
        let mut held = self.whole()?;
        held.retain(|snapshot| snapshot.archive.entries <= self.entries);
        held.truncate(COUNT);
        Ok(held)
    }

    /// All that are whole, newest first. Of the others it is said what is wrong.
    pub(super) fn whole(&self) -> Result<Vec<Snapshot>, ShelfError> {
        let slots = SNAPSHOT.list(&self.folder).map_err(|error| self.error(error))?;
        let mut whole = Vec::new();
        for slot in slots.into_iter().rev() {
            let path = SNAPSHOT.path(&self.folder, slot);
            let sealed = fs::read(&path).map_err(|error| ShelfError::io(&path, error))?;
            match self.read(slot, &sealed) {
                Ok(snapshot) => whole.push(snapshot),
                Err(what) => tracing::warn!("{}: it is left out: {what}", path.display()),
            }
        }
        Ok(whole)
    }

    fn read(&self, slot: Slot, sealed: &[u8]) -> Result<Snapshot, String> {
        let content = SNAPSHOT.unseal(sealed)?;
        let snapshot: Snapshot = codec::decode(content).map_err(|error| error.to_string())?;
        if snapshot.fingerprint != self.fingerprint {
            return Err("it is another node's".to_owned());
        }
        if snapshot.slot != slot {
            return Err(format!("it is of slot {}, which its name does not say", snapshot.slot.0));
        }
        Ok(snapshot)
    }

    fn error(&self, error: io::Error) -> ShelfError {
        ShelfError::io(&self.folder, error)
    }
}

/// They are named as `tempfile` names them.
fn remove_temporaries(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
