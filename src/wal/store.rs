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
//!
//! Invariants: numbers have no gap; a group of values is whole or it is the last and was never
//! acknowledged, and is cut; anything else that is missing or damaged is never voted on: the store
//! refuses to open. **Any error of a write or a sync is final.**

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::Error;
use super::group::{self, Flaw};
use super::high_water::{HighWater, Mark};
use super::identity::Identity;
use super::sled_log::{SEGMENT_BYTES, SledLog};
use crate::disk::lock::{Lock, Refusal};
use crate::disk::{ballast, sync};
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
    fingerprint: u32,
    log: SledLog,
    high_water: HighWater,
    mark: Mark,
    /// The number of the first value that is still held.
    first: u64,
    records: Vec<(u64, Record)>,
    recovery: Recovery,
    failed: bool,
    _lock: Lock,
}

impl Options {
    /// What an operator gets: 64 MiB of ballast.
    pub const BALLAST_DEFAULT: u64 = 64 << 20;

    /// Disk space held back, in bytes: none, or at least [`BALLAST_LEAST`](Options::BALLAST_LEAST).
    /// to go on.
    pub const BALLAST_LEAST: u64 = 2 * SEGMENT_BYTES as u64;
}

impl Store {
    /// Makes a store. A node never starts on an empty folder by itself: an acceptor with amnesia is
    /// a danger, not a convenience.
    ///
    /// # Errors
    ///
    /// If there is one already, or the disk has no room for it.
    pub fn format(path: &Path, identity: &Identity, options: Options) -> Result<(), Error> {
        let io = |error| Error::io(path, error);
        fs::create_dir_all(path).map_err(io)?;
        let _lock = take_lock(path)?;
        if path.join("identity").exists() || path.join("log").exists() {
            return Err(Error::Exists(path.to_owned()));
        }
        ballast::hold(&path.join("ballast"), options.ballast_bytes).map_err(io)?;
        HighWater::create(&path.join("high-water"))?;
        drop(SledLog::open(&path.join("log"))?);
        // Last, since it is what makes the folder a store.
        identity.write(&path.join("identity"))?;
        sync::folder(path).map_err(io)?;
        path.parent().map_or(Ok(()), |parent| {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            sync::folder(parent).map_err(io)
        })
    }

    /// Opens a store, whoever's it is.
    ///
    /// # Errors
    ///
    /// If there is none, somebody uses it, or anything acknowledged is missing or damaged.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let began = Instant::now();
        let identity = Identity::read(&path.join("identity"))?;
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
            fingerprint: identity.fingerprint(),
            identity,
            log,
            mark: Mark::default(),
            first: 0,
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

    /// Opens a store as that of a given node.
    ///
    /// # Errors
    ///
    /// As [`open`](Store::open), and if it is another's.
    pub fn open_as(path: &Path, cluster: &str, node: NodeId) -> Result<Store, Error> {
        let found = Identity::read(&path.join("identity"))?;
        if found.cluster != cluster || found.node != node {
            return Err(Error::Foreign {
                path: path.to_owned(),
                found: found.describe(),
                expected: Identity::new(cluster, node, found.incarnation).describe(),
            });
        }
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
        let mut groups = Vec::new();
        let lowest = values.first().map_or(0, |(number, _)| *number);
        let mut rest = group::behind_broken_head(&values, self.fingerprint);
        let mut next = rest.first().map_or(lowest, |(number, _)| *number);
        let whole_from = next;
        while !rest.is_empty() {
            match self.read_group(rest, next)? {
                Some((records, length)) => {
                    groups.push((next, records));
                    next += length as u64;
                    rest = &rest[length..];
                }
                None => break,
            }
        }
        self.check_high_water(next)?;
        if let Some((last, _)) = rest.last() {
            self.cut(next, *last)?;
        }
        self.first = first_held(&groups);
        if whole_from > self.first {
            let what = format!("values {}..{whole_from} are missing", self.first);
            return Err(Error::damaged(&self.path, what));
        }
        groups.retain(|(number, _)| *number >= self.first);
        let numbered = |(number, records): (u64, Vec<Record>)| {
            records.into_iter().map(move |record| (number, record))
        };
        self.records = groups.into_iter().flat_map(numbered).collect();
        self.recovery.records = self.records.len() as u64;
        self.mark.next = next;
        self.mark.promised = self.replay().promised();
        if self.mark.promised < self.high_water.written().promised {
            return Err(Error::damaged(&self.path, "it has lost a promise that left this node"));
        }
        // Deletes that a crash interrupted.
        self.log.remove(lowest, self.first)
    }

