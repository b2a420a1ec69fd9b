//! Persist before send, as a matter of types.
//!
//! Paxos is safe only if an acceptor never forgets what it said: a promise or an acceptance must be
//! on disk *before* the message that tells of it leaves. This file holds every lock of that door,
//! and it is one file because privacy is what locks it:
//!
//! - [`AcceptorState`] has private fields, and a [`Record`] is the only way to change one:
//!   [`Effects::record`] applies it and notes that it must be written. Replay uses the same code.
//! - [`Effects`] has no accessor. What a step wants to send can only go to a [`Persister`].
//! - [`Effects::send`] holds a message back until the step's records are durable: the default.
//!   [`Effects::send_early`] takes only messages that claim nothing about this node's disk.
//! - [`Persister::persist`] commits, and only then makes a [`Released`], which is all that a
//!   [`Network`] takes. It insists on every step, once and in order.
//!
//! A promise cannot be sent early:
//!
//! ```compile_fail
//! # use indelible::paxos::*;
//! # let (me, ballot) = (NodeId(0), Ballot::above(None, NodeId(0), Incarnation(1)));
//! let mut fx = Effects::of_step(me, 0);
//! let promise = Promise { ballot, mark: Slot(0), accepted_in: None, accepted: vec![],
//!                         seal: Seal { incarnation: Incarnation(1), known: vec![] } };
//! fx.send_early(NodeId(1), promise);
//! # drop(fx);
//! ```
//!
//! It can be sent:
//!
//! ```
//! # use indelible::paxos::*;
//! # let (me, ballot) = (NodeId(0), Ballot::above(None, NodeId(0), Incarnation(1)));
//! let mut fx = Effects::of_step(me, 0);
//! let promise = Promise { ballot, mark: Slot(0), accepted_in: None, accepted: vec![],
//!                         seal: Seal { incarnation: Incarnation(1), known: vec![] } };
//! fx.send(NodeId(1), promise);
//! # drop(fx);
//! ```
//!
//! Nobody outside this file can make a `Released`, so nobody can hand the network a message that
//! did not pass the disk:
//!
//! ```compile_fail
//! # use indelible::paxos::*;
//! fn send<N: Network>(network: &mut N, released: Vec<Envelope>) {
//!     network.send(released);
//! }
//! ```
//!
//! ```
//! # use indelible::paxos::*;
//! fn send<N: Network>(network: &mut N, released: Released) {
//!     network.send(released);
//! }
//! ```
//!
//! Nor can anybody change what an acceptor has said without a record of it:
//!
//! ```compile_fail
//! # use indelible::paxos::*;
//! fn promise(state: &mut AcceptorState) -> &mut Option<Ballot> {
//!     &mut state.promised
//! }
//! ```
//!
//! ```
//! # use indelible::paxos::*;
//! fn promise(state: &mut AcceptorState) -> Option<Ballot> {
//!     state.promised()
//! }
//! ```
//!
//! Dropping what a step wants is denied by the compiler where the lint is on, and by the next
//! `persist` where it is not:
//!
//! ```compile_fail
//! #![deny(unused_must_use)]
//! # use indelible::paxos::*;
//! fn tick(replica: &mut Replica) {
//!     replica.step(Input::Tick { elapsed: 1 });
//! }
//! ```
//!
//! ```
//! #![deny(unused_must_use)]
//! # use indelible::paxos::*;
//! fn tick(replica: &mut Replica) {
//!     drop(replica.step(Input::Tick { elapsed: 1 }));
//! }
//! ```
//!
//! Deliberately absent: any knowledge of how a record is stored (`wal`), and any IO.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, Incarnation, NodeId, Slot};
use super::command::Command;
use super::message::{
    Accept, Canvass, CanvassAnswer, CatchUp, CatchUpAsk, Decide, Echo, Envelope, Heartbeat,
    Message, PValue, Resend, Run,
};
use super::notice::Notice;

