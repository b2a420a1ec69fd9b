//! The hook: makes the store's own sync a real one.
//!
//! sled 0.34 ends each flush with `sync_file_range`, which is no durability at all: it flushes
//! neither the metadata of a grown file nor the drive's cache. Calling `fdatasync` after the flush
//! would leave sled's inner ordering points unsynced (it may reuse a segment before the pages that
//! moved out of it are down). So this file defines the C symbol itself: wherever sled calls
//! `sync_file_range`, the linker finds the function below, and it does `fdatasync`.
//!
//! It syncs *our own* descriptor of the file, opened before the first write, because Linux reports
//! a write-back error once per open file: on sled's descriptor one of sled's own background syncs
//! could eat it. An error ends the process, for sled might wait for ever and nothing may be said
//! any more. Each file has a counter, by which the log makes sure that the call came through.
//!
//! The `unsafe` of this crate is here: a C symbol has to be exported, and it is handed a raw
//! descriptor.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::verdict;

/// The exit status of a process whose disk failed (EX_IOERR of sysexits).
const EX_IOERR: i32 = 74;

/// A file whose syncs are counted, until this is dropped.
#[derive(Debug)]
pub struct Registration {
    watched: Arc<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    file: File,
    device: u64,
    inode: u64,
    syncs: AtomicU64,
}

static WATCHED: Mutex<Vec<Arc<Watched>>> = Mutex::new(Vec::new());

/// Watches the file at `path`, opened as `file`: from now on, whoever syncs a range of it syncs all
/// of it, through this very descriptor.
///
/// # Errors
///
/// If the file cannot be examined.
pub fn register(path: &Path, file: File) -> io::Result<Registration> {
    let stat = rustix::fs::fstat(&file)?;
    let syncs = AtomicU64::new(0);
    let (device, inode) = (stat.st_dev, stat.st_ino);
    let path = path.to_owned();
    let watched = Arc::new(Watched { path, file, device, inode, syncs });
    lock().push(Arc::clone(&watched));
    Ok(Registration { watched })
}

impl Registration {
    /// How many syncs of the file came through, and succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.watched.syncs.load(Ordering::Acquire)
    }

    /// Syncs the file's data now.
    ///
    /// # Errors
    ///
    /// The disk's: final.
    pub fn sync(&self) -> io::Result<()> {
        self.watched.file.sync_data()?;
        self.watched.syncs.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock().retain(|watched| !Arc::ptr_eq(watched, &self.watched));
    }
}

fn lock() -> std::sync::MutexGuard<'static, Vec<Arc<Watched>>> {
    // The list is whole whoever panicked while holding it.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands where the C library's function of this name would: syncs all data of the file.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: c_int, _offset: i64, _length: i64, _flags: c_uint) -> c_int {
    // SAFETY: the caller owns this descriptor for the length of the call, as it would for the C
    // function.
    let theirs = unsafe { BorrowedFd::borrow_raw(fd) };
    let watched = rustix::fs::fstat(theirs).ok().and_then(|stat| {
        let list = lock();
        let same = |it: &&Arc<Watched>| it.device == stat.st_dev && it.inode == stat.st_ino;
        list.iter().find(same).cloned()
    });
    let synced = match &watched {
        Some(watched) => rustix::fs::fdatasync(watched.file.as_fd()),
        None => rustix::fs::fdatasync(theirs),
    };
    if let Err(error) = synced {
        let path = watched.as_ref().map_or(Path::new("a file of sled's"), |it| &it.path);
        fail(&verdict::line(path, &error.into()));
    }
    if let Some(watched) = watched {
        watched.syncs.fetch_add(1, Ordering::AcqRel);
    }
    0
}

/// Ends the process because the disk failed: nothing may be said after that. `line` says, in one
/// line, what happened to which file, and what to do.
#[allow(clippy::print_stderr)]
pub fn fail(line: &str) -> ! {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Ordering::AcqRel) {
        // Several of sled's threads meet the same trouble: the first has said it, and exits.
        loop {
            std::thread::park();
        }
    }
    eprintln!("indelible: {line}");
    std::process::exit(EX_IOERR);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_file_is_synced_through_our_descriptor_and_counted() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let theirs = file.reopen().expect("again");
        let registration = register(file.path(), file.reopen().expect("again")).expect("a file");
        let raw = std::os::fd::AsRawFd::as_raw_fd(&theirs);
        assert_eq!(sync_file_range(raw, 0, 0, 0), 0);
        assert_eq!(registration.syncs(), 1);
        drop(registration);
        assert_eq!(sync_file_range(raw, 0, 0, 0), 0, "and any other file all the same");
    }
}
