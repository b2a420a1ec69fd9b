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
    /// A client's request arrived, to be passed on to whoever leads. The reply comes from here all
    /// the same, once it is applied.
    Post(Request),
    /// A client says that it is still there, and wants to hear that its session has all of its time
    /// again.
    KeepAlive {
        /// Whose session.
        client: ClientId,
        /// Returned with the answer.
        id: u64,
    },
    /// Somebody asks how long a session has left.
    Lease {
        /// Returned with the answer.
        id: u64,
        /// Which session.
        session: ClientId,
    },
    /// A client says that its session is over.
    End(ClientId),
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
    /// What the clock shows, in milliseconds since 1970. Needed only while the machine has a
    /// deadline; it may go wrong and back.
    Clock(u64),
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
    /// A keep-alive counts: from when it was sent, the session has all of its time.
    Alive {
        /// Whose session.
        client: ClientId,
        /// The keep-alive's id.
        id: u64,
    },
    /// The session is over: none of its requests is applied from now on.
    Ended(ClientId),
    /// The state machine tells a session something.
    Notice {
        /// Whose session.
        client: ClientId,
        /// In which slot.
        slot: Slot,
        /// What.
        body: Bytes,
    },
    /// How long a session has left.
    Left {
        /// The question's id.
        id: u64,
        /// Milliseconds, if it has a lease; or why that is not told.
        result: Result<Option<u64>, Refusal>,
    },
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
