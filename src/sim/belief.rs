//! What a holder knows of its session: until when it believes its lease, and what it holds.
//!
//! The rules are those of the real client: a lease is believed until so long after the moment at
//! which the keep-alive or request that was answered was *first* sent. Clients' clocks are right
//! here; those of nodes may be fast, or jump. A holder knows how fast they are at most, and how far
//! they have jumped, and believes so much less ([`Hour::since`]): a client that knows neither has
//! to leave a margin.
//!
//! Beside what it believes stands what it *could* come to believe: what is answered may be on its
//! way for long. The promise of a lease has to hold for that, too.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::room;
use crate::node::Output;
use crate::paxos::{ClientId, NodeId, Request, RequestNumber, Slot};
use crate::services::lock::{Answer, Ask, Line, Mode, Said, Told, Word};
use crate::wire::client::{Outcome, Refusal};

/// Simulated time, and how far clocks of nodes have jumped ahead so far, all told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hour {
    pub(super) now: u64,
    pub(super) leapt: u64,
}

impl Hour {
    /// What a clock that runs so many times too fast may have counted since then.
    fn since(self, then: Hour, fastest: u64) -> u64 {
        (self.now - then.now) * fastest + (self.leapt - then.leapt)
    }
}

/// How long a session lives without a word, and how fast the nodes' clocks are at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) ttl_ticks: u64,
    pub(super) fastest: u64,
}

/// A session, as its client knows it.
#[derive(Debug)]
pub(super) struct Belief {
    pub(super) id: ClientId,
    terms: Terms,
    /// Its requests, from number 1 on.
    requests: Vec<Asked>,
    /// When the latest of what was answered had first been sent.
    lease: Option<Hour>,
    /// The same, of all that the nodes have answered or applied.
    promised: Option<Hour>,
    /// Keep-alives, by their ids, and whether they are answered, as far as the client knows.
    alive: BTreeMap<u64, Hour>,
    /// Locks that it knows to hold, by name, with their tokens.
    held: BTreeMap<Bytes, Slot>,
    /// Tokens that it had and gave back, the last of each name.
    let_go: BTreeMap<Bytes, Slot>,
    /// How many unlocks without a token are unanswered, by name: what they free is not known yet.
    blind: BTreeMap<Bytes, u64>,
    pub(super) waits: Option<Waits>,
    /// It was told that the session is over.
    pub(super) is_over: bool,
    /// It said so itself.
    pub(super) said_end: bool,
}

/// A request, and whether it is answered.
#[derive(Debug)]
struct Asked {
    ask: Ask,
    /// When it was first sent.
    said: Hour,
    reply: Option<(Slot, Bytes)>,
}

/// What a session waits for.
#[derive(Clone, Debug)]
pub(super) struct Waits {
    pub(super) names: Vec<Bytes>,
    pub(super) line: Line,
    since: Slot,
}

impl Belief {
    pub(super) fn new(id: ClientId, terms: Terms) -> Belief {
        Belief {
            id,
            terms,
            requests: Vec::new(),
            lease: None,
            promised: None,
            alive: BTreeMap::new(),
            held: BTreeMap::new(),
            let_go: BTreeMap::new(),
            blind: BTreeMap::new(),
            waits: None,
            is_over: false,
            said_end: false,
        }
    }

    /// Asks for something more.
    pub(super) fn ask(&mut self, ask: Ask, hour: Hour) {
        // From when it gives a lock back it does not believe to hold it.
        match &ask {
            Ask::Unlock { name, token: Some(token), .. } => self.note_let_go(name, *token),
            Ask::Unlock { name, token: None, .. } => {
                self.held.remove(name);
                *self.blind.entry(name.clone()).or_default() += 1;
            }
            Ask::Lock { .. } | Ask::Cancel | Ask::Break { .. } => (),
        }
        self.requests.push(Asked { ask, said: hour, reply: None });
    }

    fn note_let_go(&mut self, name: &Bytes, token: Slot) {
        if self.held.get(name).is_some_and(|held| *held <= token) {
            self.held.remove(name);
        }
        let last = self.let_go.entry(name.clone()).or_insert(token);
        *last = token.max(*last);
    }

