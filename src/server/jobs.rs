//! What the sockets ask of the node's thread.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::node::Event;
use crate::paxos::{ClientId, Request, Slot};
use crate::wire::client::{Entry, FromNode, NodeStatus, Order};

/// Jobs that may wait. A full queue stops the reading of sockets: that is the push-back.
pub(super) const JOBS_MAX: usize = 4096;

/// The way back to one client's connection.
pub(super) type Reply = mpsc::Sender<FromNode>;

/// A job for the node's thread.
pub(super) enum Job {
    /// Something for the core.
    Event(Event),
    /// A request; its answers go there, also to be told from then on.
    Request(Request, Reply),
    /// A linearizable read; the answer, with this id, goes there.
    Query(u64, Bytes, Reply),
    /// A page of the archive from a slot on.
    Page(Slot, oneshot::Sender<(Slot, Vec<Entry>)>),
    /// How the node is.
    Status(oneshot::Sender<NodeStatus>),
    /// An order to fail, which was allowed.
    Order(Order, oneshot::Sender<Result<(), String>>),
    /// This client's connection ended.
    Gone(ClientId),
    /// Settle the log and end.
    Stop,
}

impl From<Event> for Job {
    fn from(event: Event) -> Job {
        Job::Event(event)
    }
}
