//! A session with the poll service, as a program uses it; and the file that keeps results.
//!
//! A [`Poller`] is a [`Client`] with a lease, and the words of the service. Each call has an end:
//! if nothing is answered for its patience, it fails. What was asked may still be decided then;
//! asking once more is harmless for all but the opening of a poll.
//!
//! [`Results`] is what a client keeps, and all that it remembers.

mod results;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::client::{self, Client, Lease, Notice, Options};
use crate::cluster::Cluster;
use crate::paxos::{ClientId, NodeId};
use crate::services::poll::{
    Answer, Ask, Member, Office, Poll, PollId, Question, Refusal, Row, Said, Tally, Told, Word,
};
use crate::wire::drop::Loss;

pub use results::{ResultError, Results};

/// How a session with the poll service is to be.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Silence for so long ends it, and its name is joined no more.
    pub ttl: Duration,
    /// Any call fails that is not answered for so long.
    pub patience: Duration,
    /// What it loses of what it says: a fault to order.
    pub loss: Loss,
}

impl Default for Terms {
    fn default() -> Terms {
        let (ttl, patience) = (Duration::from_secs(10), Duration::from_secs(5));
        Terms { ttl, patience, loss: Loss::default() }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was answered in time.
    #[error("no quorum answered within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// The session is over: its name is joined no more.
    #[error("the session is over: it was silent for longer than its time to live")]
    Over,
    /// What came is no word of the poll service.
    #[error("this cluster does not answer like a poll service")]
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

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// This is on record for the name; perhaps an earlier one.
    Recorded(bool),
    /// The poll was closed before: it has its result.
    Late,
    /// The name is another session's now.
    NotJoined,
}

/// A session with the poll service.
#[derive(Debug)]
pub struct Poller {
    client: Client,
    terms: Terms,
    notices: broadcast::Receiver<Notice>,
}

impl Poller {
    /// Opens a session. Needs a tokio runtime around it.
    #[must_use]
    pub fn open(cluster: &Cluster, terms: Terms) -> Poller {
        let id = ClientId(uuid::Uuid::new_v4().as_u128());
        let options = Options { ttl: terms.ttl, loss: terms.loss, ..Options::default() };
        let client = Client::open_with(cluster, id, options);
        let notices = client.notices();
        Poller { client, terms, notices }
    }

    /// What the service tells next, unasked. Some of it may be lost, and some come twice. Safe to
    /// abandon while it waits.
    pub async fn told(&mut self) -> Told {
        loop {
            match self.notices.recv().await {
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

    /// Asks one thing: what was said.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, or the session is over.
    pub async fn ask(&self, ask: &Ask) -> Result<Said, Error> {
        let reply = async { self.client.submit(ask.encode()).await?.reply().await };
        let reply = self.in_time(reply).await??;
        reply.body.as_deref().and_then(Said::decode).ok_or(Error::Foreign)
    }

    /// Takes a name, from another session if need be; or what is wrong with it.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, or the session is over.
    pub async fn join(&self, name: &Bytes) -> Result<Result<(), Refusal>, Error> {
        match self.ask(&Ask::Join { name: name.clone() }).await? {
            Said::Joined => Ok(Ok(())),
            Said::Refused(refusal) => Ok(Err(refusal)),
            Said::Left
            | Said::Opened { .. }
            | Said::Recorded { .. }
            | Said::Closed { .. }
            | Said::NotAsked
            | Said::NoSuchPoll
            | Said::NotJoined
            | Said::Confirmed
            | Said::Unreadable
            | Said::Office(_) => Err(Error::Foreign),
        }
    }

    /// Answers a poll that asks the name.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, the session is over, or the poll does not ask its name.
    pub async fn vote(&self, poll: PollId, yes: bool) -> Result<Vote, Error> {
        match self.ask(&Ask::Vote { poll, yes }).await? {
            Said::Recorded { yes, .. } => Ok(Vote::Recorded(yes)),
            Said::Closed { .. } => Ok(Vote::Late),
            Said::NotJoined => Ok(Vote::NotJoined),
            Said::Joined
            | Said::Left
            | Said::Opened { .. }
            | Said::NotAsked
            | Said::NoSuchPoll
            | Said::Confirmed
            | Said::Refused(_)
            | Said::Unreadable
            | Said::Office(_) => Err(Error::Foreign),
        }
    }

    /// Says that the results up to this poll are on the disk. Whether the session has the name.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, or the session is over.
    pub async fn confirm(&self, name: &Bytes, up_to: PollId) -> Result<bool, Error> {
        match self.ask(&Ask::Confirm { name: name.clone(), up_to }).await? {
            Said::Confirmed => Ok(true),
            Said::NotJoined => Ok(false),
            Said::Joined
            | Said::Left
            | Said::Opened { .. }
            | Said::Recorded { .. }
            | Said::Closed { .. }
            | Said::NotAsked
            | Said::NoSuchPoll
            | Said::Refused(_)
            | Said::Unreadable
            | Said::Office(_) => Err(Error::Foreign),
        }
    }

    /// The results of the polls after this one that asked this name, in order, up to the first that
    /// is still open; or a part of them, and the poll to ask on after.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn results(
        &self,
        name: &Bytes,
        after: PollId,
    ) -> Result<(Vec<Row>, Option<PollId>), Error> {
        self.page(&Question::Results { name: name.clone(), after }).await
    }

    /// All polls after this one; or a part of them, and the poll to ask on after.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn list(&self, after: PollId) -> Result<(Vec<Row>, Option<PollId>), Error> {
        self.page(&Question::List { after }).await
    }

    async fn page(&self, question: &Question) -> Result<(Vec<Row>, Option<PollId>), Error> {
        match self.question(question).await? {
            Answer::Page { rows, next } => Ok((rows, next)),
            Answer::Show(_)
            | Answer::Open(_)
            | Answer::Joined(_)
            | Answer::Unreadable
            | Answer::Office(_) => Err(Error::Foreign),
        }
    }

    /// The polls that are open and ask this name.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn open_for(&self, name: &Bytes) -> Result<Vec<Row>, Error> {
        self.open_of(Some(name.clone())).await
    }

