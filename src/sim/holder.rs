//! A simulated holder: a client that takes locks, and whose session ends when it is silent.
//!
//! It keeps its session alive, now eagerly, now at the last moment; it ends it and begins another,
//! or dies without a word, and somebody else takes its place. Or it is *stopped* for a while, as a
//! process can be at any moment: what comes meanwhile waits, and what it does when it goes on, it
//! may do before it looks at that.
//!
//! Its requests go to whom it takes for the leader, or by any node; it waits for no answer before
//! it asks for the next thing.

use bytes::Bytes;
use fastrand::Rng;

use super::belief::{Belief, Hour, Terms, Waits};
use super::room;
use super::tenancy::Tenancy;
use crate::node::{Event, Output};
use crate::paxos::{ClientId, NodeId, Slot};
use crate::services::lock::{Ask, Line, Mode, Question, Word};

/// One holder, and its session.
#[derive(Debug)]
pub(super) struct Holder {
    index: usize,
    pub(super) belief: Belief,
    /// How many sessions it has begun.
    begun: u64,
    tenancy: Tenancy,
    terms: Terms,
    /// How long it says nothing, at least.
    pace_ticks: u64,
    /// Whom it takes for the leader.
    target: NodeId,
    alive_ids: u64,
    alive_due: u64,
    /// Until then it is stopped, and what comes waits.
    stopped_until: u64,
    waiting: Vec<Output>,
    /// The read that it waits for, by the id it travels under, and whether it asked for more since.
    reading: Option<(u64, bool)>,
    is_dead: bool,
    /// The last that it was told when all was answered is that it holds nothing, nor waits.
    has_nothing: bool,
}

/// How things are when it has its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub(super) hour: Hour,
    pub(super) members: u16,
    /// Whether faults happen: then it goes on for ever, and else comes to an end.
    pub(super) faults: bool,
    /// Whether it may say that it is alive, and nothing else.
    pub(super) is_hushed: bool,
    /// An id for a read, if it has one.
    pub(super) read: u64,
}

/// Requests that it has unanswered at most.
const IN_FLIGHT: usize = 3;

/// The names of the locks there are.
pub(super) const NAMES: [&[u8]; 3] = [b"a", b"b", b"c"];

impl Holder {
    pub(super) fn new(index: usize, tenancy: Tenancy, rng: &mut Rng) -> Holder {
        let terms = Terms { ttl_ticks: 1, fastest: tenancy.fastest };
        let mut holder = Holder {
            index,
            belief: Belief::new(room::tenant(index, 0), terms),
            begun: 0,
            tenancy,
            terms,
            pace_ticks: 1,
            target: NodeId(0),
            alive_ids: 0,
            alive_due: 0,
            stopped_until: 0,
            waiting: Vec::new(),
            reading: None,
            is_dead: false,
            has_nothing: false,
        };
        holder.begin(rng);
        holder
    }

    /// Begins a session.
    fn begin(&mut self, rng: &mut Rng) {
        let (short, long) = (self.tenancy.ttl_ticks_min as f64, self.tenancy.ttl_ticks_max as f64);
        let ttl_ticks = (short * (long / short).powf(rng.f64())) as u64;
        self.terms = Terms { ttl_ticks, ..self.terms };
        let believed = ttl_ticks / self.terms.fastest;
        self.pace_ticks = 1 + believed / *rng.choice(&[8, 4, 2]).expect("three");
        self.belief = Belief::new(room::tenant(self.index, self.begun), self.terms);
        self.begun += 1;
        (self.alive_due, self.reading) = (0, None);
        (self.is_dead, self.has_nothing) = (false, false);
    }

    /// How long until its next turn, on average.
    pub(super) fn turn_ticks(&self) -> u64 {
        1 + self.pace_ticks / 2
    }

    /// If it was stopped, it goes on.
    pub(super) fn go_on(&mut self, now: u64) {
        self.stopped_until = self.stopped_until.min(now);
        self.alive_due = self.alive_due.min(now);
    }

