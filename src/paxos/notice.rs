//! What the core tells the node around it, once the disk holds what the news rests on.

use bytes::Bytes;

use super::ballot::{Incarnation, NodeId, Slot};
use super::command::{ClientId, Command, RequestNumber};
use super::concord::Difference;

/// Names a read while it waits; the node chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// News from the core, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The next slot is decided; notices of this kind come in slot order without a gap.
    Decided(Slot, Command),
    /// The request stands in the leader's queue, or was proposed already.
    Queued(ClientId, RequestNumber),
    /// The request was not taken.
    Rejected(ClientId, RequestNumber, Rejection),
    /// The read may be answered from a state that has applied every slot below this one.
    ReadReady(ReadId, Slot),
    /// This node cannot answer the read.
    ReadRejected(ReadId, Rejection),
    /// What this node lacks is gone from that peer's log: it must come as a snapshot.
    Stranded(NodeId),
    /// The node around that peer's replica says this.
    Transfer(NodeId, Bytes),
    /// A peer is to be found elsewhere than the cluster was told.
    Moved(NodeId, Bytes),
    /// This store, which took the place of a lost one, votes from now on.
    Rejoined,
    /// There is a newer store of this node: this one is not heard any more, and must stop.
    Replaced(Incarnation),
    /// This store holds less than it has told others: it must not be used any more.
    Forgot {
        /// Who remembers.
        by: NodeId,
        /// How many pledges it was told of.
        told: u64,
        /// How many there are.
        held: u64,
    },
    /// A node's state is not that of this one, which has a majority with it.
    Differs(Difference),
    /// This node's state is not that of the others, or no majority has it: it must stop.
    Stop(Difference),
}

/// Why a request or a read was not taken. Nothing happened: it may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Another node leads, as far as this one knows.
    NotLeader(Option<NodeId>),
    /// The queue is full.
    Busy,
    /// An earlier request of the same session has not arrived yet; this is its number.
    Gap(RequestNumber),
}
