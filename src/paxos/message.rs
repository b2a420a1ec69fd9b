//! What nodes say to each other.
//!
//! Each message is a type of its own, so that the compiler can tell those that claim something
//! about the sender's disk (they leave after the commit) from those that claim nothing (they may
//! leave at once: see [`ClaimsNothing`](super::durable::ClaimsNothing)).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, Incarnation, NodeId, Slot};
use super::command::Command;
use super::durable::Chain;

/// A message with its two ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who says it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// What.
    pub message: Message,
}

/// Contiguous slots proposed in one ballot, in one message and one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The ballot they are proposed in.
    pub ballot: Ballot,
    /// Where the run before ended in this ballot, or where the ballot began: its first run, which
    /// holds all that phase 1 adopted, follows the highest mark of its quorum. It lies below
    /// `first` only across a deliberate hole.
    pub after: Slot,
    /// The slot of the first command.
    pub first: Slot,
    /// At least one command, for `first`, `first + 1`, ...
    pub commands: Vec<Command>,
}

/// An accepted proposal as a Promise tells it (PMMC 2: `<ballot, slot, command>`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PValue {
    /// In which ballot it was accepted.
    pub ballot: Ballot,
    /// Where.
    pub slot: Slot,
    /// What.
    pub command: Command,
}

/// Whose word it is: the store it comes from, and the stores of others that its sender knows. What
/// counts towards a quorum counts only for the newest store that anybody knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The sender's own store.
    pub incarnation: Incarnation,
    /// What it knows of the others'.
    pub known: Vec<(NodeId, Incarnation)>,
}

/// Phase 1a: asks for a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The ballot to promise.
    pub ballot: Ballot,
    /// How many pledges the sender's store has made at least.
    pub pledges: u64,
}

/// Phase 1b: accepts nothing below `ballot` any more, and tells what was accepted so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// What is promised.
    pub ballot: Ballot,
    /// The sender's durable decided mark: every slot below is decided and on its disk.
    pub mark: Slot,
    /// The highest ballot in which the sender accepted anything, if only below the mark.
    pub accepted_in: Option<Ballot>,
    /// Everything accepted at or above the mark, ascending by slot.
    pub accepted: Vec<PValue>,
    /// How many pledges the sender's store has made at least.
    pub pledges: u64,
    /// Whose word it is.
    pub seal: Seal,
}

/// A refusal: a higher ballot is promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempted {
    /// The ballot that was refused.
    pub refused: Ballot,
    /// The ballot that is promised.
    pub promised: Ballot,
}

/// Phase 2a: a run to accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// What to accept.
    pub run: Run,
    /// All that this ballot proposed below this slot is decided.
    pub watermark: Slot,
}

/// Phase 2b: everything that `ballot` proposed in `from..up_to` is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The ballot of the votes.
    pub ballot: Ballot,
    /// The first slot this vote covers: where the sender's unbroken chain of runs begins.
    pub from: Slot,
    /// The slot after the last it covers.
    pub up_to: Slot,
    /// How many pledges the sender's store has made at least.
    pub pledges: u64,
    /// Whose word it is.
    pub seal: Seal,
}

/// A run's predecessor is missing, or runs were lost: please send again what is undecided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// The leader's ballot.
    pub ballot: Ballot,
}

/// What is decided, told without waiting for the next Accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decide {
    /// The ballot whose votes decided it.
    pub ballot: Ballot,
    /// All that this ballot proposed below this slot is decided.
    pub watermark: Slot,
}

/// The leader lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leader's ballot.
    pub ballot: Ballot,
    /// Counts the leader's heartbeats in this ballot.
    pub round: u64,
    /// All that this ballot proposed below this slot, and all below its first, is decided.
    pub watermark: Slot,
    /// How far the leader has decided without a gap; whoever is behind asks for the rest.
    pub decided: Slot,
    /// What the leader knows of the states of all but the receiver, itself included: at the
    /// checkpoint that the receiver told last, as far as it can say that.
    pub digests: Vec<(NodeId, Digest)>,
}

/// A hash over the state that everything applied below a slot led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Everything below it is applied.
    pub slot: Slot,
    /// FNV-1a, 64 bits.
    pub hash: u64,
}

/// The answer to a heartbeat: this node follows that ballot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The ballot of the heartbeat.
    pub ballot: Ballot,
    /// Its round.
    pub round: u64,
    /// How far the sender has decided; a hint.
    pub decided: Slot,
    /// Whose word it is.
    pub seal: Seal,
    /// The hash of the sender's state at its last checkpoint.
    pub digest: Option<Digest>,
}

