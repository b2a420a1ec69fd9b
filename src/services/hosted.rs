//! Whichever service a cluster runs, as one machine.

use super::chat::Chat;
use super::lock::Locks;
use super::poll::Polls;
use crate::cluster::Service;
use crate::rsm::{Archive, StateMachine, Turn};

/// The machine of a service.
#[derive(Clone, Debug)]
pub enum Hosted {
    /// The chat room.
    Chat(Chat),
    /// The lock service.
    Lock(Box<Locks>),
    /// The poll service.
    Poll(Box<Polls>),
}

impl Hosted {
    /// The machine of this service, that has applied nothing.
    #[must_use]
    pub fn of(service: Service) -> Hosted {
        match service {
            Service::Chat => Hosted::Chat(Chat),
            Service::Lock => Hosted::Lock(Box::default()),
            Service::Poll => Hosted::Poll(Box::default()),
        }
    }

    /// Whether each entry of its archive is the command of its slot, as it came.
    #[must_use]
    pub fn archives_commands(&self) -> bool {
        match self {
            Hosted::Chat(_) => true,
            Hosted::Lock(_) | Hosted::Poll(_) => false,
        }
    }
}

impl StateMachine for Hosted {
    fn apply(&mut self, turn: &mut Turn<'_>, command: &[u8]) -> Vec<u8> {
        match self {
            Hosted::Chat(chat) => chat.apply(turn, command),
            Hosted::Lock(locks) => locks.apply(turn, command),
            Hosted::Poll(polls) => polls.apply(turn, command),
        }
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        match self {
            Hosted::Chat(chat) => chat.end(turn),
            Hosted::Lock(locks) => locks.end(turn),
            Hosted::Poll(polls) => polls.end(turn),
        }
    }

    fn deadline(&self) -> Option<u64> {
        match self {
            Hosted::Chat(chat) => chat.deadline(),
            Hosted::Lock(locks) => locks.deadline(),
            Hosted::Poll(polls) => polls.deadline(),
        }
    }

    fn wake(&mut self, turn: &mut Turn<'_>) {
        match self {
            Hosted::Chat(chat) => chat.wake(turn),
            Hosted::Lock(locks) => locks.wake(turn),
            Hosted::Poll(polls) => polls.wake(turn),
        }
    }

    fn query(&self, query: &[u8], archive: &Archive) -> Vec<u8> {
        match self {
            Hosted::Chat(chat) => chat.query(query, archive),
            Hosted::Lock(locks) => locks.query(query, archive),
            Hosted::Poll(polls) => polls.query(query, archive),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        match self {
            Hosted::Chat(chat) => chat.snapshot(),
            Hosted::Lock(locks) => locks.snapshot(),
            Hosted::Poll(polls) => polls.snapshot(),
        }
    }

    fn restore(&mut self, snapshot: &[u8]) {
        match self {
            Hosted::Chat(chat) => chat.restore(snapshot),
            Hosted::Lock(locks) => locks.restore(snapshot),
            Hosted::Poll(polls) => polls.restore(snapshot),
        }
    }
}
