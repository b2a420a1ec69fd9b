//! Outgoing connections: one to each peer, kept up, with a bounded queue before it.
//!
//! What is said while there is no connection is lost, as in any network. A queue that overflows
//! breaks its connection: better a break, which both sides notice, than a gap, which neither does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::incoming::Identity;
use super::{Frames, HELLO_PATIENCE};
use crate::cluster::Member;
use crate::paxos::{Envelope, NodeId};
use crate::wire::frame;
use crate::wire::hello::{Caller, Greeting, Hello};

/// Messages that may wait for one peer.
pub const QUEUE_MESSAGES_MAX: usize = 16 << 10;

/// Messages written at a time.
const BATCH: usize = 256;

/// The shortest and the longest wait before dialling again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long a dialled peer may take to answer the telephone.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);

/// The way to one peer. Clones lead the same way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    queue: mpsc::Sender<Envelope>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Messages queued and not yet written, or dropped.
    pending: AtomicUsize,
    overflown: AtomicBool,
    nudge: Notify,
}

impl Outgoing {
    /// Starts to keep up a connection to `peer`, for as long as there are clones of this.
    #[must_use]
    pub fn start(peer: Member, me: Identity) -> Outgoing {
        let (queue, messages) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let shared = Arc::new(Shared::default());
        tokio::spawn(Dialler { peer, me, messages, shared: Arc::clone(&shared), told: None }.run());
        Outgoing { queue, shared }
    }