/// "Nobody leads here: would you follow me?" (Ongaro 9.6, pre-vote). Binds nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canvass {
    /// Tells this canvass from the asker's earlier ones.
    pub round: u64,
    /// How far the asker has decided; a hint by which the leaderless still catch up.
    pub decided: Slot,
}

/// The answer to a canvass. Pledged nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanvassAnswer {
    /// The canvass it answers.
    pub round: u64,
    /// Whether the sender would follow.
    pub yes: bool,
    /// What it has promised; a hint for choosing a ballot that is high enough.
    pub promised: Option<Ballot>,
    /// How far it has decided; a hint.
    pub decided: Slot,
    /// Whose word it is.
    pub seal: Seal,
}

/// Asks for what is decided from a slot on (learner sync).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUpAsk {
    /// The first slot that the asker lacks.
    pub from: Slot,
}

/// A chunk of decided commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUp {
    /// The slot of the first command.
    pub first: Slot,
    /// Decided commands for `first`, `first + 1`, ...; bounded in bytes, empty if there are none.
    pub commands: Vec<Command>,
    /// How far the sender has decided; a hint whether to ask for more.
    pub decided: Slot,
    /// What lies below is gone from the sender's log: it has a snapshot of it.
    pub trimmed: Slot,
}

/// What the nodes around two replicas say to each other, of snapshots and archives: opaque here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The node's own encoding.
    pub body: Bytes,
}

/// A leader's word, each heartbeat: how many pledges its own store has made, and as many of its
/// followers' as it knows of. Who comes back with fewer has lost some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pledged {
    /// The sender's own store.
    pub incarnation: Incarnation,
    /// How many pledges its store has made at least.
    pub pledges: u64,
    /// The others, by the stores that told so.
    pub others: Vec<(NodeId, Incarnation, u64)>,
}

/// "I come back, from this store: what do you remember of it?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// The store.
    pub incarnation: Incarnation,
    /// Tells this life of the node from those before: their answers are none to this question.
    pub life: u64,
    /// Where its node is to be found, if not where the cluster was told.
    pub address: Option<Bytes>,
}

/// The answer: what is remembered of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recollection {
    /// The store that was asked for.
    pub of: Incarnation,
    /// In which life.
    pub life: u64,
    /// How many pledges it has told of.
    pub pledges: u64,
    /// Whose word it is; its table tells of a newer store of the asker, if there is one.
    pub seal: Seal,
}

/// "My store takes the place of one that is lost: what must it know before it may vote?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejoin {
    /// The new store.
    pub incarnation: Incarnation,
    /// Where its node is to be found, if not where the cluster was told.
    pub address: Option<Bytes>,
}

/// The answer of a member that votes. From here on, nothing that it says counts together with
/// anything that the lost store said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// The store that it is for.
    pub to: Incarnation,
    /// What the sender has promised.
    pub promised: Option<Ballot>,
    /// Its durable decided mark.
    pub mark: Slot,
    /// Its chain of runs.
    pub chain: Option<Chain>,
    /// Everything it accepted at or above the mark, ascending by slot.
    pub accepted: Vec<PValue>,
    /// How many pledges of the asker's store the sender remembers: one that has forgotten its own
    /// return is no new store.
    pub remembered: u64,
    /// How many pledges its store has made at least.
    pub pledges: u64,
    /// Whose word it is.
    pub seal: Seal,
}

/// "A snapshot of everything below this slot, and the archive up to there, are durable here": on
/// such words a witness trims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// The slot.
    pub below: Slot,
    /// Whose word it is.
    pub seal: Seal,
}

macro_rules! messages {
    ($($name:ident),* $(,)?) => {
        /// Everything that one node can say to another. Variants are only ever added at the end.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Message {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        impl Message {
            /// The name of the message's kind, for traces.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Message::$name(_) => stringify!($name),)* }
            }
        }

        $(impl From<$name> for Message {
            fn from(message: $name) -> Message { Message::$name(message) }
        })*
    };
}

messages! {
    Prepare, Promise, Preempted, Accept, Accepted, Resend, Decide, Heartbeat, Echo, Canvass,
    CanvassAnswer, CatchUpAsk, CatchUp, Transfer, Pledged, Recall, Recollection, Rejoin,
    Testimony, Holds,
}

impl Run {
    /// The slot after the last command. Saturates: the run may come from a peer.
    #[must_use]
    pub fn end(&self) -> Slot {
        self.first.plus(self.commands.len() as u64)
    }

    /// The commands with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Command)> {
        (self.first.0..).map(Slot).zip(&self.commands)
    }
}
