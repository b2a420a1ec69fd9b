//! sled, held so that it keeps what it says. The only file that names it.
//!
//! What was found in the source of 0.34.7, and what is done about it:
//!
//! - `flush` ends in `sync_file_range`: `disk::hook` makes that an `fdatasync` and counts; here
//!   each flush must have raised the count, and opening refuses where it does not.
//! - A page above a quarter of a segment goes to `blobs/`, which is never synced: values are small
//!   (`group::VALUE_BYTES_MAX`), and a file in `blobs/` at open is damage.
//! - A kill while it starts can leave `snap.*.generating`, and then nothing opens it any more: such
//!   files are removed first, under our own lock.
//! - Damage makes it panic, or leave out the tail: a panic or `Corruption` while opening means
//!   *damaged*, never *empty*; the tail is the high-water file's business.
//! - `flush_every_ms(None)`: its background thread would sync on its own and only log a failure.
//!   One thread uses the store; no transactions, no subscribers, no asynchronous flush.
//! - Its cache would take a gigabyte: [`CACHE_BYTES`]. The log is read once, at the start.
//! - A dropped instance gives its own lock back late: tried again for a second.

use std::fs::{self, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Error;
use crate::disk::{hook, sync, verdict};

/// Its segment size: part of the store's format, since it is fixed when a file is made. A power of
/// two; with 8 MiB a page may reach 2 MiB before it leaves the log.
pub(super) const SEGMENT_BYTES: usize = 8 << 20;

/// Its cache. The log is written; it is read only at the start.
const CACHE_BYTES: u64 = 16 << 20;

/// How long its lock may outlive a dropped instance.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// A key that no value of the log has (those are 8 bytes): written at each open to see that a flush
/// reaches the disk.
const PROBE: &[u8] = b"probe";

/// An open sled with its hook.
pub(super) struct SledLog {
    folder: PathBuf,
    db: sled::Db,
    registration: hook::Registration,
}

/// The log that is open: what sled complains of before, its `open` returns as well.
static OPEN: Mutex<Option<PathBuf>> = Mutex::new(None);

/// What to say when sled logs an error that it goes on with, and the process must end; `None` for
/// any other line. For the process's logger.
#[must_use]
pub fn fatal_line(record: &log::Record<'_>) -> Option<String> {
    let target = record.target();
    let is_sled = target == "sled" || target.starts_with("sled::");
    if !is_sled || record.level() != log::Level::Error {
        return None;
    }
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let text = record.args().to_string();
    open.as_deref().map(|folder| told(folder, &text))
}

/// In our words, where sled tells of an error of the system.
fn told(folder: &Path, text: &str) -> String {
    let number = text.split_once("Os { code: ").and_then(|(_, rest)| rest.split(',').next());
    match number.and_then(|number| number.parse().ok()) {
        Some(number) => verdict::line(folder, &std::io::Error::from_raw_os_error(number)),
        None => format!(
            "{}: sled: {text}; this node stops, for it can no longer keep what it says",
            folder.display()
        ),
    }
}

impl SledLog {
    /// Opens the log in `folder`, making one if `folder` does not exist. Our own lock is held.
    pub(super) fn open(folder: &Path) -> Result<SledLog, Error> {
        let io = |error| Error::io(folder, error);
        fs::create_dir_all(folder).map_err(io)?;
        remove_generating(folder)?;
        refuse_blobs(folder)?;
        let path = folder.join("db");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(|error| Error::io(&path, error))?;
        settle(folder)?;
        let registration = hook::register(&path, file).map_err(io)?;
        let db = open_patiently(folder)?;
        let log = SledLog { folder: folder.to_owned(), db, registration };
        *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
        // The first write walks a tree that may be damaged.
        quietly(|| log.prove())
            .unwrap_or_else(|| Err(Error::damaged(folder, "sled panicked at the first write")))?;
        sync::folder(folder).map_err(io)?;
        Ok(log)
    }

    /// Writes these values and waits until they are on the disk.
    pub(super) fn append(&self, first: u64, values: &[Vec<u8>]) -> Result<(), Error> {
        for (number, value) in (first..).zip(values) {
            self.db.insert(number.to_be_bytes(), value.as_slice()).map_err(|e| self.error(e))?;
        }
        self.flush()
    }

    /// Removes the values in `from..to`, upward.
    pub(super) fn remove(&self, from: u64, to: u64) -> Result<(), Error> {
        for number in from..to {
            self.db.remove(number.to_be_bytes()).map_err(|error| self.error(error))?;
        }
        Ok(())
    }

    /// All values with their numbers, ascending.
    pub(super) fn values(&self) -> Result<Vec<(u64, sled::IVec)>, Error> {
        let read = || {
            let pairs = self.db.iter().filter_map(|pair| match pair {
                Ok((key, value)) => {
                    let number = <[u8; 8]>::try_from(&key[..]).ok()?;
                    Some(Ok((u64::from_be_bytes(number), value)))
                }
                Err(error) => Some(Err(self.error(error))),
            });
            pairs.collect()
        };
        quietly(read).unwrap_or_else(|| Err(Error::damaged(&self.folder, "it cannot be read")))
    }

    /// Waits until everything written is on the disk.
    pub(super) fn flush(&self) -> Result<(), Error> {
        let before = self.registration.syncs();
        self.db.flush().map_err(|error| self.error(error))?;
        if self.registration.syncs() == before {
            // Another flush may have taken our bytes along; this one makes it certain.
            self.registration.sync().map_err(|error| Error::io(&self.folder, error))?;
        }
        Ok(())
    }

    /// Makes sure that a flush comes through to our hook; otherwise nothing it says can be trusted.
    fn prove(&self) -> Result<(), Error> {
        let before = self.registration.syncs();
        // Another value each time: sled writes nothing where nothing changes.
        let stamp = fastrand::u64(..).to_le_bytes();
        self.db.insert(PROBE, &stamp).map_err(|error| self.error(error))?;
        self.db.flush().map_err(|error| self.error(error))?;
        if self.registration.syncs() > before {
            return Ok(());
        }
        let reason = "a flush did not reach fdatasync: this build cannot keep what it says";
        Err(Error::io(&self.folder, std::io::Error::other(reason)))
    }

    fn error(&self, error: sled::Error) -> Error {
        from_sled(&self.folder, error)
    }
}

fn from_sled(folder: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => Error::io(folder, error),
        sled::Error::Corruption { at, .. } => {
            Error::damaged(folder, format!("sled found corruption at {at:?}"))
        }
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => Error::damaged(folder, error.to_string()),
    }
}

