//! A simulated disk: holds the bytes that a real log would hold, and fails as disks do.
//!
//! The bytes are laid out and read back by the same code as the store's (`wal::ledger`). Beside
//! them stands the *image*: what an acceptor would find after a crash now. It is what the checks
//! look at, and what a restart is compared with.
//!
//! A power cut leaves a prefix of the values of the commit under way, the last perhaps torn (sled's
//! own log ends at the first record that is not whole), and the high-water mark before or after.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use fastrand::Rng;

use super::rot::{self, Rot};
use super::votes::Store;
use super::weather;
use crate::paxos::{AcceptorState, Incarnation, NodeId, Record, Wal};
use crate::wal::Identity;
use crate::wal::ledger::{self, Fault, Ledger, Mark, Reading};

/// The disk of one node; it outlives the node's crashes. Clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct Disk(Rc<RefCell<Platter>>);

#[derive(Clone, Debug)]
struct Platter {
    node: NodeId,
    rng: Rng,
    weather: weather::Disk,
    /// Whether faults happen.
    faults: bool,
    incarnation: Incarnation,
    fingerprint: u32,
    values: BTreeMap<u64, Vec<u8>>,
    water: Mark,
    ledger: Ledger,
    image: AcceptorState,
    /// What was written since this was last asked.
    written: Vec<Record>,
    /// An error is final: nothing may be written after it.
    failed: bool,
    /// How long the commits of this turn took.
    busy_ticks: u64,
    /// What was done to the values behind the log's back last.
    rot: Option<Rot>,
    /// A copy of all that was written, taken at some time.
    backup: Option<Box<Backup>>,
    /// The copy is back in its place, and others remember more: nothing of it may be counted.
    is_rolled_back: bool,
}

/// A store as it once was.
#[derive(Clone, Debug)]
struct Backup {
    values: BTreeMap<u64, Vec<u8>>,
    water: Mark,
    image: AcceptorState,
}

/// Why a commit or a start did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiskError {
    /// The power went, or the disk failed, in the middle of a commit.
    #[error("a commit failed")]
    Commit,
    /// The log was read, and something acknowledged is missing or damaged.
    #[error("refused: {0}")]
    Refused(String),
}

/// Out of so many commits, one has the high-water mark written though nothing asks for it.
const WATER_EVERY: u32 = 32;

/// Out of so many commits, one is followed by a copy of all that is written.
const BACKUP_EVERY: u32 = 64;

impl Disk {
    /// The disk of a freshly made store.
    pub(super) fn new(node: NodeId, seed: u64, weather: weather::Disk) -> Disk {
        Disk::of((node, Incarnation(1)), seed, weather)
    }

    /// The disk of a store that takes the place of a lost one.
    pub(super) fn in_place_of(lost: &Disk, seed: u64) -> Disk {
        let platter = lost.0.borrow();
        let store = (platter.node, Incarnation(platter.incarnation.0 + 1));
        let disk = Disk::of(store, seed, platter.weather.clone());
        let born = [Record::Standing { pledges: 0, votes: false }];
        {
            let mut new = disk.0.borrow_mut();
            let writing = new.ledger.write(&born);
            new.keep(writing.first, &writing.values);
            new.note(&born);
            new.faults = platter.faults;
        }
        disk
    }

    fn of((node, incarnation): Store, seed: u64, weather: weather::Disk) -> Disk {
        let fingerprint = Identity::new("sim", node, incarnation).fingerprint();
        Disk(Rc::new(RefCell::new(Platter {
            node,
            incarnation,
            rng: Rng::with_seed(seed),
            weather,
            faults: true,
            fingerprint,
            values: BTreeMap::new(),
            water: Mark::default(),
            ledger: Ledger::fresh(fingerprint),
            image: AcceptorState::default(),
            written: Vec::new(),
            failed: false,
            busy_ticks: 0,
            rot: None,
            backup: None,
            is_rolled_back: false,
        })))
    }

    /// From now on nothing fails any more.
    pub(super) fn spare(&self) {
        self.0.borrow_mut().faults = false;
    }

    /// How long the commits took since this was last asked.
    pub(super) fn take_busy(&self) -> u64 {
        std::mem::take(&mut self.0.borrow_mut().busy_ticks)
    }

