//! The service that runs in the simulator: the real chat room, and a count beside it.
//!
//! Each reply, and each read, tells how many messages were said before and a hash over all of them
//! in their order. So one answer pins down the whole order below it: a checker need not compare
//! logs to see that two clients were told different stories.

use super::history::Model;
use crate::paxos::{ClientId, RequestNumber, Slot};
use crate::rsm::{Archive, StateMachine, Turn};
use crate::services::chat::{Chat, Message};
use crate::wire::codec;

/// The room, and what was said in it.
#[derive(Debug, Default)]
pub(super) struct Room {
    chat: Chat,
    seen: Seen,
}

/// What a reply or a read tells.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub(super) struct Seen {
    /// The slot after the last message.
    pub(super) slots: Slot,
    /// How many messages there are.
    pub(super) count: u64,
    /// A hash over all of them, in their order.
    pub(super) hash: u64,
}

/// The command that a client's request carries.
pub(super) fn message(client: ClientId, number: RequestNumber) -> Vec<u8> {
    let sender = client.0.to_string().into();
    let text = number.0.to_string().into();
    Message { sender, text }.encode().to_vec()
}

impl Seen {
    /// One more message.
    pub(super) fn then(self, at: Option<Slot>, command: &[u8]) -> Seen {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Seen {
            slots: at.map_or(self.slots, Slot::next),
            count: self.count + 1,
            hash: command.iter().fold(self.hash.rotate_left(1), mix),
        }
    }

    /// As it was told.
    pub(super) fn decode(bytes: &[u8]) -> Option<Seen> {
        codec::decode(bytes).ok()
    }
}

impl StateMachine for Room {
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        self.chat.apply(turn, command);
        self.seen = self.seen.then(Some(turn.at), command);
        codec::encode(&self.seen)
    }

    fn query(&self, _query: &[u8], _archive: &Archive) -> Vec<u8> {
        codec::encode(&self.seen)
    }

    fn snapshot(&self) -> Vec<u8> {
        codec::encode(&self.seen)
    }

    fn restore(&mut self, snapshot: &[u8]) {
        self.seen = Seen::decode(snapshot).unwrap_or_default();
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// That its message be said.
    Say(ClientId, RequestNumber),
    /// How things are.
    Read,
}

/// The room as one machine would hold it.
impl Model for Seen {
    type Input = Asked;
    type Output = Seen;

    fn apply(&mut self, at: Option<Slot>, asked: &Asked) -> Seen {
        if let Asked::Say(client, number) = asked {
            *self = self.then(at, &message(*client, *number));
        }
        *self
    }

    fn is_read(asked: &Asked) -> bool {
        matches!(asked, Asked::Read)
    }

    /// The search knows no slots.
    fn agrees(computed: &Seen, told: &Seen) -> bool {
        (computed.count, computed.hash) == (told.count, told.hash)
    }
}
