//! A chat client that a harness drives: a process of its own, with a pipe each way.
//!
//! What the client sends to the cluster, retransmits and receives is its own affair: it is the
//! program `indelible chat` with another pair of hands (see [`control`](crate::wire::control) for
//! what goes over the pipes). The end of the orders is the end of the client.
//!
//! A task reads all that the client says as soon as it says it: a client that has to wait for its
//! harness could not take the next order, and both would wait for ever.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::process::Process;
use crate::paxos::Slot;
use crate::wire::control::{FromClient, ToClient};
use crate::wire::frame::{self, BODY_BYTES_MAX};

/// The longest text that a client takes, in bytes: one request holds it, with its sender.
pub const TEXT_BYTES_MAX: usize = BODY_BYTES_MAX - 4096;

/// How far a driven client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Messages that are not known to be decided.
    pub pending: u64,
    /// Every message below this slot is known.
    pub seen: Slot,
}

/// Our end of a driven client. Dropping it kills the client.
#[derive(Debug)]
pub struct Driven {
    orders: FramedWrite<pipe::Sender, LengthDelimitedCodec>,
    news: mpsc::UnboundedReceiver<FromClient>,
    asked: u64,
    sent: u64,
    queued: u64,
    decided: Vec<(u64, Slot)>,
    process: Process,
}

impl Driven {
    /// Drives a process that was started for it. Needs a tokio runtime around it.
    pub(super) fn over(mut process: Process) -> io::Result<Driven> {
        let no_pipes = || io::Error::other("a driven client needs two pipes");
        let (stdin, stdout) = process.take_pipes().ok_or_else(no_pipes)?;
        let orders = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?;
        let answers = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        let orders = FramedWrite::new(orders, frame::codec(frame::ANSWER_BYTES_MAX));
        let answers = FramedRead::new(answers, frame::codec(frame::ANSWER_BYTES_MAX));
        let (hear, news) = mpsc::unbounded_channel();
        tokio::spawn(listen(answers, hear));
        let decided = Vec::new();
        Ok(Driven { orders, news, asked: 0, sent: 0, queued: 0, decided, process })
    }

    /// Has the client say something. Returns when its pipe has it.
    ///
    /// # Errors
    ///
    /// If the client is gone, or the text is longer than [`TEXT_BYTES_MAX`].
    pub async fn send(&mut self, text: Bytes) -> io::Result<()> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.sent += 1;
        self.say(&ToClient::Send { text }).await
    }

    /// Waits until all that it was to say has stood in a leader's queue, or `patience` ends.
    /// Whether it has.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub async fn hand_over(&mut self, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        while self.queued < self.sent {
            match timeout_at(until, self.next()).await {
                Ok(news) => drop(news?),
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// How far the client is.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub async fn sync(&mut self) -> io::Result<State> {
        self.asked += 1;
        self.say(&ToClient::Sync { id: self.asked }).await?;
        loop {
            if let FromClient::State { id, unanswered, seen, .. } = self.next().await?
                && id == self.asked
            {
                return Ok(State { pending: unanswered, seen });
            }
        }
    }

    /// All lines that the client has read so far, without their ends; `take` gets them in parts.
    ///
    /// # Errors
    ///
    /// If the client is gone, or what `take` says.
    pub async fn log(
        &mut self,
        mut take: impl FnMut(Vec<Bytes>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.asked += 1;
        self.say(&ToClient::Log { id: self.asked }).await?;
        loop {
            if let FromClient::Log { id, lines, last } = self.next().await?
                && id == self.asked
            {
                take(lines)?;
                if last {
                    return Ok(());
                }
            }
        }
    }

    /// What the client was told to be decided, as far as is known here: the number of the message,
    /// counted from 1, and its slot.
    pub fn decided(&mut self) -> &[(u64, Slot)] {
        while let Ok(news) = self.news.try_recv() {
            self.note(&news);
        }
        &self.decided
    }

    /// The client's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn say(&mut self, order: &ToClient) -> io::Result<()> {
        self.orders.send(frame::seal(order)).await
    }

    async fn next(&mut self) -> io::Result<FromClient> {
        let news = self.news.recv().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.note(&news);
        Ok(news)
    }

    fn note(&mut self, news: &FromClient) {
        match news {
            FromClient::Queued { count } => self.queued = *count,
            FromClient::Decided { number, slot } => self.decided.push((*number, *slot)),
            FromClient::State { .. } | FromClient::Log { .. } => (),
        }
    }
}

/// Hands on what a client says, until it is gone or makes no sense: to us that is the same.
async fn listen(
    mut answers: FramedRead<pipe::Receiver, LengthDelimitedCodec>,
    hear: mpsc::UnboundedSender<FromClient>,
) {
    while let Some(Ok(answer)) = answers.next().await {
        let Ok(news) = frame::open(&answer) else { return };
        if hear.send(news).is_err() {
            return;
        }
    }
}
