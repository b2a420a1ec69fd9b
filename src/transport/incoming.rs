//! Incoming connections: who calls, and, for a peer, what it says.
//!
//! A peer is heard on one connection at a time, the newest: what it said on the one before is taken
//! first, then its end is told, then the new one is heard. So its messages stay in order also when
//! it comes back before its old connection is known to be dead.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::book::Book;
use super::{Frames, HELLO_PATIENCE};
use crate::cluster::is_address;
use crate::node::Event;
use crate::paxos::{ClientId, Envelope, Incarnation, NodeId};
use crate::wire::frame;
use crate::wire::hello::{Caller, Greeting, Hello, MAGIC, PROTOCOL};

/// Whom this node takes calls for.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// The store it runs on.
    pub incarnation: Incarnation,
    /// How many members there are.
    pub members: u16,
    /// Where it is.
    pub address: String,
}

/// A connection whose caller is known, and welcome.
#[derive(Debug)]
pub enum Incoming<P> {
    /// Another node and the store it speaks from, with what it will say.
    Peer(NodeId, Incarnation, Frames),
    /// A client or a tool, and its place among them.
    Client(ClientId, Frames, P),
}

/// Where a peer's words go.
pub trait Sink: Send + Sync {
    /// Takes what happened, of about so many bytes; waits while there is no room. `false`: nobody
    /// wants to know any more.
    fn take(&self, event: Event, bytes: usize) -> impl Future<Output = bool> + Send;
}

/// An ear for one peer.
#[derive(Debug)]
pub struct Ear {
    /// Counts the connections of that peer.
    turn: watch::Sender<u64>,
    /// Held by the connection that is heard.
    heard: Mutex<()>,
}

impl Default for Ear {
    fn default() -> Ear {
        Ear { turn: watch::Sender::new(0), heard: Mutex::new(()) }
    }
}

/// Why a caller was sent away.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It said nothing, or went away.
    #[error("it did not say who it is")]
    Silent,
    /// It did not speak our language.
    #[error("it does not speak this protocol: {0}")]
    Foreign(String),
    /// It is not for us, or we are not for it; the reason was told.
    #[error("{0}")]
    Unwelcome(String),
    /// It is a node, and speaks from a store whose place a newer one has taken.
    #[error("a store of node {} that was replaced by a newer one calls", .0.0)]
    Replaced(NodeId),
}

/// Hears who calls and answers: welcome, or why not. A client must find a place: `seat` gives it
/// one, or `None` if all are taken.
///
/// # Errors
///
/// Why the caller was sent away.
pub async fn greet<P>(
    stream: TcpStream,
    me: &Identity,
    book: &Book,
    leader: Option<NodeId>,
    seat: impl FnOnce() -> Option<P>,
) -> Result<Incoming<P>, Refused> {
    // The caller's kind is not known yet: until then only a short frame is allowed.
    let mut frames = Frames::new(stream, frame::codec(HELLO_BYTES_MAX));
    let first = timeout(HELLO_PATIENCE, frames.next()).await.map_err(|_| Refused::Silent)?;
    let bytes = first.ok_or(Refused::Silent)?;
    let bytes = bytes.map_err(|error| Refused::Foreign(error.to_string()))?;
    let hello: Hello = frame::open(&bytes).map_err(|error| Refused::Foreign(error.to_string()))?;
    let admitted = judge(&hello, me).and_then(|()| admit(hello.caller, book, seat));
    let answer = match &admitted {
        Ok(Admitted::Replaced(_, by)) => Greeting::Replaced(*by),
        Ok(Admitted::Peer(..) | Admitted::Client(..)) => {
            Greeting::Welcome { node: me.node, leader, found: book.found() }
        }
        Err(reason) => Greeting::Refused(reason.clone()),
    };
    // A caller that was refused may be gone already; then there is nobody to tell.
    let sent = timeout(HELLO_PATIENCE, frames.send(frame::seal(&answer))).await;
    let admitted = admitted.map_err(Refused::Unwelcome)?;
    sent.map_err(|_| Refused::Silent)?.map_err(|_| Refused::Silent)?;
    Ok(match admitted {
        Admitted::Peer(from, store) => {
            frames.codec_mut().set_max_frame_length(frame::PEER_BYTES_MAX);
            Incoming::Peer(from, store, frames)
        }
        Admitted::Replaced(from, _) => return Err(Refused::Replaced(from)),
        Admitted::Client(client, place) => {
            frames.codec_mut().set_max_frame_length(frame::REQUEST_BYTES_MAX);
            Incoming::Client(client, frames, place)
        }
    })
}

enum Admitted<P> {
    Peer(NodeId, Incarnation),
    Client(ClientId, P),
    /// A node, and the newer store of it that is on record.
    Replaced(NodeId, Incarnation),
}

