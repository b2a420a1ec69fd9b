//! What can go wrong with a store, by who can do something about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::verdict::{self, Verdict};

/// Why a store cannot be used. Each says, in one line, what happened, to what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error(
        "{}: no store here; `indelible format` makes the first one of a member, \
         `indelible replace` one in the place of one that was lost",
        .0.display()
    )]
    Missing(PathBuf),
    /// There is one that is not finished.
    #[error(
        "{}: this store is not finished: `indelible format` is at work on it, or was interrupted; \
         run it again, nothing is lost by that",
        .0.display()
    )]
    Unfinished(PathBuf),
    /// There is one that is not finished, and that was to take the place of a lost one.
    #[error(
        "{}: this store is not finished: `indelible replace` is at work on it, or was interrupted; \
         run it again, nothing is lost by that (not `indelible format`: this member has voted)",
        .0.display()
    )]
    UnfinishedReplacement(PathBuf),
    /// There is one already.
    #[error("{}: a store exists already; it is never overwritten, remove it by hand", .0.display())]
    Exists(PathBuf),
    /// Another process uses it.
    #[error("{}: in use by {}", path.display(), holder(*pid))]
    Locked {
        /// The store.
        path: PathBuf,
        /// Who holds it, if it said so.
        pid: Option<u32>,
    },
    /// It belongs to another node, or another cluster.
    #[error("{}: the store of {found}, not of {expected}", path.display())]
    Foreign {
        /// The store.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose was expected.
        expected: String,
    },
    /// It was written by a later version.
    #[error(
        "{}: store format {found}, but this program knows {known}: use a newer one",
        path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u8,
        /// Ours.
        known: u8,
    },
    /// Something that was acknowledged is missing or damaged.
    #[error(
        "{}: damaged: {what}; this node must not vote from it: restore the folder as it was when \
         the node last ran, or remove it and bring the node back with `indelible replace`",
        path.display()
    )]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The disk is full.
    #[error("{}", verdict::line(path, error))]
    Full {
        /// The store.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The disk, or the operating system, failed.
    #[error("{}", verdict::line(path, error))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Error {
    /// An error of the operating system about a file.
    pub(super) fn io(path: &Path, error: io::Error) -> Error {
        let path = path.to_owned();
        match Verdict::of(&error) {
            Verdict::Full => Error::Full { path, error },
            Verdict::Failed | Verdict::Other => Error::Io { path, error },
        }
    }

    /// Something acknowledged is missing or damaged.
    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_owned(), what: what.into() }
    }
}
