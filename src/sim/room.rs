//! The service that runs in the simulator: the real chat room, and a count beside it; the real lock
//! service, for those whose sessions end; and the real polls, for those who vote. The commands of
//! these two are told by their first byte.
//!
//! Each reply, and each read, tells how many messages were said before and a hash over all of them
//! in their order. So one answer pins down the whole order below it: a checker need not compare
//! logs to see that two clients were told different stories.

use bytes::Bytes;

use super::drawer;
use super::history::Model;
use crate::node::Output;
use crate::paxos::{ClientId, RequestNumber, Slot};
use crate::rsm::{Archive, StateMachine, Turn};
use crate::services::chat::{Chat, Message};
use crate::services::lock::{Ask, Locks, Word};
use crate::services::poll::{self, Polls};
use crate::wire::codec;

/// The room, and what was said in it.
#[derive(Debug, Default)]
pub(super) struct Room {
    chat: Chat,
    seen: Seen,
    locks: Locks,
    polls: Polls,
}

/// The first byte of commands for the lock service: no message of the room begins so.
const OF_LOCKS: u8 = 0xFF;

/// The first byte of commands and questions for the polls.
const OF_POLLS: u8 = 0xFE;

/// The last byte of such a command. Where it flips, the reply shows it for ever; of a bit in a poll
/// that an archive or a confirmation has, later commands would leave no trace.
const SEAL: u8 = 0;

/// Sessions of tenants have ids from here on, so many for each: those of clients are small.
const TENANT: u128 = 1 << 32;

/// Sessions of voters have ids from here on, as many for each.
const VOTERS: u128 = 1 << 60;

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

/// The command that asks the lock service for this.
pub(super) fn of_locks(ask: &Ask) -> Bytes {
    Bytes::from([[OF_LOCKS].as_slice(), &ask.encode()].concat())
}

/// What a command asks of the lock service, if it does.
pub(super) fn as_of_locks(command: &[u8]) -> Option<Ask> {
    let (&first, ask) = command.split_first()?;
    if first == OF_LOCKS { Ask::decode(ask) } else { None }
}

/// A holder's session, of so many that it has begun.
pub(super) fn tenant(holder: usize, begun: u64) -> ClientId {
    ClientId(TENANT * (holder as u128 + 1) + u128::from(begun))
}

/// The holder whose session this is, if it is one's.
pub(super) fn holder(session: ClientId) -> Option<usize> {
    ((session.0 / TENANT) as usize).checked_sub(1).filter(|_| session.0 < VOTERS)
}

/// The command that asks the polls for this.
pub(super) fn of_polls(ask: &poll::Ask) -> Bytes {
    Bytes::from([[OF_POLLS].as_slice(), &ask.encode(), &[SEAL]].concat())
}

/// The same of a question.
pub(super) fn about_polls(question: &poll::Question) -> Bytes {
    Bytes::from([[OF_POLLS].as_slice(), &question.encode()].concat())
}

/// What a command asks of the polls, if it does.
pub(super) fn as_of_polls(command: &[u8]) -> Option<poll::Ask> {
    let ask = command.strip_prefix(&[OF_POLLS])?.strip_suffix(&[SEAL])?;
    poll::Ask::decode(ask)
}

/// A voter's session, of so many that it has begun.
pub(super) fn attendance(voter: usize, begun: u64) -> ClientId {
    ClientId(VOTERS + TENANT * voter as u128 + u128::from(begun))
}

/// The voter whose session this is, if it is one's.
pub(super) fn voter(session: ClientId) -> Option<usize> {
    session.0.checked_sub(VOTERS).map(|above| (above / TENANT) as usize)
}

/// Whose session this concerns; `None` for questions, which have an id.
pub(super) fn whose(output: &Output) -> Option<ClientId> {
    match output {
        Output::Queued(client, _)
        | Output::Rejected(client, _, _)
        | Output::Ended(client)
        | Output::Alive { client, .. }
        | Output::Notice { client, .. }
        | Output::Reply { client, .. } => Some(*client),
        Output::Answer { .. }
        | Output::Left { .. }
        | Output::Draft(_)
        | Output::Moved(..)
        | Output::Rejoined
        | Output::Differs(_) => None,
    }
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
        match command.split_first() {
            Some((&OF_LOCKS, ask)) => return self.locks.apply(turn, ask),
            Some((&OF_POLLS, ask)) => {
                let ask = ask.strip_suffix(&[SEAL]).unwrap_or_default();
                return drawer::turn(turn, |turn| self.polls.apply(turn, ask));
            }
            Some(_) | None => (),
        }
        self.chat.apply(turn, command);
        self.seen = self.seen.then(Some(turn.at), command);
        codec::encode(&self.seen)
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        self.locks.end(turn);
        drawer::turn(turn, |turn| self.polls.end(turn));
    }

    fn deadline(&self) -> Option<u64> {
        self.polls.deadline()
    }

    fn wake(&mut self, turn: &mut Turn<'_>) {
        drawer::turn(turn, |turn| self.polls.wake(turn));
    }

    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8> {
        match query {
            [] => codec::encode(&self.seen),
            [OF_POLLS, question @ ..] => self.polls.query(question, &drawer::of(archive)),
            question => self.locks.query(question, archive),
        }
    }

    /// Without polls, while there are none: then all is as it would be if there could be none.
    fn snapshot(&self) -> Vec<u8> {
        let (seen, locks) = (self.seen, self.locks.snapshot());
        match self.polls == Polls::default() {
            true => codec::encode(&(seen, locks)),
            false => codec::encode(&(seen, locks, self.polls.snapshot())),
        }
    }

    fn restore(&mut self, snapshot: &[u8]) {
        let with_polls: Option<(Seen, Vec<u8>, Vec<u8>)> = codec::decode(snapshot).ok();
        let (seen, locks, polls) = with_polls.unwrap_or_else(|| {
            let (seen, locks) = codec::decode(snapshot).unwrap_or_default();
            (seen, locks, Polls::default().snapshot())
        });
        self.seen = seen;
        self.locks.restore(&locks);
        self.polls.restore(&polls);
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
