//! What a node keeps, opened together: the log, and the shelf beside it in the same folder.
//!
//! A shelf that is not there is made: a log that was never trimmed rebuilds it, and one that was
//! refuses to go on without ([`Error::NoSnapshot`]).

use std::path::Path;
use std::sync::Arc;

use super::{Beside, Error, Pace};
use crate::paxos::NodeId;
use crate::rsm::{Keep, Shelf};
use crate::shelf::DiskShelf;
use crate::wal::{self, Store};

/// Where a node keeps what it must not forget.
#[derive(Debug)]
pub struct Storage<W, S> {
    /// Promises, acceptances and decisions.
    pub wal: W,
    /// Archive and snapshots. Clones are handles of the same.
    pub shelf: S,
}

impl Storage<Store, DiskShelf> {
    /// Opens a store, whoever's it is.
    ///
    /// # Errors
    ///
    /// If there is none, somebody uses it, or anything acknowledged is missing or damaged.
    pub fn open(path: &Path) -> Result<Self, Error<wal::Error>> {
        Storage::beside(path, Store::open(path).map_err(Error::Log)?)
    }

    /// Opens a store as that of a given node.
    ///
    /// # Errors
    ///
    /// As [`open`](Storage::open), and if it is another's.
    pub fn open_as(path: &Path, cluster: &str, node: NodeId) -> Result<Self, Error<wal::Error>> {
        Storage::beside(path, Store::open_as(path, cluster, node).map_err(Error::Log)?)
    }

    fn beside(path: &Path, wal: Store) -> Result<Self, Error<wal::Error>> {
        DiskShelf::format(path).map_err(Arc::new)?;
        let shelf = DiskShelf::open(path, wal.identity().fingerprint()).map_err(Arc::new)?;
        Ok(Storage { wal, shelf })
    }
}

impl<W, S: Shelf + Keep + Clone + 'static> Storage<W, S> {
    /// What a node finds beside its log.
    ///
    /// # Errors
    ///
    /// The shelf's.
    pub fn found<E>(&self, pace: Pace) -> Result<Beside, Error<E>> {
        let snapshots = self.shelf.kept().map_err(Arc::new)?;
        Ok(Beside { shelf: Box::new(self.shelf.clone()), snapshots, pace })
    }
}
