//! One client's connection: requests in, answers out, and the archive as it grows.
//!
//! The archive is pulled: this task remembers how far the client has come and fetches a page when
//! the last one is written, so that a slow reader holds up nobody and nothing piles up for it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::Desk;
use super::jobs::Job;
use crate::paxos::{ClientId, NodeId, Slot};
use crate::transport::Frames;
use crate::wire::client::{FromNode, Order, ToNode};
use crate::wire::frame;

/// Answers that may wait for one client; more, and it is taken for dead.
const ANSWERS_MAX: usize = 16 << 10;

/// How often a client hears something, if only that the node lives.
const PULSE: Duration = Duration::from_millis(100);

/// How long one write may take.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Serves a client until the connection ends.
///
/// # Errors
///
/// What was wrong with what it sent, if that was the reason.
pub(super) async fn serve(client: ClientId, frames: Frames, desk: Desk) -> Result<(), String> {
    let parts = frames.into_parts();
    let (reading, writing) = parts.io.into_split();
    let mut stream = FramedRead::new(reading, frame::codec(frame::REQUEST_BYTES_MAX));
    // What the client sent right behind its hello is here already.
    stream.read_buffer_mut().extend_from_slice(&parts.read_buf);
    let sink = FramedWrite::new(writing, frame::codec(frame::ANSWER_BYTES_MAX));
    let (reply, answers) = mpsc::channel(ANSWERS_MAX);
    let (subscribe, subscribed) = mpsc::channel(4);
    let jobs = desk.jobs.clone();
    let reader = Reader { desk: desk.clone(), reply, subscribe };
    let writer = Writer { desk, answers, subscribed, sink, cursor: None, leader: None };
    let outcome = tokio::select! {
        outcome = reader.run(stream) => outcome,
        () = writer.run() => Ok(()),
    };
    // If the queue is closed the node is stopping.
    let _ = jobs.send(Job::Gone(client)).await;
    outcome
}

type Stream = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Sink = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

struct Reader {
    desk: Desk,
    reply: mpsc::Sender<FromNode>,
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
            if self.take(message).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `None`: the node is stopping, or the client's answers cannot be written any more.
    async fn take(&self, message: ToNode) -> Option<()> {
        let reply = self.reply.clone();
        let job = match message {
            ToNode::Request(request) => Job::Request(request, reply),
            ToNode::Query { id, body } => Job::Query(id, body, reply),
            ToNode::Subscribe { from } => return self.subscribe.send(from).await.ok(),
            ToNode::Pulse => return Some(()),
            ToNode::Status { id } => {
                let (answer, status) = oneshot::channel();
                self.desk.jobs.send(Job::Status(answer)).await.ok()?;
                let status = status.await.ok()?;
                return reply.send(FromNode::Status { id, status }).await.ok();
            }
            ToNode::Order { id, order } => {
                let result = self.order(order).await?;
                return reply.send(FromNode::Done { id, result }).await.ok();
            }
        };
        self.desk.jobs.send(job).await.ok()
    }

    async fn order(&self, order: Order) -> Option<Result<(), String>> {
        if !self.desk.allow_faults {
            let node = self.desk.identity.node.0;
            return Some(Err(format!("node {node} was not started with --allow-faults")));
        }
        let (answer, result) = oneshot::channel();
        self.desk.jobs.send(Job::Order(order, answer)).await.ok()?;
        result.await.ok()
    }
}

struct Writer {
    desk: Desk,
    answers: mpsc::Receiver<FromNode>,
    subscribed: mpsc::Receiver<Slot>,
    sink: Sink,
    /// Where the next page of the archive begins, for a client that wants it.
    cursor: Option<Slot>,
    leader: Option<NodeId>,
}

impl Writer {
    /// Until the connection, or the node, ends.
    async fn run(mut self) {
        let mut progress = self.desk.progress.clone();
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let written = tokio::select! {
                count = self.answers.recv_many(&mut batch, 256) => {
                    if count == 0 {
                        return;
                    }
                    pulse.reset();
                    self.write(batch.drain(..)).await
                }
                Some(from) = self.subscribed.recv() => {
                    self.cursor = Some(from);
                    self.tell_progress().await
                }
                changed = progress.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.tell_progress().await
                }
                _ = pulse.tick() => self.write([FromNode::Pulse]).await,
            };
            if written.is_none() {
                return;
            }
        }
    }

    /// Tells of a new leader, and of what the archive has grown by.
    async fn tell_progress(&mut self) -> Option<()> {
        let progress = *self.desk.progress.borrow();
        if progress.leader != self.leader {
            self.leader = progress.leader;
            self.write([FromNode::Leader(progress.leader)]).await?;
        }
        while let Some(first) = self.cursor
            && first < progress.applied
        {
            let (answer, page) = oneshot::channel();
            self.desk.jobs.send(Job::Page(first, answer)).await.ok()?;
            let (next, entries) = page.await.ok()?;
            self.cursor = Some(next);
            self.write([FromNode::Entries { first, next, entries }]).await?;
        }
        Some(())
    }

    async fn write(&mut self, answers: impl IntoIterator<Item = FromNode>) -> Option<()> {
        let writing = async {
            for answer in answers {
                self.sink.feed(frame::seal(&answer)).await?;
            }
            SinkExt::<Bytes>::flush(&mut self.sink).await
        };
        timeout(WRITE_PATIENCE, writing).await.ok()?.ok()
    }
}
