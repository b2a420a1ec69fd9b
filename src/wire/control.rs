//! What a harness and a chat client that it drives say to each other, over the client's standard
//! input and output.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::paxos::Slot;

/// From the harness to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// Say this in the room.
    Send {
        /// What.
        text: Bytes,
    },
    /// Where do you stand? Answered by `State`.
    Sync {
        /// Returned with the answer.
        id: u64,
    },
    /// What have you read so far? Answered by `Log`s, the last of which says so.
    Log {
        /// Returned with the answer.
        id: u64,
    },
}

/// From the client to the harness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromClient {
    /// So many messages in all have been handed over to a leader's queue, or further.
    Queued {
        /// Counted from the start of the client.
        count: u64,
    },
    /// The answer to `Sync`.
    State {
        /// The question's id.
        id: u64,
        /// Messages taken from the harness.
        sent: u64,
        /// Of these, without an answer.
        unanswered: u64,
        /// Every slot below has been read.
        seen: Slot,
        /// Whether it is connected to a node.
        connected: bool,
    },
    /// A part of the answer to `Log`.
    Log {
        /// The question's id.
        id: u64,
        /// Lines as people read them, without their ends.
        lines: Vec<Bytes>,
        /// Whether this is the last part.
        last: bool,
    },
    /// So many messages in all were answered; for those who keep the acknowledgements.
    Decided {
        /// The number of the message, counted from 1.
        number: u64,
        /// Its slot.
        slot: Slot,
    },
}
