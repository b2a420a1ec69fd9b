//! The store: one node's log on disk, with all that makes its losses noticeable.
//!
//! A folder:
//!
//! | file | what |
//! |---|---|
//! | `identity` | whose store it is; written once |
//! | `lock` | held by the one process that uses it |
//! | `log/` | sled: the values of `group`, by number |
//! | `high-water` | what the log holds at least |
//! | `ballast` | disk space held back; may be removed when the disk is full |
//! | `unfinished` | there while the store is being made: no node has used it |
//! | `unfinished-replacement` | the same of a store that takes the place of a lost one |
//!
//! Invariants: numbers have no gap; a group of values is whole or it is the last and was never
//! acknowledged, and is cut; anything else that is missing or damaged is never voted on: the store
//! refuses to open, unless all of it is known to be decided (`mending`). **Any error of a write or
//! a sync is final.**

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::Error;
use super::format::read_identity;
use super::group;
use super::high_water::HighWater;
use super::identity::Identity;
use super::ledger::{self, Fault, Ledger};
use super::sled_log::{SEGMENT_BYTES, SledLog};
use crate::disk::lock::{Lock, Refusal};
use crate::disk::sync;
use crate::paxos::{AcceptorState, NodeId, Record, Wal};

/// How a store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Disk space held back, in bytes: none, or [`BALLAST_LEAST`](Options::BALLAST_LEAST) and more.
    pub ballast_bytes: u64,
}

/// What was found when a store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records read.
    pub records: u64,
    /// Values of a commit that was never acknowledged, and was cut.
    pub cut: u64,
    /// Values that are damaged or missing, and done without: what they said is known to be decided.
    pub lost: u64,
    /// Bytes of all values.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    identity: Identity,
    ledger: Ledger,
    log: SledLog,
    high_water: HighWater,
    records: Vec<(u64, Record)>,
    recovery: Recovery,
    failed: bool,
    _lock: Lock,
}

impl Options {
    /// What an operator gets: 64 MiB of ballast.
    pub const BALLAST_DEFAULT: u64 = 64 << 20;

    /// Less opens no full disk: sled fills its last segment up when it opens, and then needs
    /// another to go on.
    pub const BALLAST_LEAST: u64 = 2 * SEGMENT_BYTES as u64;
}

