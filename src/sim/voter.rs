//! A simulated voter: a client of the polls, with a file of results for its only memory.
//!
//! It does as the real one does (`cli::poll::client`): joins under its name, fetches the results
//! after the last line of its file, writes each down, says so, looks what is open, and answers; and
//! does so again when it is told that something has happened, or now and then. It makes one call at
//! a time, and another when it has lost patience. It is killed, also while it writes, and comes
//! back in another session; so it does when its session was ended.
//!
//! In the storm it also opens polls, closes some by hand, and says something else than before, or
//! where nobody has asked it.

mod hears;

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;

use super::polling::Polling;
use super::room;
use crate::node::Event;
use crate::paxos::{ClientId, NodeId, Request, RequestNumber};
use crate::services::poll::{Ask, PollId, Question, Tally};

/// One voter, and what it has on its disk.
#[derive(Debug)]
pub(super) struct Voter {
    index: usize,
    pub(super) name: Bytes,
    polling: Polling,
    /// The results that it has written down; each is synced before the next.
    pub(super) file: Vec<Tally>,
    /// How many sessions it has begun.
    begun: u64,
    pub(super) session: ClientId,
    /// Whom it takes for the leader.
    target: NodeId,
    mind: Mind,
    /// Until then it is not running.
    away_until: u64,
    pub(super) is_dead: bool,
}

/// What it knows while it runs.
#[derive(Debug, Default)]
struct Mind {
    /// What it asked for in this session, from number 1 on, and whether that is answered.
    asked: Vec<(Ask, bool)>,
    /// The request that it waits for, and the question.
    call: Option<RequestNumber>,
    reading: Option<(u64, Look)>,
    /// What it is to ask next.
    next: Option<Look>,
    is_joined: bool,
    is_over: bool,
    says_end: bool,
    /// Polls up to this one need not be asked for again.
    seen: PollId,
    confirmed: PollId,
    /// Polls that are open, and what it is to say to them; nothing, to some.
    open: BTreeMap<PollId, Option<bool>>,
    /// Polls that it is to close.
    to_close: Vec<PollId>,
    /// The last poll that it has heard of.
    last: PollId,
    /// What it wants beside.
    wish: Option<Ask>,
}

/// A question that it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// How its polls came out.
    Results,
    /// Which polls ask it.
    Open,
    /// Which polls are open.
    All,
}

/// How things are when it has its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: u64,
    pub(super) members: u16,
    /// Whether faults happen, and polls begin.
    pub(super) faults: bool,
    /// An id for a read, if it has one.
    pub(super) read: u64,
}

/// What it says, and to whom.
type Says = Vec<(NodeId, Event)>;

/// Requests that it has unanswered at most.
const UNANSWERED_MAX: usize = 3;

/// It opens none where so many wait for it.
const OPEN_MAX: usize = 4;

impl Voter {
    pub(super) fn new(index: usize, polling: Polling) -> Voter {
        let mut voter = Voter {
            index,
            name: Bytes::from(format!("voter {index}")),
            polling,
            file: Vec::new(),
            begun: 0,
            session: ClientId(0),
            target: NodeId(0),
            mind: Mind::default(),
            away_until: 0,
            is_dead: false,
        };
        voter.start();
        voter
    }

    /// The last poll in its file.
    pub(super) fn last(&self) -> PollId {
        self.file.last().map_or(PollId(0), |tally| tally.poll)
    }

    /// A process starts: it knows what is in the file.
    fn start(&mut self) {
        self.mind = Mind { seen: self.last(), ..Mind::default() };
        self.begin();
    }

    /// A session begins.
    fn begin(&mut self) {
        self.session = room::attendance(self.index, self.begun);
        self.begun += 1;
        let Mind { seen, open, last, .. } = std::mem::take(&mut self.mind);
        self.mind = Mind { seen, open, last, next: Some(Look::Results), ..Mind::default() };
    }

    /// It is killed, and is back at that time.
    fn crash(&mut self, until: u64) {
        self.away_until = until;
        self.start();
    }

    /// It is killed, and does not come back.
    pub(super) fn die(&mut self) {
        self.is_dead = true;
    }

    /// If it is away, it is back.
    pub(super) fn come_back(&mut self) {
        self.away_until = 0;
    }

    /// Asks that node from now on.
    pub(super) fn turn_to(&mut self, node: NodeId) {
        self.target = node;
        self.mind.next = self.mind.reading.take().map(|(_, look)| look).or(self.mind.next);
    }

    /// What it does at its turn.
    pub(super) fn turn(&mut self, moment: &Moment, rng: &mut Rng) -> Says {
        if self.is_dead || moment.now < self.away_until {
            return Vec::new();
        }
        if moment.faults {
            self.fare(moment.now, rng);
        } else if self.mind.says_end {
            self.mind.is_over = true;
        }
        if moment.now < self.away_until {
            return Vec::new();
        }
        if self.mind.is_over {
            self.begin();
        }
        if rng.u8(0..8) == 0 {
            self.turn_to(NodeId(rng.u16(0..moment.members)));
        }
        if self.mind.says_end {
            return vec![(self.target, Event::End(self.session))];
        }
        if self.waits() && rng.u8(0..8) == 0 && self.unanswered().count() < UNANSWERED_MAX {
            // It loses patience, and makes its call again.
            (self.mind.call, self.mind.reading) = (None, None);
            self.mind.next = Some(Look::Results);
        }
        let mut said = Vec::new();
        if !self.waits() {
            if self.mind.next.is_none() && rng.bool() {
                self.mind.next = Some(Look::Results);
            }
            self.wish(moment.faults, rng);
            said = self.go_on(moment, rng);
        } else if self.mind.call.is_some() {
            said = self.say(moment, rng);
        }
        let is_heard = |event: &Event| matches!(event, Event::Request(_) | Event::Post(_));
        if self.mind.is_joined && !said.iter().any(|(_, event)| is_heard(event)) {
            let alive = Event::KeepAlive { client: self.session, id: moment.read };
            said.push((self.target, alive));
        }
        said
    }

