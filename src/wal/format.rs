//! The making of a store, which a kill or a power cut may interrupt.
//!
//! The marker `unfinished` is the first that is made and the last that is removed: where it stands,
//! no node has ever voted, and the store is made anew. Where it does not, nothing is ever
//! overwritten, not even a log that has lost its identity. Renaming a whole folder into place would
//! be simpler, but the folder of a store may be the root of a disk.
//!
//! A store that takes the place of a lost one has a marker of its own, and its first commit, which
//! says that it does not vote, before that goes: so no interruption leaves an empty store that
//! does, and none is made of it by whoever then formats in place of replacing.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::Error;
use super::high_water::HighWater;
use super::identity::Identity;
use super::ledger::Ledger;
use super::sled_log::SledLog;
use super::store::{Options, Store, take_lock};
use crate::disk::{ballast, sync};
use crate::paxos::Record;

/// What a store is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Making {
    /// A member that has none yet: it votes from the first moment.
    First,
    /// A member that has lost its own: it does not vote before it knows what the others do.
    Replacement,
}

impl Making {
    /// Where this stands, the store is not finished.
    fn marker(self) -> &'static str {
        match self {
            Making::First => "unfinished",
            Making::Replacement => "unfinished-replacement",
        }
    }

    fn first_commit(self) -> Option<Record> {
        match self {
            Making::First => None,
            Making::Replacement => Some(Record::Standing { pledges: 0, votes: false }),
        }
    }
}

impl Store {
    /// Makes the first store of a member. A node never starts on an empty folder by itself: an
    /// acceptor with amnesia is a danger, not a convenience.
    ///
    /// # Errors
    ///
    /// If there is one already, or the disk has no room for it. One whose making was interrupted is
    /// made anew, but not one that was to take the place of a lost one.
    pub fn format(path: &Path, identity: &Identity, options: Options) -> Result<(), Error> {
        if path.join(Making::Replacement.marker()).exists() {
            return Err(Error::UnfinishedReplacement(path.to_owned()));
        }
        make(path, identity, options, Making::First)
    }

    /// Makes a store that takes the place of a lost one, and does not vote yet. Its incarnation
    /// must be newer than that of the lost one.
    ///
    /// # Errors
    ///
    /// If there is a store already, or the disk has no room for it. One whose making was
    /// interrupted is made anew.
    pub fn format_replacement(
        path: &Path,
        identity: &Identity,
        options: Options,
    ) -> Result<(), Error> {
        make(path, identity, options, Making::Replacement)
    }
}

fn make(path: &Path, identity: &Identity, options: Options, making: Making) -> Result<(), Error> {
    let io = |error| Error::io(path, error);
    fs::create_dir_all(path).map_err(io)?;
    let _lock = take_lock(path)?;
    if is_unfinished(path) {
        remove_parts(path).map_err(io)?;
    } else if PARTS.iter().any(|part| path.join(part).exists()) {
        return Err(Error::Exists(path.to_owned()));
    }
    let unfinished = path.join(making.marker());
    File::create(&unfinished).map_err(io)?;
    sync::folder(path).map_err(io)?;
    ballast::hold(&path.join("ballast"), options.ballast_bytes).map_err(io)?;
    let water = path.join("high-water");
    HighWater::create(&water)?;
    let log = SledLog::open(&path.join("log"))?;
    if let Some(record) = making.first_commit() {
        let mut ledger = Ledger::fresh(identity.fingerprint());
        let writing = ledger.write(&[record]);
        log.append(writing.first, &writing.values)?;
        HighWater::open(&water)?.raise(ledger.mark(), &water)?;
    }
    drop(log);
    identity.write(&path.join("identity"))?;
    // Last, since from here on it is a store. Opening it syncs the folder once more.
    if making == Making::Replacement {
        remove_if_there(&path.join(Making::First.marker())).map_err(io)?;
    }
    fs::remove_file(&unfinished).map_err(io)?;
    sync::folder(path).map_err(io)?;
    path.parent().map_or(Ok(()), |parent| {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        sync::folder(parent).map_err(io)
    })
}

/// What a store is made of, beside its lock.
const PARTS: [&str; 4] = ["log", "high-water", "ballast", "identity"];

/// Removes what an interrupted making has left.
fn remove_parts(path: &Path) -> io::Result<()> {
    PARTS.iter().try_for_each(|part| remove_if_there(&path.join(part)))
}

fn remove_if_there(part: &Path) -> io::Result<()> {
    let removed = if part.is_dir() { fs::remove_dir_all(part) } else { fs::remove_file(part) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn is_unfinished(path: &Path) -> bool {
    [Making::First, Making::Replacement].iter().any(|making| path.join(making.marker()).exists())
}

/// Whose store it is, if it is one.
pub(super) fn read_identity(path: &Path) -> Result<Identity, Error> {
    if path.join(Making::Replacement.marker()).exists() {
        return Err(Error::UnfinishedReplacement(path.to_owned()));
    }
    if is_unfinished(path) {
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
