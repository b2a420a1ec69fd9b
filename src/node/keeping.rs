//! What a node keeps beside its log: when a snapshot is due, what may then go from the log, and how
//! a node that missed what others let go of gets theirs.
//!
//! Nothing here waits for a disk but the archive's buffered writes. A snapshot is a [`Draft`] that
//! goes out to a keeper, who makes it durable, the archive first, and says so ([`Event::Kept`]);
//! only then does the log lose anything, and never above the *older* of the two kept snapshots,
//! less a margin for those who lag.
//!
//! [`Event::Kept`]: super::Event::Kept

use std::sync::Arc;

use bytes::Bytes;

use super::transfer::{self, Arrived, Offered, Parcel, Transfer};
use super::word::Word;
use super::{Node, Output};
use crate::paxos::{Command, Heard, Input, NodeId, Slot, Tap, Wal};
use crate::rsm::executor::CHECKPOINT_SLOTS;
use crate::rsm::{Extent, Kept, ShelfError, Snapshot, StateMachine};
use crate::wire::{client, codec};

/// A snapshot that is to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Every slot below is in it.
    pub slot: Slot,
    /// The archive that must be durable before it.
    pub archive: Extent,
    /// The snapshot.
    pub bytes: Bytes,
}

/// How often a node takes a snapshot, how much of its log it keeps below, in what pieces others get
/// it; and how often nodes compare what they came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A snapshot is taken each time so many slots are applied.
    pub snapshot_slots: u64,
    /// So many slots are left in the log below the older snapshot, for nodes that lag.
    pub margin_slots: u64,
    /// Bytes of a snapshot or an archive in one message to another node: a frame holds them. When
    /// more wait, the archive is written to its shelf.
    pub chunk_bytes: usize,
    /// The state is compared with that of the others each time so many slots are applied. The same
    /// on all nodes.
    pub checkpoint_slots: u64,
    /// A witness whose log holds more slots than this gets a replica's snapshot and archive.
    pub witness_log_slots: u64,
}

/// What a node knows of its snapshots.
#[derive(Clone, Debug)]
pub(super) struct Keeping {
    pub(super) pace: Pace,
    /// What others can have: the newest that is durable.
    pub(super) offered: Option<Offered>,
    /// What is on its way to the disk.
    drafted: Vec<Offered>,
    /// What comes from others.
    pub(super) transfer: Option<Transfer>,
    /// What came from others, on its way to the disk; and what was decided meanwhile.
    arrived: Option<Arrived>,
    held: Vec<(Slot, Command)>,
    /// Ticks since the start.
    pub(super) now: u64,
}

/// Bytes in a chunk, unless told otherwise.
const CHUNK_BYTES: usize = 256 << 10;

/// So many election timeouts without a chunk, and somebody else is asked.
const PATIENCE_ELECTIONS: u64 = 2;

impl Pace {
    /// No snapshots: the log holds everything.
    pub const NEVER: Pace = Pace {
        snapshot_slots: u64::MAX,
        margin_slots: 0,
        chunk_bytes: CHUNK_BYTES,
        checkpoint_slots: CHECKPOINT_SLOTS,
        witness_log_slots: u64::MAX,
    };
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            snapshot_slots: 10_000,
            margin_slots: 10_000,
            witness_log_slots: 100_000,
            ..Pace::NEVER
        }
    }
}

impl Keeping {
    pub(super) fn new(pace: Pace, newest: Option<Offered>) -> Keeping {
        Keeping {
            pace,
            offered: newest,
            drafted: Vec::new(),
            transfer: None,
            arrived: None,
            held: Vec::new(),
            now: 0,
        }
    }
}

