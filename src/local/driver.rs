//! The client's side of being driven: orders in on standard input, answers out on standard output.
//!
//! One task takes orders and keeps what is known; one hands messages to the client library, in the
//! order they came, and waits there when too many are unanswered; one a message waits for its
//! reply. So a client that cannot get rid of its messages still answers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::driven::{Drive, Driving, State, frames};
use crate::client::{Client, Page, Ticket};
use crate::paxos::Slot;
use crate::services::chat::Message;
use crate::wire::codec;

/// A piece of the log ends before it grows beyond this many bytes, but holds a line at least.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// Runs a client that signs with `name`, as it is told on standard input, until that ends. Needs a
/// tokio runtime with a `LocalSet` around it, and both standard streams to be pipes.
///
/// # Errors
///
/// If a pipe fails, or what comes over it makes no sense.
pub async fn drive(client: Client, name: Bytes) -> io::Result<()> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let mut orders = FramedRead::new(pipe::Receiver::from_owned_fd(stdin)?, frames());
    let answers = FramedWrite::new(pipe::Sender::from_owned_fd(stdout)?, frames());
    let mut pages = client.subscribe(Slot(0)).await.map_err(io::Error::other)?;
    let mut driver = Driver::new(client, name, answers);
    loop {
        tokio::select! {
            // What is known comes first: an answer should hold all of it.
            biased;
            Some(page) = pages.recv() => driver.learn(page),
            () = driver.handed_over() => driver.answer_hand_overs().await?,
            order = orders.next() => match order {
                Some(frame) => {
                    let order = codec::decode(&frame?).map_err(io::Error::other)?;
                    driver.obey(order).await?;
                }
                None => return Ok(()),
            },
        }
    }
}

struct Driver {
    name: Bytes,
    answers: FramedWrite<pipe::Sender, LengthDelimitedCodec>,
    /// The way to the task that submits.
    submit: mpsc::UnboundedSender<Bytes>,
    sent: u64,
    progress: watch::Receiver<Progress>,
    /// Questions for a hand-over: the question's number, and how many messages it means.
    hand_overs: VecDeque<(u64, u64)>,
    log: Vec<(Slot, Message)>,
    seen: Slot,
}

/// How many messages have come how far.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    handed_over: u64,
    answered: u64,
}

impl Driver {
    fn new(
        client: Client,
        name: Bytes,
        answers: FramedWrite<pipe::Sender, LengthDelimitedCodec>,
    ) -> Driver {
        let (submit, messages) = mpsc::unbounded_channel();
        let (publish, progress) = watch::channel(Progress::default());
        spawn_local(submit_all(client, messages, publish));
        let (hand_overs, log) = (VecDeque::new(), Vec::new());
        Driver { name, answers, submit, sent: 0, progress, hand_overs, log, seen: Slot(0) }
    }

    fn learn(&mut self, page: Page) {
        for entry in page.entries {
            if let Some(message) = Message::decode(&entry.body) {
                self.log.push((entry.slot, message));
            }
        }
        self.seen = page.next;
    }

    async fn obey(&mut self, order: Drive) -> io::Result<()> {
        match order {
            Drive::Send(text) => {
                let message = Message { sender: self.name.clone(), text };
                self.sent += 1;
                self.submit.send(message.encode()).map_err(io::Error::other)
            }
            Drive::HandOver(id) => {
                self.hand_overs.push_back((id, self.sent));
                Ok(())
            }
            Drive::Sync(id) => {
                let pending = self.sent - self.progress.borrow().answered;
                self.say(&Driving::State(id, State { pending, seen: self.seen })).await
            }
            Drive::PrintLog(id) => self.print(id).await,
        }
    }

    /// Waits until the first question for a hand-over can be answered; for ever, if there is none.
    async fn handed_over(&mut self) {
        let Some((_, sent)) = self.hand_overs.front().copied() else {
            return std::future::pending().await;
        };
        // The task that submits lives as long as the way to it, which we hold.
        let _ = self.progress.wait_for(|progress| progress.handed_over >= sent).await;
    }

    async fn answer_hand_overs(&mut self) -> io::Result<()> {
        let handed_over = self.progress.borrow().handed_over;
        while let Some((id, _)) = self.hand_overs.pop_front_if(|(_, sent)| *sent <= handed_over) {
            self.say(&Driving::HandedOver(id)).await?;
        }
        Ok(())
    }

    async fn print(&mut self, id: u64) -> io::Result<()> {
        let mut piece = Vec::new();
        for at in 0..self.log.len() {
            let (slot, message) = &self.log[at];
            let line = message.line(*slot);
            if !piece.is_empty() && piece.len() + line.len() >= PIECE_BYTES_MAX {
                let lines = Bytes::from(std::mem::take(&mut piece));
                self.say(&Driving::Log { id, lines, last: false }).await?;
            }
            piece.extend_from_slice(&line);
            piece.push(b'\n');
        }
        self.say(&Driving::Log { id, lines: Bytes::from(piece), last: true }).await
    }

    async fn say(&mut self, answer: &Driving) -> io::Result<()> {
        self.answers.send(Bytes::from(codec::encode(answer))).await
    }
}

/// Submits messages in the order they come, and counts what becomes of them.
async fn submit_all(
    client: Client,
    mut messages: mpsc::UnboundedReceiver<Bytes>,
    publish: watch::Sender<Progress>,
) {
    let publish = Rc::new(publish);
    while let Some(message) = messages.recv().await {
        match client.submit(message).await {
            Ok(ticket) => drop(spawn_local(follow(ticket, Rc::clone(&publish)))),
            Err(error) => {
                tracing::error!("a message is lost: {error}");
                publish.send_modify(|progress| {
                    progress.handed_over += 1;
                    progress.answered += 1;
                });
            }
        }
    }
}

/// Follows one message to its reply.
async fn follow(mut ticket: Ticket, publish: Rc<watch::Sender<Progress>>) {
    ticket.queued().await;
    publish.send_modify(|progress| progress.handed_over += 1);
    if let Err(error) = ticket.reply().await {
        tracing::error!("a message may be lost: {error}");
    }
    publish.send_modify(|progress| progress.answered += 1);
}
