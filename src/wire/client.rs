//! What clients and nodes say to each other after the hello.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::paxos::{Ballot, ClientId, Digest, Incarnation, NodeId, Request, RequestNumber, Slot};

/// From a client to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    /// Please decide and apply this. Answered by `Queued`, then `Reply`, or by `Rejected`.
    Request(Request),
    /// Please stream the archive from this slot on, now and as it grows.
    Subscribe {
        /// The first slot wanted.
        from: Slot,
    },
    /// A linearizable read: answered by `Answer`.
    Query {
        /// Returned with the answer.
        id: u64,
        /// What the state machine gets.
        body: Bytes,
    },
    /// How are you? Answered by `Status`.
    Status {
        /// Returned with the answer.
        id: u64,
    },
    /// An order from an operator or a harness: answered by `Done`.
    Order {
        /// Returned with the answer.
        id: u64,
        /// What to do.
        order: Order,
    },
    /// Still here.
    Pulse,
    /// As `Request`, of a node that need not lead: it passes it on. Its own word is the `Reply`
    /// only, and what it passed on may get lost.
    Post(Request),
    /// Please give this session all of its time again, from when this is sent: answered by `Alive`,
    /// `Ended` or `Rejected`.
    KeepAlive {
        /// Returned with the answer.
        id: u64,
    },
    /// How long has that session left? Answered by `Left`.
    Lease {
        /// Returned with the answer.
        id: u64,
        /// Which.
        session: ClientId,
    },
    /// This session is over: answered by `Ended` or `Rejected`.
    End,
    /// Which clients are connected here? Answered by `Guests`.
    Guests {
        /// Returned with the answer.
        id: u64,
    },
}

impl ToNode {
    /// The request that it carries, if it does.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        match self {
            ToNode::Request(request) | ToNode::Post(request) => Some(request),
            ToNode::Subscribe { .. }
            | ToNode::Query { .. }
            | ToNode::Status { .. }
            | ToNode::Order { .. }
            | ToNode::Pulse
            | ToNode::KeepAlive { .. }
            | ToNode::Lease { .. }
            | ToNode::Guests { .. }
            | ToNode::End => None,
        }
    }
}

/// What a harness may order. Only a node started with `--allow-faults` obeys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// If you lead: kill yourself right after the Nth Prepare or Accept to another node from now
    /// on; 0 is at once. Refused by a node that does not lead.
    Bomb(u64),
    /// If you lead: leave the next N slots empty. Refused by a node that does not lead.
    Skip(u64),
    /// If you lead: fill the holes that `Skip` left. Nothing to do is fine.
    Heal,
}

/// From a node to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNode {
    /// The leader that this node knows has changed.
    Leader(Option<NodeId>),
    /// The request stands in the leader's queue.
    Queued(RequestNumber),
    /// The request is decided and applied.
    Reply {
        /// Which request.
        number: RequestNumber,
        /// Where in the log.
        slot: Slot,
        /// What came of it.
        outcome: Outcome,
    },
    /// The request was not taken; nothing happened. Send it again, perhaps elsewhere.
    Rejected {
        /// Which request; 0 for a keep-alive or an end.
        number: RequestNumber,
        /// Why.
        why: Refusal,
    },
    /// A stretch of the archive: all entries in `first..next`, which has no others.
    Entries {
        /// The slot where this stretch begins: where the one before ended.
        first: Slot,
        /// The slot where the next stretch will begin.
        next: Slot,
        /// The entries, ascending.
        entries: Vec<Entry>,
    },
    /// The answer to a query.
    Answer {
        /// The query's id.
        id: u64,
        /// What the state machine said, or why it was not asked.
        result: Result<Bytes, Refusal>,
    },
    /// The answer to `Status`.
    Status {
        /// The question's id.
        id: u64,
        /// How this node is.
        status: NodeStatus,
    },
    /// The answer to an order.
    Done {
        /// The order's id.
        id: u64,
        /// Whether it was taken, or why not.
        result: Result<(), String>,
    },
    /// Still here: sent when there is nothing else to say.
    Pulse,
    /// From when the keep-alive with this id was sent, the session has all of its time.
    Alive {
        /// The keep-alive's id.
        id: u64,
    },
    /// The session is over: nothing of it will be applied any more.
    Ended,
    /// The state machine tells this session something; perhaps not for the first time.
    Notice {
        /// What was applied then.
        slot: Slot,
        /// What.
        body: Bytes,
    },
    /// The answer to `Lease`.
    Left {
        /// The question's id.
        id: u64,
        /// Milliseconds, `None` without a lease; or why that is not told.
        result: Result<Option<u64>, Refusal>,
    },
    /// The answer to `Guests`.
    Guests {
        /// The question's id.
        id: u64,
        /// The clients that are connected, ascending.
        sessions: Vec<ClientId>,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was applied, now or earlier; the state machine's reply.
    Applied(Bytes),
    /// It was applied earlier, and the client had said that it no longer needs the reply.
    Forgotten,
    /// It was never applied: its session is not known here, and it is not its first request.
    UnknownSession,
}

