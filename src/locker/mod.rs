//! A session with the lock service, as a program uses it: ask, wait, hold, give back.
//!
//! A [`Locker`] is a [`Client`] with a lease, and the words of the service. Each call has an end:
//! if nothing is answered for its patience, it fails, and whoever called knows that no quorum
//! answers. What was asked may still be decided then; the end of the session undoes it.
//!
//! Waiting for a lock stands in `acquire`: by asking again after a random while, or in the queue.

mod acquire;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use crate::client::{self, Client, Lease, Notice, Options, Standing, Way};
use crate::cluster::Cluster;
use crate::paxos::{ClientId, Slot};
use crate::services::lock::{Answer, Ask, Question, Said, Told, Word};
use crate::wire::drop::Loss;

pub use acquire::{Outcome, Want};

/// The time to live of a session, if nothing else is said.
pub const TTL_DEFAULT: Duration = Duration::from_secs(10);

/// How long to wait for an answer, if nothing else is said.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(5);

/// How a session with the lock service is to be.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Silence for so long frees all it holds.
    pub ttl: Duration,
    /// Any call fails that is not answered for so long.
    pub patience: Duration,
    /// By which replica requests go first.
    pub way: Way,
    /// What it loses of what it says: a fault to order.
    pub loss: Loss,
    /// Its name for itself, for people.
    pub label: Bytes,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            ttl: TTL_DEFAULT,
            patience: PATIENCE_DEFAULT,
            way: Way::Leader,
            loss: Loss::default(),
            label: Bytes::new(),
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was answered in time.
    #[error("no quorum answered within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// The session is over: what it held is free, or another's.
    #[error("the session is over: what it held may be another's by now")]
    Over,
    /// What came is no word of the lock service.
    #[error("this cluster does not answer like a lock service")]
    Foreign,
    /// The session cannot be used.
    #[error(transparent)]
    Client(client::Error),
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Error {
        match error {
            client::Error::UnknownSession => Error::Over,
            client::Error::TooLong(_) | client::Error::Closed => Error::Client(error),
        }
    }
}

/// A session with the lock service.
#[derive(Debug)]
pub struct Locker {
    client: Client,
    id: ClientId,
    terms: Terms,
    ear: Ear,
}

/// What the service tells the session unasked. Some of it may be lost, and some come twice.
#[derive(Debug)]
pub struct Ear(broadcast::Receiver<Notice>);

impl Ear {
    /// The next thing. Safe to abandon while it waits.
    pub async fn told(&mut self) -> Told {
        loop {
            match self.0.recv().await {
                Ok(notice) => {
                    if let Some(told) = Told::decode(&notice.body) {
                        return told;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => (),
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Locker {
    /// Opens a session. Needs a tokio runtime around it.
    #[must_use]
    pub fn open(cluster: &Cluster, terms: Terms) -> Locker {
        let id = ClientId(uuid::Uuid::new_v4().as_u128());
        let options = Options { ttl: terms.ttl, way: terms.way, loss: terms.loss };
        let client = Client::open_with(cluster, id, options);
        let ear = Ear(client.notices());
        Locker { client, id, terms, ear }
    }

    /// The session's id: whoever knows it is taken for the holder.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The session's terms.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Where it stands, the lease included, now and whenever that changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.client.standing()
    }

    /// Until when nobody ends the session.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.client.standing().borrow().lease
    }

    /// Asks one thing: where it was applied, and what was said.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, or the session is over.
    pub async fn ask(&self, ask: &Ask) -> Result<(Slot, Said), Error> {
        self.await_reply(self.submit(ask).await?).await
    }

    /// Asks one thing, without waiting for the answer.
    ///
    /// # Errors
    ///
    /// If too many are unanswered for too long.
    pub async fn submit(&self, ask: &Ask) -> Result<client::Ticket, Error> {
        Ok(self.in_time(self.client.submit(ask.encode())).await??)
    }

    /// What is answered to something that was asked.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, or the session is over.
    pub async fn await_reply(&self, ticket: client::Ticket) -> Result<(Slot, Said), Error> {
        let reply = self.in_time(ticket.reply()).await??;
        let said = reply.body.as_deref().and_then(Said::decode).ok_or(Error::Foreign)?;
        Ok((reply.slot, said))
    }

    /// Asks a question, answered from a state that holds all that was decided before.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn question(&self, question: &Question) -> Result<Answer, Error> {
        let body = self.in_time(self.client.query(question.encode())).await??;
        Answer::decode(&body).ok_or(Error::Foreign)
    }

    /// How long a session has left, if it is not heard of again.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn left(&self, session: ClientId) -> Result<Option<Duration>, Error> {
        Ok(self.in_time(self.client.left(session)).await??)
    }

    /// What the service tells unasked from now on.
    #[must_use]
    pub fn ear(&self) -> Ear {
        Ear(self.client.notices())
    }

    /// Ends the session: all it holds is free at once.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time: it ends by itself then, after its time to live.
    pub async fn end(&self) -> Result<(), Error> {
        Ok(self.in_time(self.client.end()).await??)
    }

    async fn in_time<T>(&self, call: impl Future<Output = T>) -> Result<T, Error> {
        let patience = self.terms.patience;
        timeout(patience, call).await.map_err(|_| Error::Silent(patience))
    }
}