/// Notes what a peer says of itself; finds a place for a client.
fn admit<P>(
    caller: Caller,
    book: &Book,
    seat: impl FnOnce() -> Option<P>,
) -> Result<Admitted<P>, String> {
    match caller {
        Caller::Peer { from, incarnation, address, .. } => {
            if let Some(by) = book.newer(from, incarnation) {
                return Ok(Admitted::Replaced(from, by));
            }
            book.hear(from, incarnation, &address);
            Ok(Admitted::Peer(from, incarnation))
        }
        Caller::Client { client } => match seat() {
            Some(place) => Ok(Admitted::Client(client, place)),
            None => Err("too many clients are connected".to_owned()),
        },
    }
}

/// Hands everything a peer says to `sink`, until the connection ends; then its reset. A newer
/// connection of the same peer ends this one, and so does `over`.
///
/// # Errors
///
/// What was wrong, if it was a frame.
pub async fn hear_peer(
    from: NodeId,
    me: &Identity,
    frames: Frames,
    ear: &Ear,
    sink: &impl Sink,
    over: impl Future<Output = ()>,
) -> Result<(), String> {
    ear.turn.send_modify(|turn| *turn += 1);
    let mut turn = ear.turn.subscribe();
    let _heard = ear.heard.lock().await;
    let outcome = tokio::select! {
        biased;
        // The sender lives as long as the ear, so this is a newer connection.
        _ = turn.changed() => Ok(()),
        () = over => Ok(()),
        outcome = hear(from, me, frames, sink) => outcome,
    };
    // If nobody wants to know, the node is stopping.
    sink.take(Event::Reset(from), 0).await;
    outcome
}

async fn hear(
    from: NodeId,
    me: &Identity,
    mut frames: Frames,
    sink: &impl Sink,
) -> Result<(), String> {
    loop {
        let bytes = match frames.next().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) if is_malformed(&error) => return Err(error.to_string()),
            Some(Err(_)) | None => return Ok(()),
        };
        let envelope: Envelope = frame::open(&bytes).map_err(|error| error.to_string())?;
        if envelope.from != from || envelope.to != me.node {
            let (one, two) = (envelope.from, envelope.to);
            return Err(format!("a message from {one} to {two} on the connection from {from}"));
        }
        if !sink.take(Event::Message(envelope), bytes.len()).await {
            return Ok(());
        }
    }
}

/// No hello is longer.
const HELLO_BYTES_MAX: usize = 1024;

fn is_malformed(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

fn judge(hello: &Hello, me: &Identity) -> Result<(), String> {
    if hello.magic != MAGIC || hello.protocol != PROTOCOL {
        return Err(format!("this node speaks protocol {PROTOCOL}, not {}", hello.protocol));
    }
    if hello.cluster != me.cluster {
        let (theirs, ours) = (&hello.cluster, &me.cluster);
        // Quoted, for theirs may hold anything, and ends up in logs.
        return Err(format!("this is cluster {ours:?}, not {theirs:?}"));
    }
    match &hello.caller {
        Caller::Client { .. } => Ok(()),
        Caller::Peer { to, .. } if *to != me.node => {
            Err(format!("this is node {}, not node {}", me.node.0, to.0))
        }
        Caller::Peer { from, .. } if *from == me.node => {
            Err(format!("node {} is here already: two processes claim that id", from.0))
        }
        Caller::Peer { from, .. } if from.0 >= me.members => {
            Err(format!("node {} is not among the {} members", from.0, me.members))
        }
        Caller::Peer { address, .. } if !is_address(address) => {
            Err(format!("{address:?} is not HOST:PORT"))
        }
        Caller::Peer { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Identity {
        let (node, incarnation) = (NodeId(1), Incarnation(7));
        Identity {
            cluster: "room".to_owned(),
            node,
            incarnation,
            members: 3,
            address: "b:1".to_owned(),
        }
    }

    fn peer(from: u16, to: u16) -> Caller {
        at(from, to, "a:1")
    }

    fn at(from: u16, to: u16, address: &str) -> Caller {
        let (from, to, incarnation) = (NodeId(from), NodeId(to), Incarnation(1));
        Caller::Peer { from, to, incarnation, address: address.to_owned() }
    }

    #[test]
    fn strangers_are_refused_by_name() {
        let other = Hello { protocol: 9, ..Hello::new("room", peer(0, 1)) };
        let cases = [
            (Hello::new("hall", peer(0, 1)), "cluster \"room\", not \"hall\""),
            (Hello::new("room", peer(0, 2)), "node 1, not node 2"),
            (Hello::new("room", peer(1, 1)), "here already"),
            (Hello::new("room", peer(3, 1)), "not among the 3 members"),
            (Hello::new("room", at(0, 1, "\u{1b}[2J")), "is not HOST:PORT"),
            (other, "protocol 3, not 9"),
        ];
        for (hello, expected) in cases {
            let reason = judge(&hello, &me()).expect_err(expected);
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(judge(&Hello::new("room", peer(0, 1)), &me()), Ok(()));
    }
}