    /// Asks that node from now on.
    pub(super) fn turn_to(&mut self, node: NodeId) {
        self.target = node;
        self.reading = None;
    }

    /// The session that must not be ended by silence, if there is one.
    pub(super) fn living(&self) -> Option<ClientId> {
        (!self.is_dead && !self.belief.is_over).then_some(self.belief.id)
    }

    /// Whether there is nothing left that it waits for, or has to give back.
    pub(super) fn is_done(&self) -> bool {
        let Belief { is_over, said_end, .. } = self.belief;
        let is_free = self.has_nothing && !said_end && self.belief.unanswered().next().is_none();
        self.is_dead || is_over || is_free || !self.belief.is_begun()
    }

    /// It dies, and is silent for ever.
    pub(super) fn die(&mut self) {
        self.is_dead = true;
    }

    /// What it does at its turn, and what it says to whom.
    pub(super) fn turn(&mut self, occasion: &Occasion, rng: &mut Rng) -> Vec<(NodeId, Event)> {
        let now = occasion.hour.now;
        if now < self.stopped_until && occasion.faults {
            return Vec::new();
        }
        let is_blind = rng.bool();
        if !is_blind {
            self.catch_up(occasion.hour);
        }
        if occasion.faults {
            self.fare(now, rng);
        }
        let mut said = Vec::new();
        if !self.is_dead && !self.belief.is_over && now >= self.stopped_until {
            if rng.u8(0..8) == 0 {
                self.turn_to(NodeId(rng.u16(0..occasion.members)));
            }
            self.plan(occasion, rng);
            said = self.say(occasion, rng);
        }
        if is_blind && now >= self.stopped_until {
            self.catch_up(occasion.hour);
        }
        said
    }

    /// What may happen to it.
    fn fare(&mut self, now: u64, rng: &mut Rng) {
        let happens = |rng: &mut Rng, share: f64| share > 0.0 && rng.f64() < share;
        if self.belief.is_over || self.is_dead {
            self.begin(rng);
        } else if happens(rng, self.tenancy.dies) {
            self.die();
        } else if happens(rng, self.tenancy.ends) {
            self.belief.said_end = self.belief.is_begun();
        } else if happens(rng, self.tenancy.stops) {
            self.stopped_until = now + rng.u64(0..self.terms.ttl_ticks * 2);
        }
    }

    /// Thinks of something more to ask for, perhaps.
    fn plan(&mut self, occasion: &Occasion, rng: &mut Rng) {
        let is_full = self.belief.unanswered().count() >= IN_FLIGHT;
        if occasion.is_hushed || self.belief.said_end || is_full {
            return;
        }
        let ask = if occasion.faults { self.wish(rng) } else { self.wind_up(rng) };
        if let Some(ask) = ask {
            self.belief.ask(ask, occasion.hour);
            self.has_nothing = false;
            self.reading = self.reading.map(|(id, _)| (id, true));
        }
    }

    /// In the storm: anything.
    fn wish(&self, rng: &mut Rng) -> Option<Ask> {
        if !self.belief.is_begun() {
            return Some(lock(rng));
        }
        if rng.f64() >= self.tenancy.busy {
            return None;
        }
        match (rng.u8(0..8), &self.belief.waits) {
            (0, _) => unlock(rng.choice(self.belief.let_go()), rng),
            (1 | 2, Some(Waits { names, line: Line::Trying, .. })) => {
                let (names, label) = (names.clone(), label());
                Some(Ask::Lock { names, label, mode: Mode::Retry })
            }
            (3, Some(_)) => Some(Ask::Cancel),
            (1..=4, None) => unlock(rng.choice(self.belief.held()), rng),
            (5, _) => unlock(rng.choice(self.belief.held()), rng),
            (1..=7, Some(_)) => None,
            (_, None) => Some(lock(rng)),
            (8.., Some(_)) => None,
        }
    }