    /// All that is unanswered, in order.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Request> {
        let open = self.requests.iter().position(|asked| asked.reply.is_none());
        let first = open.unwrap_or(self.requests.len());
        let numbered = (1..).zip(&self.requests).skip(first);
        numbered.filter(|(_, asked)| asked.reply.is_none()).map(move |(number, asked)| Request {
            client: self.id,
            number: RequestNumber(number),
            low_water: RequestNumber(first as u64 + 1),
            ttl_ms: self.terms.ttl_ticks,
            time_ms: 0,
            body: room::of_locks(&asked.ask),
        })
    }

    /// Whether anything was asked at all.
    pub(super) fn is_begun(&self) -> bool {
        !self.requests.is_empty()
    }

    /// A keep-alive is sent.
    pub(super) fn keep_alive(&mut self, id: u64, hour: Hour) {
        self.alive.insert(id, hour);
    }

    /// When the latest of what was answered had first been sent.
    pub(super) fn heard(&self) -> Option<Hour> {
        self.lease
    }

    /// Whether it believes that its session cannot be ended yet.
    pub(super) fn believes(&self, hour: Hour) -> bool {
        !self.is_over && !self.said_end && self.runs(self.lease, hour)
    }

    /// Whether the nodes have promised not to end its session yet, be it known here or not.
    pub(super) fn is_promised(&self, hour: Hour) -> bool {
        !self.said_end && self.runs(self.promised, hour)
    }

    fn runs(&self, from: Option<Hour>, hour: Hour) -> bool {
        let Terms { ttl_ticks, fastest } = self.terms;
        from.is_some_and(|from| hour.since(from, fastest) < ttl_ticks)
    }

    /// Whether it believes to hold this lock.
    pub(super) fn believes_to_hold(&self, name: &[u8], hour: Hour) -> bool {
        self.held.contains_key(name) && self.believes(hour)
    }

    /// What it knows to hold.
    pub(super) fn held(&self) -> &BTreeMap<Bytes, Slot> {
        &self.held
    }

    /// What it held once.
    pub(super) fn let_go(&self) -> &BTreeMap<Bytes, Slot> {
        &self.let_go
    }

    /// A request of it was applied, whoever knows.
    pub(super) fn note_applied(&mut self, number: RequestNumber) {
        let asked = self.requests.get((number.0 as usize).wrapping_sub(1));
        self.promised = self.promised.max(asked.map(|asked| asked.said));
    }

    /// A node answers a keep-alive.
    pub(super) fn note_alive(&mut self, id: u64) {
        self.promised = self.promised.max(self.alive.get(&id).copied());
    }

    /// An answer, perhaps to an old question. Who leads, if it says.
    pub(super) fn on_output(&mut self, output: &Output, hour: Hour) -> Option<NodeId> {
        match output {
            Output::Reply { number, slot, outcome, .. } => {
                self.on_reply(*number, *slot, outcome, hour);
            }
            Output::Alive { id, .. } => self.lease = self.lease.max(self.alive.get(id).copied()),
            Output::Ended(_) | Output::Rejected(_, _, Refusal::UnknownSession) => self.end(hour),
            Output::Rejected(_, _, Refusal::NotLeader(leader)) => return *leader,
            Output::Notice { slot, body, .. } => self.on_notice(*slot, body),
            Output::Rejected(..)
            | Output::Queued(..)
            | Output::Answer { .. }
            | Output::Left { .. }
            | Output::Draft(_)
            | Output::Moved(..)
            | Output::Rejoined
            | Output::Differs(_) => (),
        }
        None
    }

    /// It is told that the session is over.
    fn end(&mut self, hour: Hour) {
        assert!(!self.believes(hour), "lease: session {} is over, and was not to end yet", self.id);
        self.is_over = true;
        self.held.clear();
        self.waits = None;
    }

    fn on_reply(&mut self, number: RequestNumber, slot: Slot, outcome: &Outcome, hour: Hour) {
        let index = (number.0 as usize).wrapping_sub(1);
        let asked = self.requests.get_mut(index).expect("an answer to a request never sent");
        match outcome {
            Outcome::Applied(reply) => {
                let told = (slot, reply.clone());
                if let Some(first) = &asked.reply {
                    assert!(*first == told, "at most once: {number} was answered otherwise before");
                    return;
                }
                asked.reply = Some(told);
                self.lease = self.lease.max(Some(asked.said));
                let ask = asked.ask.clone();
                if !self.is_over {
                    self.on_said(slot, ask, Said::decode(reply).expect("the locks' own words"));
                }
            }
            Outcome::Forgotten => assert!(
                asked.reply.is_some(),
                "request {number} is forgotten, and its reply never came"
            ),
            Outcome::UnknownSession => self.end(hour),
        }
    }

    fn on_said(&mut self, slot: Slot, ask: Ask, said: Said) {
        match (ask, said) {
            (_, Said::Granted { tokens }) => self.learn(&tokens, None),
            (Ask::Lock { names, mode: Mode::Queue, .. }, Said::Queued { .. }) => {
                self.wait(names, Line::Queued, slot);
            }
            (Ask::Lock { names, mode: Mode::Retry, .. }, Said::Busy { .. }) => {
                self.wait(names, Line::Trying, slot);
            }
            (Ask::Unlock { name, token: None, .. }, _) => {
                // It freed whatever was granted before.
                self.note_let_go(&name, slot);
                self.blind.entry(name).and_modify(|count| *count -= 1);
                self.blind.retain(|_, count| *count > 0);
            }
            (Ask::Lock { mode: Mode::Retry, .. }, Said::Deadlock { .. })
            | (Ask::Cancel, Said::Cancelled | Said::Idle) => {
                self.waits.take_if(|waits| waits.since < slot);
            }
            (Ask::Lock { .. } | Ask::Unlock { .. } | Ask::Cancel | Ask::Break { .. }, _) => (),
        }
    }

    /// Notes that it waits, unless it knows more already.
    fn wait(&mut self, names: Vec<Bytes>, line: Line, since: Slot) {
        let is_later = |name: &Bytes| self.last_token(name) > Some(since);
        if !names.iter().any(is_later) && self.waits.as_ref().is_none_or(|it| it.since < since) {
            self.waits = Some(Waits { names, line, since });
        }
    }

    fn last_token(&self, name: &Bytes) -> Option<Slot> {
        self.held.get(name).max(self.let_go.get(name)).copied()
    }

    /// Locks were granted: what it gave back since it does not hold.
    fn learn(&mut self, tokens: &[(Bytes, Slot)], at: Option<Slot>) {
        for (name, token) in tokens {
            if Some(*token) > self.last_token(name) && !self.blind.contains_key(name) {
                self.held.insert(name.clone(), *token);
            }
        }
        let is_wanted = |waits: &mut Waits| {
            let wanted = |name| tokens.iter().any(|(granted, _)| granted == name);
            at.is_none_or(|at| waits.since < at) && waits.names.iter().all(wanted)
        };
        self.waits.take_if(is_wanted);
    }

    fn on_notice(&mut self, slot: Slot, body: &[u8]) {
        match Told::decode(body).expect("the locks' own words") {
            Told::Granted { tokens } if !self.is_over => self.learn(&tokens, Some(slot)),
            Told::Granted { .. } | Told::Free { .. } => (),
            Told::Broken { .. } => panic!("nobody breaks locks here"),
        }
    }

    /// An answer to what it holds and waits for; `is_last`: it has asked for nothing since. Whether
    /// that is nothing.
    pub(super) fn on_mine(&mut self, body: &[u8], is_last: bool) -> bool {
        let Some(Answer::Mine { held, waits, .. }) = Answer::decode(body) else {
            panic!("the locks' own words");
        };
        if self.is_over {
            return true;
        }
        let is_nothing = held.is_empty() && waits.is_none();
        self.learn(&held, None);
        if is_last {
            self.waits = waits.map(|it| Waits { names: it.names, line: it.line, since: it.since });
        }
        is_nothing && is_last
    }
}
