//! The high-water file: what this store has said at least, told beside it.
//!
//! sled answers damage in its file by silently leaving out the tail, or by a panic. A log that
//! opens below its high-water file has lost something that was acknowledged. The file is written
//! *after* the commit it covers, so it never claims too much: before a promise leaves, when the
//! node is idle, at a clean stop, and each second. What was acknowledged within the last second,
//! and a store that is rolled back together with this file, only peers can notice.

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::Error;
use super::ledger::Mark;
use crate::disk::slots::{Found, Slots};
use crate::wire::codec;

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct HighWater {
    slots: Slots,
    written: Mark,
    at: Instant,
}

/// How old the file may get while commits go on.
const AGE_MAX: Duration = Duration::from_secs(1);

impl HighWater {
    /// Makes the file of a fresh store: from the first moment it says something.
    pub(super) fn create(path: &Path) -> Result<(), Error> {
        let io = |error| Error::io(path, error);
        let (mut slots, _) = Slots::open(path).map_err(io)?;
        slots.write(&codec::encode(&Mark::default())).map_err(io)
    }

    /// Opens the file; one that says nothing is damaged.
    pub(super) fn open(path: &Path) -> Result<HighWater, Error> {
        let (slots, found) = Slots::open(path).map_err(|error| Error::io(path, error))?;
        let written = match found {
            Found::Nothing => return Err(Error::damaged(path, "nothing is written in it")),
            Found::Value(value) => {
                codec::decode(&value).map_err(|error| Error::damaged(path, error.to_string()))?
            }
            Found::Damaged => return Err(Error::damaged(path, "neither slot is whole")),
        };
        Ok(HighWater { slots, written, at: Instant::now() })
    }

    pub(super) fn written(&self) -> Mark {
        self.written
    }

    /// Whether a commit that led to `mark` must be covered before it is acknowledged.
    pub(super) fn is_due(&self, mark: Mark) -> bool {
        mark.is_due_after(self.written) || self.at.elapsed() >= AGE_MAX
    }

    /// Writes and syncs the mark, unless it is there.
    pub(super) fn raise(&mut self, mark: Mark, path: &Path) -> Result<(), Error> {
        if mark != self.written {
            let written = self.slots.write(&codec::encode(&mark));
            written.map_err(|error| Error::io(path, error))?;
            self.written = mark;
        }
        self.at = Instant::now();
        Ok(())
    }
}