/// A change of what an acceptor has said or knows, as it is written to the log. Variants are only
/// ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Nothing below this ballot will be accepted any more.
    Promised(Ballot),
    /// These slots were accepted; the run's ballot is thereby promised.
    Accepted(Run),
    /// Decided values that came from a peer, contiguous from the mark on; they override what was
    /// accepted there, and raise the mark behind them.
    Learned {
        /// The slot of the first command: never above the mark.
        first: Slot,
        /// Decided commands.
        commands: Vec<Command>,
    },
    /// Every slot below is decided, and its decided value is on this disk.
    Decided(Slot),
    /// The store that a peer speaks from.
    Incarnation {
        /// The peer.
        node: NodeId,
        /// The newest store of it that this node has heard of.
        incarnation: Incarnation,
    },
    /// The slots below are gone from the log: a snapshot holds what they led to. Restates all else
    /// that their records said and that must survive them.
    Trimmed {
        /// The lowest slot that is still held.
        below: Slot,
        /// The decided mark: at or above `below`.
        mark: Slot,
        /// The promise.
        promised: Option<Ballot>,
        /// The chain of runs.
        chain: Option<Chain>,
        /// The table of the others' stores.
        incarnations: Vec<(NodeId, Incarnation)>,
        /// Where the log begins now, in numbers of its own: the log fills it in as it writes.
        first_record: u64,
    },
}

/// What one slot holds on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The ballot in which it was accepted; `None` for a decided value that came from a peer.
    pub ballot: Option<Ballot>,
    /// The value.
    pub command: Command,
}

/// The end of the unbroken chain of runs that was accepted in the highest ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Their ballot.
    pub ballot: Ballot,
    /// What the first of them follows: all that the ballot proposed in `from..end` is held.
    pub from: Slot,
    /// The slot after the last.
    pub end: Slot,
}

/// All that an acceptor must never forget. Changes only through [`Effects::record`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptorState {
    promised: Option<Ballot>,
    chain: Option<Chain>,
    votes: BTreeMap<Slot, Vote>,
    mark: Slot,
    trimmed: Slot,
    incarnations: BTreeMap<NodeId, Incarnation>,
}

impl AcceptorState {
    /// What the log says, from its records in order.
    #[must_use]
    pub fn replay(records: impl IntoIterator<Item = Record>) -> AcceptorState {
        AcceptorState::default().then(records)
    }

    /// This state, and what these further records say.
    #[must_use]
    pub fn then(mut self, records: impl IntoIterator<Item = Record>) -> AcceptorState {
        for record in records {
            self.apply(record);
        }
        self
    }

    /// The highest ballot promised; accepting a ballot promises it (A1: it only grows).
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// The runs accepted last.
    #[must_use]
    pub fn chain(&self) -> Option<Chain> {
        self.chain
    }

    /// The durable decided mark: every slot below is decided, and its value is here.
    #[must_use]
    pub fn mark(&self) -> Slot {
        self.mark
    }

    /// The lowest slot whose value is still held.
    #[must_use]
    pub fn trimmed(&self) -> Slot {
        self.trimmed
    }

    /// What a slot holds.
    #[must_use]
    pub fn vote(&self, slot: Slot) -> Option<&Vote> {
        self.votes.get(&slot)
    }

    /// What the slots from `from` on hold, ascending.
    pub fn votes(&self, from: Slot) -> impl Iterator<Item = (Slot, &Vote)> {
        self.votes.range(from..).map(|(slot, vote)| (*slot, vote))
    }

    /// The slot after the highest that holds anything, or the mark if that is higher.
    #[must_use]
    pub fn end(&self) -> Slot {
        let held = self.votes.last_key_value().map_or(Slot(0), |(slot, _)| slot.next());
        held.max(self.mark)
    }

    /// What a Promise must list: everything accepted at or above the mark.
    ///
    /// # Panics
    ///
    /// If a learned value lies above the mark; `Learned` raises the mark, so none can.
    #[must_use]
    pub fn accepted(&self) -> Vec<PValue> {
        let pvalue = |(slot, vote): (Slot, &Vote)| PValue {
            ballot: vote.ballot.expect("a learned value lies below the mark"),
            slot,
            command: vote.command.clone(),
        };
        self.votes(self.mark).map(pvalue).collect()
    }