/// Opens sled; its lock may be held for a moment by an instance that was just dropped.
fn open_patiently(folder: &Path) -> Result<sled::Db, Error> {
    let config = sled::Config::new()
        .path(folder)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let opened = quietly(|| config.open());
        let Some(opened) = opened else {
            return Err(Error::damaged(folder, "sled panicked while it opened the log"));
        };
        match opened {
            Ok(db) => return Ok(db),
            Err(error) if is_lock(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) if is_lock(&error) => {
                return Err(Error::Locked { path: folder.to_owned(), pid: None });
            }
            Err(error) => return Err(from_sled(folder, error)),
        }
    }
}

fn is_lock(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn remove_generating(folder: &Path) -> Result<(), Error> {
    let io = |error| Error::io(folder, error);
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(file = %entry.path().display(), "removing an unfinished snapshot");
            fs::remove_file(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

fn refuse_blobs(folder: &Path) -> Result<(), Error> {
    let blobs = folder.join("blobs");
    let Ok(mut entries) = fs::read_dir(&blobs) else { return Ok(()) };
    match entries.next() {
        Some(_) => {
            Err(Error::damaged(&blobs, "values lie outside the log, where nothing syncs them"))
        }
        None => Ok(()),
    }
}

/// Before anything is read: what the page cache holds must be what the disk holds.
fn settle(folder: &Path) -> Result<(), Error> {
    for name in ["db", "conf"] {
        let path = folder.join(name);
        if path.exists() {
            sync::drop_cache(&path).map_err(|error| Error::io(&path, error))?;
        }
    }
    let blobs = folder.join("blobs");
    let folders =
        [Some(blobs.as_path()).filter(|blobs| blobs.exists()), Some(folder), folder.parent()];
    for folder in folders.into_iter().flatten() {
        sync::folder(folder).map_err(|error| Error::io(folder, error))?;
    }
    Ok(())
}

/// Runs what may panic on damaged files. `None`: it did. The panic's message is kept from stderr:
/// the error that follows says what to do.
fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    use std::cell::Cell;
    use std::sync::Once;
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    outcome.ok()
}

impl std::fmt::Debug for SledLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledLog").field("folder", &self.folder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        assert_eq!(quietly(|| 7), Some(7));
        assert_eq!(quietly(|| -> u8 { panic!("as sled does on a damaged file") }), None);
    }

    #[test]
    fn what_sled_logs_is_told_with_the_folder_and_what_to_do() {
        let folder = Path::new("/s/log");
        let full = "hit error while writing iobuf with lsn 7: Io(Os { code: 28, kind: StorageFull, \
                    message: \"No space left on device\" })";
        let said = told(folder, full);
        assert!(said.starts_with("/s/log: the disk is full (No space left"), "{said}");
        assert!(said.contains("remove `ballast`"), "{said}");
        let said = told(folder, "something else");
        assert!(said.starts_with("/s/log: sled: something else; this node stops"), "{said}");
    }

    #[test]
    fn each_commit_reaches_a_real_sync() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = SledLog::open(folder.path()).expect("opens");
        for number in 0..5 {
            let before = log.registration.syncs();
            log.append(number, &[vec![1; 100]]).expect("written");
            assert!(log.registration.syncs() > before, "commit {number}");
        }
    }
}
