//! A simulated client: keeps each request until it is answered, and sends it again meanwhile.
//!
//! It crashes, and comes back under the same id with what it had written down: the number of its
//! last request, and that earlier ones were answered, but perhaps not the last of them.

use bytes::Bytes;
use fastrand::Rng;

use super::history::{History, OpId};
use super::room::{self, Asked, Seen};
use crate::node::{Event, Output};
use crate::paxos::{ClientId, NodeId, Request, RequestNumber, Slot};
use crate::wire::client::{Outcome, Refusal};

/// One client and its session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    /// Whom it takes for the leader.
    pub(super) target: NodeId,
    /// Its requests, from number 1 on.
    requests: Vec<OpId>,
    /// All up to this number were answered, as far as it remembers.
    answered: u64,
    /// All up to this number were answered, as far as it ever knew.
    known: u64,
    /// The read that it waits for, by the id it travels under.
    reading: Option<(u64, OpId)>,
}

impl Client {
    pub(super) fn new(id: ClientId) -> Client {
        let (requests, target) = (Vec::new(), NodeId(0));
        Client { id, target, requests, answered: 0, known: 0, reading: None }
    }

    /// Thinks of another request, if it may have one more in flight.
    pub(super) fn issue(&mut self, in_flight: u64, now: u64, history: &mut History<Seen>) {
        let issued = self.requests.len() as u64;
        if issued < self.answered + in_flight {
            let asked = Asked::Say(self.id, RequestNumber(issued + 1));
            let op = history.invoke(self.id, now, asked);
            self.requests.push(op);
        }
    }

    /// Asks how things are, unless it waits for an answer to that.
    pub(super) fn read(&mut self, id: u64, now: u64, history: &mut History<Seen>) -> Option<Event> {
        if self.reading.is_some() {
            return None;
        }
        self.reading = Some((id, history.invoke(self.id, now, Asked::Read)));
        Some(Event::Query { id, body: Bytes::new() })
    }

    /// How many requests were answered.
    pub(super) fn heard(&self) -> u64 {
        self.known
    }

    pub(super) fn is_done(&self) -> bool {
        self.answered == self.requests.len() as u64
    }

    /// All that is unanswered, in order.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Request> {
        let (client, low_water) = (self.id, RequestNumber(self.answered + 1));
        (self.answered + 1..=self.requests.len() as u64).map(move |number| Request {
            client,
            number: RequestNumber(number),
            low_water,
            ttl_ms: 0,
            time_ms: 0,
            body: Bytes::from(room::message(client, RequestNumber(number))),
        })
    }

    /// Nobody answered: tries somebody else.
    pub(super) fn turn(&mut self, members: u16, rng: &mut Rng) {
        self.turn_to(NodeId(rng.u16(0..members)));
    }

    /// Asks that node from now on.
    pub(super) fn turn_to(&mut self, node: NodeId) {
        self.target = node;
        self.reading = None;
    }

    /// Crashes, and is back at once.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        self.answered = rng.u64(self.answered.saturating_sub(3)..=self.answered);
        self.reading = None;
    }

    /// An answer that may be wrong: it goes on, and remembers nothing of it.
    pub(super) fn on_misled(&mut self, output: &Output) {
        match output {
            Output::Reply { number, .. } => self.note_answered(*number),
            Output::Answer { id, .. } => drop(self.reading.take_if(|(reading, _)| reading == id)),
            Output::Rejected(..)
            | Output::Queued(..)
            | Output::Alive { .. }
            | Output::Ended(_)
            | Output::Notice { .. }
            | Output::Left { .. }
            | Output::Draft(_)
            | Output::Moved(..)
            | Output::Rejoined
            | Output::Differs(_) => (),
        }
    }

    /// An answer, perhaps to an old question.
    pub(super) fn on_output(&mut self, output: &Output, now: u64, history: &mut History<Seen>) {
        match output {
            Output::Reply { number, slot, outcome, .. } => {
                self.on_reply(*number, *slot, outcome, now, history);
            }
            Output::Rejected(_, _, Refusal::NotLeader(Some(leader))) => self.target = *leader,
            Output::Rejected(_, number, Refusal::UnknownSession) => {
                panic!("the session of {} was forgotten at request {number}", self.id);
            }
            Output::Answer { id, result } => {
                let Some((_, op)) = self.reading.take_if(|(reading, _)| reading == id) else {
                    return;
                };
                if let Ok(body) = result {
                    let seen = Seen::decode(body).expect("the room's own words");
                    history.answer(op, now, seen.slots, seen);
                }
            }
            Output::Rejected(..)
            | Output::Queued(..)
            | Output::Alive { .. }
            | Output::Ended(_)
            | Output::Notice { .. }
            | Output::Left { .. }
            | Output::Draft(_)
            | Output::Moved(..)
            | Output::Rejoined
            | Output::Differs(_) => (),
        }
    }

    fn on_reply(
        &mut self,
        number: RequestNumber,
        slot: Slot,
        outcome: &Outcome,
        now: u64,
        history: &mut History<Seen>,
    ) {
        let index = (number.0 as usize).wrapping_sub(1);
        let op = *self.requests.get(index).expect("an answer to a request never sent");
        match outcome {
            Outcome::Applied(reply) => {
                let seen = Seen::decode(reply).expect("the room's own words");
                history.answer(op, now, slot, seen);
            }
            // It told the session that it needs this one no more, before it crashed.
            Outcome::Forgotten if number.0 <= self.known => (),
            Outcome::Forgotten | Outcome::UnknownSession => {
                panic!("request {number} of {} was not applied: {outcome:?}", self.id)
            }
        }
        self.note_answered(number);
    }

    fn note_answered(&mut self, number: RequestNumber) {
        if number.0 == self.answered + 1 {
            self.answered = number.0;
            self.known = self.known.max(number.0);
        }
    }

    /// That request in the history.
    pub(super) fn op(&self, number: RequestNumber) -> Option<OpId> {
        self.requests.get((number.0 as usize).wrapping_sub(1)).copied()
    }
}