    /// The newest store of a peer that this node has on record.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.incarnations.get(&node).copied()
    }

    /// The table of the peers' stores.
    #[must_use]
    pub fn incarnations(&self) -> Vec<(NodeId, Incarnation)> {
        self.incarnations.iter().map(|(node, incarnation)| (*node, *incarnation)).collect()
    }

    /// The record by which the slots below go, and everything else stays. A snapshot at or above
    /// `below` must be durable before it is written; the mark rises to it if need be.
    #[must_use]
    pub fn trim(&self, below: Slot) -> Record {
        Record::Trimmed {
            below,
            mark: self.mark.max(below),
            promised: self.promised,
            chain: self.chain,
            incarnations: self.incarnations(),
            first_record: 0,
        }
    }

    /// What no record can make: for the test of the invariant that forbids it.
    #[cfg(test)]
    pub(super) fn with_a_vote_above_its_promise() -> AcceptorState {
        let ballot = super::testing::ballot(1, 0);
        let chain = Chain { ballot, from: Slot(0), end: Slot(1) };
        AcceptorState { chain: Some(chain), ..AcceptorState::default() }
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Promised(ballot) => self.promised = self.promised.max(Some(ballot)),
            Record::Accepted(run) => self.accept(run),
            Record::Learned { first, commands } => self.learn(first, commands),
            Record::Decided(mark) => self.mark = self.mark.max(mark),
            Record::Incarnation { node, incarnation } => {
                let known = self.incarnations.entry(node).or_insert(incarnation);
                *known = incarnation.max(*known);
            }
            Record::Trimmed { below, mark, promised, chain, incarnations, first_record: _ } => {
                self.votes = self.votes.split_off(&below);
                self.trimmed = self.trimmed.max(below);
                self.mark = self.mark.max(mark);
                self.promised = self.promised.max(promised);
                self.chain = chain;
                self.incarnations.extend(incarnations);
            }
        }
    }

    fn accept(&mut self, run: Run) {
        self.promised = self.promised.max(Some(run.ballot));
        self.chain = Some(match self.chain {
            Some(chain) if chain.ballot == run.ballot && run.after == chain.end => {
                Chain { end: run.end(), ..chain }
            }
            Some(_) | None => Chain { ballot: run.ballot, from: run.after, end: run.end() },
        });
        for (slot, command) in (run.first.0..).map(Slot).zip(run.commands) {
            // What is decided stays: a later ballot can only repeat it (A3, P2c).
            if slot >= self.mark {
                self.votes.insert(slot, Vote { ballot: Some(run.ballot), command });
            }
        }
    }

    fn learn(&mut self, first: Slot, commands: Vec<Command>) {
        for (slot, command) in (first.0..).map(Slot).zip(commands) {
            if slot >= self.mark {
                self.votes.insert(slot, Vote { ballot: None, command });
                self.mark = slot.next();
            }
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A message that claims nothing about its sender's disk, and so need not wait for it: proposals,
/// signs of life, and values that are decided whatever this disk holds.
pub trait ClaimsNothing: sealed::Sealed + Into<Message> {}

macro_rules! claims_nothing {
    ($($name:ident),* $(,)?) => {
        $(impl sealed::Sealed for $name {} impl ClaimsNothing for $name {})*
    };
}

claims_nothing!(
    Accept,
    Resend,
    Decide,
    Heartbeat,
    Echo,
    Canvass,
    CanvassAnswer,
    CatchUpAsk,
    CatchUp
);

/// What a step wants: records to write, messages to send, notices for the node around it. Private,
/// without an accessor: the only thing to do with it is [`Persister::persist`].
#[must_use = "what a step wants must reach the persister, or the node has said what it may forget"]
#[derive(Debug)]
pub struct Effects {
    me: NodeId,
    steps: Range<u64>,
    records: Vec<Record>,
    early: Vec<Envelope>,
    sealed: Vec<Envelope>,
    notices: Vec<Notice>,
}

impl Effects {
    /// What step number `step` of `node` wants: nothing yet.
    pub fn of_step(node: NodeId, step: u64) -> Effects {
        Effects {
            me: node,
            steps: step..step + 1,
            records: Vec::new(),
            early: Vec::new(),
            sealed: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Changes durable state: the one way to do so.
    pub fn record(&mut self, state: &mut AcceptorState, record: Record) {
        state.apply(record.clone());
        self.records.push(record);
    }

    /// Sends after this step's records, and those of all steps before, are on disk.
    pub fn send(&mut self, to: NodeId, message: impl Into<Message>) {
        self.sealed.push(Envelope { from: self.me, to, message: message.into() });
    }

    /// Sends before the commit, what claims nothing about this disk.
    pub fn send_early(&mut self, to: NodeId, message: impl ClaimsNothing) {
        self.early.push(Envelope { from: self.me, to, message: message.into() });
    }

    /// Tells the node around the core, after the commit.
    pub fn notify(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Whether the step wants anything written.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        !self.records.is_empty()
    }

    /// Joins the next step to this one, for one commit (group commit).
    ///
    /// # Panics
    ///
    /// If `next` is not the step that follows.
    pub fn then(mut self, next: Effects) -> Effects {
        assert_eq!(self.steps.end, next.steps.start, "steps are joined in their order");
        self.steps.end = next.steps.end;
        self.records.extend(next.records);
        self.early.extend(next.early);
        self.sealed.extend(next.sealed);
        self.notices.extend(next.notices);
        self
    }
}

/// Messages and notices that have passed the disk. Only this file can make one.
#[must_use = "released messages are meant to leave"]
#[derive(Debug, Default)]
pub struct Released {
    messages: Vec<Envelope>,
    notices: Vec<Notice>,
}

impl Released {
    /// What may leave.
    #[must_use]
    pub fn messages(&self) -> &[Envelope] {
        &self.messages
    }

    /// What may leave, for those who carry it.
    #[must_use]
    pub fn into_messages(self) -> Vec<Envelope> {
        self.messages
    }

    /// Takes out what `node` says to itself: it has passed the disk, and needs no network.
    #[must_use]
    pub fn take_loopback(&mut self, node: NodeId) -> Vec<Envelope> {
        self.messages.extract_if(.., |envelope| envelope.to == node).collect()
    }

    /// Takes out the notices for the node around the core.
    #[must_use]
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}

/// What carries messages to other nodes. It takes nothing but what has passed the disk.
pub trait Network {
    /// Sends all of it, in order; may lose any of it, as networks do.
    fn send(&mut self, released: Released);
}

/// Stable storage: an append-only log of records.
pub trait Wal {
    /// What can go wrong. Any error is final: the node stops.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Appends the records in order. `Ok` means that they would survive a power cut now.
    ///
    /// # Errors
    ///
    /// If that cannot be said. What was not acknowledged may or may not be found later, but never
    /// a later record without an earlier one.
    fn commit(&mut self, records: &[Record]) -> Result<(), Self::Error>;

    /// Everything ever committed, replayed.
    ///
    /// # Errors
    ///
    /// If something acknowledged is missing or damaged.
    fn load(&mut self) -> Result<AcceptorState, Self::Error>;

    /// Called when the node has been idle for some milliseconds, and at a clean stop: a chance to
    /// write down what makes a later loss noticeable.
    ///
    /// # Errors
    ///
    /// As [`commit`](Wal::commit).
    fn settle(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The gate between what a node wants to say and what it may say.
#[derive(Clone, Debug)]
pub struct Persister<W> {
    wal: W,
    next_step: u64,
    failed: bool,
}

impl<W: Wal> Persister<W> {
    /// A gate before this log.
    #[must_use]
    pub fn new(wal: W) -> Persister<W> {
        Persister { wal, next_step: 0, failed: false }
    }

    /// Lets pass, before the commit, what claims nothing.
    pub fn release_early(&self, effects: &mut Effects) -> Released {
        Released { messages: std::mem::take(&mut effects.early), notices: Vec::new() }
    }

    /// Commits what the steps recorded, then lets their messages and notices pass.
    ///
    /// # Errors
    ///
    /// The log's. Nothing passes then, ever again.
    ///
    /// # Panics
    ///
    /// If a step was dropped, repeated or reordered, or if an earlier commit failed.
    pub fn persist(&mut self, effects: Effects) -> Result<Released, W::Error> {
        assert!(!self.failed, "a failed commit is final: nothing may be said after it");
        assert_eq!(self.next_step, effects.steps.start, "each step is persisted once, in order");
        self.next_step = effects.steps.end;
        if !effects.records.is_empty() {
            self.failed = true;
            self.wal.commit(&effects.records)?;
            self.failed = false;
        }
        let mut messages = effects.early;
        messages.extend(effects.sealed);
        Ok(Released { messages, notices: effects.notices })
    }

    /// See [`Wal::settle`].
    ///
    /// # Errors
    ///
    /// The log's.
    pub fn settle(&mut self) -> Result<(), W::Error> {
        self.wal.settle()
    }

    /// The log, for those who inspect it.
    #[must_use]
    pub fn wal(&self) -> &W {
        &self.wal
    }
}
