//! Outgoing connections: one to each peer, kept up, with a bounded queue before it.
//!
//! What is said while there is no connection is lost, as in any network. A queue that overflows
//! breaks its connection: better a break, which both sides notice, than a gap, which neither does.
//! So from an overflow to the break nothing more is queued.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::book::Book;
use super::incoming::Identity;
use super::{Frames, HELLO_PATIENCE, prepare};
use crate::cluster::Member;
use crate::paxos::{Command, Envelope, Incarnation, Message, NodeId, PValue};
use crate::wire::drop::{Dropper, Loss};
use crate::wire::frame;
use crate::wire::hello::{Caller, Greeting, Hello};

/// Messages that may wait for one peer.
pub const QUEUE_MESSAGES_MAX: usize = 16 << 10;

/// Bytes that may wait for one peer: several windows of the core, and no more, as a peer may be
/// stopped for long.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;

/// Messages taken from the queue at a time.
const BATCH: usize = 256;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// The shortest and the longest wait before dialling again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long a dialled peer may take to answer the telephone.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);

/// The way to one peer. Clones lead the same way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    queue: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

/// A message in the queue, and what it weighs.
#[derive(Debug)]
struct Waiting {
    envelope: Envelope,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Shared {
    /// Messages queued and not yet written, or dropped.
    pending: AtomicUsize,
    /// Their bytes.
    pending_bytes: AtomicUsize,
    /// A message found no room: the connection is to be broken.
    overflown: AtomicBool,
    overflow: Notify,
    nudge: Notify,
}

impl Outgoing {
    /// Starts to keep up a connection to `peer`, wherever `book` has it, for as long as there are
    /// clones of this. What `dropper` says is lost on the way.
    #[must_use]
    pub fn start(peer: Member, me: Identity, dropper: Dropper, book: Arc<Book>) -> Outgoing {
        let (queue, messages) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let shared = Arc::new(Shared::default());
        let batch = Vec::with_capacity(BATCH);
        let dialler = Dialler {
            said: peer.address.clone(),
            is_missed: false,
            peer,
            me,
            book,
            messages,
            batch,
            dropper,
            shared: Arc::clone(&shared),
            told: None,
        };
        tokio::spawn(dialler.run());
        Outgoing { queue, shared }
    }

    /// Sends, or loses, a message. Never waits; to be called from one thread, as the order counts.
    pub fn send(&self, envelope: Envelope) {
        if self.shared.overflown.load(Ordering::Acquire) {
            return;
        }
        let bytes = weight(&envelope.message);
        self.shared.pending.fetch_add(1, Ordering::AcqRel);
        let before = self.shared.pending_bytes.fetch_add(bytes, Ordering::AcqRel);
        let has_room = before + bytes <= QUEUE_BYTES_MAX;
        if !has_room || self.queue.try_send(Waiting { envelope, bytes }).is_err() {
            self.shared.forget(1, bytes);
            self.shared.overflown.store(true, Ordering::Release);
            self.shared.overflow.notify_one();
        }
    }

    /// How many messages were handed over and have reached neither the socket nor oblivion.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared.pending.load(Ordering::Acquire)
    }

    /// The peer has just shown that it lives: dials it now if it is not connected.
    pub fn nudge(&self) {
        self.shared.nudge.notify_one();
    }
}