    /// How long the commits of this turn have taken so far.
    pub(super) fn busy(&self) -> u64 {
        self.0.borrow().busy_ticks
    }

    /// Looks at what a node would find after a crash now.
    pub(super) fn inspect<T>(&self, look: impl FnOnce(&AcceptorState) -> T) -> T {
        look(&self.0.borrow().image)
    }

    /// What reached the disk since this was last asked.
    pub(super) fn take_written(&self) -> Vec<Record> {
        std::mem::take(&mut self.0.borrow_mut().written)
    }

    /// The records that a node would read after a crash now, with their numbers.
    pub(super) fn records(&self) -> Vec<(u64, Record)> {
        self.0.borrow().reading().expect("it was read at the start").records
    }

    /// Whose it is.
    pub(super) fn node(&self) -> NodeId {
        self.0.borrow().node
    }

    /// Which store it holds.
    pub(super) fn store(&self) -> Store {
        let platter = self.0.borrow();
        (platter.node, platter.incarnation)
    }

    /// Something that counts towards a quorum leaves its node.
    ///
    /// # Panics
    ///
    /// If the store was rolled back, and others remember.
    pub(super) fn may_be_counted(&self) {
        let platter = self.0.borrow();
        let store = (platter.node, platter.incarnation);
        assert!(!platter.is_rolled_back, "{store:?} was rolled back, and is counted");
    }

    /// Another disk that holds the same.
    pub(super) fn copy(&self) -> Disk {
        Disk(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// How many pledges the copy holds that was taken of it, if there is one.
    pub(super) fn pledges_in_backup(&self) -> Option<u64> {
        self.0.borrow().backup.as_ref().map(|backup| backup.image.pledges())
    }

    /// The copy takes the place of what is there, though others remember more.
    pub(super) fn roll_back(&self) {
        let platter = &mut *self.0.borrow_mut();
        if let Some(backup) = platter.backup.take() {
            let Backup { values, water, image } = *backup;
            (platter.values, platter.water, platter.image) = (values, water, image);
            platter.is_rolled_back = true;
        }
    }

    /// Whether it was rolled back.
    pub(super) fn is_rolled_back(&self) -> bool {
        self.0.borrow().is_rolled_back
    }

    /// What a recovered state has lost of what this disk held, if anything.
    pub(super) fn lacks(&self, found: &AcceptorState) -> Option<String> {
        let image = &self.0.borrow().image;
        let told = |state: &AcceptorState| {
            let (promised, mark, end) = (state.promised(), state.mark(), state.end());
            format!("promised {promised:?}, decided {mark}, end {end}")
        };
        (image != found).then(|| format!("{}; it was {}", told(found), told(image)))
    }

    /// Whether what was recovered lacks nothing but what is learnt again from others. It is what
    /// this disk holds from now on.
    pub(super) fn is_mended(&self, found: &AcceptorState) -> bool {
        let platter = &mut *self.0.borrow_mut();
        let is_mended = found.is_mended(&platter.image);
        if is_mended {
            platter.image = found.clone();
        }
        is_mended
    }

    /// Looks at what all nodes would find.
    pub(super) fn inspect_all<T>(
        disks: &[Disk],
        look: impl FnOnce(&[(NodeId, &AcceptorState)]) -> T,
    ) -> T {
        let platters: Vec<_> = disks.iter().map(|disk| disk.0.borrow()).collect();
        let images: Vec<_> =
            platters.iter().map(|platter| (platter.node, &platter.image)).collect();
        look(&images)
    }

    /// Something happens to what is written, while nobody looks; says what.
    pub(super) fn rot(&self, other: &Disk) -> Option<&'static str> {
        let foreign = other.0.borrow().values.clone();
        self.0.borrow_mut().rot(&foreign)
    }

    /// Whether a loss that the node did not notice is one that it *could* not notice: it looks like
    /// the end of a commit that nobody was told of, and the high-water mark does not know better.
    pub(super) fn is_beyond_notice(&self) -> bool {
        let platter = self.0.borrow();
        platter.rot.is_some_and(|rot| rot.is_like_a_torn_tail && rot.lowest >= platter.water.next)
    }

    /// Whether anything but crashes ever happened to it.
    pub(super) fn is_rotten(&self) -> bool {
        self.0.borrow().rot.is_some()
    }
}

impl Platter {
    fn happens(&mut self, share: f64) -> bool {
        self.faults && share > 0.0 && self.rng.f64() < share
    }

