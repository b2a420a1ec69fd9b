//! What the sockets ask of the node's thread, and how much of it may wait.
//!
//! One queue, so that a job waits for none that came after it; two budgets, so that no crowd of
//! clients keeps peers out. A spent budget stops the reading of sockets: that is the push-back.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::line::Line;
use crate::node::Event;
use crate::paxos::{ClientId, Request, Slot};
use crate::rsm::ShelfError;
use crate::transport::incoming::Sink;
use crate::wire::client::{Entry, NodeStatus, Order};

/// Bytes of clients' jobs that may wait.
const CLIENTS_BYTES_MAX: usize = 8 << 20;

/// Bytes of peers' messages that may wait.
const PEERS_BYTES_MAX: usize = 16 << 20;

/// What any job takes at least, in bytes.
const JOB_BYTES: usize = 1 << 10;

/// A job for the node's thread.
#[derive(Debug)]
pub(super) enum Job {
    /// Something for the core.
    Event(Event),
    /// A request; its answers go there, also to be told from then on.
    Request(Request, Line),
    /// A request to pass on; its reply goes there.
    Post(Request, Line),
    /// A keep-alive, by its id; the answer goes there.
    KeepAlive(ClientId, u64, Line),
    /// The end of a session; the answer goes there.
    End(ClientId, Line),
    /// How long a session has left; the answer, with this id, goes there.
    Lease(u64, ClientId, Line),
    /// A linearizable read; the answer, with this id, goes there.
    Query(u64, Bytes, Line),
    /// A page of the archive from a slot on.
    Page(Slot, oneshot::Sender<(Slot, Vec<Entry>)>),
    /// How the node is.
    Status(oneshot::Sender<NodeStatus>),
    /// An order to fail, which was allowed.
    Order(Order, oneshot::Sender<Result<(), String>>),
    /// This client's connection ended.
    Gone(ClientId),
    /// The keeper failed: final.
    Fail(Arc<ShelfError>),
    /// Settle the log and end.
    Stop,
}

/// A job with the room that it takes until it is handled.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) job: Job,
    _room: Option<OwnedSemaphorePermit>,
}

/// A way into the queue. Clones share its budget.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    bytes_max: usize,
}

/// The queue: the lane of the clients, the lane of the peers, and where both end.
pub(super) fn queue() -> (Lane, Lane, mpsc::UnboundedReceiver<Waiting>) {
    let (queue, inbox) = mpsc::unbounded_channel();
    let lane = |bytes_max| Lane {
        queue: queue.clone(),
        room: Arc::new(Semaphore::new(bytes_max)),
        bytes_max,
    };
    (lane(CLIENTS_BYTES_MAX), lane(PEERS_BYTES_MAX), inbox)
}

impl Lane {
    /// Queues a job that holds about so many bytes, when there is room. `None`: the node has
    /// stopped.
    pub(super) async fn push(&self, job: Job, bytes: usize) -> Option<()> {
        let bytes = bytes.clamp(JOB_BYTES, self.bytes_max) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()?;
        self.queue.send(Waiting { job, _room: Some(room) }).ok()
    }

    /// A page of the archive from a slot on: where the next begins, and its entries. `None`: the
    /// node has stopped.
    pub(super) async fn page(&self, first: Slot) -> Option<(Slot, Vec<Entry>)> {
        let (answer, page) = oneshot::channel();
        self.push(Job::Page(first, answer), 0).await?;
        page.await.ok()
    }

    /// Queues what must not wait. `None`: the node has stopped.
    pub(super) fn push_now(&self, job: Job) -> Option<()> {
        self.queue.send(Waiting { job, _room: None }).ok()
    }
}

impl Sink for Lane {
    async fn take(&self, event: Event, bytes: usize) -> bool {
        self.push(Job::Event(event), bytes).await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::NodeId;

    /// Bug that turns it red: one budget for both.
    #[tokio::test]
    async fn clients_that_fill_their_lane_keep_no_peer_out() {
        let (clients, peers, mut inbox) = queue();
        let mut queued = 0;
        let is_queued = |push: Option<Option<()>>| push == Some(Some(()));
        while is_queued(now(clients.push(Job::Event(Event::Heal), 1 << 20)).await) {
            queued += 1;
        }
        assert_eq!(queued, CLIENTS_BYTES_MAX >> 20);
        assert_eq!(now(peers.take(Event::Reset(NodeId(1)), 0)).await, Some(true));
        drop(inbox.recv().await);
        assert!(is_queued(now(clients.push(Job::Event(Event::Heal), 1 << 20)).await), "room again");
    }

    /// What a future gives without waiting.
    async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            value = future => Some(value),
            () = std::future::ready(()) => None,
        }
    }
}