impl<W: Wal, M: StateMachine> Node<W, M> {
    /// A command is decided: it is applied, unless a snapshot from others is about to take its
    /// place.
    pub(super) fn take_decided(
        &mut self,
        slot: Slot,
        command: Command,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Arc<ShelfError>> {
        if self.is_witness() {
            return self.witness_decided();
        }
        if self.holds_back() {
            self.keeping.held.push((slot, command));
            return Ok(());
        }
        self.drop_transfer()?;
        self.apply_slot(slot, &command, outputs);
        if self.executor.applied().0.is_multiple_of(self.keeping.pace.snapshot_slots) {
            self.draft(outputs)?;
        }
        Ok(())
    }

    /// Whether what is decided waits for a snapshot that is about to be in force.
    pub(super) fn holds_back(&self) -> bool {
        self.keeping.arrived.is_some()
    }

    /// Takes a snapshot, unless one is on its way.
    fn draft(&mut self, outputs: &mut Vec<Output>) -> Result<(), Arc<ShelfError>> {
        if self.keeping.drafted.is_empty() {
            let snapshot = self.executor.snapshot();
            let bytes = Bytes::from(codec::encode(&snapshot));
            self.send_draft(&snapshot, bytes, outputs)?;
        }
        Ok(())
    }

    fn send_draft(
        &mut self,
        snapshot: &Snapshot,
        bytes: Bytes,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Arc<ShelfError>> {
        self.executor.archive_mut().flush()?;
        self.keeping.drafted.push(Offered::new(snapshot, bytes.clone()));
        outputs.push(Output::Draft(Draft {
            slot: snapshot.applied,
            archive: snapshot.archive,
            bytes,
        }));
        Ok(())
    }

    /// The draft at this slot is durable; `older` is the snapshot before it, if there is one.
    pub(super) fn on_kept(
        &mut self,
        slot: Slot,
        older: Option<Kept>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Arc<ShelfError>> {
        let drafted = &mut self.keeping.drafted;
        if let Some(at) = drafted.iter().position(|drafted| drafted.slot() == slot) {
            self.keeping.offered = Some(drafted.swap_remove(at));
        }
        let arrived = &mut self.keeping.arrived;
        if let Some(Arrived { snapshot, .. }) = arrived.take_if(|it| it.snapshot.applied == slot) {
            self.tap.hear(Heard::Installed(snapshot.applied));
            if !self.is_witness() {
                self.executor.restore(&snapshot);
                self.replica.note_replaced();
            }
            self.first.push(Input::Install(snapshot.applied));
            let held = std::mem::take(&mut self.keeping.held);
            for (slot, command) in held.into_iter().filter(|(slot, _)| *slot >= snapshot.applied) {
                self.take_decided(slot, command, outputs)?;
            }
        }
        if let Some(older) = older.map(Kept::slot) {
            self.first.push(Input::Hold(older));
            if !self.is_witness() {
                let below = older.0.saturating_sub(self.keeping.pace.margin_slots);
                self.first.push(Input::Trim(Slot(below)));
            }
        }
        Ok(())
    }

    /// Time passed: what a transfer asks for next. First it takes back what there was of it before,
    /// a piece at a time, for each is read and synced.
    pub(super) fn tick_keeping(&mut self, elapsed: u64) -> Result<Option<Input>, Arc<ShelfError>> {
        self.keeping.now += elapsed;
        if self.is_witness() {
            self.tick_witness();
        }
        let Keeping { now, transfer, arrived, .. } = &mut self.keeping;
        let Some(transfer) = transfer.as_mut().filter(|_| arrived.is_none()) else {
            return Ok(None);
        };
        if self.executor.archive().regains() {
            self.executor.archive_mut().regain()?;
            transfer.note_regained(self.executor.archive(), *now);
            return Ok(None);
        }
        let patience = self.replica.config().timing.heartbeat_ticks * 2;
        let asked = transfer.ask(self.executor.archive(), *now, patience);
        Ok(asked.map(|parcel| Input::Transfer(transfer.source(), Word::Parcel(parcel).encode())))
    }

    /// What is missing here can be had of this peer, as a snapshot only.
    pub(super) fn on_stranded(&mut self, peer: NodeId) {
        let reached = self.reached();
        let Keeping { now, transfer, arrived, .. } = &mut self.keeping;
        let timing = self.replica.config().timing;
        match transfer {
            _ if arrived.is_some() => (),
            None => {
                let own = self.executor.archive().extent();
                *transfer = Some(Transfer::new(peer, reached, own, *now));
            }
            Some(transfer) => {
                if transfer.is_silent(*now, timing.election_ticks * PATIENCE_ELECTIONS) {
                    transfer.turn_to(peer, *now);
                }
            }
        }
    }

    /// A peer's node says something: a question is answered, an answer taken.
    pub(super) fn on_parcel(
        &mut self,
        from: NodeId,
        parcel: Parcel,
        outputs: &mut Vec<Output>,
    ) -> Result<Option<Input>, Arc<ShelfError>> {
        // A witness' log may have let go of what follows on its copy.
        let is_followed = |newest: &&Offered| newest.slot() >= self.replica.state().trimmed();
        if let Some(newest) = self.keeping.offered.as_ref().filter(is_followed)
            && let Some(answer) = transfer::serve(
                &parcel,
                newest,
                self.executor.archive(),
                self.keeping.pace.chunk_bytes,
            )
        {
            return Ok(Some(Input::Transfer(from, Word::Parcel(answer).encode())));
        }
        let Keeping { now, transfer, arrived, .. } = &mut self.keeping;
        let is_asked = arrived.is_none() && !self.executor.archive().regains();
        let Some(ours) = transfer.as_mut().filter(|it| it.source() == from && is_asked) else {
            return Ok(None);
        };
        match ours.take(parcel, self.executor.archive_mut(), *now) {
            Ok(None) => self.shelve()?,
            Ok(Some(whole)) => {
                self.send_draft(&whole.snapshot, whole.bytes.clone(), outputs)?;
                self.keeping.transfer = None;
                self.keeping.arrived = Some(whole);
            }
            Err(transfer::Useless) => self.drop_transfer()?,
        }
        Ok(None)
    }

    /// What came from others counts for nothing any more: the log helps itself, or it was no good.
    pub(super) fn drop_transfer(&mut self) -> Result<(), Arc<ShelfError>> {
        match self.keeping.transfer.take() {
            Some(transfer) => self.executor.archive_mut().give_up(transfer.own()),
            None => Ok(()),
        }
    }

    /// What comes from others, for people.
    #[must_use]
    pub fn transfer(&self) -> Option<client::Transfer> {
        let transfer = self.keeping.transfer.as_ref()?;
        Some(transfer.progress(self.executor.archive(), self.keeping.now))
    }

    /// Writes the archive to its shelf, if enough of it waits; and hears what went wrong there.
    pub(super) fn shelve(&mut self) -> Result<(), Arc<ShelfError>> {
        self.executor.archive_mut().check()?;
        let waiting = self.executor.archive().waiting_bytes();
        if waiting > self.keeping.pace.chunk_bytes as u64 {
            self.executor.archive_mut().flush()?;
        }
        Ok(())
    }
}
