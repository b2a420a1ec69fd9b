//! Ballast: disk space held back, for the day when there is none.
//!
//! sled cannot even be opened on a full disk, since it writes while it recovers. The ballast is a
//! file of real blocks that an operator, or a node that finds its disk full, can drop.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::FallocateFlags;

/// Makes sure that `path` holds `bytes` of real blocks; 0 removes it.
///
/// # Errors
///
/// If there is no room for it, or the file cannot be written.
pub fn hold(path: &Path, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return free(path).map(|_| ());
    }
    let file = File::create(path)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    file.sync_all()
}

/// Frees the ballast. Whether there was any.
///
/// # Errors
///
/// If it cannot be removed.
pub fn free(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_takes_real_blocks_and_gives_them_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ballast");
        hold(&path, 1 << 20).expect("room");
        assert!(fs::metadata(&path).expect("there").blocks() * 512 >= 1 << 20);
        assert!(free(&path).expect("removed"));
        assert!(!free(&path).expect("nothing left"));
    }
}
