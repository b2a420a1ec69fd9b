//! The records of a log: each a change of what an acceptor has said or knows.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::paxos::ballot::{Ballot, Incarnation, NodeId, Slot};
use crate::paxos::command::Command;
use crate::paxos::message::{PValue, Run};

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
    /// What is true of the log as a whole, where its beginning does not show it: behind a trim,
    /// and at the start of a store that takes the place of a lost one.
    Standing {
        /// How many pledges were made.
        pledges: u64,
        /// Whether this store may vote.
        votes: bool,
    },
    /// A peer's store has told of so many pledges: one that holds fewer has lost some.
    Heard {
        /// The peer.
        node: NodeId,
        /// Its store.
        incarnation: Incarnation,
        /// How many it had made at least.
        pledges: u64,
    },
    /// A peer's store is to be found elsewhere than the cluster was told.
    Moved {
        /// The peer.
        node: NodeId,
        /// Its store.
        incarnation: Incarnation,
        /// Where, as the node around the core writes addresses.
        address: Bytes,
    },
    /// A peer's new store was told what this one knows: from here on no vote of this one counts
    /// beside one of the peer's lost store.
    Testified {
        /// The peer.
        node: NodeId,
        /// Its new store.
        incarnation: Incarnation,
    },
    /// What others testified to, in the place of what was lost; from here on this store votes.
    Imported {
        /// The highest promise of any of them.
        promised: Option<Ballot>,
        /// The longest chain of runs in the highest ballot that any of them accepted in.
        chain: Option<Chain>,
        /// What they accepted in that ballot, at or above the mark.
        accepted: Vec<PValue>,
    },
    /// Never written: it stands where a log is damaged in its middle, and mended. What was said of
    /// the slots from the mark on is not known, but that it is decided.
    Lost {
        /// The slot above all that can have been spoken of.
        below: Slot,
        /// The highest promise that can have been given.
        promised: Option<Ballot>,
        /// If any run was lost, the highest ballot that one was accepted in.
        accepted_in: Option<Ballot>,
        /// How many pledges had been made.
        pledges: u64,
    },
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
