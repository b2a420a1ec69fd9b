//! Syncing files and folders, and small files that are replaced as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::Advice;

/// Syncs a file's data and metadata.
///
/// # Errors
///
/// The disk's: final.
pub fn file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Syncs the data of a file that was written through this very descriptor, and its length.
///
/// # Errors
///
/// The disk's: final.
pub fn data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Syncs a folder: what was created, renamed or removed in it.
///
/// # Errors
///
/// The disk's: final.
pub fn folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Drops what the page cache holds of a file, after a sync: after a failed one the cache may show
/// what the disk never got.
///
/// # Errors
///
/// If the file cannot be opened or synced.
pub fn drop_cache(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?)
}

/// Writes a small file as a whole: after a crash it holds the old content or the new.
///
/// # Errors
///
/// The disk's: final.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(parent)?;
    beside.write_all(content)?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    folder(parent)
}