    /// When the faults are over: gives all back.
    fn wind_up(&self, rng: &mut Rng) -> Option<Ask> {
        match &self.belief.waits {
            Some(Waits { line: Line::Trying, .. }) => Some(Ask::Cancel),
            Some(Waits { line: Line::Queued, .. }) => None,
            None => unlock(rng.choice(self.belief.held()), rng),
        }
    }

    /// What it says to whom.
    fn say(&mut self, occasion: &Occasion, rng: &mut Rng) -> Vec<(NodeId, Event)> {
        let (client, now, target) = (self.belief.id, occasion.hour.now, self.target);
        if self.belief.said_end {
            let end = (target, Event::End(client));
            return if occasion.is_hushed { Vec::new() } else { vec![end] };
        }
        let mut said = Vec::new();
        if self.belief.heard().is_some() && now >= self.alive_due {
            self.alive_ids += 1;
            self.alive_due = now + 1 + self.pace_ticks / 2;
            self.belief.keep_alive(self.alive_ids, occasion.hour);
            said.push((target, Event::KeepAlive { client, id: self.alive_ids }));
        }
        if occasion.is_hushed {
            return said;
        }
        let by_any = self.tenancy.posts > 0.0 && rng.f64() < self.tenancy.posts;
        for request in self.belief.unanswered() {
            said.push(match by_any {
                true => (NodeId(rng.u16(0..occasion.members)), Event::Post(request)),
                false => (target, Event::Request(request)),
            });
        }
        let is_curious = match occasion.faults {
            true => self.belief.waits.is_some() && rng.u8(0..4) == 0,
            false => said.is_empty() || rng.bool(),
        };
        if is_curious && self.reading.is_none() && self.belief.heard().is_some() {
            self.reading = Some((occasion.read, self.belief.unanswered().next().is_some()));
            let body = Question::Mine { session: client, after: None }.encode();
            said.push((target, Event::Query { id: occasion.read, body }));
        }
        said
    }

    /// Something arrives.
    pub(super) fn take(&mut self, output: Output, hour: Hour) {
        if hour.now < self.stopped_until {
            self.waiting.push(output);
        } else {
            self.hear(&output, hour);
        }
    }

    /// Looks at what came while it was stopped.
    fn catch_up(&mut self, hour: Hour) {
        for output in std::mem::take(&mut self.waiting) {
            self.hear(&output, hour);
        }
    }

    fn hear(&mut self, output: &Output, hour: Hour) {
        if let Output::Answer { id, result } = output {
            let Some((_, is_old)) = self.reading.take_if(|(reading, _)| reading == id) else {
                return;
            };
            if let Ok(body) = result {
                self.has_nothing = self.belief.on_mine(body, !is_old);
            }
            return;
        }
        if room::whose(output) != Some(self.belief.id) || self.is_dead {
            return;
        }
        let before = self.belief.heard();
        if let Some(leader) = self.belief.on_output(output, hour) {
            self.target = leader;
        }
        if let Some(heard) = self.belief.heard().filter(|heard| Some(*heard) > before) {
            self.alive_due = self.alive_due.max(heard.now + self.pace_ticks);
        }
    }
}

/// A request for one to three locks; one name may come twice.
fn lock(rng: &mut Rng) -> Ask {
    let count = 1 + rng.usize(0..6) / 3 + rng.usize(0..6) / 5;
    let name = |rng: &mut Rng| Bytes::from_static(rng.choice(NAMES).expect("there are names"));
    let names = (0..count).map(|_| name(rng)).collect();
    let mode = *rng.choice(&[Mode::Now, Mode::Retry, Mode::Queue, Mode::Queue]).expect("four");
    Ask::Lock { names, label: label(), mode }
}

/// Gives a lock back, by its token; or whatever its token is.
fn unlock(hold: Option<(&Bytes, &Slot)>, rng: &mut Rng) -> Option<Ask> {
    let is_blind = rng.u8(0..8) == 0;
    let token = |token: &Slot| (!is_blind).then_some(*token);
    hold.map(|(name, it)| Ask::Unlock { name: name.clone(), token: token(it), session: None })
}

fn label() -> Bytes {
    Bytes::from_static(b"l")
}
