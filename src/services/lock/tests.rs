//! The lock service in small steps, and against a model through random lives.

mod answers;
mod formats;
mod limits;
mod model;
mod random;
mod steps;

use bytes::Bytes;

use super::{Answer, Ask, Locks, Mode, Question, Said, Told, Word};
use crate::paxos::{ClientId, Slot};
use crate::rsm::{Archive, StateMachine, Turn};

/// The locks with an archive of their own, a command a slot.
#[derive(Default)]
struct Room {
    locks: Locks,
    archive: Archive,
    next: Slot,
}

/// What a step brought about.
type Came = (Said, Vec<(ClientId, Told)>);

impl Room {
    /// A command of a session, whose time to live is its id.
    fn ask(&mut self, session: ClientId, ask: &Ask) -> Came {
        let (reply, told) =
            self.turn(session, |locks, turn| Some(locks.apply(turn, &ask.encode())));
        (Said::decode(&reply.unwrap_or_default()).expect("a reply"), told)
    }

    fn end(&mut self, session: ClientId) -> Vec<(ClientId, Told)> {
        self.turn(session, |locks, turn| {
            locks.end(turn);
            None
        })
        .1
    }

    fn turn(
        &mut self,
        session: ClientId,
        step: impl FnOnce(&mut Locks, &mut Turn<'_>) -> Option<Vec<u8>>,
    ) -> (Option<Vec<u8>>, Vec<(ClientId, Told)>) {
        let mut turn = Turn::new(self.next, &mut self.archive);
        turn.session = session;
        turn.ttl_ms = session.0 as u64;
        turn.time_ms = time_ms(self.next);
        let reply = step(&mut self.locks, &mut turn);
        let notices = turn.into_notices().into_iter();
        let told = notices
            .map(|notice| (notice.session, Told::decode(&notice.body).expect("a notice")))
            .collect();
        self.next = self.next.next();
        (reply, told)
    }

    fn question(&self, question: &Question) -> Answer {
        let answer = self.locks.query(&question.encode(), &self.archive);
        Answer::decode(&answer).expect("an answer")
    }
}

/// The wall clock in a slot.
fn time_ms(slot: Slot) -> u64 {
    1_000_000 + slot.0
}

/// A session by its letter.
fn session(letter: char) -> ClientId {
    ClientId(letter as u128)
}

fn lock(names: &[&str], mode: Mode) -> Ask {
    let names = names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect();
    Ask::Lock { names, label: Bytes::from_static(b"label"), mode }
}
