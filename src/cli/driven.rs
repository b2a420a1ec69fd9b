//! A chat client that a harness drives: orders come in on standard input, news go out on standard
//! output, in frames.

use std::io;
use std::os::fd::AsFd;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::client::{Client, Page, Ticket};
use crate::paxos::Slot;
use crate::services::chat::Message;
use crate::wire::control::{FromClient, ToClient};
use crate::wire::frame;

/// Lines in one part of the log, in bytes.
const PART_BYTES: usize = 256 << 10;

/// What happened to a message.
enum News {
    Queued,
    Decided(u64, Slot),
}

struct Driven {
    texts: mpsc::UnboundedSender<Bytes>,
    out: FramedWrite<pipe::Sender, LengthDelimitedCodec>,
    standing: tokio::sync::watch::Receiver<crate::client::Standing>,
    lines: Vec<Bytes>,
    seen: Slot,
    sent: u64,
    queued: u64,
    answered: u64,
}

/// Runs until the harness closes our standard input.
pub(super) async fn run(client: &Client, name: &str) -> io::Result<()> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let limit = frame::ANSWER_BYTES_MAX;
    let mut orders = FramedRead::new(pipe::Receiver::from_owned_fd(stdin)?, frame::codec(limit));
    let out = FramedWrite::new(pipe::Sender::from_owned_fd(stdout)?, frame::codec(limit));
    let mut pages = client.subscribe(Slot(0)).await.map_err(io::Error::other)?;
    let (texts, to_send) = mpsc::unbounded_channel();
    let (news, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(send_all(client.clone(), Bytes::from(name.to_owned()), to_send, news));
    let standing = client.standing();
    let (lines, seen) = (Vec::new(), Slot(0));
    let mut driven =
        Driven { texts, out, standing, lines, seen, sent: 0, queued: 0, answered: 0 };
    loop {
        tokio::select! {
            order = orders.next() => {
                let Some(order) = order else { return Ok(()) };
                let order = frame::open(&order?).map_err(io::Error::other)?;
                driven.obey(order).await?;
            }
            Some(news) = heard.recv() => driven.hear(news).await?,
            Some(page) = pages.recv() => driven.read(page),
        }
    }
}

impl Driven {
    async fn obey(&mut self, order: ToClient) -> io::Result<()> {
        match order {
            ToClient::Send { text } => {
                self.sent += 1;
                // The sending task lives as long as the client.
                let _ = self.texts.send(text);
                Ok(())
            }
            ToClient::Sync { id } => {
                let unanswered = self.sent - self.answered;
                let connected = self.standing.borrow().connected.is_some();
                let (sent, seen) = (self.sent, self.seen);
                self.say(&FromClient::State { id, sent, unanswered, seen, connected }).await
            }
            ToClient::Log { id } => self.tell_log(id).await,
        }
    }

    async fn tell_log(&mut self, id: u64) -> io::Result<()> {
        let mut part = Vec::new();
        let mut bytes = 0;
        for line in self.lines.clone() {
            bytes += line.len() + 16;
            part.push(line);
            if bytes > PART_BYTES {
                let lines = std::mem::take(&mut part);
                self.say(&FromClient::Log { id, lines, last: false }).await?;
                bytes = 0;
            }
        }
        self.say(&FromClient::Log { id, lines: part, last: true }).await
    }

    async fn hear(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Queued => {
                self.queued += 1;
                let count = self.queued;
                self.say(&FromClient::Queued { count }).await
            }
            News::Decided(number, slot) => {
                self.answered += 1;
                self.say(&FromClient::Decided { number, slot }).await
            }
        }
    }

    fn read(&mut self, page: Page) {
        self.seen = page.next;
        for entry in page.entries {
            if let Some(message) = Message::decode(&entry.body) {
                self.lines.push(Bytes::from(message.line(entry.slot)));
            }
        }
    }

    async fn say(&mut self, news: &FromClient) -> io::Result<()> {
        self.out.send(frame::seal(news)).await
    }
}

/// Submits the texts in order; tells when each is queued and decided.
async fn send_all(
    client: Client,
    sender: Bytes,
    mut texts: mpsc::UnboundedReceiver<Bytes>,
    news: mpsc::UnboundedSender<News>,
) {
    while let Some(text) = texts.recv().await {
        let body = Message { sender: sender.clone(), text }.encode();
        let Ok(ticket) = client.submit(body).await else { return };
        tokio::spawn(watch(ticket, news.clone()));
    }
}

async fn watch(mut ticket: Ticket, news: mpsc::UnboundedSender<News>) {
    let number = ticket.number;
    ticket.queued().await;
    // If nobody listens any more the process is ending.
    let _ = news.send(News::Queued);
    if let Ok(reply) = ticket.reply().await {
        let _ = news.send(News::Decided(number, reply.slot));
    }
}
