//! What happens to a node, and what it has to say to those around it.

use bytes::Bytes;

use super::keeping::Draft;
use crate::paxos::{ClientId, Difference, Envelope, NodeId, Request, RequestNumber, Slot};
use crate::rsm::Kept;
use crate::wire::client::{self, Refusal};

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message from another node arrived.
    Message(Envelope),
    /// A client's request arrived.
    Request(Request),
    /// A linearizable read arrived.
    Query {
        /// Returned with the answer.
        id: u64,
        /// What the state machine gets.
        body: Bytes,
    },
    /// The connection from a peer broke.
    Reset(NodeId),
    /// Time passed.
    Tick {
        /// Milliseconds since the last tick.
        elapsed: u64,
    },
    /// Leave the next slots empty.
    Skip(u64),
    /// Fill the slots that were left empty.
    Heal,
    /// The [`Draft`] at this slot is durable; and the token of the snapshot before it, if any.
    Kept(Slot, Option<Kept>),
}

/// What a node has to say to its clients, its keeper and its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The request waits here, at the leader, or was proposed already.
    Queued(ClientId, RequestNumber),
    /// The request was applied, now or earlier.
    Reply {
        /// Whose request.
        client: ClientId,
        /// Which.
        number: RequestNumber,
        /// In which slot.
        slot: Slot,
        /// What came of it.
        outcome: client::Outcome,
    },
    /// The request was not taken.
    Rejected(ClientId, RequestNumber, Refusal),
    /// The answer to a query.
    Answer {
        /// The query's id.
        id: u64,
        /// The answer, or why there is none.
        result: Result<Bytes, Refusal>,
    },
    /// A snapshot that a keeper is to make durable; then it tells of it with [`Event::Kept`].
    Draft(Draft),
    /// A peer is to be found elsewhere than the cluster was told.
    Moved(NodeId, Bytes),
    /// This node's store, which took the place of a lost one, votes from now on.
    Rejoined,
    /// The state of another node is not that of this one and a majority.
    Differs(Difference),
}