/// Why a node did not take a request or a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another node leads, as far as this one knows.
    NotLeader(Option<NodeId>),
    /// Its queue is full.
    Busy,
    /// Send this earlier request of the session first.
    Gap(RequestNumber),
    /// The session is not known (any more): nothing of it will ever be applied again.
    UnknownSession,
}

/// One entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its slot.
    pub slot: Slot,
    /// What the state machine put there.
    pub body: Bytes,
}

/// What a node does just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Follows, or would.
    Follower,
    /// Asks whether others would follow it.
    Canvassing,
    /// Runs phase 1.
    Campaigning,
    /// Leads.
    Leader,
    /// Votes and logs, and runs no state machine.
    Witness,
}

/// How a node is, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who it is.
    pub node: NodeId,
    /// The store it runs on.
    pub incarnation: Incarnation,
    /// How many members the cluster has.
    pub members: u16,
    /// What it does.
    pub role: Role,
    /// The ballot of its view: the highest that it promised, or heard a leader in.
    pub ballot: Option<Ballot>,
    /// The leader it hears, itself included.
    pub leader: Option<NodeId>,
    /// Every slot below is decided, as far as it knows.
    pub decided: Slot,
    /// Every slot below is applied.
    pub applied: Slot,
    /// The slot after the last that it accepted or knows to be decided.
    pub end: Slot,
    /// Empty slots below `end`, or left empty on purpose: ranges `from..to`.
    pub holes: Vec<(Slot, Slot)>,
    /// Whether it is behind what it heard from others, and fetches what it lacks.
    pub catching_up: bool,
    /// Requests queued or proposed here and not yet decided.
    pub outstanding: u64,
    /// The rolling hash over all it has applied.
    pub digest: Digest,
    /// What lies below is gone from its log: a snapshot holds it.
    pub trimmed: Slot,
    /// What it gets from another, in place of a log that is gone there.
    pub transfer: Option<Transfer>,
    /// Whether what it says may count towards a quorum.
    pub votes: bool,
    /// The newest stores of the others that it has on record.
    pub stores: Vec<(NodeId, Incarnation)>,
    /// For how many milliseconds it has not heard each of the others; since it started, if never.
    pub silences: Vec<(NodeId, u64)>,
    /// For how many milliseconds it has known no leader; `None` while it knows one.
    pub leaderless: Option<u64>,
}

/// A snapshot and an archive on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Who sends.
    pub from: NodeId,
    /// Entries of the archive that came.
    pub done: u64,
    /// Of these, what an earlier life of the node got: it came not once more.
    pub regained: u64,
    /// Entries that are still to come.
    pub to_come: u64,
    /// Milliseconds since it began to ask.
    pub millis: u64,
}

impl Transfer {
    /// Entries a second so far.
    #[must_use]
    pub fn rate(&self) -> f64 {
        (self.done - self.regained) as f64 * 1000.0 / self.millis.max(1) as f64
    }

    /// Seconds until all of it is there, if it goes on as so far.
    #[must_use]
    pub fn seconds_left(&self) -> Option<f64> {
        (self.done > self.regained).then(|| self.to_come as f64 / self.rate())
    }
}