    /// The records of the group that begins at value `next`, and how many values it has. `None`: it
    /// is a tail that was never acknowledged.
    fn read_group(
        &self,
        rest: &[(u64, sled::IVec)],
        next: u64,
    ) -> Result<Option<(Vec<Record>, usize)>, Error> {
        let mut encoded = Vec::new();
        let mut places = 1;
        let mut place = 0;
        while place < places {
            let Some((number, value)) = rest.get(place as usize) else { return Ok(None) };
            let expected = next + u64::from(place);
            if *number != expected {
                let what = format!("value {expected} is missing, {number} follows");
                return Err(Error::damaged(&self.path, what));
            }
            match group::examine(value, expected, self.fingerprint) {
                Ok(part) if part.place == place => {
                    places = part.places;
                    encoded.extend_from_slice(part.body);
                }
                Ok(part) => {
                    let what = format!("value {expected} is part {} of its commit", part.place);
                    return Err(Error::damaged(&self.path, what));
                }
                // A torn write at the very end was never acknowledged; the high-water file will
                // say if it was.
                Err(Flaw::Checksum) if place as usize + 1 == rest.len() => return Ok(None),
                Err(flaw) => return Err(self.flawed(expected, &flaw)),
            }
            place += 1;
        }
        match group::decode(&encoded) {
            Ok(records) => Ok(Some((records, places as usize))),
            Err(error) => Err(Error::damaged(&self.path, format!("value {next}: {error}"))),
        }
    }

    fn flawed(&self, number: u64, flaw: &Flaw) -> Error {
        let what = match flaw {
            Flaw::Version(found) => {
                let (path, known) = (self.path.clone(), group::VERSION);
                return Error::Newer { path, found: *found, known };
            }
            Flaw::Checksum => "fails its checksum".to_owned(),
            Flaw::Foreign => "belongs to another store".to_owned(),
            Flaw::Misplaced(own) => format!("is really value {own}"),
        };
        Error::damaged(&self.path, format!("value {number} {what}"))
    }

    fn check_high_water(&self, next: u64) -> Result<(), Error> {
        let written = self.high_water.written().next;
        if next < written {
            let what = format!("it ends at value {next}, but {written} were acknowledged");
            return Err(Error::damaged(&self.path, what));
        }
        Ok(())
    }

    /// Cuts a tail that was never acknowledged.
    fn cut(&mut self, from: u64, last: u64) -> Result<(), Error> {
        self.recovery.cut = last + 1 - from;
        tracing::warn!(
            store = %self.path.display(),
            values = self.recovery.cut,
            "cutting the torn end of the log: it was never acknowledged"
        );
        self.log.remove(from, last + 1)?;
        self.log.flush()
    }

    fn replay(&self) -> AcceptorState {
        AcceptorState::replay(self.records.iter().map(|(_, record)| record.clone()))
    }

    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let values = group::lay_out(records, self.mark.next, self.fingerprint);
        self.log.append(self.mark.next, &values)?;
        self.mark.next += values.len() as u64;
        for record in records {
            match record {
                Record::Promised(ballot) => self.promise(Some(*ballot)),
                Record::Accepted(run) => self.promise(Some(run.ballot)),
                Record::Trimmed { promised, first_record, .. } => {
                    self.promise(*promised);
                    self.log.remove(self.first, *first_record)?;
                    self.first = self.first.max(*first_record);
                }
                Record::Learned { .. } | Record::Decided(_) | Record::Incarnation { .. } => (),
            }
        }
        if self.high_water.is_due(self.mark) {
            self.raise()?;
        }
        Ok(())
    }

    fn promise(&mut self, ballot: Option<crate::paxos::Ballot>) {
        self.mark.promised = self.mark.promised.max(ballot);
    }

    fn raise(&mut self) -> Result<(), Error> {
        self.high_water.raise(self.mark, &self.path.join("high-water"))
    }

    /// The number that the next value will have.
    #[must_use]
    pub fn next_value(&self) -> u64 {
        self.mark.next
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
        let state = self.replay();
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

fn take_lock(path: &Path) -> Result<Lock, Error> {
    Lock::take(&path.join("lock")).map_err(|refusal| match refusal {
        Refusal::Held(pid) => Error::Locked { path: path.to_owned(), pid },
        Refusal::Io(error) => Error::io(path, error),
    })
}

/// The first value that counts: the one that the last trim names.
fn first_held(groups: &[(u64, Vec<Record>)]) -> u64 {
    let trims = groups.iter().flat_map(|(_, records)| records).filter_map(|record| match record {
        Record::Trimmed { first_record, .. } => Some(*first_record),
        Record::Promised(_)
        | Record::Accepted(_)
        | Record::Learned { .. }
        | Record::Decided(_)
        | Record::Incarnation { .. } => None,
    });
    trims.max().unwrap_or(0)
}
