//! The making of a store, which a kill or a power cut may interrupt.
//!
//! The file `unfinished` is the first that is made and the last that is removed: where it stands,
//! no node has ever voted, and the store is made anew. Where it does not, nothing is ever
//! overwritten, not even a log that has lost its identity. Renaming a whole folder into place would
//! be simpler, but the folder of a store may be the root of a disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::Error;
use super::high_water::HighWater;
use super::identity::Identity;
use super::sled_log::SledLog;
use super::store::{Options, Store, take_lock};
use crate::disk::{ballast, sync};

/// Where this stands, the store is not finished.
const UNFINISHED: &str = "unfinished";

impl Store {
    /// Makes a store. A node never starts on an empty folder by itself: an acceptor with amnesia is
    /// a danger, not a convenience.
    ///
    /// # Errors
    ///
    /// If there is one already, or the disk has no room for it. One whose making was interrupted is
    /// made anew.
    pub fn format(path: &Path, identity: &Identity, options: Options) -> Result<(), Error> {
        let io = |error| Error::io(path, error);
        fs::create_dir_all(path).map_err(io)?;
        let _lock = take_lock(path)?;
        let unfinished = path.join(UNFINISHED);
        if unfinished.exists() {
            remove_parts(path).map_err(io)?;
        } else if PARTS.iter().any(|part| path.join(part).exists()) {
            return Err(Error::Exists(path.to_owned()));
        }
        File::create(&unfinished).map_err(io)?;
        sync::folder(path).map_err(io)?;
        ballast::hold(&path.join("ballast"), options.ballast_bytes).map_err(io)?;
        HighWater::create(&path.join("high-water"))?;
        drop(SledLog::open(&path.join("log"))?);
        identity.write(&path.join("identity"))?;
        // Last, since from here on it is a store. Opening it syncs the folder once more.
        fs::remove_file(&unfinished).map_err(io)?;
        sync::folder(path).map_err(io)?;
        path.parent().map_or(Ok(()), |parent| {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync::folder(parent).map_err(io)
        })
    }
}

/// What a store is made of, beside its lock.
const PARTS: [&str; 4] = ["log", "high-water", "ballast", "identity"];

/// Removes what an interrupted making has left.
fn remove_parts(path: &Path) -> io::Result<()> {
    for part in PARTS.map(|part| path.join(part)) {
        let removed = if part.is_dir() { fs::remove_dir_all(part) } else { fs::remove_file(part) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => (),
        }
    }
    Ok(())
}

/// Whose store it is, if it is one.
pub(super) fn read_identity(path: &Path) -> Result<Identity, Error> {
    if path.join(UNFINISHED).exists() {
        return Err(Error::Unfinished(path.to_owned()));
    }
    match Identity::read(&path.join("identity")) {
        // Somebody has voted from it: it must not be made anew.
        Err(Error::Missing(_)) if path.join("log").exists() => {
            Err(Error::damaged(path, "`identity` is gone"))
        }
        read => read,
    }
}