    fn write(&mut self, records: &[Record]) -> Result<(), DiskError> {
        assert!(!self.failed, "an error of the disk is final");
        self.wait();
        if self.happens(self.weather.lies) {
            return Ok(());
        }
        let writing = self.ledger.write(records);
        let (power, failing) = (self.weather.power, self.weather.failing);
        if self.happens(power) || self.happens(failing) {
            self.failed = true;
            return self.cut_off(writing.first, &writing.values, records);
        }
        self.keep(writing.first, &writing.values);
        self.note(records);
        let mark = self.ledger.mark();
        let covered = mark.is_due_after(self.water);
        if covered && self.happens(power) {
            self.failed = true;
            return Err(DiskError::Commit);
        }
        if covered || self.rng.u32(0..WATER_EVERY) == 0 {
            self.water = mark;
        }
        for number in writing.trimmed {
            self.values.remove(&number);
        }
        if self.faults && self.rng.u32(0..BACKUP_EVERY) == 0 {
            let (values, water) = (self.values.clone(), self.water);
            self.backup = Some(Box::new(Backup { values, water, image: self.image.clone() }));
        }
        Ok(())
    }

    fn wait(&mut self) {
        let (commit, stall) = (self.weather.commit_ticks, self.weather.stalled_ticks);
        if self.faults && commit > 0 {
            self.busy_ticks += self.rng.u64(0..=commit);
        }
        if self.happens(self.weather.stalls) {
            self.busy_ticks += self.rng.u64(0..=stall);
        }
    }

    fn keep(&mut self, first: u64, values: &[Vec<u8>]) {
        self.values.extend((first..).zip(values.iter().cloned()));
    }

    fn note(&mut self, records: &[Record]) {
        let image = std::mem::take(&mut self.image);
        self.image = image.then(records.iter().cloned());
        self.written.extend_from_slice(records);
    }

    /// The commit breaks off: all, some or none of it is written, and nobody is told.
    fn cut_off(
        &mut self,
        first: u64,
        values: &[Vec<u8>],
        records: &[Record],
    ) -> Result<(), DiskError> {
        let whole = self.rng.usize(0..=values.len());
        self.keep(first, &values[..whole]);
        if whole == values.len() {
            self.note(records);
        } else if self.rng.bool() {
            let torn = self.rng.usize(0..values[whole].len());
            self.values.insert(first + whole as u64, values[whole][..torn].to_vec());
        }
        Err(DiskError::Commit)
    }

    fn rot(&mut self, foreign: &BTreeMap<u64, Vec<u8>>) -> Option<&'static str> {
        let (what, rot) = rot::strike(&mut self.rng, &mut self.values, foreign, self.water.next)?;
        self.rot = Some(rot);
        Some(what)
    }

    fn reading(&self) -> Result<Reading, DiskError> {
        let values: Vec<(u64, &[u8])> =
            self.values.iter().map(|(number, value)| (*number, &value[..])).collect();
        ledger::read(&values, self.fingerprint, self.water).map_err(|fault| match fault {
            Fault::Damaged(what) => DiskError::Refused(what),
            Fault::Newer(version) => DiskError::Refused(format!("version {version}")),
        })
    }

    fn read(&mut self) -> Result<AcceptorState, DiskError> {
        let reading = self.reading()?;
        for number in reading.torn.clone().chain(reading.left.clone()) {
            self.values.remove(&number);
        }
        self.ledger = reading.ledger;
        self.failed = false;
        Ok(ledger::replay(&reading.records))
    }
}

impl Wal for Disk {
    type Error = DiskError;

    fn commit(&mut self, records: &[Record]) -> Result<(), DiskError> {
        self.0.borrow_mut().write(records)
    }

    fn load(&mut self) -> Result<AcceptorState, DiskError> {
        self.0.borrow_mut().read()
    }
}