impl Store {
    /// Opens a store, whoever's it is.
    ///
    /// # Errors
    ///
    /// If there is none, somebody uses it, or anything acknowledged is missing or damaged.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let began = Instant::now();
        let identity = read_identity(path)?;
        let lock = take_lock(path)?;
        let water = path.join("high-water");
        if !water.exists() || !path.join("log").join("db").exists() {
            return Err(Error::damaged(path, "`high-water` or `log/db` is gone"));
        }
        sync::drop_cache(&water).map_err(|error| Error::io(&water, error))?;
        let high_water = HighWater::open(&water)?;
        let log = SledLog::open(&path.join("log"))?;
        let mut store = Store {
            path: path.to_owned(),
            ledger: Ledger::fresh(identity.fingerprint()),
            identity,
            log,
            records: Vec::new(),
            recovery: Recovery::default(),
            failed: false,
            high_water,
            _lock: lock,
        };
        store.recover()?;
        store.recovery.took = began.elapsed();
        Ok(store)
    }

    /// Whether the store of a given node is there and nobody uses it just now.
    ///
    /// # Errors
    ///
    /// If there is none, or it is another's.
    pub fn is_free(path: &Path, cluster: &str, node: NodeId) -> Result<bool, Error> {
        check_owner(path, cluster, node)?;
        let lock = path.join("lock");
        Lock::is_free(&lock).map_err(|error| Error::io(&lock, error))
    }

    /// Opens a store as that of a given node.
    ///
    /// # Errors
    ///
    /// As [`open`](Store::open), and if it is another's.
    pub fn open_as(path: &Path, cluster: &str, node: NodeId) -> Result<Store, Error> {
        check_owner(path, cluster, node)?;
        Store::open(path)
    }

    /// Whose store it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What was found when it was opened.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The records as they were when it was opened, with the number of the value in which the
    /// commit of each began. Empty once the log was loaded.
    #[must_use]
    pub fn records(&self) -> &[(u64, Record)] {
        &self.records
    }

    fn recover(&mut self) -> Result<(), Error> {
        let values = self.log.values()?;
        self.recovery.bytes = values.iter().map(|(_, value)| value.len() as u64).sum();
        let fingerprint = self.identity.fingerprint();
        let reading = ledger::read(&values, fingerprint, self.high_water.written());
        let reading = reading.map_err(|fault| self.error(fault))?;
        for values in &reading.lost {
            self.recovery.lost += values.end - values.start;
            tracing::warn!(
                store = %self.path.display(),
                "values {}..{} of the log are damaged: what they said is decided, and is learnt \
                 again from others",
                values.start,
                values.end
            );
        }
        self.cut(reading.torn)?;
        self.log.remove(reading.left.start, reading.left.end)?;
        self.recovery.records = reading.records.len() as u64;
        self.records = reading.records;
        self.ledger = reading.ledger;
        Ok(())
    }

    fn error(&self, fault: Fault) -> Error {
        let path = self.path.clone();
        match fault {
            Fault::Damaged(what) => Error::damaged(&path, what),
            Fault::Newer(found) => Error::Newer { path, found, known: group::VERSION },
        }
    }

    /// Cuts a tail that was never acknowledged.
    fn cut(&mut self, torn: Range<u64>) -> Result<(), Error> {
        if torn.is_empty() {
            return Ok(());
        }
        self.recovery.cut = torn.end - torn.start;
        tracing::warn!(
            store = %self.path.display(),
            values = self.recovery.cut,
            "cutting the torn end of the log: it was never acknowledged"
        );
        self.log.remove(torn.start, torn.end)?;
        self.log.flush()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let writing = self.ledger.write(records);
        self.log.append(writing.first, &writing.values)?;
        self.log.remove(writing.trimmed.start, writing.trimmed.end)?;
        if self.high_water.is_due(self.ledger.mark()) {
            self.raise()?;
        }
        Ok(())
    }

    fn raise(&mut self) -> Result<(), Error> {
        self.high_water.raise(self.ledger.mark(), &self.path.join("high-water"))
    }

    /// The number that the next value will have.
    #[must_use]
    pub fn next_value(&self) -> u64 {
        self.ledger.mark().next
    }
}

impl Wal for Store {
    type Error = Error;

    fn commit(&mut self, records: &[Record]) -> Result<(), Error> {
        assert!(!self.failed, "an error of the disk is final");
        self.failed = true;
        self.append(records)?;
        self.failed = false;
        Ok(())
    }

    fn load(&mut self) -> Result<AcceptorState, Error> {
        let state = ledger::replay(&self.records);
        self.records = Vec::new();
        Ok(state)
    }

    fn settle(&mut self) -> Result<(), Error> {
        assert!(!self.failed, "an error of the disk is final");
        self.failed = true;
        self.raise()?;
        self.failed = false;
        Ok(())
    }
}

fn check_owner(path: &Path, cluster: &str, node: NodeId) -> Result<(), Error> {
    let found = read_identity(path)?;
    if found.cluster == cluster && found.node == node {
        return Ok(());
    }
    Err(Error::Foreign {
        path: path.to_owned(),
        found: found.describe(),
        expected: Identity::new(cluster, node, found.incarnation).describe(),
    })
}

pub(super) fn take_lock(path: &Path) -> Result<Lock, Error> {
    Lock::take(&path.join("lock")).map_err(|refusal| match refusal {
        Refusal::Held(pid) => Error::Locked { path: path.to_owned(), pid },
        Refusal::Io(error) => Error::io(path, error),
    })
}
