//! What a slot can hold: a client's request, a word of the leader's own, or nothing.
//!
//! A request carries everything that applying it needs, time included, so that every node that
//! applies it does the same (Schneider 1990). The core reads only who asked and which number.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A client's own name for itself, 128 bits drawn at random, so that nobody has to hand them out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u128);

/// The number of a request within its client's session, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestNumber(pub u64);

/// What a client asked for (Ongaro 6.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Whose session it belongs to.
    pub client: ClientId,
    /// Its place in that session; number 1 opens it.
    pub number: RequestNumber,
    /// Every reply below this number has reached the client and need not be kept.
    pub low_water: RequestNumber,
    /// How long the session may stay silent, in milliseconds; 0 is for ever. Read from number 1.
    pub ttl_ms: u64,
    /// The clock of the node that took it from its client, in milliseconds since 1970; 0 where no
    /// node did.
    pub time_ms: u64,
    /// What the state machine gets.
    pub body: Bytes,
}

/// The content of one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Nothing: a hole that a leader filled.
    Noop,
    /// A client's request.
    Request(Request),
    /// This session is over: its client said so, or was silent for longer than its time to live.
    End(ClientId),
    /// It is so late, in milliseconds since 1970, by the clock of a leader: something is due.
    Wake(u64),
}

impl Command {
    /// What this command takes in a message, in bytes: its body and a margin for the rest.
    #[must_use]
    pub fn weight(&self) -> usize {
        /// More than the fixed part of any command takes on the wire.
        const FIXED_BYTES: usize = 96;
        match self {
            Command::Noop | Command::End(_) | Command::Wake(_) => FIXED_BYTES,
            Command::Request(request) => FIXED_BYTES + request.body.len(),
        }
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 96)
    }
}

impl fmt::Display for RequestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Noop => write!(f, "noop"),
            Command::Request(request) => write!(f, "{}#{}", request.client, request.number),
            Command::End(client) => write!(f, "{client} ends"),
            Command::Wake(time_ms) => write!(f, "wake at {time_ms}"),
        }
    }
}
