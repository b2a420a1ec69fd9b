//! One client's connection: requests in, answers out, and the archive as it grows.
//!
//! The archive is pulled: this task remembers how far the client has come and fetches a page when
//! the last one is written, so that a slow reader holds up nobody and nothing piles up for it.
//! Answers do not wait for pages. A pulse is sent only when the node's thread has beaten: a client
//! is to leave a node whose disk has stalled, as the cluster does.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::jobs::{Job, Lane};
use super::line::{Answer, Line};
use super::{Desk, Progress};
use crate::paxos::{ClientId, NodeId, Slot};
use crate::transport::Frames;
use crate::wire::client::{Entry, FromNode, Order, ToNode};
use crate::wire::drop::Dropper;
use crate::wire::frame;

/// How long one write may take.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Answers written at a time.
const BATCH: usize = 256;

/// Serves a client until the connection ends. `leader` is what the greeting told.
///
/// # Errors
///
/// What was wrong with the client, if that was the reason.
pub(super) async fn serve(
    client: ClientId,
    frames: Frames,
    leader: Option<NodeId>,
    desk: Desk,
) -> Result<(), String> {
    let _seat = desk.guests.welcome(client);
    let parts = frames.into_parts();
    let (reading, writing) = parts.io.into_split();
    let mut stream = FramedRead::new(reading, frame::codec(frame::REQUEST_BYTES_MAX));
    // What the client sent right behind its hello is here already.
    stream.read_buffer_mut().extend_from_slice(&parts.read_buf);
    let (line, answers) = Line::new();
    let (subscribe, subscribed) = mpsc::channel(4);
    let jobs = desk.jobs.clone();
    let writer = Writer {
        desk: desk.clone(),
        answers,
        subscribed,
        sink: FramedWrite::new(writing, frame::codec(frame::ANSWER_BYTES_MAX)),
        dropper: desk.dropper(),
        leader,
        cursor: None,
        fetch: None,
        has_spoken: false,
        beats: 0,
    };
    let reader = Reader { client, desk, line: line.clone(), subscribe };
    let outcome = tokio::select! {
        outcome = reader.run(stream) => outcome,
        () = writer.run() => Ok(()),
        () = line.jams() => Err("it does not read its answers".to_owned()),
    };
    // If the queue is closed the node is stopping.
    let _ = jobs.push_now(Job::Gone(client));
    outcome
}

type Stream = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Sink = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

struct Reader {
    client: ClientId,
    desk: Desk,
    line: Line,
    subscribe: mpsc::Sender<Slot>,
}

impl Reader {
    async fn run(self, mut stream: Stream) -> Result<(), String> {
        while let Some(bytes) = stream.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(error.to_string());
                }
                Err(_) => return Ok(()),
            };
            let message: ToNode = frame::open(&bytes).map_err(|error| error.to_string())?;
            if message.request().is_some_and(|request| request.client != self.client) {
                return Err("it speaks for another client".to_owned());
            }
            if self.take(message, bytes.len()).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `None`: the node is stopping, has not what is wanted, or the client's answers cannot be
    /// written any more.
    async fn take(&self, message: ToNode, bytes: usize) -> Option<()> {
        let line = self.line.clone();
        let job = match message {
            ToNode::Request(request) => Job::Request(request, line),
            ToNode::Post(request) => Job::Post(request, line),
            ToNode::KeepAlive { id } => Job::KeepAlive(self.client, id, line),
            ToNode::End => Job::End(self.client, line),
            ToNode::Lease { id, session } => Job::Lease(id, session, line),
            ToNode::Query { id, body } => Job::Query(id, body, line),
            // A witness is hung up on by those who want what it does not have: they call another.
            ToNode::Subscribe { .. } if self.desk.is_witness => return None,
            ToNode::Subscribe { from } => return self.subscribe.send(from).await.ok(),
            ToNode::Pulse => return Some(()),
            ToNode::Status { id } => {
                let (answer, status) = oneshot::channel();
                self.desk.jobs.push(Job::Status(answer), bytes).await?;
                let status = status.await.ok()?;
                return line.tell(FromNode::Status { id, status }).then_some(());
            }
            ToNode::Guests { id } => {
                let sessions = self.desk.guests.all();
                return line.tell(FromNode::Guests { id, sessions }).then_some(());
            }
            ToNode::Order { id, order } => {
                let result = self.order(order).await?;
                return line.tell(FromNode::Done { id, result }).then_some(());
            }
        };
        self.desk.jobs.push(job, bytes).await
    }

    async fn order(&self, order: Order) -> Option<Result<(), String>> {
        if !self.desk.allow_faults {
            let node = self.desk.identity.node.0;
            return Some(Err(format!("node {node} was not started with --allow-faults")));
        }
        let (answer, result) = oneshot::channel();
        self.desk.jobs.push(Job::Order(order, answer), 0).await?;
        result.await.ok()
    }
}