impl Shared {
    /// These have reached the socket, or oblivion.
    fn forget(&self, messages: usize, bytes: usize) {
        self.pending.fetch_sub(messages, Ordering::AcqRel);
        self.pending_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Returns when a message found no room.
    async fn overflows(&self) {
        while !self.overflown.load(Ordering::Acquire) {
            self.overflow.notified().await;
        }
    }
}

/// About what a message takes in the queue and on the wire.
fn weight(message: &Message) -> usize {
    /// More than what all but the commands take.
    const FIXED_BYTES: usize = 128;
    let commands = |commands: &[Command]| commands.iter().map(Command::weight).sum::<usize>();
    let pvalues = |listed: &[PValue]| listed.iter().map(|p| p.command.weight()).sum::<usize>();
    let carried = match message {
        Message::Accept(accept) => commands(&accept.run.commands),
        Message::CatchUp(chunk) => commands(&chunk.commands),
        Message::Promise(promise) => pvalues(&promise.accepted),
        Message::Testimony(testimony) => pvalues(&testimony.accepted),
        Message::Prepare(_)
        | Message::Preempted(_)
        | Message::Accepted(_)
        | Message::Resend(_)
        | Message::Decide(_)
        | Message::Heartbeat(_)
        | Message::Echo(_)
        | Message::Canvass(_)
        | Message::CanvassAnswer(_)
        | Message::CatchUpAsk(_)
        | Message::Pledged(_)
        | Message::Recall(_)
        | Message::Recollection(_)
        | Message::Rejoin(_)
        | Message::Holds(_) => 0,
        Message::Transfer(transfer) => transfer.body.len(),
    };
    FIXED_BYTES + carried
}

struct Dialler {
    /// The peer, and where it is dialled.
    peer: Member,
    me: Identity,
    book: Arc<Book>,
    /// Where it is said to be.
    said: String,
    /// It did not answer there.
    is_missed: bool,
    messages: mpsc::Receiver<Waiting>,
    /// Taken from the queue and not yet written.
    batch: Vec<Waiting>,
    dropper: Dropper,
    shared: Arc<Shared>,
    /// The refusal that was logged last: once is enough.
    told: Option<String>,
}

impl Dialler {
    async fn run(mut self) {
        let mut wait = BACKOFF.0;
        loop {
            self.aim();
            match self.connect().await {
                Some(Ok(Answer::Welcome(stream, found))) => {
                    wait = BACKOFF.0;
                    self.told = None;
                    for (node, address) in found {
                        self.book.hear_of(node, &address);
                    }
                    if self.talk(stream).await.is_none() {
                        return;
                    }
                }
                Some(Ok(Answer::Replaced(by))) => {
                    self.complain("refused: a newer store of this node is on record".to_owned());
                    if by > self.me.incarnation {
                        self.book.note_replaced(by);
                    }
                }
                Some(Err(reason)) => {
                    self.complain(reason);
                    self.is_missed = !self.is_missed;
                }
                None => return,
            }
            if self.pause(jitter(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    /// The next call goes where the peer is said to be; or, in turn, where it is listed, if it did
    /// not answer there.
    fn aim(&mut self) {
        let said = self.book.address(self.peer.id);
        if let Some(said) = said.filter(|said| *said != self.said) {
            self.said = said;
            self.is_missed = false;
        }
        let listed = self.book.listed(self.peer.id).filter(|_| self.is_missed);
        self.peer.address = listed.unwrap_or_else(|| self.said.clone());
    }

    fn complain(&mut self, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::info!(peer = self.peer.id.0, address = %self.peer.address, "{reason}");
            self.told = Some(reason);
        }
    }

    /// Dials and introduces itself. What is queued meanwhile is lost. `None`: nobody queues any
    /// more.
    async fn connect(&mut self) -> Option<Result<Answer, String>> {
        let dial = dial(self.peer.clone(), self.me.clone());
        tokio::pin!(dial);
        loop {
            tokio::select! {
                outcome = &mut dial => {
                    self.shared.overflown.store(false, Ordering::Release);
                    return Some(outcome);
                }
                message = self.messages.recv() => self.lose(&message?),
            }
        }
    }

    /// Waits, or not if the peer shows up. What is queued meanwhile is lost.
    async fn pause(&mut self, wait: Duration) -> Option<()> {
        let (shared, book) = (Arc::clone(&self.shared), Arc::clone(&self.book));
        let said = self.said.clone();
        let (waiting, moves) = (sleep(wait), book.moves(self.peer.id, &said));
        tokio::pin!(waiting, moves);
        loop {
            tokio::select! {
                () = &mut waiting => return Some(()),
                () = &mut moves => return Some(()),
                () = shared.nudge.notified() => return Some(()),
                message = self.messages.recv() => self.lose(&message?),
            }
        }
    }

    fn lose(&self, message: &Waiting) {
        self.shared.forget(1, message.bytes);
    }

    /// Writes what is queued until the connection breaks, or the peer is found elsewhere; also in
    /// the middle of a write: a peer that is stopped reads nothing, for ever. `None`: nobody queues
    /// any more.
    async fn talk(&mut self, stream: TcpStream) -> Option<()> {
        let (mut reader, mut writer) = stream.into_split();
        let (shared, book) = (Arc::clone(&self.shared), Arc::clone(&self.book));
        let (peer, said) = (self.peer.id, self.said.clone());
        let mut answer = [0; 1];
        let ended = tokio::select! {
            ended = self.write(&mut writer) => ended,
            // The peer says nothing here: whatever can be read is the end.
            _ = reader.read(&mut answer) => Some(()),
            () = shared.overflows() => Some(()),
            () = book.moves(peer, &said) => Some(()),
        };
        for message in std::mem::take(&mut self.batch) {
            self.lose(&message);
        }
        ended
    }

    async fn write(&mut self, writer: &mut OwnedWriteHalf) -> Option<()> {
        let mut bytes = BytesMut::new();
        loop {
            if self.messages.recv_many(&mut self.batch, BATCH).await == 0 {
                return None;
            }
            bytes.clear();
            for Waiting { envelope, .. } in &self.batch {
                if self.dropper.drops() {
                    continue;
                }
                let sealed = frame::seal(envelope);
                if sealed.len() > frame::PEER_BYTES_MAX {
                    let (kind, len) = (envelope.message.kind(), sealed.len());
                    tracing::error!(peer = self.peer.id.0, "a {kind} of {len} bytes fits no frame");
                    return Some(());
                }
                bytes.put_u32(sealed.len() as u32);
                bytes.put_slice(&sealed);
                if bytes.len() >= WRITE_BYTES {
                    if writer.write_all(&bytes).await.is_err() {
                        return Some(());
                    }
                    bytes.clear();
                }
            }
            if writer.write_all(&bytes).await.is_err() {
                return Some(());
            }
            let written = self.batch.iter().map(|message| message.bytes).sum();
            self.shared.forget(self.batch.len(), written);
            self.batch.clear();
        }
    }
}

/// What a peer said to our hello.
#[derive(Debug)]
pub(super) enum Answer {
    /// Go on; and where it has found the members.
    Welcome(TcpStream, Vec<(NodeId, String)>),
    /// A newer store of this very node is on record there.
    Replaced(Incarnation),
}

pub(super) async fn dial(peer: Member, me: Identity) -> Result<Answer, String> {
    let connect = timeout(DIAL_PATIENCE, TcpStream::connect(&peer.address)).await;
    let stream = match connect {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("not connected: {error}")),
        Err(_) => return Err("not connected: no answer".to_owned()),
    };
    prepare(&stream).map_err(|error| error.to_string())?;
    let mut frames = Frames::new(stream, frame::codec(frame::ANSWER_BYTES_MAX));
    let (from, to, incarnation) = (me.node, peer.id, me.incarnation);
    let caller = Caller::Peer { from, to, incarnation, address: me.address };
    let hello = Hello::new(&me.cluster, caller);
    frames.send(frame::seal(&hello)).await.map_err(|error| error.to_string())?;
    let answer = timeout(HELLO_PATIENCE, frames.next()).await;
    let answer = answer.map_err(|_| "no greeting".to_owned())?.ok_or("hung up on our hello")?;
    let answer = answer.map_err(|error| error.to_string())?;
    match frame::open(&answer).map_err(|error| error.to_string())? {
        Greeting::Welcome { node, found, .. } if node == to => {
            Ok(Answer::Welcome(frames.into_inner(), found))
        }
        Greeting::Welcome { node, .. } => Err(format!("node {} answered there", node.0)),
        Greeting::Refused(reason) => Err(format!("refused: {reason}")),
        Greeting::Replaced(by) => Ok(Answer::Replaced(by)),
    }
}

/// Between half and the whole of it, so that nodes do not dial in step.
fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The ways to all peers, by their ids; each loses that share.
#[must_use]
pub fn to_all(
    members: &[Member],
    me: &Identity,
    loss: Loss,
    book: &Arc<Book>,
) -> Vec<(NodeId, Outgoing)> {
    let others = members.iter().filter(|member| member.id != me.node);
    let way = |member: &Member| {
        let dropper = loss.dropper(u64::from(me.node.0), u64::from(member.id.0));
        (member.id, Outgoing::start(member.clone(), me.clone(), dropper, Arc::clone(book)))
    };
    others.map(way).collect()
}
