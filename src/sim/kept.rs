//! Dangerous moments, helped along: an old answer comes again just when it could be taken for the
//! answer to a question of another ballot.
//!
//! A Promise to an earlier campaign, a vote for the same slots in an earlier ballot, an echo of the
//! same round of an earlier reign, a chunk of slots asked for before a crash: by chance alone they
//! hardly ever meet a node that asks the same question again, of the same peer. Here they do, in
//! the share of cases that the weather says.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::paxos::{Ballot, Envelope, Message, NodeId, Slot};

/// The latest answer of each kind that each node gave to each other.
#[derive(Debug)]
pub(super) struct Kept {
    share: f64,
    answers: BTreeMap<Key, (About, Envelope)>,
}

/// What an answer could be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    asker: NodeId,
    answerer: NodeId,
    /// The round that is echoed, the slot after the last one voted for, or the first of a chunk.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Promise,
    Vote,
    Echo,
    Chunk,
}

impl Kind {
    /// Up to which number answers could be taken for those to this one: a vote for more slots holds
    /// for fewer, too, and a chunk that lies further on would leave a gap.
    fn most(self, number: u64) -> u64 {
        match self {
            Kind::Promise | Kind::Echo => number,
            Kind::Vote | Kind::Chunk => u64::MAX,
        }
    }
}

/// What question and answer are really about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Ballot(Ballot),
    From(Slot),
}

/// What a message is in a conversation of two.
enum Part {
    Question(Key, About),
    Answer(Key, About),
    Neither,
}

impl Kept {
    pub(super) fn new(share: f64) -> Kept {
        Kept { share, answers: BTreeMap::new() }
    }

    /// Old answers come no more.
    pub(super) fn stop(&mut self) {
        self.share = 0.0;
    }

    /// A node starts again: chunks that it asked for before may only come now.
    pub(super) fn late(&self, rng: &mut Rng, asker: NodeId) -> Vec<Envelope> {
        if self.share == 0.0 {
            return Vec::new();
        }
        let chunks = self.answers.iter().filter(|(key, _)| {
            key.kind == Kind::Chunk && key.asker == asker && rng.f64() < self.share
        });
        chunks.map(|(_, (_, envelope))| envelope.clone()).collect()
    }

    /// Something leaves: an answer is kept, and to a question the old answer is returned.
    pub(super) fn pass(&mut self, rng: &mut Rng, envelope: &Envelope) -> Option<Envelope> {
        if self.share == 0.0 {
            return None;
        }
        match part(envelope) {
            Part::Neither => None,
            Part::Answer(key, about) => {
                self.answers.insert(key, (about, envelope.clone()));
                None
            }
            Part::Question(least, about) => {
                let most = Key { number: least.kind.most(least.number), ..least };
                let (_, (old_about, old)) = self.answers.range(least..=most).next()?;
                (*old_about != about && rng.f64() < self.share).then(|| old.clone())
            }
        }
    }
}

fn part(envelope: &Envelope) -> Part {
    let (from, to) = (envelope.from, envelope.to);
    let asked = |kind, number| Key { kind, asker: from, answerer: to, number };
    let given = |kind, number| Key { kind, asker: to, answerer: from, number };
    match &envelope.message {
        Message::Prepare(it) => Part::Question(asked(Kind::Promise, 0), About::Ballot(it.ballot)),
        Message::Promise(it) => Part::Answer(given(Kind::Promise, 0), About::Ballot(it.ballot)),
        Message::Accept(it) => {
            Part::Question(asked(Kind::Vote, it.run.end().0), About::Ballot(it.run.ballot))
        }
        Message::Accepted(it) => {
            Part::Answer(given(Kind::Vote, it.up_to.0), About::Ballot(it.ballot))
        }
        Message::Heartbeat(it) => {
            Part::Question(asked(Kind::Echo, it.round), About::Ballot(it.ballot))
        }
        Message::Echo(it) => Part::Answer(given(Kind::Echo, it.round), About::Ballot(it.ballot)),
        Message::CatchUpAsk(it) => {
            Part::Question(asked(Kind::Chunk, it.from.next().0), About::From(it.from))
        }
        Message::CatchUp(it) => Part::Answer(given(Kind::Chunk, it.first.0), About::From(it.first)),
        Message::Preempted(_)
        | Message::Transfer(_)
        | Message::Resend(_)
        | Message::Decide(_)
        | Message::Canvass(_)
        | Message::CanvassAnswer(_)
        | Message::Pledged(_)
        | Message::Recall(_)
        | Message::Recollection(_)
        | Message::Rejoin(_)
        | Message::Testimony(_)
        | Message::Holds(_) => Part::Neither,
    }
}