    /// Sends, or loses, a message. Never waits; may be called from any thread.
    pub fn send(&self, envelope: Envelope) {
        self.shared.pending.fetch_add(1, Ordering::AcqRel);
        if self.queue.try_send(envelope).is_err() {
            self.shared.pending.fetch_sub(1, Ordering::AcqRel);
            self.shared.overflown.store(true, Ordering::Release);
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

struct Dialler {
    peer: Member,
    me: Identity,
    messages: mpsc::Receiver<Envelope>,
    shared: Arc<Shared>,
    /// The refusal that was logged last: once is enough.
    told: Option<String>,
}

impl Dialler {
    async fn run(mut self) {
        let mut wait = BACKOFF.0;
        loop {
            match self.connect().await {
                Some(Ok(stream)) => {
                    wait = BACKOFF.0;
                    self.told = None;
                    if self.talk(stream).await.is_none() {
                        return;
                    }
                }
                Some(Err(reason)) => self.complain(reason),
                None => return,
            }
            if self.pause(jitter(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    fn complain(&mut self, reason: String) {
        if self.told.as_ref() != Some(&reason) {
            tracing::info!(peer = self.peer.id.0, address = %self.peer.address, "{reason}");
            self.told = Some(reason);
        }
    }

    /// Dials and introduces itself. What is queued meanwhile is lost. `None`: nobody queues any
    /// more.
    async fn connect(&mut self) -> Option<Result<TcpStream, String>> {
        let dial = dial(self.peer.clone(), self.me.clone());
        tokio::pin!(dial);
        loop {
            tokio::select! {
                outcome = &mut dial => {
                    self.shared.overflown.store(false, Ordering::Release);
                    return Some(outcome);
                }
                message = self.messages.recv() => self.lose(message?),
            }
        }
    }

    /// Waits, or not if the peer shows up. What is queued meanwhile is lost.
    async fn pause(&mut self, wait: Duration) -> Option<()> {
        let shared = Arc::clone(&self.shared);
        let waiting = sleep(wait);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                () = &mut waiting => return Some(()),
                () = shared.nudge.notified() => return Some(()),
                message = self.messages.recv() => self.lose(message?),
            }
        }
    }

    fn lose(&self, _message: Envelope) {
        self.shared.pending.fetch_sub(1, Ordering::AcqRel);
    }

    /// Writes what is queued until the connection breaks. `None`: nobody queues any more.
    async fn talk(&mut self, mut stream: TcpStream) -> Option<()> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut bytes = BytesMut::new();
        let mut answer = [0; 1];
        loop {
            let (mut reader, mut writer) = stream.split();
            let count = tokio::select! {
                count = self.messages.recv_many(&mut batch, BATCH) => count,
                // The peer says nothing here: whatever can be read is the end.
                _ = reader.read(&mut answer) => return Some(()),
            };
            if count == 0 {
                return None;
            }
            bytes.clear();
            for envelope in batch.drain(..) {
                let sealed = frame::seal(&envelope);
                bytes.put_u32(sealed.len() as u32);
                bytes.put_slice(&sealed);
            }
            let written = writer.write_all(&bytes).await;
            self.shared.pending.fetch_sub(count, Ordering::AcqRel);
            if written.is_err() || self.shared.overflown.swap(false, Ordering::AcqRel) {
                return Some(());
            }
        }
    }
}

async fn dial(peer: Member, me: Identity) -> Result<TcpStream, String> {
    let connect = timeout(DIAL_PATIENCE, TcpStream::connect(&peer.address)).await;
    let stream = match connect {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("not connected: {error}")),
        Err(_) => return Err("not connected: no answer".to_owned()),
    };
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut frames = Frames::new(stream, frame::codec(frame::ANSWER_BYTES_MAX));
    let (from, to, incarnation) = (me.node, peer.id, me.incarnation);
    let hello = Hello::new(&me.cluster, Caller::Peer { from, to, incarnation });
    frames.send(frame::seal(&hello)).await.map_err(|error| error.to_string())?;
    let answer = timeout(HELLO_PATIENCE, frames.next()).await;
    let answer = answer.map_err(|_| "no greeting".to_owned())?.ok_or("hung up on our hello")?;
    let answer = answer.map_err(|error| error.to_string())?;
    match frame::open(&answer).map_err(|error| error.to_string())? {
        Greeting::Welcome { node, .. } if node == to => Ok(frames.into_inner()),
        Greeting::Welcome { node, .. } => Err(format!("node {} answered there", node.0)),
        Greeting::Refused(reason) => Err(format!("refused: {reason}")),
    }
}

/// Between half and the whole of it, so that nodes do not dial in step.
fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The ways to all peers, by their ids.
#[must_use]
pub fn to_all(members: &[Member], me: &Identity) -> Vec<(NodeId, Outgoing)> {
    let others = members.iter().filter(|member| member.id != me.node);
    others.map(|member| (member.id, Outgoing::start(member.clone(), me.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Event;
    use crate::paxos::{Canvass, Incarnation, Slot};
    use crate::transport::incoming::{Incoming, Refused, greet, hear_peer};
    use crate::transport::listener::listen;

    fn identity(cluster: &str, node: u16) -> Identity {
        let (node, incarnation) = (NodeId(node), Incarnation(1));
        Identity { cluster: cluster.to_owned(), node, incarnation, members: 2 }
    }

    fn canvass(round: u64) -> Envelope {
        let message = Canvass { round, decided: Slot(0) }.into();
        Envelope { from: NodeId(0), to: NodeId(1), message }
    }

    #[tokio::test]
    async fn messages_arrive_in_order_and_the_end_is_noticed() {
        let listener = listen("127.0.0.1:0").expect("any port");
        let address = listener.local_addr().expect("bound").to_string();
        let peer = Member { id: NodeId(1), address, witness: false };
        let outgoing = Outgoing::start(peer, identity("room", 0));
        let me = identity("room", 1);
        let (stream, _) = listener.accept().await.expect("a call");
        let incoming = greet(stream, &me, None).await.expect("welcome");
        let Incoming::Peer(from, frames) = incoming else { panic!("a peer: {incoming:?}") };
        let (sink, mut events) = mpsc::channel(8);
        let hearing = tokio::spawn(async move {
            hear_peer::<Event>(from, &me, frames, &sink).await.expect("well-formed");
        });
        // The dialler may still lose what is queued before it has read our greeting.
        while outgoing.pending() == 0 && events.is_empty() {
            outgoing.send(canvass(0));
            tokio::task::yield_now().await;
        }
        for round in 1..100 {
            outgoing.send(canvass(round));
        }
        let mut next = 0;
        while next < 99 {
            let Some(Event::Message(envelope)) = events.recv().await else { panic!("a message") };
            let crate::paxos::Message::Canvass(heard) = envelope.message else { panic!("canvass") };
            assert!(heard.round == next || heard.round == next + 1 || heard.round == 0);
            next = heard.round;
        }
        drop(outgoing);
        assert_eq!(events.recv().await, Some(Event::Reset(NodeId(0))));
        hearing.await.expect("ends");
    }

    #[tokio::test]
    async fn a_peer_of_another_cluster_is_refused_by_name() {
        let listener = listen("127.0.0.1:0").expect("any port");
        let address = listener.local_addr().expect("bound").to_string();
        let peer = Member { id: NodeId(1), address, witness: false };
        let dialled = tokio::spawn(dial(peer, identity("hall", 0)));
        let (stream, _) = listener.accept().await.expect("a call");
        let refused = greet(stream, &identity("room", 1), None).await.expect_err("a stranger");
        assert!(matches!(refused, Refused::Unwelcome(_)), "{refused}");
        let reason = dialled.await.expect("ends").expect_err("refused");
        assert_eq!(reason, "refused: this is cluster \"room\", not \"hall\"");
    }
}
