//! One store's log, with the place of everything that it says.

use super::reader::Reader;
use super::refuted::{self, Exhibit, Place, Refuted};
use super::tells::Tells;
use crate::paxos::{AcceptorState, Ballot, Command, Incarnation, NodeId, Record, Slot};

/// One store's log, in which each record is lawful after those before it.
#[derive(Clone, Debug)]
pub struct Ledger<'a> {
    name: String,
    node: NodeId,
    incarnation: Incarnation,
    records: &'a [(u64, Record)],
    pub(super) state: AcceptorState,
    /// Below this slot a vote may be lost: with a store that this one replaced, or by damage.
    lost_below: Slot,
    pub(super) read: Read,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Records.
    pub records: u64,
    /// Promises that were not acceptances as well.
    pub promises: u64,
    /// Runs that were accepted.
    pub runs: u64,
    /// Of these, how many stand so near to a trimmed beginning that what they follow is gone.
    pub unfollowed: u64,
    /// Trims.
    pub trims: u64,
}

impl Read {
    /// Both together.
    pub(super) fn add(&mut self, other: Read) {
        self.records += other.records;
        self.promises += other.promises;
        self.runs += other.runs;
        self.unfollowed += other.unfollowed;
        self.trims += other.trims;
    }
}

impl<'a> Ledger<'a> {
    /// Reads the log of a node's store: its records in order, each with the number of the value in
    /// which its commit begins. A log whose first value is not 0 was trimmed.
    ///
    /// # Errors
    ///
    /// At the first record that no acceptor would have written after those before it.
    pub fn read(
        name: &str,
        (node, incarnation): (NodeId, Incarnation),
        records: &'a [(u64, Record)],
    ) -> Result<Ledger<'a>, Refuted> {
        let ledger = Ledger {
            name: name.to_owned(),
            node,
            incarnation,
            records,
            state: AcceptorState::default(),
            lost_below: Slot(0),
            read: Read::default(),
        };
        Reader::new(ledger).read()
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Which of its node's stores it is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What an acceptor finds in it.
    #[must_use]
    pub fn state(&self) -> &AcceptorState {
        &self.state
    }

    /// What was read.
    #[must_use]
    pub fn counts(&self) -> Read {
        self.read
    }

    /// How many members this log knows of, at least: nodes are numbered from 0.
    #[must_use]
    pub fn members(&self) -> u16 {
        let peers = self.state.incarnations().into_iter().map(|(node, _)| node);
        let owner = self.state.promised().map(|ballot| ballot.node);
        let highest = peers.chain(owner).chain([self.node]).max();
        highest.map_or(0, |node| node.0.saturating_add(1))
    }

    /// Below this slot nothing is held.
    pub(super) fn trimmed(&self) -> Slot {
        self.state.trimmed()
    }

    /// Below this slot its node may have voted for what does not stand here: from a store that is
    /// lost, or in a part of this log that was damaged.
    pub(super) fn lost_below(&self) -> Slot {
        if self.state.is_fit() { self.lost_below } else { Slot(u64::MAX) }
    }

    pub(super) fn lose_below(&mut self, slot: Slot) {
        self.lost_below = self.lost_below.max(slot);
    }

    /// Below this slot the log cannot tell all that its node has accepted.
    pub(super) fn unknown_below(&self) -> Slot {
        self.state.trimmed().max(self.lost_below())
    }

    /// Every slot from [`trimmed`](Ledger::trimmed) to here holds its decided value.
    pub(super) fn mark(&self) -> Slot {
        self.state.mark()
    }

    pub(super) fn records(&self) -> &'a [(u64, Record)] {
        self.records
    }

    /// A record, for a counterexample; of many slots the one that matters.
    pub(super) fn exhibit(&self, at: usize, slot: Option<Slot>) -> Exhibit {
        let (value, record) = &self.records[at];
        let earlier = self.records[..at].iter().rev().take_while(|(other, _)| other == value);
        let place = Place { value: *value, record: earlier.count() };
        self.show(Some(place), refuted::record(record, slot))
    }

    /// Something beside the log, or that it lacks.
    pub(super) fn note(&self, words: impl Into<String>) -> Exhibit {
        self.show(None, words.into())
    }

    fn show(&self, place: Option<Place>, words: String) -> Exhibit {
        Exhibit { store: self.name.clone(), node: self.node, place, words }
    }

    /// The record by which the value of a decided slot stands here, and the one that says that it
    /// is decided.
    pub(super) fn decision(&self, slot: Slot) -> Vec<Exhibit> {
        let vote = self.state.vote(slot);
        let holds = |record: &Record| {
            vote.is_some_and(|vote| {
                values(record).any(|(ballot, at, command)| {
                    (ballot, at) == (vote.ballot, slot) && *command == vote.command
                })
            })
        };
        let held = self.records.iter().position(|(_, record)| holds(record));
        let marks = |record: &Record| Tells::of(record).mark.is_some_and(|mark| mark > slot);
        let told = self.records.iter().position(|(_, record)| marks(record));
        let mut shown: Vec<usize> = held.into_iter().chain(told).collect();
        shown.dedup();
        shown.into_iter().map(|at| self.exhibit(at, Some(slot))).collect()
    }
}

/// What a record has in slots, and in which ballot it was accepted; `None` for what was learned.
fn values(record: &Record) -> Box<dyn Iterator<Item = (Option<Ballot>, Slot, &Command)> + '_> {
    match record {
        Record::Accepted(run) => {
            Box::new(run.iter().map(|(slot, command)| (Some(run.ballot), slot, command)))
        }
        Record::Learned { first, commands } => {
            Box::new((first.0..).zip(commands).map(|(slot, command)| (None, Slot(slot), command)))
        }
        Record::Imported { accepted, .. } => {
            Box::new(accepted.iter().map(|it| (Some(it.ballot), it.slot, &it.command)))
        }
        Record::Promised(_)
        | Record::Decided(_)
        | Record::Incarnation { .. }
        | Record::Trimmed { .. }
        | Record::Standing { .. }
        | Record::Heard { .. }
        | Record::Moved { .. }
        | Record::Testified { .. }
        | Record::Lost { .. } => Box::new(std::iter::empty()),
    }
}