    /// What may happen to it.
    fn fare(&mut self, now: u64, rng: &mut Rng) {
        let happens = |rng: &mut Rng, share: f64| share > 0.0 && rng.f64() < share;
        if happens(rng, self.polling.crashes) {
            let away = match rng.bool() {
                true => self.polling.turn_ticks * 2,
                false => self.polling.ttl_ticks * 2,
            };
            self.crash(now + rng.u64(0..away));
        } else if happens(rng, self.polling.ends) {
            self.mind.says_end = !self.mind.asked.is_empty();
        }
    }

    fn waits(&self) -> bool {
        self.mind.call.is_some() || self.mind.reading.is_some()
    }

    /// Wants something of its own accord, perhaps.
    fn wish(&mut self, faults: bool, rng: &mut Rng) {
        let Polling { opens, timed, for_ticks, closes, changes, tidies, .. } = self.polling;
        let mind = &mut self.mind;
        if !faults {
            let looks = tidies && mind.next.is_none() && rng.bool();
            mind.next = if looks { Some(Look::All) } else { mind.next };
        } else if mind.open.len() < OPEN_MAX && rng.f64() < opens {
            let for_ms = (rng.f64() < timed).then(|| rng.u64(0..=for_ticks));
            mind.wish = Some(Ask::Open { question: Bytes::from_static(b"?"), for_ms });
        } else if closes > 0.0 && rng.f64() < closes {
            let poll = PollId(rng.u64(0..=mind.last.0 + 1));
            mind.wish = Some(Ask::Close { poll });
        } else if changes > 0.0 && rng.f64() < changes {
            let poll = PollId(rng.u64(0..=mind.last.0 + 1));
            mind.wish = Some(Ask::Vote { poll, yes: rng.bool() });
        }
    }

    /// Makes the next call, if it waits for none and there is something to do.
    pub(super) fn go_on(&mut self, moment: &Moment, rng: &mut Rng) -> Says {
        if self.is_dead || moment.now < self.away_until || self.waits() || self.mind.is_over {
            return Vec::new();
        }
        let (last, mind) = (self.last(), &mut self.mind);
        let answer = mind.open.iter().find_map(|(poll, answer)| Some((*poll, (*answer)?)));
        if let Some(wish) = mind.wish.take() {
            self.ask(wish);
        } else if !mind.is_joined {
            self.ask(Ask::Join { name: self.name.clone() });
        } else if mind.next == Some(Look::Results) {
            self.look(Look::Results, moment.read);
        } else if last > mind.confirmed {
            self.ask(Ask::Confirm { name: self.name.clone(), up_to: last });
        } else if let Some(look) = mind.next {
            self.look(look, moment.read);
        } else if let Some((poll, yes)) = answer {
            self.ask(Ask::Vote { poll, yes });
        } else if let Some(poll) = self.mind.to_close.pop() {
            self.ask(Ask::Close { poll });
        }
        if self.waits() { self.say(moment, rng) } else { Vec::new() }
    }

    fn ask(&mut self, ask: Ask) {
        self.mind.asked.push((ask, false));
        self.mind.call = Some(RequestNumber(self.mind.asked.len() as u64));
    }

    fn look(&mut self, look: Look, id: u64) {
        self.mind.reading = Some((id, look));
        self.mind.next = None;
    }

    /// All that is unanswered, in order.
    fn unanswered(&self) -> impl Iterator<Item = Request> {
        let asked = &self.mind.asked;
        let first = asked.iter().position(|(_, is_answered)| !is_answered);
        let low_water = RequestNumber(first.unwrap_or(asked.len()) as u64 + 1);
        let open = (1..).zip(asked).filter(|(_, (_, is_answered))| !is_answered);
        open.map(move |(number, (ask, _))| Request {
            client: self.session,
            number: RequestNumber(number),
            low_water,
            ttl_ms: self.polling.ttl_ticks,
            time_ms: 0,
            body: room::of_polls(ask),
        })
    }

    /// Says what is unanswered.
    fn say(&self, moment: &Moment, rng: &mut Rng) -> Says {
        let target = self.target;
        let by_any = self.polling.posts > 0.0 && rng.f64() < self.polling.posts;
        let mut said: Says = (self.unanswered())
            .map(|request| match by_any {
                true => (NodeId(rng.u16(0..moment.members)), Event::Post(request)),
                false => (target, Event::Request(request)),
            })
            .collect();
        if let Some((id, look)) = self.mind.reading.filter(|(id, _)| *id == moment.read) {
            let body = room::about_polls(&self.question(look));
            said.push((target, Event::Query { id, body }));
        }
        said
    }

    fn question(&self, look: Look) -> Question {
        match look {
            Look::Results => Question::Results { name: self.name.clone(), after: self.mind.seen },
            Look::Open => Question::Open { name: Some(self.name.clone()) },
            Look::All => Question::Open { name: None },
        }
    }

    /// Begins to answer all that asks it: the faults have stopped.
    pub(super) fn speak_up(&mut self) {
        self.polling.silent = 0.0;
    }
}
