//! Dangerous moments, helped along: an old answer comes again just when it could be taken for the
//! answer to a question of another ballot.
//!
//! A Promise to an earlier campaign, a vote for the same slots in an earlier ballot, an echo of the
//! same round of an earlier reign: by chance alone they hardly ever meet a node that asks the same
//! question again, of the same peer. Here they do, in the share of cases that the weather says.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::paxos::{Accept, Ballot, Envelope, Message, NodeId};

/// The latest answer of each kind that each node gave to each other.
#[derive(Debug)]
pub(super) struct Kept {
    share: f64,
    answers: BTreeMap<Key, Envelope>,
}

/// What an answer could be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    asker: NodeId,
    answerer: NodeId,
    /// The round that was echoed, or the slot after the last one voted for.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Promise,
    Vote,
    Echo,
}

impl Kept {
    pub(super) fn new(share: f64) -> Kept {
        Kept { share, answers: BTreeMap::new() }
    }

    /// Old answers come no more.
    pub(super) fn stop(&mut self) {
        self.share = 0.0;
    }

    /// Something leaves: an answer is kept, and to a question the old answer is returned.
    pub(super) fn pass(&mut self, rng: &mut Rng, envelope: &Envelope) -> Option<Envelope> {
        if self.share == 0.0 {
            return None;
        }
        let (from, to) = (envelope.from, envelope.to);
        let key = |kind, asker, answerer, number| Key { kind, asker, answerer, number };
        let (ballot, old) = match &envelope.message {
            Message::Promise(_) => return self.keep(key(Kind::Promise, to, from, 0), envelope),
            Message::Accepted(it) => {
                return self.keep(key(Kind::Vote, to, from, it.up_to.0), envelope);
            }
            Message::Echo(it) => return self.keep(key(Kind::Echo, to, from, it.round), envelope),
            Message::Prepare(it) => (it.ballot, self.answers.get(&key(Kind::Promise, from, to, 0))),
            Message::Accept(Accept { run, .. }) => {
                let least = key(Kind::Vote, from, to, run.end().0);
                let most = Key { number: u64::MAX, ..least };
                let vote = self.answers.range(least..=most).next().map(|(_, vote)| vote);
                (run.ballot, vote)
            }
            Message::Heartbeat(it) => {
                (it.ballot, self.answers.get(&key(Kind::Echo, from, to, it.round)))
            }
            Message::Preempted(_)
            | Message::Resend(_)
            | Message::Decide(_)
            | Message::Canvass(_)
            | Message::CanvassAnswer(_)
            | Message::CatchUpAsk(_)
            | Message::CatchUp(_) => return None,
        };
        let old = old.filter(|old| ballot_answered(&old.message) != Some(ballot))?;
        (rng.f64() < self.share).then(|| old.clone())
    }

    fn keep(&mut self, key: Key, answer: &Envelope) -> Option<Envelope> {
        self.answers.insert(key, answer.clone());
        None
    }
}

fn ballot_answered(answer: &Message) -> Option<Ballot> {
    match answer {
        Message::Promise(it) => Some(it.ballot),
        Message::Accepted(it) => Some(it.ballot),
        Message::Echo(it) => Some(it.ballot),
        Message::Prepare(_)
        | Message::Preempted(_)
        | Message::Accept(_)
        | Message::Resend(_)
        | Message::Decide(_)
        | Message::Heartbeat(_)
        | Message::Canvass(_)
        | Message::CanvassAnswer(_)
        | Message::CatchUpAsk(_)
        | Message::CatchUp(_) => None,
    }
}
