//! The client library: a session with a cluster that outlives connections and leaders.
//!
//! A [`Client`] keeps each request until its reply is in. It talks to one node at a time: the
//! leader, if it knows one, for requests go nowhere else; any live node otherwise, so that what is
//! decided still arrives. When the connection breaks, falls silent, or somebody else leads, it
//! turns there and sends all that is unanswered again, in the order of the request numbers. The
//! cluster applies each request at most once, so sending twice is harmless.

mod link;
mod probe;
mod session;
mod turn;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::cluster::Cluster;
use crate::paxos::{ClientId, NodeId, Slot};
use crate::wire::client::Entry;
use crate::wire::frame::BODY_BYTES_MAX;

pub use link::LinkError;
pub use probe::Probe;

/// Requests that a client may have unanswered; one more waits.
pub const IN_FLIGHT_MAX: usize = 256;

/// A session with a cluster. Clones share it; it ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    asks: mpsc::Sender<Ask>,
    standing: watch::Receiver<Standing>,
}

/// Why a request failed for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster does not know this session any more: whether the request was applied cannot be
    /// told.
    #[error("the cluster has forgotten this session")]
    UnknownSession,
    /// It is longer than any node takes.
    #[error("a request of {0} bytes is too long: {BODY_BYTES_MAX} is the most")]
    TooLong(usize),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Where it was applied.
    pub slot: Slot,
    /// What the state machine said; `None` if the cluster no longer keeps it.
    pub body: Option<Bytes>,
}

/// A request on its way.
#[derive(Debug)]
pub struct Ticket {
    /// Its number in the session.
    pub number: u64,
    queued: oneshot::Receiver<()>,
    reply: oneshot::Receiver<Result<Reply, Error>>,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The node it is connected to.
    pub connected: Option<NodeId>,
    /// The leader, as that node says.
    pub leader: Option<NodeId>,
    /// Requests without an answer.
    pub unanswered: usize,
}

/// A stretch of the archive: all entries in `first..next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it begins: where the one before ended.
    pub first: Slot,
    /// Where the next will begin.
    pub next: Slot,
    /// The entries, ascending.
    pub entries: Vec<Entry>,
}

/// What the handle asks of the task behind it.
#[derive(Debug)]
pub(crate) enum Ask {
    Submit {
        body: Bytes,
        queued: oneshot::Sender<()>,
        reply: oneshot::Sender<Answer>,
        number: oneshot::Sender<u64>,
    },
    Query {
        body: Bytes,
        answer: oneshot::Sender<Result<Bytes, Error>>,
    },
    Subscribe {
        from: Slot,
        pages: mpsc::Sender<Page>,
    },
}

pub(crate) type Answer = Result<Reply, Error>;

impl Client {
    /// Opens a session under this id, which must never have been used before. Connects in the
    /// background, for as long as it takes. Needs a tokio runtime around it.
    #[must_use]
    pub fn open(cluster: &Cluster, id: ClientId) -> Client {
        let (asks, inbox) = mpsc::channel(IN_FLIGHT_MAX);
        let (publish, standing) = watch::channel(Standing::default());
        tokio::spawn(turn::run(cluster.clone(), id, inbox, publish));
        Client { asks, standing }
    }

    /// Sends a request. Returns once it has its number; waits if too many are unanswered.
    ///
    /// # Errors
    ///
    /// If it is too long, or the client is closed.
    pub async fn submit(&self, body: Bytes) -> Result<Ticket, Error> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::TooLong(body.len()));
        }
        let (queued, was_queued) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let (number, numbered) = oneshot::channel();
        let ask = Ask::Submit { body, queued, reply, number };
        self.asks.send(ask).await.map_err(|_| Error::Closed)?;
        let number = numbered.await.map_err(|_| Error::Closed)?;
        Ok(Ticket { number, queued: was_queued, reply: answer })
    }

    /// A linearizable read: waits until a leader has answered it.
    ///
    /// # Errors
    ///
    /// If the client is closed.
    pub async fn query(&self, body: Bytes) -> Result<Bytes, Error> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Query { body, answer }).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    /// The archive from a slot on, each entry once and in order, and for ever. One at a time: a new
    /// subscription ends the one before.
    ///
    /// # Errors
    ///
    /// If the client is closed.
    pub async fn subscribe(&self, from: Slot) -> Result<mpsc::Receiver<Page>, Error> {
        let (pages, received) = mpsc::channel(64);
        self.asks.send(Ask::Subscribe { from, pages }).await.map_err(|_| Error::Closed)?;
        Ok(received)
    }

    /// Where it stands, now and whenever that changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

impl Ticket {
    /// Waits until the request stands in a leader's queue, or is answered.
    pub async fn queued(&mut self) {
        // Dropped with the answer: then it was queued, too.
        let _ = (&mut self.queued).await;
    }

    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// If there will be none.
    pub async fn reply(self) -> Result<Reply, Error> {
        self.reply.await.unwrap_or(Err(Error::Closed))
    }
}
