//! The client library: a session with a cluster that outlives connections and leaders.
//!
//! A [`Client`] keeps each request until its reply is in. It talks to one node at a time: the
//! leader, if it knows one; any live node otherwise, so that what is decided still arrives. When
//! the connection breaks, falls silent, or somebody else leads, it turns there and says all that is
//! unanswered again, in the order of the request numbers; and also where the connection stands, if
//! an answer is late. The cluster applies each request at most once (Ongaro 6.3), so saying it
//! twice is harmless.
//!
//! The parts: `session` knows what is unanswered and what to say, without a socket, and `feed` the
//! same of the archive; `repeat`, when to say it again; `lease`, until when the session lives;
//! `route` chooses the node; `driver` holds the connection; `posts` carries requests by other
//! nodes; [`Probe`] asks one given node.
//!
//! Nothing waits for anything it need not wait for: a subscriber that does not read holds up no
//! reply (its stream pauses, and goes on from where it was), and a node that does not read holds up
//! no notice of its silence.
//!
//! **Architecture invariant:** nothing here knows a ballot, a disk or a service.

mod driver;
mod feed;
mod lease;
mod link;
mod posts;
mod probe;
mod questions;
mod repeat;
mod route;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};

use crate::cluster::Cluster;
use crate::paxos::{ClientId, NodeId, RequestNumber, Slot};
use crate::wire::client::Entry;
use crate::wire::drop::Loss;
use crate::wire::frame::BODY_BYTES_MAX;

pub use lease::Lease;
pub use link::LinkError;
pub use posts::Way;
pub use probe::Probe;

use driver::{Driver, Wish};
use questions::Asked;

/// Requests that a client may have unanswered; one more waits.
pub const IN_FLIGHT_MAX: usize = 256;

/// Pages of a subscription that wait to be taken; then the stream pauses.
const PAGES_MAX: usize = 64;

/// A session with a cluster. Clones share it; it ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    wishes: mpsc::Sender<Wish>,
    window: Arc<Semaphore>,
    last: Arc<Mutex<u64>>,
    standing: watch::Receiver<Standing>,
    notices: broadcast::Sender<Notice>,
}

/// How a session is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Silence for so long ends it; zero is never.
    pub ttl: Duration,
    /// By which node its requests go.
    pub way: Way,
    /// What it loses of what it says, but no hello: a fault to order.
    pub loss: Loss,
}

/// What the state machine told the session, unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What was applied then.
    pub slot: Slot,
    /// What.
    pub body: Bytes,
}

/// Notices that wait to be taken; of more the oldest are lost.
const NOTICES_MAX: usize = 256;

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
    reply: oneshot::Receiver<Answer>,
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
    /// Requests so far that were said more than once.
    pub retried: u64,
    /// Until when nobody ends the session.
    pub lease: Lease,
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

type Answer = Result<Reply, Error>;

impl Client {
    /// Opens a session under this id, which must never have been used before. Connects in the
    /// background, for as long as it takes. Needs a tokio runtime around it.
    #[must_use]
    pub fn open(cluster: &Cluster, id: ClientId) -> Client {
        Client::open_lossy(cluster, id, Loss::default())
    }

    /// As [`Client::open`], and loses that share of what it says, but no hello: a fault to order.
    #[must_use]
    pub fn open_lossy(cluster: &Cluster, id: ClientId, loss: Loss) -> Client {
        Client::open_with(cluster, id, Options { loss, ..Options::default() })
    }

    /// As [`Client::open`], and as is said there.
    #[must_use]
    pub fn open_with(cluster: &Cluster, id: ClientId, options: Options) -> Client {
        let (wishes, wished) = mpsc::channel(IN_FLIGHT_MAX);
        let (publish, standing) = watch::channel(Standing::default());
        let (notices, cluster) = (broadcast::Sender::new(NOTICES_MAX), cluster.clone());
        let driver = Driver::new(cluster, id, options, wished, publish, notices.clone());
        tokio::spawn(driver.run());
        let window = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Client { wishes, window, last: Arc::default(), standing, notices }
    }

    /// Sends a request. Returns once it has its number; waits if too many are unanswered. Requests
    /// keep the order of their numbers.
    ///
    /// # Errors
    ///
    /// If it is too long, or the client is closed.
    pub async fn submit(&self, body: Bytes) -> Result<Ticket, Error> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::TooLong(body.len()));
        }
        let place = Arc::clone(&self.window).acquire_owned().await.map_err(|_| Error::Closed)?;
        let way = self.wishes.reserve().await.map_err(|_| Error::Closed)?;
        let (on_queued, queued) = oneshot::channel();
        let (on_reply, reply) = oneshot::channel();
        // A number is drawn and sent in one go, so that numbers arrive in their order.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let number = RequestNumber(*last);
        way.send(Wish::Submit { number, body, on_queued, on_reply, place });
        Ok(Ticket { number: number.0, queued, reply })
    }

    /// A linearizable read: waits until a leader has answered it.
    ///
    /// # Errors
    ///
    /// If it is too long, or the client is closed.
    pub async fn query(&self, body: Bytes) -> Result<Bytes, Error> {
        if body.len() > BODY_BYTES_MAX {
            return Err(Error::TooLong(body.len()));
        }
        let (on_answer, answer) = oneshot::channel();
        let wish = Wish::Ask(Asked::Machine(body, on_answer));
        self.wishes.send(wish).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }

    /// How long a session has left, if it is not heard of again; `None` if it has no lease. Waits
    /// until a leader has answered.
    ///
    /// # Errors
    ///
    /// If the client is closed.
    pub async fn left(&self, session: ClientId) -> Result<Option<Duration>, Error> {
        let (on_answer, answer) = oneshot::channel();
        let wish = Wish::Ask(Asked::Lease(session, on_answer));
        self.wishes.send(wish).await.map_err(|_| Error::Closed)?;
        let left = answer.await.map_err(|_| Error::Closed)?;
        Ok(left.map(Duration::from_millis))
    }

    /// Ends the session, if it is not for ever, and waits until that is decided. What it held is
    /// free then; requests that are unanswered fail.
    ///
    /// # Errors
    ///
    /// If the client is closed.
    pub async fn end(&self) -> Result<(), Error> {
        let (on_ended, ended) = oneshot::channel();
        self.wishes.send(Wish::End { on_ended }).await.map_err(|_| Error::Closed)?;
        ended.await.map_err(|_| Error::Closed)
    }

    /// What the state machine tells the session unasked, from now on. Some of it may be lost, and
    /// some come twice: whoever waits for such a thing asks now and then.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// The archive from a slot on, each entry once and in order, and for ever. One at a time: a new
    /// subscription ends the one before.
    ///
    /// # Errors
    ///
    /// If the client is closed.
    pub async fn subscribe(&self, from: Slot) -> Result<mpsc::Receiver<Page>, Error> {
        let (feed, pages) = mpsc::channel(PAGES_MAX);
        self.wishes.send(Wish::Subscribe { from, feed }).await.map_err(|_| Error::Closed)?;
        Ok(pages)
    }

    /// From now on these nodes get a copy of each new request: its way to the leader may then fail,
    /// if theirs does not. It is applied once all the same.
    ///
    /// # Errors
    ///
    /// If the client is closed.
    pub async fn copy_to(&self, nodes: BTreeSet<NodeId>) -> Result<(), Error> {
        self.wishes.send(Wish::CopyTo(nodes)).await.map_err(|_| Error::Closed)
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
        if !self.queued.is_terminated() {
            // Dropped with the answer: then it was queued, too.
            let _ = (&mut self.queued).await;
        }
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