struct Writer {
    desk: Desk,
    answers: mpsc::UnboundedReceiver<Answer>,
    subscribed: mpsc::Receiver<Slot>,
    sink: Sink,
    dropper: Dropper,
    /// The leader that the client was told of last.
    leader: Option<NodeId>,
    /// Where the next page of the archive begins, for a client that wants it.
    cursor: Option<Slot>,
    /// That page, on its way.
    fetch: Option<Fetch>,
    /// Whether anything was written since the last beat.
    has_spoken: bool,
    beats: u64,
}

/// A page: where it begins, where the next begins, and its entries. `None`: the node is stopping.
type Fetched = Option<(Slot, Slot, Vec<Entry>)>;
type Fetch = Pin<Box<dyn Future<Output = Fetched> + Send>>;

impl Writer {
    /// Until the connection, or the node, ends.
    async fn run(mut self) {
        let mut progress = self.desk.progress.clone();
        let mut batch = Vec::new();
        loop {
            self.begin_fetch();
            let written = tokio::select! {
                count = self.answers.recv_many(&mut batch, BATCH) => {
                    let sealed = batch.iter().map(|answer| frame::seal(&answer.message)).collect();
                    let written = self.write(sealed).await;
                    batch.clear();
                    written.filter(|()| count > 0)
                }
                Some(from) = self.subscribed.recv() => {
                    self.cursor = Some(from);
                    self.fetch = None;
                    Some(())
                }
                fetched = wait_for(&mut self.fetch) => self.hand_on(fetched).await,
                changed = progress.changed() => {
                    let now = *progress.borrow_and_update();
                    self.tell(now).await.filter(|()| changed.is_ok())
                }
            };
            if written.is_none() {
                return;
            }
        }
    }

    /// Asks for the next page, if there is more than the client has.
    fn begin_fetch(&mut self) {
        let applied = self.desk.progress.borrow().applied;
        let Some(first) = self.cursor.filter(|first| *first < applied) else { return };
        if self.fetch.is_none() {
            self.fetch = Some(Box::pin(fetch(self.desk.jobs.clone(), first)));
        }
    }

    async fn hand_on(&mut self, fetched: Fetched) -> Option<()> {
        self.fetch = None;
        let (first, next, entries) = fetched?;
        self.cursor = Some(next);
        self.say(&FromNode::Entries { first, next, entries }).await
    }

    /// Tells of a new leader; or that the node lives, if nothing else told so since its last beat.
    async fn tell(&mut self, progress: Progress) -> Option<()> {
        if progress.leader != self.leader {
            self.leader = progress.leader;
            self.say(&FromNode::Leader(progress.leader)).await?;
        }
        if progress.beats != self.beats {
            self.beats = progress.beats;
            if !self.has_spoken {
                self.say(&FromNode::Pulse).await?;
            }
            self.has_spoken = false;
        }
        Some(())
    }

    async fn say(&mut self, message: &FromNode) -> Option<()> {
        self.write(vec![frame::seal(message)]).await
    }

    async fn write(&mut self, sealed: Vec<Bytes>) -> Option<()> {
        self.has_spoken = true;
        let writing = async {
            for frame in sealed {
                if self.dropper.drops() {
                    continue;
                }
                self.sink.feed(frame).await?;
            }
            SinkExt::<Bytes>::flush(&mut self.sink).await
        };
        timeout(WRITE_PATIENCE, writing).await.ok()?.ok()
    }
}

async fn fetch(jobs: Lane, first: Slot) -> Fetched {
    let (next, entries) = jobs.page(first).await?;
    Some((first, next, entries))
}

/// The page that is on its way; never, if none is.
async fn wait_for(fetch: &mut Option<Fetch>) -> Fetched {
    match fetch {
        Some(fetch) => fetch.await,
        None => std::future::pending().await,
    }
}
