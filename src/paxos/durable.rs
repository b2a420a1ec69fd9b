//! Persist before send, as a matter of types.
//!
//! Paxos is safe only if an acceptor never forgets what it said: a promise or an acceptance must be
//! on disk *before* the message that tells of it leaves. This module holds every lock of that
//! door, and it is one module, with the state in a file below, because privacy is what locks it:
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
//! let promise = Promise { ballot, mark: Slot(0), accepted_in: None, accepted: vec![], pledges: 1,
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
//! let promise = Promise { ballot, mark: Slot(0), accepted_in: None, accepted: vec![], pledges: 1,
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

use std::ops::Range;

use super::ballot::NodeId;
use super::message::{
    Accept, Canvass, CanvassAnswer, CatchUp, CatchUpAsk, Decide, Echo, Envelope, Heartbeat,
    Message, Recall, Recollection, Rejoin, Resend,
};
use super::notice::Notice;
use super::tap::{Heard, Tap};

mod record;
mod state;

pub use record::{Chain, Record};
pub use state::{AcceptorState, Vote};
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
    CatchUp,
    Recall,
    Recollection,
    Rejoin,
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
        self.persist_heard(effects, &mut ())
    }

    /// As [`persist`](Persister::persist), with somebody who hears what goes to the log, and when
    /// it is there.
    ///
    /// # Errors
    ///
    /// The log's. Nothing passes then, ever again.
    ///
    /// # Panics
    ///
    /// As [`persist`](Persister::persist).
    pub fn persist_heard(
        &mut self,
        effects: Effects,
        tap: &mut impl Tap,
    ) -> Result<Released, W::Error> {
        assert!(!self.failed, "a failed commit is final: nothing may be said after it");
        assert_eq!(self.next_step, effects.steps.start, "each step is persisted once, in order");
        self.next_step = effects.steps.end;
        if !effects.records.is_empty() {
            effects.records.iter().for_each(|record| tap.hear(Heard::Recorded(record)));
            self.failed = true;
            self.wal.commit(&effects.records)?;
            self.failed = false;
            tap.hear(Heard::Synced);
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
