//! Incoming connections: who calls, and, for a peer, what it says.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Frames, HELLO_PATIENCE};
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
}

/// A connection whose caller is known.
#[derive(Debug)]
pub enum Incoming {
    /// Another node, with what it will say.
    Peer(NodeId, Frames),
    /// A client or a tool.
    Client(ClientId, Frames),
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
}

/// Hears who calls and answers: welcome, or why not.
///
/// # Errors
///
/// Why the caller was sent away.
pub async fn greet(
    stream: TcpStream,
    me: &Identity,
    leader: Option<NodeId>,
) -> Result<Incoming, Refused> {
    // The caller's kind is not known yet: until then only a short frame is allowed.
    let mut frames = Frames::new(stream, frame::codec(HELLO_BYTES_MAX));
    let first = timeout(HELLO_PATIENCE, frames.next()).await.map_err(|_| Refused::Silent)?;
    let bytes = first.ok_or(Refused::Silent)?;
    let bytes = bytes.map_err(|error| Refused::Foreign(error.to_string()))?;
    let hello: Hello = frame::open(&bytes).map_err(|error| Refused::Foreign(error.to_string()))?;
    if let Err(reason) = judge(&hello, me) {
        let refusal = frame::seal(&Greeting::Refused(reason.clone()));
        // The caller may be gone already; then there is nobody to tell.
        let _ = timeout(HELLO_PATIENCE, frames.send(refusal)).await;
        return Err(Refused::Unwelcome(reason));
    }
    let welcome = frame::seal(&Greeting::Welcome { node: me.node, leader });
    let sent = timeout(HELLO_PATIENCE, frames.send(welcome)).await;
    sent.map_err(|_| Refused::Silent)?.map_err(|_| Refused::Silent)?;
    Ok(match hello.caller {
        Caller::Peer { from, .. } => {
            frames.codec_mut().set_max_frame_length(frame::PEER_BYTES_MAX);
            Incoming::Peer(from, frames)
        }
        Caller::Client { client } => {
            frames.codec_mut().set_max_frame_length(frame::REQUEST_BYTES_MAX);
            Incoming::Client(client, frames)
        }
    })
}

/// Hands everything a peer says to `sink`, until the connection ends; then its reset.
///
/// # Errors
///
/// What was wrong, if it was a frame.
pub async fn hear_peer<J: From<Event>>(
    from: NodeId,
    me: &Identity,
    mut frames: Frames,
    sink: &mpsc::Sender<J>,
) -> Result<(), String> {
    let outcome = loop {
        let bytes = match frames.next().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) if is_malformed(&error) => break Err(error.to_string()),
            Some(Err(_)) | None => break Ok(()),
        };
        let envelope: Envelope = match frame::open(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => break Err(error.to_string()),
        };
        if envelope.from != from || envelope.to != me.node {
            let (one, two) = (envelope.from, envelope.to);
            break Err(format!("a message from {one} to {two} on the connection from {from}"));
        }
        if sink.send(J::from(Event::Message(envelope))).await.is_err() {
            return Ok(());
        }
    };
    // If the sink is gone the node is stopping.
    let _ = sink.send(J::from(Event::Reset(from))).await;
    outcome
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
        return Err(format!("this is cluster \"{ours}\", not \"{theirs}\""));
    }
    match hello.caller {
        Caller::Client { .. } => Ok(()),
        Caller::Peer { to, .. } if to != me.node => {
            Err(format!("this is node {}, not node {}", me.node.0, to.0))
        }
        Caller::Peer { from, .. } if from == me.node => {
            Err(format!("node {} is here already: two processes claim that id", from.0))
        }
        Caller::Peer { from, .. } if from.0 >= me.members => {
            Err(format!("node {} is not among the {} members", from.0, me.members))
        }
        Caller::Peer { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Identity {
        let (node, incarnation) = (NodeId(1), Incarnation(7));
        Identity { cluster: "room".to_owned(), node, incarnation, members: 3 }
    }

    fn peer(from: u16, to: u16) -> Caller {
        Caller::Peer { from: NodeId(from), to: NodeId(to), incarnation: Incarnation(1) }
    }

    #[test]
    fn strangers_are_refused_by_name() {
        let other = Hello { protocol: 9, ..Hello::new("room", peer(0, 1)) };
        let cases = [
            (Hello::new("hall", peer(0, 1)), "cluster \"room\", not \"hall\""),
            (Hello::new("room", peer(0, 2)), "node 1, not node 2"),
            (Hello::new("room", peer(1, 1)), "here already"),
            (Hello::new("room", peer(3, 1)), "not among the 3 members"),
            (other, "protocol 1, not 9"),
        ];
        for (hello, expected) in cases {
            let reason = judge(&hello, &me()).expect_err(expected);
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(judge(&Hello::new("room", peer(0, 1)), &me()), Ok(()));
    }
}
