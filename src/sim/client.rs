//! A simulated client: keeps each request until it is answered, and sends it again meanwhile.

use bytes::Bytes;
use fastrand::Rng;

use crate::node::Output;
use crate::paxos::{ClientId, NodeId, Request, RequestNumber, Slot};
use crate::wire::client::{Outcome, Refusal};

/// One client and its session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    /// Whom it takes for the leader.
    pub(super) target: NodeId,
    issued: u64,
    answered: u64,
    /// The slot of its last answer: later requests stand in later slots.
    last_slot: Option<Slot>,
}

/// Requests that one client has unanswered at most.
const IN_FLIGHT: u64 = 3;

impl Client {
    pub(super) fn new(id: ClientId) -> Client {
        Client { id, target: NodeId(0), issued: 0, answered: 0, last_slot: None }
    }

    /// Thinks of another request, if it may have one more in flight.
    pub(super) fn issue(&mut self) {
        if self.issued < self.answered + IN_FLIGHT {
            self.issued += 1;
        }
    }

    /// How many requests were answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    pub(super) fn is_done(&self) -> bool {
        self.answered == self.issued
    }

    /// All that is unanswered, in order.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Request> {
        let (client, low_water) = (self.id, RequestNumber(self.answered + 1));
        (self.answered + 1..=self.issued).map(move |number| Request {
            client,
            number: RequestNumber(number),
            low_water,
            ttl_ms: 0,
            time_ms: 0,
            body: Bytes::from(format!("{client} {number}")),
        })
    }

    /// Nobody answered: tries somebody else.
    pub(super) fn turn(&mut self, members: u16, rng: &mut Rng) {
        self.target = NodeId(rng.u16(0..members));
    }

    /// An answer, perhaps to an old question.
    pub(super) fn on_output(&mut self, output: &Output) {
        match output {
            Output::Reply { number, slot, outcome, .. } => self.on_reply(*number, *slot, outcome),
            Output::Rejected(_, _, Refusal::NotLeader(Some(leader))) => self.target = *leader,
            Output::Rejected(_, number, Refusal::UnknownSession) => {
                panic!("the session of {} was forgotten at request {number}", self.id);
            }
            Output::Rejected(..) | Output::Queued(..) | Output::Answer { .. } => (),
        }
    }

    fn on_reply(&mut self, number: RequestNumber, slot: Slot, outcome: &Outcome) {
        if number.0 != self.answered + 1 {
            assert!(number.0 <= self.issued, "an answer to a request never sent");
            return;
        }
        match outcome {
            Outcome::Applied(reply) => {
                let own = format!("{} {}", self.id, number);
                assert_eq!(*reply, own, "a session is answered with its own replies");
            }
            Outcome::Forgotten | Outcome::UnknownSession => {
                panic!("request {number} of {} was not applied: {outcome:?}", self.id)
            }
        }
        assert!(self.last_slot < Some(slot), "a session's requests are applied in its order");
        self.last_slot = Some(slot);
        self.answered = number.0;
    }
}