    /// The polls that are open.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn all_open(&self) -> Result<Vec<Row>, Error> {
        self.open_of(None).await
    }

    async fn open_of(&self, name: Option<Bytes>) -> Result<Vec<Row>, Error> {
        match self.question(&Question::Open { name }).await? {
            Answer::Open(rows) => Ok(rows),
            Answer::Show(_)
            | Answer::Page { .. }
            | Answer::Joined(_)
            | Answer::Unreadable
            | Answer::Office(_) => Err(Error::Foreign),
        }
    }

    /// All there is to a poll, if there is such a one.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn show(&self, poll: PollId) -> Result<Option<Poll>, Error> {
        match self.question(&Question::Show { poll }).await? {
            Answer::Show(poll) => Ok(poll),
            Answer::Open(_)
            | Answer::Page { .. }
            | Answer::Joined(_)
            | Answer::Unreadable
            | Answer::Office(_) => Err(Error::Foreign),
        }
    }

    /// Who is joined, by name.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn joined(&self) -> Result<Vec<(Bytes, Member)>, Error> {
        match self.question(&Question::Joined).await? {
            Answer::Joined(joined) => Ok(joined.into_iter().collect()),
            Answer::Open(_)
            | Answer::Page { .. }
            | Answer::Show(_)
            | Answer::Unreadable
            | Answer::Office(_) => Err(Error::Foreign),
        }
    }

    /// Closes a poll, and tells how it came out; `None` if there is no such poll.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time, or the session is over.
    pub async fn close(&self, poll: PollId) -> Result<Option<Tally>, Error> {
        match self.ask(&Ask::Close { poll }).await? {
            Said::Closed { tally: Some(tally), .. } => Ok(Some(tally)),
            Said::Closed { tally: None, .. } => {
                Ok(self.show(poll).await?.and_then(|it| it.tally()))
            }
            Said::NoSuchPoll => Ok(None),
            Said::Joined
            | Said::Left
            | Said::Opened { .. }
            | Said::Recorded { .. }
            | Said::NotAsked
            | Said::NotJoined
            | Said::Confirmed
            | Said::Refused(_)
            | Said::Unreadable
            | Said::Office(_) => Err(Error::Foreign),
        }
    }

    /// Waits until a poll is closed, however long that is; `None` if there is no such poll.
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn closed(&self, poll: PollId) -> Result<Option<Tally>, Error> {
        /// How often it is asked.
        const LOOK: Duration = Duration::from_millis(250);
        loop {
            let Some(held) = self.show(poll).await? else { return Ok(None) };
            if let Some(tally) = held.tally() {
                return Ok(Some(tally));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Who is in office?
    ///
    /// # Errors
    ///
    /// If nothing is answered in time.
    pub async fn office(&self) -> Result<Office, Error> {
        match self.question(&Question::Office).await? {
            Answer::Office(office) => Ok(office),
            Answer::Show(_)
            | Answer::Open(_)
            | Answer::Page { .. }
            | Answer::Joined(_)
            | Answer::Unreadable => Err(Error::Foreign),
        }
    }

    /// Has each new answer go to all who are in office, whichever of them leads.
    ///
    /// # Errors
    ///
    /// If the session cannot be used.
    pub async fn send_to(&self, office: &Office) -> Result<(), Error> {
        Ok(self.client.copy_to(office.servers().map(NodeId).collect()).await?)
    }

    async fn question(&self, question: &Question) -> Result<Answer, Error> {
        let body = self.in_time(self.client.query(question.encode())).await??;
        Answer::decode(&body).ok_or(Error::Foreign)
    }

    /// Whether the session is over, as far as is known: while this machine slept, perhaps.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.client.standing().borrow().lease == Lease::Over
    }

    /// Ends the session.
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
