//! The interface of a service: a deterministic state machine (Schneider 1990).

use bytes::Bytes;

use super::archive::Archive;
use crate::paxos::{ClientId, Slot};

/// A service that can be replicated.
///
/// There is no `Result`: what a user did wrong is a reply. The same commands in the same slots give
/// the same state, replies and archive on every node and for ever: no clock, no chance, no
/// iteration over hash maps.
pub trait StateMachine {
    /// Applies one command and returns the reply. Total: any bytes will do.
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8>;

    /// A session is over, as its client said, or as it was silent for longer than its time to live:
    /// frees what it held. No command of that session comes after this.
    fn end(&mut self, _turn: &mut Turn<'_>) {}

    /// When something is due, in milliseconds since 1970: a leader whose clock has passed that has
    /// a [`wake`](StateMachine::wake) put into the log. Asked often.
    fn deadline(&self) -> Option<u64> {
        None
    }

    /// It is as late as the turn says, and that is not before the deadline, unless that has moved
    /// meanwhile. May come late, and more than once. What was due must not be due any more.
    fn wake(&mut self, _turn: &mut Turn<'_>) {}

    /// Answers a question without changing anything. Total: any bytes will do.
    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8>;

    /// The whole state but the archive: small, and the same bytes on every node that applied the
    /// same. Nodes compare hashes of it, and whoever has other bytes than a majority stops.
    fn snapshot(&self) -> Vec<u8>;

    /// Takes the state of a snapshot that [`snapshot`](StateMachine::snapshot) made.
    fn restore(&mut self, snapshot: &[u8]);
}

/// What a command finds when its turn comes: where it stands, whose it is, and what it may change
/// beside the machine's own state.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The slot that the command was decided in.
    pub at: Slot,
    /// Whose it is; at an [`end`](StateMachine::end) the session that is over; at a
    /// [`wake`](StateMachine::wake) session 0.
    pub session: ClientId,
    /// That session's time to live, in milliseconds; 0 is for ever.
    pub ttl_ms: u64,
    /// The latest time at which a node took a command from its client, or a leader woke its
    /// machine, with this command or one before, by that node's clock, in milliseconds since 1970;
    /// 0 if none said. It never goes back; it is as wrong as the clock that is ahead most.
    pub time_ms: u64,
    /// What is kept for ever.
    pub archive: &'a mut Archive,
    notices: Vec<Notice>,
}

/// What a machine tells a session that did not ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whom.
    pub session: ClientId,
    /// What.
    pub body: Bytes,
}

impl<'a> Turn<'a> {
    /// The turn of a command of session 0 in this slot; the other fields are as at no time.
    pub fn new(at: Slot, archive: &'a mut Archive) -> Turn<'a> {
        Turn { at, session: ClientId(0), ttl_ms: 0, time_ms: 0, archive, notices: Vec::new() }
    }

    /// Tells a session something: by every node to which its client is connected just now, so
    /// perhaps never, and perhaps twice.
    pub fn tell(&mut self, session: ClientId, body: Vec<u8>) {
        self.notices.push(Notice { session, body: Bytes::from(body) });
    }

    /// What was told, in order.
    #[must_use]
    pub fn into_notices(self) -> Vec<Notice> {
        self.notices
    }
}
